// SPDX-License-Identifier: Apache-2.0
// Moves that make a schedule better: improve.py's Improver.

#include "board.h"

enum { TOURNAMENT = 8, SHAPES = 3, HOPEFUL = 3, MOST_LEAVING = 64, GLANCES = 16 };
static const double EPSILON = 1e-9;

// Every job of `order` in turn goes where it is cheapest at the board's guide. Only shapes that
// could pay for themselves at the prices are looked at.
void sg_settle(Moves *m, const int64_t *order, int64_t count) {
    Board *b = m->b;
    for (int64_t n = 0; n < count; n++) {
        int64_t job = order[n], old_option = b->option[job];
        if (old_option < 0)
            continue;
        double paid = price(b, job, m->energy, m->busy);
        const int64_t *ranked = m->ranked + b->first[job];
        int64_t all = b->first[job + 1] - b->first[job], some = 0;
        int has_old = 0;
        while (some < all && m->option_g[ranked[some]] <= paid)
            has_old |= ranked[some++] == old_option;
        double end = b->end[job];
        Place old = take(b, job), place, other;
        double old_g = old.cost_g + guided_g(b, &old, end);
        int found = best(b, job, ranked, some, NULL, &place);
        if (!has_old && best(b, job, &old_option, 1, NULL, &other) &&
            (!found || other.cost_g < place.cost_g))
            place = other, found = 1;
        if (found && place.cost_g < old_g - fabs(old_g) * EPSILON) {
            put(b, job, place.option, place.start);
            update_regret(m, job);
        } else {
            put(b, job, old.option, old.start);
        }
    }
}

// GPU-seconds that a run lacks there, while nobody leaves.
static double lack_s(const Board *b, const Place *at) {
    double sum = 0, from = at->start, end = from + b->duration[at->option];
    int64_t most = b->gpus - b->option_gpus[at->option];
    for (Cursor c = step_at(b, from); more(b, &c) && from < end;) {
        int64_t lack = used_at(b, &c) - most;
        forward(b, &c);
        double until = more(b, &c) && time_of(b, &c) < end ? time_of(b, &c) : end;
        sum += lack > 0 ? lack * (until - from) : 0;
        from = until;
    }
    return sum;
}

// A place anywhere; in haste, of some of them the one where least is in the way.
static void anywhere(Moves *m, int64_t job, Place *to) {
    Board *b = m->b;
    double least = INFINITY;
    for (int n = 0; n < (m->haste ? GLANCES : 1); n++) {
        Place at = {b->first[job] + below(m, b->first[job + 1] - b->first[job]), 0, 0};
        double early = b->early[at.option], duration = b->duration[at.option];
        double span = b->until[at.option] - early;
        at.start = m->haste ? early + (span - duration) * chance(m)
                            : early + span * chance(m) - duration;
        double lack = m->haste ? lack_s(b, &at) : 0;
        if (lack < least)
            least = lack, *to = at;
    }
}

// Where the job is to go: a place that was best at some prices, or anywhere.
static int choose(Moves *m, int64_t job, Place *to) {
    Board *b = m->b;
    int64_t low = m->target_first[job], high = m->target_first[job + 1];
    if (high == low)
        return 0;
    if (m->n_absent && chance(m) < 0.4) {
        anywhere(m, job, to);
    } else {
        // The later ones were found at better prices.
        int64_t at = low + (int64_t)((high - low) * sqrt(chance(m)));
        *to = (Place){m->target_option[at], m->target_start[at], 0};
    }
    double latest = b->until[to->option] - b->duration[to->option];
    double start = to->start > b->early[to->option] ? to->start : b->early[to->option];
    to->start = rounded(start < latest ? start : latest);
    return b->option[job] != to->option || fabs(b->start[job] - to->start) >= 1;
}

static void sort_by(int64_t *jobs, int64_t count, const double *key, int down) {
    for (int64_t i = 1; i < count; i++)
        for (int64_t k = i; k && (down ? key[jobs[k]] > key[jobs[k - 1]]
                                       : key[jobs[k]] < key[jobs[k - 1]]); k--) {
            int64_t job = jobs[k];
            jobs[k] = jobs[k - 1];
            jobs[k - 1] = job;
        }
}

static void shuffle(Moves *m, int64_t *jobs, int64_t count) {
    for (int64_t k = count - 1; k > 0; k--) {
        int64_t other = below(m, k + 1), job = jobs[k];
        jobs[k] = jobs[other];
        jobs[other] = job;
    }
}

static int is_in(int64_t job, const int64_t *jobs, int64_t count) {
    while (count--)
        if (jobs[count] == job)
            return 1;
    return 0;
}

