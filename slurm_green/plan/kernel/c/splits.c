// SPDX-License-Identifier: Apache-2.0
// Jobs that may be split: pieces.py, and the lists of split_lists.py.

#include "board.h"

// Cuts the first stretches of a room for so many seconds; from `*at` and `*begin` on.
static void cut(Splits *s, int64_t shape, double seconds, int64_t *at, double *begin) {
    while (seconds > 0) {
        if (*begin == s->stretch[*at].end) {
            *at = s->stretch[*at].next;
            if (*at < 0)
                abort();
            *begin = s->stretch[*at].begin;
        }
        double until = *begin + seconds;
        until = until < s->stretch[*at].end ? until : s->stretch[*at].end;
        if (until <= *begin) // off the grid: nothing is left of the seconds
            return;
        double *row = s->row + 3 * s->rows++;
        row[0] = (double)shape;
        row[1] = *begin;
        row[2] = until;
        seconds -= until - *begin;
        *begin = until;
    }
}

// Puts the rows from `low` on, which are those of one slot, in the order of time.
static void sort_rows(double *row, int64_t low, int64_t high) {
    for (int64_t n = low + 1; n < high; n++)
        for (int64_t k = n; k > low && row[3 * k + 1] < row[3 * k - 2]; k--)
            for (int i = 0; i < 3; i++) {
                double kept = row[3 * k + i];
                row[3 * k + i] = row[3 * (k - 1) + i];
                row[3 * (k - 1) + i] = kept;
            }
}

// The last stretch only until the work is done.
static void end_in_time(Splits *s, int64_t first, double work) {
    double done = 0;
    for (int64_t n = first; n < s->rows; n++)
        done += (s->row[3 * n + 2] - s->row[3 * n + 1]) * s->rate[(int64_t)s->row[3 * n]];
    double *last = s->row + 3 * (s->rows - 1);
    double spare = floor((done - work) / s->rate[(int64_t)last[0]] * GRID) / GRID;
    if (spare > 0 && spare < last[2] - last[1])
        last[2] -= spare;
}

// Buys the cheapest edges, those of one room in their order, until the work is done. Each room is
// at the way that was bought then; `low` and `high` are the ways of the last edge, of which a share
// may do. Returns its room; NULL if all do too little.
static Room *buy_edges(const Board *b, Splits *s, const int64_t *own, int64_t count, double work,
                       int64_t *low, int64_t *high, double *share) {
    int64_t open = 0;
    for (int64_t k = 0; k < s->rooms; k++) {
        Room *r = &s->room[k];
        r->steep = -INFINITY;
        if (next_edge(s->offer, fill_offers(b, s, r, own, count), r))
            s->heap[open++] = r;
    }
    for (int64_t n = open / 2 - 1; n >= 0; n--)
        sink_room(s->heap, open, n);
    double total = 0, gain = 0;
    Room *last = NULL;
    int64_t edges = 0;
    for (; open && !(edges && total >= work * ENOUGH); edges++) {
        last = s->heap[0];
        int64_t ways = fill_offers(b, s, last, own, count);
        *low = last->at;
        *high = last->ahead;
        gain = s->offer[*high].work - s->offer[*low].work;
        total += gain;
        last->at = *high;
        last->corner++;
        if (!next_edge(s->offer, ways, last))
            s->heap[0] = s->heap[--open];
        if (open)
            sink_room(s->heap, open, 0);
    }
    if (last && total < work * ENOUGH) {
        double slowest = INFINITY;
        for (int64_t n = 0; n < count; n++)
            slowest = s->rate[own[n]] < slowest ? s->rate[own[n]] : slowest;
        if (total < work - TOLERANCE_S * slowest)
            return NULL;
    }
    *share = 1 - (total - work) / gain;
    *share = *share < 1 ? *share : 1;
    if (edges > 1)
        *share = *share > 1 - CRUMB ? 1 : *share > CRUMB ? *share : CRUMB;
    return last;
}

