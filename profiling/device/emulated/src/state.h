// SPDX-License-Identifier: Apache-2.0
// The state file that all processes map, and what the files of this library share.
//
// Nothing ticks: a device's state is piecewise constant, and whoever looks integrates it up to now
// on a copy. Only setters and the bench write: into the spare one of two slots, published by a
// generation counter, so that a writer killed at any line leaves the old state or the new one.
// Readers take no lock (the file may be read-only to them), but a moment between a writer's look
// at the clock and its publication would be read with the old power: they wait while one is at it.

#ifndef SGREEN_EMULATED_STATE_H
#define SGREEN_EMULATED_STATE_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define SG_MAGIC UINT64_C(0x554d45474e454552)
#define SG_VERSION 1u
#define SG_DEVICES 16
#define SG_ENTRIES 8
#define SG_SAMPLES 64
#define SG_TEXT 64
#define SG_PROCESSES 16
#define SG_CALLS 16
#define SG_NEVER INT64_MAX
#define SG_HIDDEN __attribute__((visibility("hidden")))

// The model's constants are handed over by name (see models.py); a list ends at its first NaN.
#define SG_SCALARS(X) \
    X(brand) X(architecture) X(pci_device_id) X(memory_bytes) X(mig) \
    X(min_clock_mhz) X(max_clock_mhz) X(step_mhz) X(idle_clock_mhz) X(hold_clock_mhz) \
    X(memory_switch) X(base_w) X(context_w) X(clocked_w_per_ghz) X(active_w_per_ghz) \
    X(memory_w) X(knee_mhz) X(voltage_ratio) X(limit_min_w) X(limit_default_w) X(limit_max_w) \
    X(power_period_s) X(power_window_s) X(power_duty) X(counter_period_s) \
    X(ambient_c) X(thermal_c_per_w) X(thermal_tau_s)
#define SG_LISTS(X) \
    X(compute_capability) X(memory_clocks_mhz) X(bandwidth_clock_mhz) X(bandwidth_share) \
    X(switch_clock_mhz) X(switch_latency_s)
#define SG_TEXTS(X) X(product) X(uuid) X(serial)

struct sg_model {
#define X(key) double key;
    SG_SCALARS(X)
#undef X
#define X(key) double key[SG_ENTRIES];
    SG_LISTS(X)
#undef X
#define X(key) char key[SG_TEXT];
    SG_TEXTS(X)
#undef X
};

struct sg_process {
    uint64_t memory_bytes;
    uint32_t pid;
};

struct sg_live {
    int64_t now_ns;  // all below is integrated up to here

    // What was asked for.
    double lock_low_mhz, lock_high_mhz;  // 0, infinity: no lock
    double memory_clock_mhz;
    double limit_w;
    bool persistence, mig;
    uint32_t compute_mode;

    // What runs; it ends by itself at lapse_ns unless renewed.
    double sm_activity, mem_activity;
    bool context;
    int64_t lapse_ns;
    uint32_t process_count;
    struct sg_process processes[SG_PROCESSES];

    // Where that leads.
    double settled_mhz;  // before the power cap
    double target_mhz;   // from switch_ns on
    int64_t switch_ns;
    double clock_mhz, power_w;
    uint64_t reasons;

    // Integrals and sensors.
    double energy_j, temperature_c;
    int64_t capped_ns;
    double counter_j;  // energy at the counter's last tick
    double gate_j;     // energy when the power sensor last opened its eyes
    double samples_w[SG_SAMPLES];
    int64_t first_sample;

    // What the bench broke.
    bool lost, stalled;
    double stalled_j;
    double clamp_mhz;
    double counter_zero_j, counter_wrap_mj;
    uint64_t extra_reasons;
};

struct sg_call {
    char name[SG_TEXT];  // without its version suffix
    int32_t device;      // -1: whichever, and calls without one
    int32_t code;        // 0: only slow
    double delay_s;
};

struct sg_calls {
    uint32_t count;
    struct sg_call calls[SG_CALLS];
};

