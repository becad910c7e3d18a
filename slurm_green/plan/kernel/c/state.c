// SPDX-License-Identifier: Apache-2.0
// What moves know of the jobs, and their neighbours on the board.

#include "board.h"

// Fields as in kernel/__init__.py. `ranked` has each job's options, the cheapest at the prices of
// the relaxation first; `energy` and `busy` are the integrals of those prices.
typedef struct {
    Board *b;
    uint64_t seed;
    int64_t jobs, n_movable, n_absent;
    const int64_t *movable;
    int64_t *absent;
    const int64_t *target_first, *target_option;
    const double *target_start;
    double *regret, *penalty;
    const double *ease, *size, *least_g;
    const int64_t *ranked;
    const double *option_g, *energy, *busy;
    const double *guide, *guide_sum, *supply, *supply_sum, *nothing;
    int64_t *others;       // one entry per job
    double *weight;        // one entry per job
    double *moment;        // as the profile has room for, and 2 entries per job
    int64_t *lack;         // likewise
    double impatience, heat_g;
    int64_t free, haste; // haste: whoever has no place comes first, where there is most room
    double rise_g; // a move makes the whole at most so much dearer, beside the jobs' least costs
} Moves;

// splitmix64 (Steele, Lea and Flood 2014).
static uint64_t next(Moves *m) {
    uint64_t z = (m->seed += 0x9E3779B97F4A7C15u);
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9u;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EBu;
    return z ^ (z >> 31);
}

static double chance(Moves *m) { return (double)(next(m) >> 11) * 0x1p-53; }

static int64_t below(Moves *m, int64_t count) { return (int64_t)(next(m) % (uint64_t)count); }

static int64_t any_movable(Moves *m) { return m->movable[below(m, m->n_movable)]; }

static void set_guide(Moves *m, int on) {
    m->b->lam = on ? m->guide : m->nothing;
    m->b->lam_sum = on ? m->guide_sum : m->nothing;
    m->b->supply = on ? m->supply : m->nothing;
    m->b->supply_sum = on ? m->supply_sum : m->nothing;
    m->b->guided = on;
}

static void update_regret(Moves *m, int64_t job) {
    m->regret[job] = price(m->b, job, m->energy, m->busy) - m->least_g[job];
}

// What the guide asks beside carbon for a run that was taken out.
static double guided_g(const Board *b, const Place *at, double end) {
    double start = at->start, power = b->power[at->option], sum = 0;
    if (b->guided)
        sum = b->option_gpus[at->option] *
              (integral(b->lam_sum, b, end) - integral(b->lam_sum, b, start));
    if (!b->green)
        return sum;
    for (int64_t k = (int64_t)(start / b->step); k < b->slots && k * b->step < end; k++) {
        double energy = power * seconds_in(b, k, start, end);
        sum += b->supply[k] * (energy - drawn_more(b, k, energy));
    }
    return sum;
}

// Chains the runs that are placed.
static void chain_all(Moves *m) {
    Board *b = m->b;
    for (int64_t slot = 0; slot < b->slots; slot++)
        b->head[slot] = -1;
    for (int64_t job = 0; job < m->jobs; job++)
        if (b->option[job] >= 0)
            chain(b, job);
}

// The runs that meet [start, end), in `others`; their number.
static int64_t meeting(Moves *m, double start, double end) {
    Board *b = m->b;
    int64_t count = 0, first = slot_of(b, start > 0 ? start : 0) - b->longest;
    int64_t last = slot_of(b, end);
    for (int64_t slot = first > 0 ? first : 0; slot <= last; slot++)
        for (int64_t job = b->head[slot]; job >= 0; job = b->after[job])
            if (b->end[job] > start && b->start[job] < end)
                m->others[count++] = job;
    return count;
}
