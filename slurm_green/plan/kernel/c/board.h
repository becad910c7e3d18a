// SPDX-License-Identifier: Apache-2.0
// The board in C: the same arrays as board.py's Board, which owns them. Without cap and ramp.
#ifndef SLURM_GREEN_PLAN_BOARD_H
#define SLURM_GREEN_PLAN_BOARD_H

#include <math.h>
#include <stdint.h>

// Fields as in kernel/__init__.py, in this order. Prices and integrals have slots + 1 entries.
typedef struct {
    int64_t slots, gpus, count, green, guided;
    double step, weight_g, cost_g;
    const double *per_joule, *sum;
    const double *lam, *lam_sum;
    const double *supply, *supply_sum; // per joule that renewable supply covers
    const double *unsure;              // J by which supply may be less or more; NULL where it is sure
    double *net_j, *scratch;
    double *times;
    int64_t *used;
    struct Steps *steps;
    const int64_t *first, *option_gpus;
    const double *power, *duration, *early, *until, *fastest;
    int64_t *option;
    double *start, *end;
    // Runs that start in each slot, chained; NULL where nobody asks for neighbours.
    int64_t *head, *after, *before;
    int64_t longest; // slots that a run meets at most, and one
} Board;

// Where a job may run.
typedef struct {
    int64_t option;
    double start, cost_g;
} Place;

static const double GRID = 8192.0;

// The nearest multiple of the grid, on which sums of times are exact.
static inline double rounded(double moment) { return nearbyint(moment * GRID) / GRID; }

// The first index whose entry is not before the moment.
static inline int64_t low_bound(const double *sorted, int64_t count, double moment) {
    int64_t low = 0, high = count;
    while (low < high) {
        int64_t middle = (low + high) / 2;
        if (sorted[middle] < moment)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

#endif