// Buys the cheapest seconds that do a job's work: rows from `s->rows` on. Returns how many; 0 if
// there is no room.
static int64_t buy(const Board *b, Splits *s, int64_t job) {
    int64_t class = s->class_of[job], first = s->rows, slot_first = first, slot = -1;
    const int64_t *own = s->own + s->own_first[class];
    int64_t count = s->own_first[class + 1] - s->own_first[class];
    if (!count || s->until[job] <= s->early[job])
        return 0;
    find_rooms(b, s, s->sizes + s->size_first[class], s->size_first[class + 1] - s->size_first[class],
               s->early[job], s->until[job]);
    int64_t low = 0, high = 0;
    double share = 1;
    const Room *last = buy_edges(b, s, own, count, s->work[job], &low, &high, &share);
    if (!last)
        return 0;
    for (int64_t k = 0; k < s->rooms; k++) {
        const Room *r = &s->room[k];
        if (!r->at)
            continue;
        if (r->slot != slot) {
            sort_rows(s->row, slot_first, s->rows);
            slot_first = s->rows;
            slot = r->slot;
        }
        int64_t at = r->head;
        double begin = s->stretch[at].begin;
        fill_offers(b, s, r, own, count);
        if (r != last) {
            cut(s, own[(r->at - 1) % count], s->offer[r->at].seconds, &at, &begin);
            continue;
        }
        double most = s->offer[high].seconds, quick = ceil(share * most * GRID);
        quick = (quick > 1 ? quick : 1) / GRID;
        quick = quick < most ? quick : most;
        cut(s, own[(high - 1) % count], quick, &at, &begin);
        double slow = ceil((1 - share) * s->offer[low].seconds * GRID) / GRID;
        if (low)
            cut(s, own[(low - 1) % count], fmin(slow, r->seconds - quick), &at, &begin);
    }
    sort_rows(s->row, slot_first, s->rows);
    end_in_time(s, first, s->work[job]);
    return s->rows - first;
}

static int64_t slot_between(const Board *b, const double *row) {
    return (int64_t)((row[1] + row[2]) / 2 / b->step);
}

// What stretches that are not placed add to the cost by the guide.
static double added_by(const Board *b, const Splits *s, const double *row, int64_t count) {
    double carbon = 0, busy = 0;
    for (int64_t n = 0; n < count;) {
        int64_t slot = slot_between(b, row + 3 * n);
        double energy = 0;
        for (; n < count && slot_between(b, row + 3 * n) == slot; n++) {
            int64_t shape = (int64_t)row[3 * n];
            double seconds = row[3 * n + 2] - row[3 * n + 1];
            energy += seconds * s->power[shape];
            busy += seconds * s->gpus[shape] * b->lam[slot];
        }
        double net = b->net_j[slot];
        double drawn = b->green ? positive(net + energy) - positive(net) : energy;
        carbon += b->per_joule[slot] * drawn + b->supply[slot] * (energy - drawn);
    }
    return carbon + busy;
}

// Books stretches in or out, and what they change in the cost.
static void book_rows(Board *b, const Splits *s, const double *row, int64_t count, int sign) {
    for (int64_t n = 0; n < count;) {
        int64_t shape = (int64_t)row[3 * n];
        double begin = row[3 * n + 1], end;
        do
            end = row[3 * n++ + 2];
        while (n < count && row[3 * n + 1] == end && (int64_t)row[3 * n] == shape);
        occupy(b, begin, end, sign * s->gpus[shape]);
    }
    for (int64_t n = 0; n < count;) {
        int64_t slot = slot_between(b, row + 3 * n);
        double energy = 0, net = b->net_j[slot];
        for (; n < count && slot_between(b, row + 3 * n) == slot; n++)
            energy += sign * ((row[3 * n + 2] - row[3 * n + 1]) * s->power[(int64_t)row[3 * n]]);
        if (b->green)
            b->net_j[slot] += energy;
        b->cost_g +=
            b->per_joule[slot] * (b->green ? positive(net + energy) - positive(net) : energy);
    }
}

