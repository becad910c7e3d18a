// SPDX-License-Identifier: Apache-2.0
// The bench's side of the library: makes the GPUs, loads them, breaks them, knows the truth.
// Functions answer 0 or an errno. bench.py speaks this.

#ifndef SGREEN_EMULATED_BENCH_H
#define SGREEN_EMULATED_BENCH_H

#include <stddef.h>
#include <stdint.h>

typedef struct sgemu sgemu;

// What a sensor cannot show; bench.py has the same fields in the same order.
struct sgemu_reading {
    double now_s, energy_j, power_w, clock_mhz, target_clock_mhz, memory_clock_mhz, temperature_c;
    double limit_w, lock_low_mhz, lock_high_mhz, sm_activity, mem_activity, context, reasons;
};

// Create, hand over every constant of every device, then ready: until then nobody can open it.
int sgemu_create(const char *path, uint32_t devices, int is_virtual, double start_s, sgemu **out);
int sgemu_number(sgemu *bench, uint32_t device, const char *key, uint32_t at, double value);
int sgemu_text(sgemu *bench, uint32_t device, const char *key, const char *value);
int sgemu_ready(sgemu *bench);
int sgemu_open(const char *path, sgemu **out);
void sgemu_close(sgemu *bench);

int sgemu_count(const sgemu *bench, uint32_t *out);
int sgemu_advance(sgemu *bench, double seconds);
int sgemu_read(sgemu *bench, uint32_t device, struct sgemu_reading *out, size_t size);

// The load lapses to idle after hold_s (infinite: never) unless it is renewed.
int sgemu_load(sgemu *bench, uint32_t device, double sm_activity, double mem_activity,
               int context, double hold_s);
int sgemu_processes(sgemu *bench, uint32_t device, uint32_t count, const uint32_t *pids,
                    const uint64_t *memory_bytes);

// Keys: lost, stalled, mig, clamp_mhz, reasons, counter_wrap_mj.
int sgemu_fault(sgemu *bench, uint32_t device, const char *key, double value);
int sgemu_counter_reset(sgemu *bench, uint32_t device);
// What a driver's reload or a reboot does: no locks, no caps, the counter from 0.
int sgemu_reload(sgemu *bench, uint32_t device);
// device -1: all, and calls without one; code 0: only slow.
int sgemu_call(sgemu *bench, int32_t device, const char *function, int32_t code, double delay_s);
int sgemu_calls_clear(sgemu *bench);

// The law, for comparison with physics.py.
double sgemu_voltage(const sgemu *bench, uint32_t device, double clock_mhz);
double sgemu_power_w(const sgemu *bench, uint32_t device, double clock_mhz, double sm_activity,
                     double mem_activity, int context, double memory_clock_mhz);
double sgemu_capped_clock_mhz(const sgemu *bench, uint32_t device, double limit_w,
                              double sm_activity, double mem_activity, int context);
double sgemu_time_s(const sgemu *bench, uint32_t device, double clock_mhz, double compute_s,
                    double memory_s, double host_s);

#endif
