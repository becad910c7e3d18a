// SPDX-License-Identifier: Apache-2.0
// Library life, permissions, devices and their handles.

#include <errno.h>
#include <linux/capability.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "nvml.h"

#ifndef SG_DEFAULT_STATE
#define SG_DEFAULT_STATE "/run/slurm-green/emulated-gpus"
#endif

static pthread_mutex_t life = PTHREAD_MUTEX_INITIALIZER;
static atomic_uint users;
static struct sg_map global;
static char handles[SG_DEVICES];

static nvmlReturn_t open_state(void) {
    const char *path = secure_getenv("SGREEN_EMULATED_GPU_STATE");
    sg_map_close(&global);
    switch (sg_map_open(path != NULL && *path != '\0' ? path : SG_DEFAULT_STATE, &global)) {
    case 0: return NVML_SUCCESS;
    case EPROTO: return NVML_ERROR_LIB_RM_VERSION_MISMATCH;
    case EACCES: return NVML_ERROR_NO_PERMISSION;
    default: return NVML_ERROR_DRIVER_NOT_LOADED;
    }
}

EXPORT nvmlReturn_t nvmlInitWithFlags(unsigned flags) {
    (void)flags;
    pthread_mutex_lock(&life);
    nvmlReturn_t code = atomic_load(&users) == 0 ? open_state() : NVML_SUCCESS;
    if (code == NVML_SUCCESS) code = (nvmlReturn_t)sg_call_fault(global.state, "nvmlInit", -1);
    if (code == NVML_SUCCESS) code = (nvmlReturn_t)sg_call_fault(global.state, __func__, -1);
    if (code == NVML_SUCCESS) atomic_fetch_add(&users, 1);
    pthread_mutex_unlock(&life);
    return code;
}

EXPORT nvmlReturn_t nvmlInit(void) { return nvmlInitWithFlags(0); }
ALIAS(nvmlInit_v2, nvmlInit);

// The mapping stays until the next start: another thread may still be inside a call.
EXPORT nvmlReturn_t nvmlShutdown(void) {
    pthread_mutex_lock(&life);
    nvmlReturn_t code = atomic_load(&users) > 0 ? NVML_SUCCESS : NVML_ERROR_UNINITIALIZED;
    if (code == NVML_SUCCESS) atomic_fetch_sub(&users, 1);
    pthread_mutex_unlock(&life);
    return code;
}

nvmlReturn_t sg_enter(const char *function, struct sg_state **state) {
    if (atomic_load_explicit(&users, memory_order_acquire) == 0) return NVML_ERROR_UNINITIALIZED;
    *state = global.state;
    return (nvmlReturn_t)sg_call_fault(global.state, function, -1);
}

static nvmlReturn_t enter_index(const char *function, nvmlDevice_t device, struct sg_view *view) {
    if (atomic_load_explicit(&users, memory_order_acquire) == 0) return NVML_ERROR_UNINITIALIZED;
    uintptr_t offset = (uintptr_t)device - (uintptr_t)handles;
    view->state = global.state;
    if (device == NULL || offset >= view->state->device_count) return NVML_ERROR_INVALID_ARGUMENT;
    view->index = (uint32_t)offset;
    view->model = &view->state->devices[offset].model;
    return (nvmlReturn_t)sg_call_fault(view->state, function, (int32_t)offset);
}

nvmlReturn_t sg_enter_device(const char *function, nvmlDevice_t device, struct sg_view *view) {
    nvmlReturn_t code = enter_index(function, device, view);
    if (code != NVML_SUCCESS) return code;
    sg_look(&global, view->index, &view->live);
    return view->live.lost ? NVML_ERROR_GPU_IS_LOST : NVML_SUCCESS;
}

