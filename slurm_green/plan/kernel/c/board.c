// SPDX-License-Identifier: Apache-2.0
// Where a job costs least, and what it takes there: board.py and profile.py, one run at a time.

#include "board.h"

static double integral(const double *at_border, const Board *b, double moment) {
    double place = moment / b->step;
    int64_t slot = (int64_t)place;
    if (slot >= b->slots)
        slot = b->slots - 1;
    return at_border[slot] + (place - slot) * (at_border[slot + 1] - at_border[slot]);
}

static double positive(double x) { return x > 0 ? x : 0; }

// What the grid is expected to give for a load beyond supply: Board.drawn_j of board.py.
static double drawn(const Board *b, int64_t slot, double net) {
    if (!b->unsure || fabs(net) >= b->unsure[slot])
        return positive(net);
    double most = net + b->unsure[slot];
    return most * most / (4 * b->unsure[slot]);
}

// How much more it is with so much more load.
static double drawn_more(const Board *b, int64_t slot, double energy) {
    double net = b->net_j[slot];
    return drawn(b, slot, net + energy) - drawn(b, slot, net);
}

static double worth(const Board *b, int64_t option, double end) {
    if (b->weight_g == 0)
        return 0;
    double fastest = b->fastest[option], waited = end - b->early[option];
    return b->weight_g * fastest / (waited > fastest ? waited : fastest);
}

// What a joule that supply does not cover costs more than one that it does, by the guide.
static double beyond(const Board *b, int64_t slot) { return b->per_joule[slot] - b->supply[slot]; }

// What a run adds in g, its guide's price included. `full` is the integral over whole slots from
// slot `low` on of what a load of its power adds there (only where supply is netted).
static double added(const Board *b, int64_t option, double start, const double *full, int64_t low) {
    double power = b->power[option], end = start + b->duration[option], cost;
    if (!b->green) {
        cost = power * (integral(b->sum, b, end) - integral(b->sum, b, start));
    } else {
        int64_t first = (int64_t)(start / b->step), last = (int64_t)(end / b->step);
        double lead = (first + 1) * b->step;
        lead = (end < lead ? end : lead) - start;
        cost = beyond(b, first) * drawn_more(b, first, power * lead);
        if (last > first) {
            cost += full[last - low] - full[first + 1 - low];
            if (last < b->slots)
                cost += beyond(b, last) * drawn_more(b, last, power * (end - last * b->step));
        }
        cost += power * (integral(b->supply_sum, b, end) - integral(b->supply_sum, b, start));
    }
    if (b->guided)
        cost += b->option_gpus[option] *
                (integral(b->lam_sum, b, end) - integral(b->lam_sum, b, start));
    return cost - worth(b, option, end);
}

typedef struct {
    Board *b;
    int64_t option, low;
    const double *full;
    Place *found;
    int any;
} Search;

static void look(Search *s, double start) {
    double cost = added(s->b, s->option, start, s->full, s->low);
    if (!s->any || cost < s->found->cost_g) {
        *s->found = (Place){s->option, start, cost};
        s->any = 1;
    }
}

// All starts of one option within [begin, end] that can be best there.
static void look_within(Search *s, double begin, double end) {
    const Board *b = s->b;
    double step = b->step, duration = b->duration[s->option], power = b->power[s->option];
    look(s, begin);
    if (end > begin)
        look(s, end);
    for (int64_t k = (int64_t)ceil(begin / step); k * step <= end; k++)
        look(s, k * step);
    for (int64_t k = (int64_t)ceil((begin + duration) / step); k * step - duration <= end; k++)
        if (k * step - duration >= begin)
            look(s, k * step - duration);
    if (!b->green || power <= 0)
        return;
    // Where the run's first or last slot has just used up its free supply.
    for (int64_t k = (int64_t)(begin / step); k < b->slots && k * step <= end; k++) {
        double room = -b->net_j[k];
        double at = rounded((k + 1) * step - room / power);
        if (room > 0 && room < power * step && at >= begin && at <= end)
            look(s, at);
    }
    for (int64_t k = (int64_t)((begin + duration) / step);
         k < b->slots && k * step - duration <= end; k++) {
        double room = -b->net_j[k];
        double at = rounded(k * step + room / power - duration);
        if (room > 0 && room < power * step && at >= begin && at <= end)
            look(s, at);
    }
}

