// SPDX-License-Identifier: Apache-2.0
// The law of voltage, power and time; physics.py computes the same in the same order.

#include <math.h>

#include "state.h"

size_t sg_length(const double *list) {
    size_t count = 0;
    while (count < SG_ENTRIES && !isnan(list[count])) count++;
    return count;
}

double sg_interpolate(const double *x, const double *y, double at) {
    size_t count = sg_length(x), i = 1;
    if (at <= x[0]) return y[0];
    if (at >= x[count - 1]) return y[count - 1];
    while (at > x[i]) i++;
    return y[i - 1] + (y[i] - y[i - 1]) / (x[i] - x[i - 1]) * (at - x[i - 1]);
}

double sg_voltage(const struct sg_model *model, double clock_mhz) {
    double above_mhz = fmax(clock_mhz - model->knee_mhz, 0.0);
    double span_mhz = model->max_clock_mhz - model->knee_mhz;
    return 1.0 + (model->voltage_ratio - 1.0) * above_mhz / span_mhz;
}

double sg_power_w(const struct sg_model *model, double clock_mhz, double sm_activity,
                  double mem_activity, bool context, double memory_clock_mhz) {
    const double *clocks_mhz = model->memory_clocks_mhz;
    double memory = memory_clock_mhz / clocks_mhz[sg_length(clocks_mhz) - 1];
    double per_ghz = model->clocked_w_per_ghz + model->active_w_per_ghz * sm_activity;
    double fixed_w = model->base_w + (context ? model->context_w : 0.0);
    double v = sg_voltage(model, clock_mhz);
    double dynamic_w = per_ghz * (clock_mhz / 1000.0) * v * v;
    return fixed_w + dynamic_w + model->memory_w * mem_activity * memory;
}

double sg_time_s(const struct sg_model *model, double clock_mhz, double compute_s,
                 double memory_s, double host_s) {
    double share = sg_interpolate(model->bandwidth_clock_mhz, model->bandwidth_share, clock_mhz);
    double compute = compute_s * (model->max_clock_mhz / clock_mhz);
    return pow(pow(compute, 4.0) + pow(memory_s / share, 4.0), 0.25) + host_s;
}

double sg_step_below(const struct sg_model *model, double clock_mhz) {
    double most = fmin(clock_mhz, model->max_clock_mhz);
    double steps = floor((most - model->min_clock_mhz) / model->step_mhz);
    return model->min_clock_mhz + fmax(steps, 0.0) * model->step_mhz;
}

// Power rises with the clock, so the highest step that fits is found by halving.
double sg_capped_clock_mhz(const struct sg_model *model, double limit_w, double sm_activity,
                           double mem_activity, bool context, double memory_clock_mhz) {
    int fits = 0;
    int above = (int)lround((model->max_clock_mhz - model->min_clock_mhz) / model->step_mhz) + 1;
    while (above - fits > 1) {
        int middle = (fits + above) / 2;
        double clock_mhz = model->min_clock_mhz + middle * model->step_mhz;
        bool within = sg_power_w(model, clock_mhz, sm_activity, mem_activity, context,
                                 memory_clock_mhz) <= limit_w;
        *(within ? &fits : &above) = middle;
    }
    return model->min_clock_mhz + fits * model->step_mhz;
}
