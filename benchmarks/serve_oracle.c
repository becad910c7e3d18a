// SPDX-License-Identifier: Apache-2.0
// A search for the clocks of one replica by who knows its whole trace; serve_oracle.py calls it.
// The replica is that of serving/replay (replica.py, power.py), small enough to be copied: each try
// is simulated for some seconds, and kept where energy and the price of late requests are less.

#include <stddef.h>

#include "fleet.h"

#include "engine.c"

enum { MOST = 1024, MOST_CHUNKS = 256, MOST_LENGTH = 32 };

// Fields as in serve_oracle.py, in this order. `clock` has one entry for each cell of time.
typedef struct {
    int64_t count, cells;
    const double *arrival;
    const int32_t *prompt, *output;
    double ttft, tpot, cell, park;
} Task;

typedef struct {
    int64_t tries, clocks;
    const uint8_t *clock;
    double horizon, temperature, late_j, token_j, prompt_j, pace, unsure;
} Search;

typedef struct {
    double first;
    int32_t id, need, computed, produced, decodes;
} Sequence;

// All up to `running` is copied as it is, of the lists only what they hold. `watts` are the last.
typedef struct {
    double now, settled, energy, watts;
    int64_t clock, wanted, changes, late, next, decodes, context, free, count, evicted_count;
    int64_t failed;
    Sequence running[MOST], evicted[MOST];
} State;

static uint64_t dice;

static double roll(void) {
    dice ^= dice << 13;
    dice ^= dice >> 7;
    dice ^= dice << 17;
    return (double)(dice >> 11) / 9007199254740992.0;
}

static void copy(State *to, const State *from) {
    memcpy(to, from, offsetof(State, running));
    memcpy(to->running, from->running, from->count * sizeof(Sequence));
    memcpy(to->evicted, from->evicted, from->evicted_count * sizeof(Sequence));
}

static int64_t clock_at(State *s, double at) {
    if (at >= s->settled)
        s->clock = s->wanted;
    return s->clock;
}

static void ask(const Model *m, State *s, int64_t clock, double at) {
    int64_t current = clock_at(s, at);
    if (clock == s->wanted)
        return;
    s->changes++;
    s->wanted = clock;
    s->settled = clock == current ? at : at + m->switch_s;
}

static void add(State *s, double begin, double end, double watts) {
    s->energy += watts * (end - begin);
    s->watts = watts;
}

static void rest_until(const Model *m, State *s, double begin, double end) {
    int64_t clock = clock_at(s, begin);
    if (clock != s->wanted && s->settled < end) {
        add(s, begin, s->settled, m->idle_w[clock]);
        begin = s->settled;
        clock = clock_at(s, begin);
    }
    add(s, begin, end, m->idle_w[clock]);
}

static int waits(const Task *t, const State *s) {
    return s->next < t->count && t->arrival[s->next] <= s->now;
}

static void leave(State *s, Sequence *q) {
    if (q->decodes) {
        s->decodes--;
        s->context -= q->computed;
    }
    s->free += blocks(q->computed);
}

static void evict_last(const Task *t, State *s) {
    Sequence *q = s->running + --s->count;
    leave(s, q);
    q->need = t->prompt[q->id] + q->produced;
    q->computed = q->decodes = 0;
    s->evicted[s->evicted_count++] = *q;
}

static void end(const Task *t, State *s, Sequence *q) {
    int32_t further = t->output[q->id] - 1;
    s->late += q->first - t->arrival[q->id] > t->ttft * (1 + 1e-9) ||
               s->now - q->first > t->tpot * further * (1 + 1e-9) + 1e-12;
    leave(s, q);
    q->id = NONE;
}