// Takes jobs out, puts `fixed` to its place and the others wherever they are cheapest, some absent
// ones among them; undoes it where the whole is dearer.
static int attempt(Moves *m, const int64_t *leaving, int64_t count, int64_t fixed,
                   const Place *to) {
    Board *b = m->b;
    double before = b->cost_g, allowed = 0, lost = 0, least_g = 0;
    Place old[MOST_LEAVING];
    int64_t waiting[MOST_LEAVING + HOPEFUL], placed[MOST_LEAVING + HOPEFUL + 1];
    int64_t n_waiting = 0, n_placed = 0;
    for (int64_t n = 0; n < count; n++) {
        old[n] = take(b, leaving[n]);
        if (leaving[n] != fixed)
            waiting[n_waiting++] = leaving[n];
    }
    int64_t own = n_waiting, arrive = 0, lose = 0;
    if (fixed >= 0) {
        if (!is_in(fixed, leaving, count))
            allowed += m->penalty[fixed], least_g += m->least_g[fixed], arrive++;
        put(b, fixed, to->option, to->start);
        placed[n_placed++] = fixed;
    }
    for (int64_t n = 0; n < m->n_absent && n_waiting < own + HOPEFUL; n++)
        if (m->absent[n] != fixed && chance(m) < (m->haste ? 0.1 : 0.3)) {
            waiting[n_waiting++] = m->absent[n];
            allowed += m->penalty[m->absent[n]], least_g += m->least_g[m->absent[n]], arrive++;
        }
    double luck = chance(m);
    if (luck < 0.5)
        sort_by(waiting, n_waiting, m->ease, 0);
    else if (luck < 0.8)
        sort_by(waiting, n_waiting, m->size, 1);
    else
        shuffle(m, waiting, n_waiting);
    set_guide(m, chance(m) < 0.5);
    for (int64_t n = 0; n < n_waiting && lost <= allowed; n++) {
        int64_t job = waiting[n], all = b->first[job + 1] - b->first[job];
        const int64_t *ranked = m->ranked + b->first[job];
        Place place;
        if (best(b, job, ranked, all < SHAPES ? all : SHAPES, NULL, &place) ||
            (all > SHAPES && best(b, job, ranked + SHAPES, all - SHAPES, NULL, &place))) {
            put(b, job, place.option, place.start);
            placed[n_placed++] = job;
        } else {
            lost += m->penalty[job], least_g -= m->least_g[job], lose++;
        }
    }
    // A place is worth something; that one gives way for another is not, unless moves are free.
    double gain = before - b->cost_g;
    if (m->free || lose < arrive)
        gain += allowed - lost;
    else if (lose == arrive)
        gain += least_g;
    else
        lost = INFINITY;
    if (b->cost_g - before - least_g > m->rise_g)
        lost = INFINITY;
    // Metropolis: a little dearer may be a way to much cheaper.
    double least = m->heat_g > 0 ? m->heat_g * log(chance(m) + 1e-12) : EPSILON * fabs(before);
    if (lost > allowed || gain <= least) {
        while (n_placed)
            take(b, placed[--n_placed]);
        for (int64_t n = 0; n < count; n++)
            put(b, leaving[n], old[n].option, old[n].start);
        b->cost_g = before;
        return 0;
    }
    for (int64_t n = 0; n < n_placed; n++)
        update_regret(m, placed[n]);
    int64_t absent = 0;
    for (int64_t n = 0; n < m->n_absent; n++)
        if (b->option[m->absent[n]] < 0)
            m->absent[absent++] = m->absent[n];
    for (int64_t n = 0; n < count; n++)
        if (b->option[leaving[n]] < 0)
            m->absent[absent++] = leaving[n];
    m->n_absent = absent;
    return 1;
}

// Some jobs that run around one moment look for places again.
static int shake(Moves *m) {
    Board *b = m->b;
    int64_t job = any_movable(m), first = b->first[job];
    double moment = b->early[first] + (b->until[first] - b->early[first]) * chance(m);
    double width = 2 * b->step;
    int64_t near = meeting(m, moment - width, moment + width);
    int64_t some[MOST_LEAVING], count = 2 + below(m, 7);
    count = count < near ? count : near;
    for (int64_t n = 0; n < count; n++) {
        int64_t at = n + below(m, near - n);
        some[n] = m->others[at];
        m->others[at] = m->others[n];
    }
    if (b->option[job] >= 0 && !is_in(job, some, count))
        some[count++] = job;
    return count && attempt(m, some, count, -1, NULL);
}

static int move(Moves *m) {
    int64_t job;
    if (m->n_absent && chance(m) < (m->haste ? 0.9 : 0.7)) {
        job = m->absent[below(m, m->n_absent)];
    } else if (chance(m) < 0.5) {
        job = any_movable(m);
        for (int n = 1; n < TOURNAMENT; n++) {
            int64_t other = any_movable(m);
            if (m->regret[other] > m->regret[job])
                job = other;
        }
    } else {
        return shake(m);
    }
    Place to;
    if (!choose(m, job, &to))
        return 0;
    int64_t leaving[MOST_LEAVING], count = in_the_way(m, job, &to, leaving);
    if (count >= 0) {
        if (m->b->option[job] >= 0)
            leaving[count++] = job;
        if (attempt(m, leaving, count, job, &to))
            return 1;
    }
    // The longer a job looks in vain, the more others may have to wait for it instead.
    if (m->b->option[job] < 0)
        m->penalty[job] *= 1 + m->impatience;
    return 0;
}

// Tries so many moves; returns how many were kept.
int64_t sg_moves(Moves *m, int64_t moves) {
    int64_t kept = 0;
    chain_all(m);
    if (m->n_movable)
        while (moves--)
            kept += move(m);
    return kept;
}
