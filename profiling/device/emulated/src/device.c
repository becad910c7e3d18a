// SPDX-License-Identifier: Apache-2.0
// How a device gets from one moment to a later one: load and lock name a clock, the clock follows
// after its switch latency, the power cap lowers it at once, and what results is integrated.

#include <math.h>
#include <string.h>

#include "nvml_abi.h"
#include "state.h"

static double wanted_mhz(const struct sg_model *model, const struct sg_live *live) {
    double clock_mhz = live->context ? model->max_clock_mhz : model->idle_clock_mhz;
    clock_mhz = fmin(fmax(clock_mhz, live->lock_low_mhz), live->lock_high_mhz);
    return sg_step_below(model, fmin(fmin(clock_mhz, model->hold_clock_mhz), live->clamp_mhz));
}

static void retarget(const struct sg_model *model, struct sg_live *live) {
    double target_mhz = wanted_mhz(model, live);
    if (target_mhz == live->target_mhz) return;
    double latency_s =
        sg_interpolate(model->switch_clock_mhz, model->switch_latency_s, target_mhz);
    live->target_mhz = target_mhz;
    live->switch_ns = live->now_ns + sg_ns(latency_s);
    if (latency_s <= 0.0) live->settled_mhz = target_mhz;
    if (live->settled_mhz == target_mhz) live->switch_ns = SG_NEVER;
}

// The board's own loop keeps the cap, faster than any switch that is asked for.
static void apply_cap(const struct sg_model *model, struct sg_live *live) {
    double capped_mhz =
        sg_capped_clock_mhz(model, live->limit_w, live->sm_activity, live->mem_activity,
                            live->context, live->memory_clock_mhz);
    live->clock_mhz = fmin(live->settled_mhz, capped_mhz);
    live->power_w = sg_power_w(model, live->clock_mhz, live->sm_activity, live->mem_activity,
                               live->context, live->memory_clock_mhz);
    live->reasons = live->extra_reasons;
    if (capped_mhz < live->settled_mhz) live->reasons |= NVML_REASON_SW_POWER_CAP;
    if (live->sm_activity <= 0.0 && live->mem_activity <= 0.0)
        live->reasons |= NVML_REASON_GPU_IDLE;
}

void sg_settle(const struct sg_model *model, struct sg_live *live) {
    retarget(model, live);
    apply_cap(model, live);
}

static void integrate(const struct sg_model *model, struct sg_live *live, int64_t to_ns) {
    double span_s = (double)(to_ns - live->now_ns) / 1e9;
    double final_c = model->ambient_c + model->thermal_c_per_w * live->power_w;
    sg_sense(model, live, to_ns);
    live->temperature_c =
        final_c + (live->temperature_c - final_c) * exp(-span_s / model->thermal_tau_s);
    if (live->reasons & NVML_REASON_SW_POWER_CAP) live->capped_ns += to_ns - live->now_ns;
    live->energy_j += live->power_w * span_s;
    live->now_ns = to_ns;
}

void sg_advance(const struct sg_model *model, struct sg_live *live, int64_t to_ns) {
    while (live->now_ns < to_ns) {
        int64_t event_ns = live->switch_ns < live->lapse_ns ? live->switch_ns : live->lapse_ns;
        if (event_ns > to_ns) {
            integrate(model, live, to_ns);
            return;
        }
        if (event_ns > live->now_ns) integrate(model, live, event_ns);
        if (live->switch_ns <= live->now_ns) {
            live->settled_mhz = live->target_mhz;
            live->switch_ns = SG_NEVER;
        }
        if (live->lapse_ns <= live->now_ns) {
            live->lapse_ns = SG_NEVER;
            live->sm_activity = live->mem_activity = 0.0;
            live->context = false;
        }
        sg_settle(model, live);
    }
}

void sg_settings_reset(const struct sg_model *model, struct sg_live *live) {
    const double *clocks_mhz = model->memory_clocks_mhz;
    live->lock_low_mhz = 0.0;
    live->lock_high_mhz = INFINITY;
    live->memory_clock_mhz = clocks_mhz[sg_length(clocks_mhz) - 1];
    live->limit_w = model->limit_default_w;
}

void sg_start(const struct sg_model *model, struct sg_live *live, int64_t now_ns) {
    memset(live, 0, sizeof *live);
    live->now_ns = now_ns;
    live->lapse_ns = live->switch_ns = SG_NEVER;
    live->clamp_mhz = INFINITY;
    live->persistence = true;
    live->temperature_c = model->ambient_c;
    sg_settings_reset(model, live);
    live->settled_mhz = live->target_mhz = wanted_mhz(model, live);
    // A sample needs a whole period.
    int64_t period_ns = sg_ns(model->power_period_s);
    live->first_sample = (now_ns + period_ns - 1) / period_ns;
    sg_settle(model, live);
}
