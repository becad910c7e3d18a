// SPDX-License-Identifier: Apache-2.0
// List schedules with steered prices: squeaky.py's placing of all jobs, and steering.py.

#include "board.h"

static const double SECONDS_PER_HOUR = 3600.0;

// A sparse table with one row per job of the problem: what is expected of it in each slot.
typedef struct {
    const int32_t *first, *slot;
    const double *value;
} Table;

// Fields as in kernel/__init__.py. `lam` is what a GPU-hour costs before steering; `guide` and
// `guide_sum` are room for the steered one.
typedef struct {
    const double *lam;
    double *guide, *guide_sum, *gpu_h;
    double hours, usual, strength;
    int64_t every;
    Table gpu, energy;
    const int64_t *number_of, *ranked;
    const double *option_g;
    // Where each job stays if there is room; option -1: nowhere.
    const int64_t *stay_option;
    const double *stay_start;
} Lists;

static void steer(Board *b, Lists *s) {
    if (s->usual == 0)
        return;
    double total = 0;
    for (int64_t k = 0; k < b->slots; k++) {
        double over = s->gpu_h[k] - s->hours;
        over = (over < -s->hours ? -s->hours : over) / s->hours;
        if (over < 0 && s->lam[k] <= 0)
            over = 0;
        double lam = s->lam[k] + s->strength * s->usual * over;
        lam = lam > 0 ? lam : 0;
        s->guide[k] = lam / SECONDS_PER_HOUR;
        s->guide_sum[k] = total;
        total += lam * b->step / SECONDS_PER_HOUR;
    }
    s->guide_sum[b->slots] = total;
    b->lam = s->guide;
    b->lam_sum = s->guide_sum;
    b->guided = 1;
}

static void leave(const Table *t, int64_t job, double *load) {
    for (int32_t i = t->first[job]; i < t->first[job + 1]; i++)
        load[t->slot[i]] -= t->value[i];
}

// A job is placed for good: what was expected of it goes, what it really takes comes.
static void settle_in(Board *b, Lists *s, int64_t job, const Place *place) {
    put(b, job, place->option, place->start);
    double start = b->start[job], end = b->end[job];
    for (int64_t k = (int64_t)(start / b->step); k < b->slots && k * b->step < end; k++)
        s->gpu_h[k] +=
            seconds_in(b, k, start, end) * b->option_gpus[place->option] / SECONDS_PER_HOUR;
}

static void expect_no_more(Board *b, Lists *s, int64_t job) {
    leave(&s->gpu, s->number_of[job], s->gpu_h);
    if (b->green)
        leave(&s->energy, s->number_of[job], b->net_j);
}

static int stays(Board *b, const Lists *s, int64_t job, Place *place) {
    int64_t option = s->stay_option[job];
    double start = s->stay_start[job];
    if (option < 0)
        return 0;
    *place = (Place){option, start, 0};
    double end = start + b->duration[option];
    int64_t most = b->gpus - b->option_gpus[option];
    for (Cursor c = step_at(b, start); more(b, &c) && time_of(b, &c) < end; forward(b, &c))
        if (used_at(b, &c) > most)
            return 0;
    return 1;
}

// Places the jobs that have no place in this order; returns how many found none, listed in
// `absent`.
int64_t sg_place_all(Board *b, Lists *s, int64_t count, const int64_t *order, int64_t *absent) {
    int64_t without = 0;
    for (int64_t n = 0; n < count; n++) {
        int64_t job = order[n], first = b->first[job], options = b->first[job + 1] - first;
        if (b->option[job] >= 0)
            continue;
        if (n % s->every == 0)
            steer(b, s);
        Place place;
        if (options)
            expect_no_more(b, s, job);
        if (options && (stays(b, s, job, &place) ||
                        best(b, job, s->ranked + first, options, s->option_g, &place)))
            settle_in(b, s, job, &place);
        else
            absent[without++] = job;
    }
    return without;
}