// Where a job now is: the rows from there on.
static void keep_rows(Splits *s, int64_t job, int64_t first) {
    s->first[job] = first;
    s->count[job] = s->rows - first;
}

// Places the jobs that have no place, in this order; returns how many of them it looked at: fewer
// than all where there may be too few rows, -1 without memory.
int64_t sg_split_put(Board *b, Splits *s, int64_t count, const int64_t *jobs) {
    int64_t n = 0;
    if (!open_search(b, s))
        n = -1;
    for (; n >= 0 && n < count && rows_left(b, s); n++) {
        int64_t job = jobs[n], first = s->rows;
        if (s->count[job] || !buy(b, s, job))
            continue;
        keep_rows(s, job, first);
        book_rows(b, s, s->row + 3 * first, s->count[job], 1);
    }
    close_search(s);
    return n;
}

// Every job in turn is split anew where that is cheaper; returns as sg_split_put does, and adds
// those that changed to `moved`.
int64_t sg_split_settle(Board *b, Splits *s, int64_t count, const int64_t *jobs, int64_t *moved) {
    int64_t n = 0;
    if (!open_search(b, s))
        n = -1;
    for (; n >= 0 && n < count && rows_left(b, s); n++) {
        int64_t job = jobs[n], rows = s->count[job], first = s->rows;
        if (!rows)
            continue;
        const double *old = s->row + 3 * s->first[job], *new = s->row + 3 * first;
        book_rows(b, s, old, rows, -1);
        int64_t found = buy(b, s, job);
        double before = added_by(b, s, old, rows);
        if (found && added_by(b, s, new, found) < before - 1e-9 * fabs(before)) {
            keep_rows(s, job, first);
            book_rows(b, s, new, found, 1);
            ++*moved;
        } else {
            s->rows = first;
            book_rows(b, s, old, rows, 1);
        }
    }
    close_search(s);
    return n;
}

// How prices of energy are steered: steering.py's `mu`.
typedef struct {
    const double *mu, *carbon;
    const int64_t *green;
    double *steered;
    double usual_j, strength;
} SteeredEnergy;

static void steer_energy(const Board *b, const SteeredEnergy *e) {
    for (int64_t k = 0; k < b->slots; k++) {
        double mu = e->mu[k], carbon = e->carbon[k];
        if (b->green && e->usual_j > 0) {
            mu += e->strength * carbon * (b->net_j[k] / e->usual_j);
            mu = mu < 0 ? 0 : mu < carbon ? mu : carbon;
            mu = e->green[k] ? mu : carbon;
        }
        e->steered[k] = mu / JOULES_PER_KWH;
    }
}

// Places these jobs, which have no place, in this order and at prices that are steered. What was
// expected of them is on the board, and leaves it when their turn comes. Returns as sg_split_put
// does; a list goes on at number `at`.
int64_t sg_split_list(Board *b, Splits *s, Lists *l, const SteeredEnergy *e, int64_t at,
                      int64_t count, const int64_t *jobs) {
    int64_t n = at;
    if (!open_search(b, s))
        n = -1;
    if (at && l->usual != 0)
        b->lam = l->guide;
    s->mu = e->steered;
    for (; n >= 0 && n < count && rows_left(b, s); n++) {
        int64_t job = jobs[n], first = s->rows;
        if (n % l->every == 0) {
            steer(b, l);
            steer_energy(b, e);
        }
        leave(&l->gpu, job, l->gpu_h);
        if (b->green)
            leave(&l->energy, job, b->net_j);
        if (!buy(b, s, job))
            continue;
        keep_rows(s, job, first);
        book_rows(b, s, s->row + 3 * first, s->count[job], 1);
        for (const double *row = s->row + 3 * first; row < s->row + 3 * s->rows; row += 3)
            l->gpu_h[slot_between(b, row)] +=
                (row[2] - row[1]) * s->gpus[(int64_t)row[0]] / SECONDS_PER_HOUR;
    }
    close_search(s);
    return n;
}