// What the next iteration computes of prompts, as (place in running, cached, new); how many.
static int64_t plan(const Model *m, const Task *t, State *s, Chunk *chunk) {
    for (;;) {
        int evicted = 0;
        int64_t wanted, count = 0;
        for (;; evicted = 1) {
            wanted = 0;
            for (int64_t k = 0; k < s->count; k++)
                wanted += s->running[k].decodes && s->running[k].computed % BLOCK == 0;
            if (wanted <= s->free || s->count <= 1)
                break;
            evict_last(t, s);
        }
        s->free -= wanted;
        int64_t budget = m->max_batched - s->decodes;
        for (int64_t k = 0; k < s->count; k++) {
            Sequence *q = s->running + k;
            if (q->decodes)
                continue;
            int64_t fresh = q->need - q->computed;
            fresh = fresh < budget ? fresh : budget;
            int64_t more = blocks(q->computed + fresh) - blocks(q->computed);
            if (fresh <= 0 || more > s->free || count == MOST_CHUNKS)
                break;
            s->free -= more;
            budget -= fresh;
            chunk[count++] = (Chunk){(int32_t)k, q->computed, (int32_t)fresh};
        }
        while (budget > 0 && !evicted && (s->evicted_count || waits(t, s))) {
            Sequence q = {.first = NAN, .id = (int32_t)s->next};
            if (s->evicted_count)
                q = s->evicted[s->evicted_count - 1];
            else
                q.need = t->prompt[s->next];
            int64_t fresh = q.need < budget ? q.need : budget;
            if (s->count >= m->max_seqs || blocks(fresh) > s->free)
                break;
            if (s->count == MOST || count == MOST_CHUNKS) {
                s->failed = 1;
                break;
            }
            if (s->evicted_count)
                s->evicted_count--;
            else
                s->next++;
            s->free -= blocks(fresh);
            budget -= fresh;
            chunk[count++] = (Chunk){(int32_t)s->count, 0, (int32_t)fresh};
            s->running[s->count++] = q;
        }
        if (count || s->decodes || s->failed)
            return count;
        evict_last(t, s);
    }
}

static double run_batch(const Model *m, State *s, Replica *batch) {
    double whole, rest, watts;
    batch->clock = clock_at(s, s->now);
    time_and_power(m, batch, &whole, &watts);
    double done = s->now + whole, before = s->settled - s->now;
    if (batch->clock == s->wanted || done <= s->settled) {
        add(s, s->now, done, watts);
        return done;
    }
    add(s, s->now, s->settled, watts);
    batch->clock = s->wanted;
    time_and_power(m, batch, &rest, &watts);
    done = s->settled + rest * (1 - before / whole);
    add(s, s->settled, done, watts);
    return done;
}

static void iterate(const Model *m, const Task *t, State *s, int64_t clock) {
    Chunk chunk[MOST_CHUNKS];
    Replica batch = {.chunks = chunk, .chunk_count = plan(m, t, s, chunk)};
    batch.decodes = s->decodes;
    batch.context = s->context;
    ask(m, s, clock, s->now);
    s->now = run_batch(m, s, &batch);
    s->context += s->decodes;
    for (int64_t k = 0; k < s->count; k++) {
        Sequence *q = s->running + k;
        q->computed += q->decodes;
        q->produced += q->decodes;
    }
    for (int64_t k = 0; k < batch.chunk_count; k++) {
        Sequence *q = s->running + chunk[k].request;
        q->computed += chunk[k].fresh;
        if (q->computed < q->need)
            continue;
        q->produced++;
        if (isnan(q->first))
            q->first = s->now;
        if (q->produced == t->output[q->id])
            continue; // ends below, having never decoded
        q->decodes = 1;
        s->decodes++;
        s->context += q->computed;
    }
    int64_t kept = 0;
    for (int64_t k = 0; k < s->count; k++) {
        Sequence *q = s->running + k;
        if (q->produced == t->output[q->id] && q->computed >= q->need)
            end(t, s, q);
        else
            s->running[kept++] = *q;
    }
    s->count = kept;
}

static void simulate(const Model *m, const Task *t, State *s, const uint8_t *clock, double until) {
    while (s->now < until && !s->failed) {
        if (s->count || s->evicted_count || waits(t, s)) {
            int64_t cell = (int64_t)((s->now - t->arrival[0]) / t->cell);
            iterate(m, t, s, clock[cell < t->cells ? cell : t->cells - 1]);
            continue;
        }
        if (s->next == t->count)
            return;
        double until_s = t->arrival[s->next];
        if (until_s - s->now > t->park)
            ask(m, s, 0, s->now);
        rest_until(m, s, s->now, until_s);
        s->now = until_s;
    }
}

