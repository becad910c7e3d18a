// SPDX-License-Identifier: Apache-2.0
// Clocks: what they are, what they may be, locks on them, and why they are not higher.

#include <math.h>

#include "nvml.h"

static double highest_memory_mhz(const struct sg_model *model) {
    return model->memory_clocks_mhz[sg_length(model->memory_clocks_mhz) - 1];
}

static nvmlReturn_t read_clock(const char *function, nvmlDevice_t device, unsigned type,
                               unsigned id, unsigned *mhz) {
    struct sg_view view;
    nvmlReturn_t code = sg_enter_device(function, device, &view);
    if (code != NVML_SUCCESS) return code;
    if (mhz == NULL || type > NVML_CLOCK_VIDEO || id > NVML_CLOCK_ID_CUSTOMER_BOOST_MAX)
        return NVML_ERROR_INVALID_ARGUMENT;
    bool memory = type == NVML_CLOCK_MEM;
    double now_mhz = memory ? view.live.memory_clock_mhz : view.live.clock_mhz;
    double max_mhz = memory ? highest_memory_mhz(view.model) : view.model->max_clock_mhz;
    if (type == NVML_CLOCK_VIDEO) return NVML_ERROR_NOT_SUPPORTED;
    if (id != NVML_CLOCK_ID_CURRENT && id != NVML_CLOCK_ID_CUSTOMER_BOOST_MAX)
        return NVML_ERROR_NOT_SUPPORTED;
    *mhz = (unsigned)lround(id == NVML_CLOCK_ID_CURRENT ? now_mhz : max_mhz);
    return NVML_SUCCESS;
}

EXPORT nvmlReturn_t nvmlDeviceGetClock(nvmlDevice_t device, unsigned type, unsigned id,
                                       unsigned *mhz) {
    return read_clock(__func__, device, type, id, mhz);
}

EXPORT nvmlReturn_t nvmlDeviceGetClockInfo(nvmlDevice_t device, unsigned type, unsigned *mhz) {
    return read_clock(__func__, device, type, NVML_CLOCK_ID_CURRENT, mhz);
}

EXPORT nvmlReturn_t nvmlDeviceGetMaxClockInfo(nvmlDevice_t device, unsigned type, unsigned *mhz) {
    return read_clock(__func__, device, type, NVML_CLOCK_ID_CUSTOMER_BOOST_MAX, mhz);
}

EXPORT nvmlReturn_t nvmlDeviceGetMaxCustomerBoostClock(nvmlDevice_t device, unsigned type,
                                                       unsigned *mhz) {
    return read_clock(__func__, device, type, NVML_CLOCK_ID_CUSTOMER_BOOST_MAX, mhz);
}

// The library's way with lists: too small a room is answered with the size that is needed.
static bool fits(unsigned *count, unsigned needed, const unsigned *room) {
    bool enough = room != NULL && *count >= needed;
    *count = needed;
    return enough;
}

EXPORT nvmlReturn_t nvmlDeviceGetSupportedMemoryClocks(nvmlDevice_t device, unsigned *count,
                                                       unsigned *mhz) {
    ENTER(device, count);
    const double *clocks_mhz = view.model->memory_clocks_mhz;
    unsigned length = (unsigned)sg_length(clocks_mhz);
    if (!fits(count, length, mhz)) return NVML_ERROR_INSUFFICIENT_SIZE;
    for (unsigned i = 0; i < length; i++) mhz[i] = (unsigned)lround(clocks_mhz[length - 1 - i]);
    return NVML_SUCCESS;
}

static bool is_memory_clock(const struct sg_model *model, unsigned mhz) {
    size_t length = sg_length(model->memory_clocks_mhz);
    for (size_t i = 0; i < length; i++)
        if (lround(model->memory_clocks_mhz[i]) == (long)mhz) return true;
    return false;
}

EXPORT nvmlReturn_t nvmlDeviceGetSupportedGraphicsClocks(nvmlDevice_t device, unsigned memory_mhz,
                                                         unsigned *count, unsigned *mhz) {
    ENTER(device, count);
    const struct sg_model *model = view.model;
    double steps = (model->max_clock_mhz - model->min_clock_mhz) / model->step_mhz;
    unsigned length = (unsigned)lround(steps) + 1;
    if (!is_memory_clock(model, memory_mhz)) return NVML_ERROR_NOT_FOUND;
    if (!fits(count, length, mhz)) return NVML_ERROR_INSUFFICIENT_SIZE;
    for (unsigned i = 0; i < length; i++)
        mhz[i] = (unsigned)lround(model->max_clock_mhz - i * model->step_mhz);
    return NVML_SUCCESS;
}