// The cheapest place with room among some options, in their order; with `least_g` (one entry per
// option of the board) only until the next cannot be better. 0 if there is none.
static int best(Board *b, int64_t job, const int64_t *options, int64_t count, const double *least_g,
         Place *found) {
    if (!count)
        return 0;
    Search s = {b, 0, 0, b->scratch, found, 0};
    double early = b->early[b->first[job]];
    Cursor begin_step = step_at(b, early);
    s.low = (int64_t)(early / b->step);
    for (int64_t n = 0; n < count; n++) {
        int64_t option = options[n];
        if (least_g && s.any && found->cost_g <= least_g[option])
            break;
        s.option = option;
        double until = b->until[option], duration = b->duration[option];
        if (b->green) {
            int64_t last = (int64_t)(until / b->step) + 1;
            if (last > b->slots)
                last = b->slots;
            double sum = 0, load = b->power[option] * b->step;
            for (int64_t k = s.low; k < last; k++) {
                b->scratch[k - s.low] = sum;
                sum += beyond(b, k) * drawn_more(b, k, load);
            }
            b->scratch[last - s.low] = sum;
        }
        int64_t most = b->gpus - b->option_gpus[option];
        double begin = early;
        int open = 0;
        for (Cursor c = begin_step; more(b, &c) && time_of(b, &c) < until; forward(b, &c)) {
            int room = used_at(b, &c) <= most;
            if (room == open)
                continue;
            double time = time_of(b, &c);
            if (room)
                begin = time > early ? time : early;
            else if (time - duration >= begin)
                look_within(&s, begin, time - duration);
            open = room;
        }
        if (open && until - duration >= begin)
            look_within(&s, begin, until - duration);
    }
    return s.any;
}

// How many of its seconds a run spends in a slot.
static double seconds_in(const Board *b, int64_t slot, double start, double end) {
    double from = slot * b->step, until = from + b->step;
    return (end < until ? end : until) - (start > from ? start : from);
}

// Books a run in or out; returns by how much carbon changes.
static double book(Board *b, int64_t option, double start, double end, int sign) {
    occupy(b, start, end, sign * b->option_gpus[option]);
    double power = sign * b->power[option];
    if (!b->green)
        return power * (integral(b->sum, b, end) - integral(b->sum, b, start));
    double change = 0;
    int64_t slot = (int64_t)(start / b->step);
    for (; slot < b->slots && slot * b->step < end; slot++) {
        double energy = power * seconds_in(b, slot, start, end);
        change += b->per_joule[slot] * drawn_more(b, slot, energy);
        b->net_j[slot] += energy;
    }
    return change;
}

static int64_t slot_of(const Board *b, double moment) {
    int64_t slot = (int64_t)(moment / b->step);
    return slot < b->slots ? slot : b->slots - 1;
}

static void chain(Board *b, int64_t job) {
    int64_t *head = &b->head[slot_of(b, b->start[job])];
    b->before[job] = -1;
    b->after[job] = *head;
    if (*head >= 0)
        b->before[*head] = job;
    *head = job;
}

static void unchain(Board *b, int64_t job) {
    int64_t before = b->before[job], after = b->after[job];
    if (before >= 0)
        b->after[before] = after;
    else
        b->head[slot_of(b, b->start[job])] = after;
    if (after >= 0)
        b->before[after] = before;
}

static void put(Board *b, int64_t job, int64_t option, double start) {
    start = rounded(start);
    double end = start + b->duration[option];
    b->option[job] = option;
    b->start[job] = start;
    b->end[job] = end;
    if (b->head)
        chain(b, job);
    b->cost_g += book(b, option, start, end, 1) - worth(b, option, end);
}

// Takes a job out; where it was, and what it cost there.
static Place take(Board *b, int64_t job) {
    int64_t option = b->option[job];
    double start = b->start[job], end = b->end[job];
    if (b->head)
        unchain(b, job);
    b->option[job] = -1;
    b->start[job] = b->end[job] = NAN;
    double change = book(b, option, start, end, -1) + worth(b, option, end);
    b->cost_g += change;
    return (Place){option, start, -change};
}

// What a placed job pays at prices given as their integrals at the borders.
static double price(const Board *b, int64_t job, const double *energy, const double *busy) {
    int64_t option = b->option[job];
    double start = b->start[job], end = b->end[job];
    return b->power[option] * (integral(energy, b, end) - integral(energy, b, start)) +
           b->option_gpus[option] * (integral(busy, b, end) - integral(busy, b, start)) -
           worth(b, option, end);
}