struct sg_cell {
    pthread_mutex_t mutex;
    atomic_ullong generation;  // its last bit says which slot is valid
    atomic_ullong begun;       // ahead of it while a writer is at work, or died there
};

struct sg_device {
    struct sg_model model;  // constant once the file is there
    struct sg_cell cell;
    struct sg_live slots[2];
};

struct sg_state {
    uint64_t magic;
    uint32_t version, size;
    uint32_t device_count;
    uint32_t is_virtual;
    atomic_llong virtual_ns;
    struct sg_cell calls_cell;
    struct sg_calls calls[2];
    struct sg_device devices[SG_DEVICES];
};

struct sg_map {
    struct sg_state *state;
    bool writable;
};

// state.c: 0 or an errno
SG_HIDDEN int sg_map_open(const char *path, struct sg_map *map);
SG_HIDDEN int sg_map_create(const char *path, struct sg_map *map);
SG_HIDDEN void sg_map_close(struct sg_map *map);
SG_HIDDEN int64_t sg_now_ns(const struct sg_state *state);
SG_HIDDEN int sg_cell_init(struct sg_cell *cell);
SG_HIDDEN int sg_cell_lock(struct sg_cell *cell);
SG_HIDDEN void sg_cell_unlock(struct sg_cell *cell);
SG_HIDDEN unsigned long long sg_cell_read(struct sg_cell *cell, const void *slots, size_t size,
                                          void *copy);
SG_HIDDEN void sg_cell_write(struct sg_cell *cell, void *slots, size_t size, const void *copy);
// A device as of now; begin locks and copies, commit settles the edited copy and unlocks.
SG_HIDDEN void sg_look(struct sg_map *map, uint32_t index, struct sg_live *live);
SG_HIDDEN int sg_edit_begin(struct sg_map *map, uint32_t index, struct sg_live *live);
SG_HIDDEN void sg_edit_commit(struct sg_map *map, uint32_t index, struct sg_live *live);
SG_HIDDEN void sg_edit_abort(struct sg_map *map, uint32_t index);

// physics.c
SG_HIDDEN double sg_interpolate(const double *x, const double *y, double at);
SG_HIDDEN double sg_voltage(const struct sg_model *model, double clock_mhz);
SG_HIDDEN double sg_power_w(const struct sg_model *model, double clock_mhz, double sm_activity,
                            double mem_activity, bool context, double memory_clock_mhz);
SG_HIDDEN double sg_time_s(const struct sg_model *model, double clock_mhz, double compute_s,
                           double memory_s, double host_s);
SG_HIDDEN double sg_step_below(const struct sg_model *model, double clock_mhz);
SG_HIDDEN double sg_capped_clock_mhz(const struct sg_model *model, double limit_w,
                                     double sm_activity, double mem_activity, bool context,
                                     double memory_clock_mhz);
SG_HIDDEN size_t sg_length(const double *list);

// device.c: how a device moves through time
SG_HIDDEN void sg_start(const struct sg_model *model, struct sg_live *live, int64_t now_ns);
SG_HIDDEN void sg_settings_reset(const struct sg_model *model, struct sg_live *live);
SG_HIDDEN void sg_settle(const struct sg_model *model, struct sg_live *live);
SG_HIDDEN void sg_advance(const struct sg_model *model, struct sg_live *live, int64_t to_ns);

// sensors.c
SG_HIDDEN int64_t sg_ns(double seconds);
SG_HIDDEN void sg_sense(const struct sg_model *model, struct sg_live *live, int64_t to_ns);
SG_HIDDEN double sg_power_sample_w(const struct sg_model *model, const struct sg_live *live);
SG_HIDDEN double sg_power_average_w(const struct sg_model *model, const struct sg_live *live);
SG_HIDDEN uint64_t sg_counter_mj(const struct sg_live *live);

// faults.c: the code a call was told to answer, after the delay it was told to take
SG_HIDDEN int sg_call_fault(struct sg_state *state, const char *function, int32_t device);
SG_HIDDEN void sg_bare_name(const char *function, char *bare);

#endif