// Of the calling thread, now: a helper may drop it at any time.
static bool may_set(void) {
    struct __user_cap_header_struct head = {.version = _LINUX_CAPABILITY_VERSION_3};
    struct __user_cap_data_struct sets[2];
    if (syscall(SYS_capget, &head, sets) != 0) return false;
    return (sets[0].effective & (1u << CAP_SYS_ADMIN)) != 0;
}

nvmlReturn_t sg_enter_setter(const char *function, nvmlDevice_t device, struct sg_view *view) {
    nvmlReturn_t code = enter_index(function, device, view);
    if (code != NVML_SUCCESS) return code;
    if (!may_set()) return NVML_ERROR_NO_PERMISSION;
    switch (sg_edit_begin(&global, view->index, &view->live)) {
    case 0: break;
    case EACCES: return NVML_ERROR_NO_PERMISSION;
    case ETIMEDOUT: return NVML_ERROR_TIMEOUT;
    default: return NVML_ERROR_UNKNOWN;
    }
    return view->live.lost ? sg_abort(view, NVML_ERROR_GPU_IS_LOST) : NVML_SUCCESS;
}

nvmlReturn_t sg_commit(struct sg_view *view) {
    sg_edit_commit(&global, view->index, &view->live);
    return NVML_SUCCESS;
}

nvmlReturn_t sg_abort(struct sg_view *view, nvmlReturn_t code) {
    sg_edit_abort(&global, view->index);
    return code;
}

nvmlReturn_t sg_copy_text(const char *text, char *to, unsigned length) {
    if (to == NULL) return NVML_ERROR_INVALID_ARGUMENT;
    if (strlen(text) >= length) return NVML_ERROR_INSUFFICIENT_SIZE;
    strcpy(to, text);
    return NVML_SUCCESS;
}

static nvmlReturn_t system_text(const char *function, const char *text, char *to,
                                unsigned length) {
    struct sg_state *state;
    nvmlReturn_t code = sg_enter(function, &state);
    return code == NVML_SUCCESS ? sg_copy_text(text, to, length) : code;
}

EXPORT nvmlReturn_t nvmlSystemGetDriverVersion(char *version, unsigned length) {
    return system_text(__func__, "580.0.emulated", version, length);
}

EXPORT nvmlReturn_t nvmlSystemGetNVMLVersion(char *version, unsigned length) {
    return system_text(__func__, "13.580.0.emulated", version, length);
}

EXPORT nvmlReturn_t nvmlSystemGetCudaDriverVersion(int *version) {
    struct sg_state *state;
    nvmlReturn_t code = sg_enter(__func__, &state);
    if (code != NVML_SUCCESS) return code;
    if (version == NULL) return NVML_ERROR_INVALID_ARGUMENT;
    *version = 13000;
    return NVML_SUCCESS;
}
ALIAS(nvmlSystemGetCudaDriverVersion_v2, nvmlSystemGetCudaDriverVersion);

EXPORT nvmlReturn_t nvmlDeviceGetCount(unsigned *count) {
    struct sg_state *state;
    nvmlReturn_t code = sg_enter(__func__, &state);
    if (code != NVML_SUCCESS) return code;
    if (count == NULL) return NVML_ERROR_INVALID_ARGUMENT;
    *count = state->device_count;
    return NVML_SUCCESS;
}
ALIAS(nvmlDeviceGetCount_v2, nvmlDeviceGetCount);

static nvmlReturn_t handle_at(const char *function, uint32_t index, nvmlDevice_t *device) {
    struct sg_view view;
    nvmlReturn_t code = sg_enter_device(function, &handles[index], &view);
    if (code == NVML_SUCCESS) *device = &handles[index];
    return code;
}

EXPORT nvmlReturn_t nvmlDeviceGetHandleByIndex(unsigned index, nvmlDevice_t *device) {
    struct sg_state *state;
    nvmlReturn_t code = sg_enter("", &state);
    if (code != NVML_SUCCESS) return code;
    if (device == NULL || index >= state->device_count) return NVML_ERROR_INVALID_ARGUMENT;
    return handle_at(__func__, index, device);
}
ALIAS(nvmlDeviceGetHandleByIndex_v2, nvmlDeviceGetHandleByIndex);

