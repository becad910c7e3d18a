// SPDX-License-Identifier: Apache-2.0
// The bench's side; see bench.h.

#include "bench.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "nvml.h"

struct sgemu {
    struct sg_map map;
};

static const struct {
    const char *key;
    size_t offset;
    uint32_t length;
} numbers[] = {
#define X(key) {#key, offsetof(struct sg_model, key), 1},
    SG_SCALARS(X)
#undef X
#define X(key) {#key, offsetof(struct sg_model, key), SG_ENTRIES},
    SG_LISTS(X)
#undef X
};

static const struct {
    const char *key;
    size_t offset;
} texts[] = {
#define X(key) {#key, offsetof(struct sg_model, key)},
    SG_TEXTS(X)
#undef X
};

#ifndef SG_BUILD
#define SG_BUILD "by hand"
#endif
// build.py finds by this what a library was built from.
EXPORT const char sgemu_build[] = SG_BUILD;

#define COUNT(array) (sizeof(array) / sizeof *(array))

static double *number_at(struct sg_model *model, size_t i) {
    return (double *)((char *)model + numbers[i].offset);
}

EXPORT int sgemu_create(const char *path, uint32_t devices, int is_virtual, double start_s,
                        sgemu **out) {
    if (devices > SG_DEVICES || !(start_s >= 0.0)) return EINVAL;
    sgemu *bench = calloc(1, sizeof *bench);
    if (bench == NULL) return ENOMEM;
    int error = sg_map_create(path, &bench->map);
    if (error) {
        free(bench);
        return error;
    }
    struct sg_state *state = bench->map.state;
    state->version = SG_VERSION;
    state->size = sizeof *state;
    state->device_count = devices;
    state->is_virtual = is_virtual != 0;
    atomic_store(&state->virtual_ns, sg_ns(start_s));
    error = sg_cell_init(&state->calls_cell);
    for (uint32_t i = 0; i < devices && !error; i++) {
        error = sg_cell_init(&state->devices[i].cell);
        for (size_t n = 0; n < COUNT(numbers); n++)
            for (uint32_t at = 0; at < numbers[n].length; at++)
                number_at(&state->devices[i].model, n)[at] = NAN;
    }
    if (error)
        sgemu_close(bench);
    else
        *out = bench;
    return error;
}

EXPORT int sgemu_number(sgemu *bench, uint32_t device, const char *key, uint32_t at,
                        double value) {
    if (device >= bench->map.state->device_count || !isfinite(value)) return EINVAL;
    for (size_t n = 0; n < COUNT(numbers); n++)
        if (strcmp(numbers[n].key, key) == 0) {
            if (at >= numbers[n].length) return ERANGE;
            number_at(&bench->map.state->devices[device].model, n)[at] = value;
            return 0;
        }
    return ENOENT;
}

EXPORT int sgemu_text(sgemu *bench, uint32_t device, const char *key, const char *value) {
    if (device >= bench->map.state->device_count) return EINVAL;
    for (size_t n = 0; n < COUNT(texts); n++)
        if (strcmp(texts[n].key, key) == 0) {
            if (strlen(value) >= SG_TEXT) return ERANGE;
            strcpy((char *)&bench->map.state->devices[device].model + texts[n].offset, value);
            return 0;
        }
    return ENOENT;
}

EXPORT int sgemu_ready(sgemu *bench) {
    struct sg_state *state = bench->map.state;
    for (uint32_t i = 0; i < state->device_count; i++) {
        struct sg_device *device = &state->devices[i];
        for (size_t n = 0; n < COUNT(numbers); n++)
            if (isnan(number_at(&device->model, n)[0])) return EINVAL;
        sg_start(&device->model, &device->slots[0], sg_now_ns(state));
    }
    state->magic = SG_MAGIC;
    return 0;
}

EXPORT int sgemu_open(const char *path, sgemu **out) {
    sgemu *bench = calloc(1, sizeof *bench);
    if (bench == NULL) return ENOMEM;
    int error = sg_map_open(path, &bench->map);
    if (error)
        free(bench);
    else
        *out = bench;
    return error;
}

EXPORT void sgemu_close(sgemu *bench) {
    sg_map_close(&bench->map);
    free(bench);
}

EXPORT int sgemu_count(const sgemu *bench, uint32_t *out) {
    *out = bench->map.state->device_count;
    return 0;
}

EXPORT int sgemu_advance(sgemu *bench, double seconds) {
    struct sg_state *state = bench->map.state;
    if (!bench->map.writable) return EACCES;
    if (!state->is_virtual || !(seconds >= 0.0 && seconds < 1e9)) return EINVAL;
    atomic_fetch_add(&state->virtual_ns, sg_ns(seconds));
    return 0;
}

EXPORT int sgemu_read(sgemu *bench, uint32_t device, struct sgemu_reading *out, size_t size) {
    struct sg_live live;
    if (device >= bench->map.state->device_count || size != sizeof *out) return EINVAL;
    sg_look(&bench->map, device, &live);
    *out = (struct sgemu_reading){
        .now_s = (double)live.now_ns / 1e9,
        .energy_j = live.energy_j,
        .power_w = live.power_w,
        .clock_mhz = live.clock_mhz,
        .target_clock_mhz = live.target_mhz,
        .memory_clock_mhz = live.memory_clock_mhz,
        .temperature_c = live.temperature_c,
        .limit_w = live.limit_w,
        .lock_low_mhz = live.lock_low_mhz,
        .lock_high_mhz = live.lock_high_mhz,
        .sm_activity = live.sm_activity,
        .mem_activity = live.mem_activity,
        .context = live.context,
        .reasons = (double)live.reasons,
    };
    return 0;
}

