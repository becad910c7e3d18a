// SPDX-License-Identifier: Apache-2.0
// Who a device is, its modes, and what it honestly does not support.

#include <stdio.h>
#include <string.h>

#include "nvml.h"

EXPORT nvmlReturn_t nvmlDeviceGetName(nvmlDevice_t device, char *name, unsigned length) {
    ENTER(device, name);
    return sg_copy_text(view.model->product, name, length);
}

EXPORT nvmlReturn_t nvmlDeviceGetUUID(nvmlDevice_t device, char *uuid, unsigned length) {
    ENTER(device, uuid);
    return sg_copy_text(view.model->uuid, uuid, length);
}

EXPORT nvmlReturn_t nvmlDeviceGetSerial(nvmlDevice_t device, char *serial, unsigned length) {
    ENTER(device, serial);
    return sg_copy_text(view.model->serial, serial, length);
}

EXPORT nvmlReturn_t nvmlDeviceGetVbiosVersion(nvmlDevice_t device, char *version,
                                              unsigned length) {
    ENTER(device, version);
    return sg_copy_text("emulated", version, length);
}

NUMBER(nvmlDeviceGetIndex, unsigned, view.index)
NUMBER(nvmlDeviceGetMinorNumber, unsigned, view.index)
NUMBER(nvmlDeviceGetBoardId, unsigned, (view.index + 1) << 8)
NUMBER(nvmlDeviceGetMultiGpuBoard, unsigned, 0)
NUMBER(nvmlDeviceGetBrand, unsigned, view.model->brand)
NUMBER(nvmlDeviceGetArchitecture, unsigned, view.model->architecture)
NUMBER(nvmlDeviceGetPersistenceMode, unsigned, view.live.persistence)
NUMBER(nvmlDeviceGetComputeMode, unsigned, view.live.compute_mode)
NUMBER(nvmlDeviceIsMigDeviceHandle, unsigned, 0)

EXPORT nvmlReturn_t nvmlDeviceGetCudaComputeCapability(nvmlDevice_t device, int *major,
                                                       int *minor) {
    ENTER(device, major);
    if (minor == NULL) return NVML_ERROR_INVALID_ARGUMENT;
    *major = (int)view.model->compute_capability[0];
    *minor = (int)view.model->compute_capability[1];
    return NVML_SUCCESS;
}

EXPORT nvmlReturn_t nvmlDeviceGetPciInfo(nvmlDevice_t device, nvmlPciInfo_t *pci) {
    ENTER(device, pci);
    memset(pci, 0, sizeof *pci);
    pci->bus = view.index + 1;
    pci->pciDeviceId = (unsigned)view.model->pci_device_id;
    snprintf(pci->busIdLegacy, sizeof pci->busIdLegacy, "0000:%02X:00.0", pci->bus);
    snprintf(pci->busId, sizeof pci->busId, "00000000:%02X:00.0", pci->bus);
    return NVML_SUCCESS;
}
ALIAS(nvmlDeviceGetPciInfo_v2, nvmlDeviceGetPciInfo);
ALIAS(nvmlDeviceGetPciInfo_v3, nvmlDeviceGetPciInfo);

EXPORT nvmlReturn_t nvmlDeviceSetPersistenceMode(nvmlDevice_t device, unsigned mode) {
    ENTER_SETTER(device);
    if (mode > 1) return sg_abort(&view, NVML_ERROR_INVALID_ARGUMENT);
    view.live.persistence = mode;
    return sg_commit(&view);
}

EXPORT nvmlReturn_t nvmlDeviceSetComputeMode(nvmlDevice_t device, unsigned mode) {
    ENTER_SETTER(device);
    if (mode > 3) return sg_abort(&view, NVML_ERROR_INVALID_ARGUMENT);
    view.live.compute_mode = mode;
    return sg_commit(&view);
}

EXPORT nvmlReturn_t nvmlDeviceGetMigMode(nvmlDevice_t device, unsigned *current,
                                         unsigned *pending) {
    ENTER(device, current);
    if (pending == NULL) return NVML_ERROR_INVALID_ARGUMENT;
    if (view.model->mig == 0.0) return NVML_ERROR_NOT_SUPPORTED;
    *current = *pending = view.live.mig;
    return NVML_SUCCESS;
}

EXPORT nvmlReturn_t nvmlDeviceSetMigMode(nvmlDevice_t device, unsigned mode,
                                         nvmlReturn_t *activation) {
    ENTER_SETTER(device);
    if (mode > 1 || activation == NULL) return sg_abort(&view, NVML_ERROR_INVALID_ARGUMENT);
    if (view.model->mig == 0.0) return sg_abort(&view, NVML_ERROR_NOT_SUPPORTED);
    *activation = NVML_SUCCESS;
    view.live.mig = mode;
    return sg_commit(&view);
}

EXPORT nvmlReturn_t nvmlDeviceGetMaxMigDeviceCount(nvmlDevice_t device, unsigned *count) {
    ENTER(device, count);
    if (view.model->mig == 0.0) return NVML_ERROR_NOT_SUPPORTED;
    *count = 7;
    return NVML_SUCCESS;
}

// No instance is ever made: MIG mode is there to be refused by who would change clocks.
EXPORT nvmlReturn_t nvmlDeviceGetMigDeviceHandleByIndex(nvmlDevice_t device, unsigned index,
                                                        nvmlDevice_t *instance) {
    ENTER(device, instance);
    (void)index;
    return view.live.mig ? NVML_ERROR_NOT_FOUND : NVML_ERROR_NOT_SUPPORTED;
}

// There on real drivers, with nothing behind it here; more arguments do not matter to the answer.
#define NOT_SUPPORTED(name)                                \
    EXPORT nvmlReturn_t name(nvmlDevice_t device) {        \
        ENTER(device, device);                             \
        return NVML_ERROR_NOT_SUPPORTED;                   \
    }

NOT_SUPPORTED(nvmlDeviceGetApplicationsClock)
NOT_SUPPORTED(nvmlDeviceGetDefaultApplicationsClock)
NOT_SUPPORTED(nvmlDeviceSetApplicationsClocks)
NOT_SUPPORTED(nvmlDeviceResetApplicationsClocks)
NOT_SUPPORTED(nvmlDeviceGetAutoBoostedClocksEnabled)
NOT_SUPPORTED(nvmlDeviceGetEccMode)
NOT_SUPPORTED(nvmlDeviceGetFanSpeed)
NOT_SUPPORTED(nvmlDeviceGetNvLinkState)
NOT_SUPPORTED(nvmlDeviceGetPcieThroughput)
NOT_SUPPORTED(nvmlDeviceGetTemperatureThreshold)
NOT_SUPPORTED(nvmlDeviceGetViolationStatus)
NOT_SUPPORTED(nvmlDeviceGetDeviceHandleFromMigDeviceHandle)
