// SPDX-License-Identifier: Apache-2.0
// Calls that the bench told to fail or to be slow, by name.

#include <math.h>
#include <string.h>
#include <time.h>

#include "state.h"

// "nvmlDeviceGetCount_v2" is told what "nvmlDeviceGetCount" is told.
void sg_bare_name(const char *function, char *bare) {
    size_t length = strnlen(function, SG_TEXT - 1);
    if (length > 3 && function[length - 3] == '_' && function[length - 2] == 'v') length -= 3;
    memcpy(bare, function, length);
    bare[length] = '\0';
}

static void nap(double seconds) {
    struct timespec left = {.tv_sec = (time_t)seconds};
    left.tv_nsec = (long)((seconds - floor(seconds)) * 1e9);
    while (nanosleep(&left, &left) != 0) continue;
}

int sg_call_fault(struct sg_state *state, const char *function, int32_t device) {
    struct sg_calls calls;
    char bare[SG_TEXT];
    if (atomic_load_explicit(&state->calls_cell.generation, memory_order_relaxed) == 0) return 0;
    sg_cell_read(&state->calls_cell, state->calls, sizeof calls, &calls);
    sg_bare_name(function, bare);
    for (uint32_t i = 0; i < calls.count; i++) {
        const struct sg_call *call = &calls.calls[i];
        if (call->device >= 0 && call->device != device) continue;
        if (strcmp(call->name, bare) != 0) continue;
        if (call->delay_s > 0.0) nap(call->delay_s);
        if (call->code != 0) return call->code;
    }
    return 0;
}