// How likely a request is late that has so much time to spare: a ramp.
static double chance(const Search *h, double spare) {
    double share = (h->unsure - spare) / (2 * h->unsure);
    return share < 0 ? 0 : share > 1 ? 1 : share;
}

// Joules up to a time, with the price of what is late, and of what is left to be done then.
static double cost_j(const Model *m, const Task *t, const Search *h, const State *s, double at) {
    double tokens = 0, prompts = 0, late = s->late;
    for (int64_t k = 0; k < s->count; k++) {
        const Sequence *q = s->running + k;
        double left = t->output[q->id] - q->produced;
        tokens += left;
        prompts += q->need - q->computed;
        if (q->decodes)
            late += chance(h, q->first + t->tpot * (t->output[q->id] - 1) - s->now - left * h->pace);
        else if (isnan(q->first))
            late += chance(h, t->arrival[q->id] + t->ttft - s->now);
    }
    for (int64_t k = s->next; k < t->count && t->arrival[k] <= at; k++) {
        tokens += t->output[k];
        prompts += t->prompt[k];
        late += chance(h, t->arrival[k] + t->ttft - s->now);
    }
    double beyond = s->now - at;
    double energy = s->energy - beyond * (beyond > 0 ? s->watts : m->parked_w);
    return energy + h->late_j * late + h->token_j * tokens + h->prompt_j * prompts;
}

static void begin_at(const Model *m, const Task *t, State *s) {
    memset(s, 0, offsetof(State, running));
    s->now = s->settled = t->arrival[0];
    s->clock = s->wanted = m->clocks - 1;
    s->free = m->blocks;
}

void so_seed(uint64_t seed) { dice = seed * 2654435769u + 88172645463325252u; }

// The whole trace: joules, late requests, changes of clock, seconds; 0 where it was too much.
int64_t so_run(const Model *m, const Task *t, const uint8_t *clock, double *told) {
    static State s;
    begin_at(m, t, &s);
    simulate(m, t, &s, clock, INFINITY);
    told[0] = s.energy;
    told[1] = s.late;
    told[2] = s.changes;
    told[3] = s.now - t->arrival[0];
    return !s.failed;
}

// From the first cell to the last, each time from what those before led to; tries that are kept.
int64_t so_sweep(const Model *m, const Task *t, const Search *h, uint8_t *clock) {
    static const int64_t lengths[] = {1, 1, 2, 2, 3, 4, 6, 10, 20};
    static State here, there;
    int64_t kept = 0;
    begin_at(m, t, &here);
    for (int64_t cell = 0; cell < t->cells && !here.failed; cell++) {
        double at = t->arrival[0] + cell * t->cell, until = at + h->horizon;
        simulate(m, t, &here, clock, at);
        if (here.next == t->count && !here.count && !here.evicted_count)
            break;
        if (here.now > at + t->cell)
            continue;
        copy(&there, &here);
        simulate(m, t, &there, clock, until);
        double best = cost_j(m, t, h, &there, until);
        for (int64_t try = 0; try < h->tries; try++) {
            int64_t length = lengths[(int)(roll() * (sizeof lengths / sizeof *lengths))];
            uint8_t before[MOST_LENGTH], wish = h->clock[(int64_t)(roll() * h->clocks)];
            double kind = roll();
            length = length < t->cells - cell ? length : t->cells - cell;
            if (kind < 0.15 && cell)
                wish = clock[cell - 1];
            else if (kind < 0.3 && cell + length < t->cells)
                wish = clock[cell + length];
            else if (kind < 0.4)
                wish = (uint8_t)(m->clocks - 1);
            memcpy(before, clock + cell, length);
            memset(clock + cell, wish, length);
            if (!memcmp(before, clock + cell, length))
                continue;
            copy(&there, &here);
            simulate(m, t, &there, clock, until);
            double cost = cost_j(m, t, h, &there, until);
            if (cost < best || (h->temperature > 0 && roll() < exp((best - cost) / h->temperature))) {
                best = cost;
                kept++;
            } else {
                memcpy(clock + cell, before, length);
            }
        }
    }
    return here.failed ? -1 : kept;
}
