// SPDX-License-Identifier: Apache-2.0
// What the board's sensors publish, and when: an energy counter that moves in ticks, and a power
// sensor that looks at the last part of each of its periods. All over one piece of constant power.

#include <math.h>

#include "state.h"

int64_t sg_ns(double seconds) {
    return seconds < 9.2e9 ? (int64_t)llround(seconds * 1e9) : SG_NEVER;
}

static double energy_at_j(const struct sg_live *live, int64_t at_ns) {
    return live->energy_j + live->power_w * ((double)(at_ns - live->now_ns) / 1e9);
}

static void tick_counter(const struct sg_model *model, struct sg_live *live, int64_t to_ns) {
    int64_t period_ns = sg_ns(model->counter_period_s);
    int64_t tick_ns = to_ns / period_ns * period_ns;
    if (tick_ns > live->now_ns) live->counter_j = energy_at_j(live, tick_ns);
}

static void take_samples(const struct sg_model *model, struct sg_live *live, int64_t to_ns) {
    int64_t period_ns = sg_ns(model->power_period_s);
    int64_t open_ns = (int64_t)((double)period_ns * model->power_duty);
    int64_t first = live->now_ns / period_ns, end = to_ns / period_ns;
    if (open_ns < 1) open_ns = 1;
    if (end > first) {
        int64_t close_ns = (first + 1) * period_ns;
        double sample_w = live->power_w;
        if (close_ns - open_ns < live->now_ns)
            sample_w = (energy_at_j(live, close_ns) - live->gate_j) / ((double)open_ns / 1e9);
        live->samples_w[first % SG_SAMPLES] = sample_w;
        for (int64_t i = first + 1, n = 0; i < end && n < SG_SAMPLES; i++, n++)
            live->samples_w[i % SG_SAMPLES] = live->power_w;
    }
    int64_t gate_ns = (end + 1) * period_ns - open_ns;
    if (gate_ns >= live->now_ns && gate_ns <= to_ns) live->gate_j = energy_at_j(live, gate_ns);
}

void sg_sense(const struct sg_model *model, struct sg_live *live, int64_t to_ns) {
    tick_counter(model, live, to_ns);
    take_samples(model, live, to_ns);
}

static double mean_sample_w(const struct sg_model *model, const struct sg_live *live,
                            int64_t most) {
    int64_t end = live->now_ns / sg_ns(model->power_period_s);
    int64_t count = end - live->first_sample;
    double sum_w = 0.0;
    if (count > most) count = most;
    if (count < 1) return live->power_w;
    for (int64_t i = end - count; i < end; i++) sum_w += live->samples_w[i % SG_SAMPLES];
    return sum_w / (double)count;
}

double sg_power_sample_w(const struct sg_model *model, const struct sg_live *live) {
    return mean_sample_w(model, live, 1);
}

double sg_power_average_w(const struct sg_model *model, const struct sg_live *live) {
    int64_t most = llround(model->power_window_s / model->power_period_s);
    return mean_sample_w(model, live, most > 1 ? most : 1);
}

uint64_t sg_counter_mj(const struct sg_live *live) {
    double shown_j = (live->stalled ? live->stalled_j : live->counter_j) - live->counter_zero_j;
    double shown_mj = floor(fmax(shown_j, 0.0) * 1e3);
    if (live->counter_wrap_mj > 0.0) shown_mj = fmod(shown_mj, live->counter_wrap_mj);
    return (uint64_t)shown_mj;
}