static int edit(sgemu *bench, uint32_t device, struct sg_live *live) {
    if (device >= bench->map.state->device_count) return EINVAL;
    return sg_edit_begin(&bench->map, device, live);
}

static int commit(sgemu *bench, uint32_t device, struct sg_live *live) {
    sg_edit_commit(&bench->map, device, live);
    return 0;
}

static bool is_share(double value) { return value >= 0.0 && value <= 1.0; }

EXPORT int sgemu_load(sgemu *bench, uint32_t device, double sm_activity, double mem_activity,
                      int context, double hold_s) {
    struct sg_live live;
    if (!is_share(sm_activity) || !is_share(mem_activity) || !(hold_s > 0.0)) return EINVAL;
    int error = edit(bench, device, &live);
    if (error) return error;
    live.sm_activity = sm_activity;
    live.mem_activity = mem_activity;
    live.context = context != 0;
    live.lapse_ns = isinf(hold_s) || hold_s > 1e9 ? SG_NEVER : live.now_ns + sg_ns(hold_s);
    return commit(bench, device, &live);
}

EXPORT int sgemu_processes(sgemu *bench, uint32_t device, uint32_t count, const uint32_t *pids,
                           const uint64_t *memory_bytes) {
    struct sg_live live;
    if (count > SG_PROCESSES) return ERANGE;
    int error = edit(bench, device, &live);
    if (error) return error;
    live.process_count = count;
    for (uint32_t i = 0; i < count; i++)
        live.processes[i] = (struct sg_process){memory_bytes[i], pids[i]};
    return commit(bench, device, &live);
}

EXPORT int sgemu_fault(sgemu *bench, uint32_t device, const char *key, double value) {
    struct sg_live live;
    if (!(value >= 0.0)) return EINVAL;
    int error = edit(bench, device, &live);
    if (error) return error;
    if (strcmp(key, "lost") == 0) {
        live.lost = value != 0.0;
    } else if (strcmp(key, "mig") == 0) {
        live.mig = value != 0.0;
    } else if (strcmp(key, "stalled") == 0) {
        live.stalled_j = live.counter_j;
        live.stalled = value != 0.0;
    } else if (strcmp(key, "clamp_mhz") == 0) {
        live.clamp_mhz = value;
    } else if (strcmp(key, "reasons") == 0 && value < 0x1p32) {
        live.extra_reasons = (uint64_t)value;
    } else if (strcmp(key, "counter_wrap_mj") == 0) {
        live.counter_wrap_mj = value;
    } else {
        sg_edit_abort(&bench->map, device);
        return ENOENT;
    }
    return commit(bench, device, &live);
}

EXPORT int sgemu_counter_reset(sgemu *bench, uint32_t device) {
    struct sg_live live;
    int error = edit(bench, device, &live);
    if (error) return error;
    live.counter_zero_j = live.counter_j;
    return commit(bench, device, &live);
}

EXPORT int sgemu_reload(sgemu *bench, uint32_t device) {
    struct sg_live live;
    int error = edit(bench, device, &live);
    if (error) return error;
    sg_settings_reset(&bench->map.state->devices[device].model, &live);
    live.counter_zero_j = live.counter_j;
    return commit(bench, device, &live);
}

static int write_calls(sgemu *bench, const struct sg_call *added) {
    struct sg_state *state = bench->map.state;
    struct sg_calls calls = {0};
    if (!bench->map.writable) return EACCES;
    int error = sg_cell_lock(&state->calls_cell);
    if (error) return error;
    if (added != NULL) {
        sg_cell_read(&state->calls_cell, state->calls, sizeof calls, &calls);
        if (calls.count < SG_CALLS)
            calls.calls[calls.count++] = *added;
        else
            error = ERANGE;
    }
    if (!error) sg_cell_write(&state->calls_cell, state->calls, sizeof calls, &calls);
    sg_cell_unlock(&state->calls_cell);
    return error;
}

EXPORT int sgemu_call(sgemu *bench, int32_t device, const char *function, int32_t code,
                      double delay_s) {
    struct sg_call call = {.device = device, .code = code, .delay_s = delay_s};
    if (device >= (int32_t)bench->map.state->device_count || code < 0) return EINVAL;
    if (!(delay_s >= 0.0 && delay_s <= 60.0)) return EINVAL;
    sg_bare_name(function, call.name);
    return write_calls(bench, &call);
}

EXPORT int sgemu_calls_clear(sgemu *bench) { return write_calls(bench, NULL); }

static const struct sg_model *model_of(const sgemu *bench, uint32_t device) {
    return &bench->map.state->devices[device].model;
}

EXPORT double sgemu_voltage(const sgemu *bench, uint32_t device, double clock_mhz) {
    return sg_voltage(model_of(bench, device), clock_mhz);
}

EXPORT double sgemu_power_w(const sgemu *bench, uint32_t device, double clock_mhz,
                            double sm_activity, double mem_activity, int context,
                            double memory_clock_mhz) {
    return sg_power_w(model_of(bench, device), clock_mhz, sm_activity, mem_activity, context != 0,
                      memory_clock_mhz);
}

EXPORT double sgemu_capped_clock_mhz(const sgemu *bench, uint32_t device, double limit_w,
                                     double sm_activity, double mem_activity, int context) {
    const struct sg_model *model = model_of(bench, device);
    const double *clocks_mhz = model->memory_clocks_mhz;
    return sg_capped_clock_mhz(model, limit_w, sm_activity, mem_activity, context != 0,
                               clocks_mhz[sg_length(clocks_mhz) - 1]);
}

EXPORT double sgemu_time_s(const sgemu *bench, uint32_t device, double clock_mhz,
                           double compute_s, double memory_s, double host_s) {
    return sg_time_s(model_of(bench, device), clock_mhz, compute_s, memory_s, host_s);
}
