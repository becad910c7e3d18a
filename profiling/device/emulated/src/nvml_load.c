// SPDX-License-Identifier: Apache-2.0
// What runs on a device: utilisation, memory, processes.

#include <errno.h>
#include <math.h>
#include <signal.h>

#include "nvml.h"

#define RESERVED_BYTES (UINT64_C(600) << 20)

EXPORT nvmlReturn_t nvmlDeviceGetUtilizationRates(nvmlDevice_t device, nvmlUtilization_t *rates) {
    ENTER(device, rates);
    if (view.live.mig) return NVML_ERROR_NOT_SUPPORTED;
    rates->gpu = (unsigned)lround(100.0 * view.live.sm_activity);
    rates->memory = (unsigned)lround(100.0 * view.live.mem_activity);
    return NVML_SUCCESS;
}

// A process that died has freed what it held, whatever the bench said.
static bool is_alive(uint32_t pid) { return kill((pid_t)pid, 0) == 0 || errno != ESRCH; }

static unsigned living(const struct sg_live *live, struct sg_process *alive) {
    unsigned count = 0;
    for (uint32_t i = 0; i < live->process_count; i++)
        if (is_alive(live->processes[i].pid)) alive[count++] = live->processes[i];
    return count;
}

static uint64_t held_bytes(const struct sg_view *view) {
    struct sg_process alive[SG_PROCESSES];
    uint64_t sum = 0, most = (uint64_t)view->model->memory_bytes - RESERVED_BYTES;
    for (unsigned count = living(&view->live, alive); count-- > 0;)
        sum += alive[count].memory_bytes;
    return sum < most ? sum : most;
}

EXPORT nvmlReturn_t nvmlDeviceGetMemoryInfo(nvmlDevice_t device, nvmlMemory_t *memory) {
    ENTER(device, memory);
    memory->total = (uint64_t)view.model->memory_bytes;
    memory->used = held_bytes(&view) + RESERVED_BYTES;
    memory->free = memory->total - memory->used;
    return NVML_SUCCESS;
}

EXPORT nvmlReturn_t nvmlDeviceGetMemoryInfo_v2(nvmlDevice_t device, nvmlMemory_v2_t *memory) {
    ENTER(device, memory);
    if (memory->version != NVML_MEMORY_V2) return NVML_ERROR_ARGUMENT_VERSION_MISMATCH;
    memory->total = (uint64_t)view.model->memory_bytes;
    memory->reserved = RESERVED_BYTES;
    memory->used = held_bytes(&view);
    memory->free = memory->total - memory->used - memory->reserved;
    return NVML_SUCCESS;
}

EXPORT nvmlReturn_t nvmlDeviceGetComputeRunningProcesses_v3(nvmlDevice_t device, unsigned *count,
                                                            nvmlProcessInfo_t *infos) {
    ENTER(device, count);
    struct sg_process alive[SG_PROCESSES];
    unsigned room = *count;
    *count = living(&view.live, alive);
    if (*count > 0 && (infos == NULL || room < *count)) return NVML_ERROR_INSUFFICIENT_SIZE;
    for (unsigned i = 0; i < *count; i++)
        infos[i] = (nvmlProcessInfo_t){alive[i].pid, alive[i].memory_bytes, ~0u, ~0u};
    return NVML_SUCCESS;
}
ALIAS(nvmlDeviceGetComputeRunningProcesses_v2, nvmlDeviceGetComputeRunningProcesses_v3);

EXPORT nvmlReturn_t nvmlDeviceGetComputeRunningProcesses(nvmlDevice_t device, unsigned *count,
                                                         nvmlProcessInfo_v1_t *infos) {
    ENTER(device, count);
    struct sg_process alive[SG_PROCESSES];
    unsigned room = *count;
    *count = living(&view.live, alive);
    if (*count > 0 && (infos == NULL || room < *count)) return NVML_ERROR_INSUFFICIENT_SIZE;
    for (unsigned i = 0; i < *count; i++)
        infos[i] = (nvmlProcessInfo_v1_t){alive[i].pid, alive[i].memory_bytes};
    return NVML_SUCCESS;
}

// Nothing draws, and nothing shares a device through MPS.
EXPORT nvmlReturn_t nvmlDeviceGetGraphicsRunningProcesses(nvmlDevice_t device, unsigned *count) {
    ENTER(device, count);
    *count = 0;
    return NVML_SUCCESS;
}
ALIAS(nvmlDeviceGetGraphicsRunningProcesses_v2, nvmlDeviceGetGraphicsRunningProcesses);
ALIAS(nvmlDeviceGetGraphicsRunningProcesses_v3, nvmlDeviceGetGraphicsRunningProcesses);

EXPORT nvmlReturn_t nvmlDeviceGetMPSComputeRunningProcesses(nvmlDevice_t device,
                                                            unsigned *count) {
    ENTER(device, count);
    *count = 0;
    return NVML_SUCCESS;
}
ALIAS(nvmlDeviceGetMPSComputeRunningProcesses_v2, nvmlDeviceGetMPSComputeRunningProcesses);
ALIAS(nvmlDeviceGetMPSComputeRunningProcesses_v3, nvmlDeviceGetMPSComputeRunningProcesses);