static nvmlReturn_t handle_by_text(const char *function, const char *text, size_t offset,
                                   nvmlDevice_t *device) {
    struct sg_state *state;
    nvmlReturn_t code = sg_enter("", &state);
    if (code != NVML_SUCCESS) return code;
    if (text == NULL || device == NULL) return NVML_ERROR_INVALID_ARGUMENT;
    for (uint32_t i = 0; i < state->device_count; i++)
        if (strcmp((const char *)&state->devices[i].model + offset, text) == 0)
            return handle_at(function, i, device);
    return NVML_ERROR_NOT_FOUND;
}

EXPORT nvmlReturn_t nvmlDeviceGetHandleByUUID(const char *uuid, nvmlDevice_t *device) {
    return handle_by_text(__func__, uuid, offsetof(struct sg_model, uuid), device);
}

EXPORT nvmlReturn_t nvmlDeviceGetHandleByUUIDV(const nvmlUUID_t *uuid, nvmlDevice_t *device) {
    if (uuid == NULL || uuid->type != NVML_UUID_TYPE_ASCII) return NVML_ERROR_INVALID_ARGUMENT;
    return handle_by_text(__func__, uuid->value.str, offsetof(struct sg_model, uuid), device);
}

EXPORT nvmlReturn_t nvmlDeviceGetHandleBySerial(const char *serial, nvmlDevice_t *device) {
    return handle_by_text(__func__, serial, offsetof(struct sg_model, serial), device);
}

EXPORT nvmlReturn_t nvmlDeviceGetHandleByPciBusId(const char *bus_id, nvmlDevice_t *device) {
    struct sg_state *state;
    unsigned domain, bus, slot, function;
    nvmlReturn_t code = sg_enter("", &state);
    if (code != NVML_SUCCESS) return code;
    if (bus_id == NULL || device == NULL) return NVML_ERROR_INVALID_ARGUMENT;
    if (sscanf(bus_id, "%x:%x:%x.%x", &domain, &bus, &slot, &function) != 4)
        return NVML_ERROR_INVALID_ARGUMENT;
    if (domain != 0 || bus < 1 || bus > state->device_count || slot != 0 || function != 0)
        return NVML_ERROR_NOT_FOUND;
    return handle_at(__func__, bus - 1, device);
}
ALIAS(nvmlDeviceGetHandleByPciBusId_v2, nvmlDeviceGetHandleByPciBusId);

EXPORT const char *nvmlErrorString(nvmlReturn_t code) {
    switch (code) {
    case NVML_SUCCESS: return "Success";
    case NVML_ERROR_UNINITIALIZED: return "Uninitialized";
    case NVML_ERROR_INVALID_ARGUMENT: return "Invalid Argument";
    case NVML_ERROR_NOT_SUPPORTED: return "Not Supported";
    case NVML_ERROR_NO_PERMISSION: return "Insufficient Permissions";
    case NVML_ERROR_NOT_FOUND: return "Not Found";
    case NVML_ERROR_INSUFFICIENT_SIZE: return "Insufficient Size";
    case NVML_ERROR_DRIVER_NOT_LOADED: return "Driver Not Loaded (no emulated GPU state file)";
    case NVML_ERROR_TIMEOUT: return "Timeout";
    case NVML_ERROR_GPU_IS_LOST: return "GPU is lost";
    case NVML_ERROR_LIB_RM_VERSION_MISMATCH: return "State file of another library version";
    case NVML_ERROR_FREQ_NOT_SUPPORTED: return "Frequency not supported";
    case NVML_ERROR_ARGUMENT_VERSION_MISMATCH: return "Argument version mismatch";
    case NVML_ERROR_UNKNOWN: break;
    }
    return "Unknown Error";
}
