// SPDX-License-Identifier: Apache-2.0
// The best responses of jobs that may be split, of one class: split.py.

#include "board.h"

#include <stdlib.h>
#include <string.h>

// An edge of a slot's hull, per second of the slot.
typedef struct {
    double steep, rate, cost_g, gpus, power_w;
    int64_t slot, corner;
} Edge;

static int by_price(const void *a, const void *b) {
    const Edge *one = a, *other = b;
    if (one->steep != other->steep)
        return one->steep < other->steep ? -1 : 1;
    if (one->corner != other->corner)
        return one->corner < other->corner ? -1 : 1;
    return one->slot < other->slot ? -1 : one->slot > other->slot;
}

// Fields as in kernel/__init__.py; one class, and prices per J and per GPU-second.
typedef struct {
    int64_t slots, ways, jobs;
    double step;
    const double *per_joule, *per_gpu_s;
    const double *rate, *gpus, *power; // ways, of which the first is standing still
    const double *early, *late, *work; // jobs
    double *cost_g;                    // jobs; infinite where the work does not fit
    int64_t *count;                    // jobs: entries of each, of those below
    int32_t *slot;
    double *gpu_s, *energy_j;
} Question;

// All edges of the class's hulls, the cheapest work first; their number.
static int64_t class_edges(const Question *q, Offer *offer, Edge *edge) {
    int64_t found = 0;
    for (int64_t k = 0; k < q->slots; k++) {
        for (int64_t way = 0; way < q->ways; way++)
            offer[way] = (Offer){1, q->rate[way],
                                 q->per_joule[k] * q->power[way] + q->per_gpu_s[k] * q->gpus[way]};
        Room r = {.steep = -INFINITY};
        for (; next_edge(offer, q->ways, &r); r.at = r.ahead, r.corner++)
            edge[found++] = (Edge){r.steep,
                                   q->rate[r.ahead] - q->rate[r.at],
                                   offer[r.ahead].cost_g - offer[r.at].cost_g,
                                   q->gpus[r.ahead] - q->gpus[r.at],
                                   q->power[r.ahead] - q->power[r.at],
                                   k,
                                   r.corner};
    }
    qsort(edge, found, sizeof *edge, by_price);
    return found;
}

// Buys edges until a job's work is done; what it uses is added up in `gpu_s` and `energy_j`, one
// entry a slot. Returns what they cost, infinity where all are too few.
static double buy_response(const Question *q, const Edge *edge, int64_t edges, int64_t job,
                           int64_t low, int64_t high, double *gpu_s, double *energy_j) {
    double early = q->early[job], late = q->late[job], work = q->work[job], total = 0, cost = 0;
    for (const Edge *e = edge; e < edge + edges; e++) {
        if (e->slot < low || e->slot >= high)
            continue;
        double begin = e->slot * q->step, end = begin + q->step;
        double seconds = (end < late ? end : late) - (begin > early ? begin : early);
        seconds = positive(seconds);
        double more = seconds * e->rate;
        total += more;
        int last = total >= work * ENOUGH;
        if (last && more > 0)
            seconds *= 1 - positive(total - work) / more;
        cost += seconds * e->cost_g;
        gpu_s[e->slot] += seconds * e->gpus;
        energy_j[e->slot] += seconds * e->power_w;
        if (last)
            return cost;
    }
    return INFINITY;
}

// What each job of a class does at some prices. Returns the number of entries written, at most one
// for each job and slot that its window meets; -1 without memory.
int64_t sg_split_respond(const Question *q) {
    Offer *offer = malloc(q->ways * sizeof *offer);
    Edge *edge = malloc(q->slots * q->ways * sizeof *edge);
    double *used = malloc(2 * q->slots * sizeof *used);
    int64_t written = offer && edge && used ? 0 : -1;
    int64_t edges = written ? 0 : class_edges(q, offer, edge);
    double *gpu_s = used, *energy_j = used + q->slots;
    for (int64_t job = 0; written >= 0 && job < q->jobs; job++) {
        int64_t low = (int64_t)floor(q->early[job] / q->step);
        int64_t high = (int64_t)ceil(q->late[job] / q->step);
        low = low > 0 ? low : 0;
        high = high < q->slots ? high : q->slots;
        memset(used, 0, 2 * q->slots * sizeof *used);
        q->cost_g[job] = buy_response(q, edge, edges, job, low, high, gpu_s, energy_j);
        q->count[job] = 0;
        for (int64_t k = low; isfinite(q->cost_g[job]) && k < high; k++)
            if (gpu_s[k] > 0 || energy_j[k] > 0) {
                q->slot[written] = (int32_t)k;
                q->gpu_s[written] = gpu_s[k];
                q->energy_j[written++] = energy_j[k];
                q->count[job]++;
            }
    }
    free(offer);
    free(edge);
    free(used);
    return written;
}