// The TDP clock is the highest that full load keeps under the default power limit.
static double tdp_clock_mhz(const struct sg_model *model) {
    return sg_capped_clock_mhz(model, model->limit_default_w, 1.0, 1.0, true,
                               highest_memory_mhz(model));
}

static bool symbolic_lock(const struct sg_model *model, unsigned low, unsigned high,
                          struct sg_live *live) {
    bool low_tdp = low == NVML_CLOCK_LIMIT_ID_TDP, high_tdp = high == NVML_CLOCK_LIMIT_ID_TDP;
    if (!low_tdp && low != NVML_CLOCK_LIMIT_ID_UNLIMITED) return false;
    if (!high_tdp && high != NVML_CLOCK_LIMIT_ID_UNLIMITED) return false;
    live->lock_low_mhz = low_tdp ? tdp_clock_mhz(model) : 0.0;
    live->lock_high_mhz = high_tdp ? tdp_clock_mhz(model) : INFINITY;
    return true;
}

// A number beyond what the part has is accepted and not reached, as real drivers do.
EXPORT nvmlReturn_t nvmlDeviceSetGpuLockedClocks(nvmlDevice_t device, unsigned low,
                                                 unsigned high) {
    ENTER_SETTER(device);
    if (low >= NVML_CLOCK_LIMIT_ID_RANGE_START || high >= NVML_CLOCK_LIMIT_ID_RANGE_START) {
        if (!symbolic_lock(view.model, low, high, &view.live))
            return sg_abort(&view, NVML_ERROR_INVALID_ARGUMENT);
        return sg_commit(&view);
    }
    if (low > high || high == 0) return sg_abort(&view, NVML_ERROR_INVALID_ARGUMENT);
    view.live.lock_low_mhz = low;
    view.live.lock_high_mhz = high;
    return sg_commit(&view);
}

EXPORT nvmlReturn_t nvmlDeviceResetGpuLockedClocks(nvmlDevice_t device) {
    ENTER_SETTER(device);
    view.live.lock_low_mhz = 0.0;
    view.live.lock_high_mhz = INFINITY;
    return sg_commit(&view);
}

EXPORT nvmlReturn_t nvmlDeviceSetMemoryLockedClocks(nvmlDevice_t device, unsigned low,
                                                    unsigned high) {
    ENTER_SETTER(device);
    const double *clocks_mhz = view.model->memory_clocks_mhz;
    if (view.model->memory_switch != 2.0) return sg_abort(&view, NVML_ERROR_NOT_SUPPORTED);
    if (low > high) return sg_abort(&view, NVML_ERROR_INVALID_ARGUMENT);
    for (size_t i = sg_length(clocks_mhz); i-- > 0;)
        if (clocks_mhz[i] >= low && clocks_mhz[i] <= high) {
            view.live.memory_clock_mhz = clocks_mhz[i];
            return sg_commit(&view);
        }
    return sg_abort(&view, NVML_ERROR_FREQ_NOT_SUPPORTED);
}

EXPORT nvmlReturn_t nvmlDeviceResetMemoryLockedClocks(nvmlDevice_t device) {
    ENTER_SETTER(device);
    if (view.model->memory_switch != 2.0) return sg_abort(&view, NVML_ERROR_NOT_SUPPORTED);
    view.live.memory_clock_mhz = highest_memory_mhz(view.model);
    return sg_commit(&view);
}

NUMBER(nvmlDeviceGetCurrentClocksEventReasons, unsigned long long, view.live.reasons)
NUMBER(nvmlDeviceGetCurrentClocksThrottleReasons, unsigned long long, view.live.reasons)
NUMBER(nvmlDeviceGetSupportedClocksEventReasons, unsigned long long, NVML_REASONS_SUPPORTED)
NUMBER(nvmlDeviceGetSupportedClocksThrottleReasons, unsigned long long, NVML_REASONS_SUPPORTED)

// Idle GeForce cards leave P0, data-centre parts do not.
static unsigned performance_state(const struct sg_view *view) {
    return view->model->brand == NVML_BRAND_GEFORCE && !view->live.context ? 8 : 0;
}

NUMBER(nvmlDeviceGetPerformanceState, unsigned, performance_state(&view))
NUMBER(nvmlDeviceGetPowerState, unsigned, performance_state(&view))
