// SPDX-License-Identifier: Apache-2.0
// Who has to leave so that a job finds room: improve.py's `_in_the_way`.

#include "board.h"

#include <stdlib.h>
#include <string.h>

// Whoever has no place may be wide: sometimes more leave for it than a move for carbon is worth.
enum { MOST_EJECTED = 12, MOST_EJECTED_ABSENT = 60, CROWD = 16 };
static const double SHARE_MANY = 0.2; // of its moves

static int by_value(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

// Sorts values between low and high, which are spread about evenly: into a bucket each, then by
// insertion. `spare` and `bucket` have room for one more. qsort alone took a third of all moves.
static void sort(double *value, int64_t count, double low, double high, double *spare,
                 int64_t *bucket) {
    double scale = high > low ? (count - 1) / (high - low) : 0;
    memset(bucket, 0, (count + 1) * sizeof *bucket);
    for (int64_t i = 0; i < count; i++)
        bucket[(int64_t)((value[i] - low) * scale) + 1]++;
    for (int64_t k = 0; k < count; k++)
        bucket[k + 1] += bucket[k];
    for (int64_t i = 0; i < count; i++)
        spare[bucket[(int64_t)((value[i] - low) * scale)]++] = value[i];
    for (int64_t k = 0, first = 0; k < count; first = bucket[k++])
        if (bucket[k] - first > CROWD)
            qsort(spare + first, bucket[k] - first, sizeof *spare, by_value);
    for (int64_t i = 0; i < count; i++) {
        int64_t k = i;
        for (; k && spare[i] < value[k - 1]; k--)
            value[k] = value[k - 1];
        value[k] = spare[i];
    }
}

// Lets entry `at` of a heap of jobs sink, so that none weighs less than the one above it.
static void sink(const Moves *m, int64_t at, int64_t count) {
    for (int64_t below; (below = 2 * at + 1) < count; at = below) {
        if (below + 1 < count && m->weight[below + 1] < m->weight[below])
            below++;
        if (m->weight[at] <= m->weight[below])
            return;
        int64_t job = m->others[at];
        double weight = m->weight[at];
        m->others[at] = m->others[below];
        m->weight[at] = m->weight[below];
        m->others[below] = job;
        m->weight[below] = weight;
    }
}

static int short_of(const int64_t *lack, int64_t count) {
    for (int64_t i = 0; i < count; i++)
        if (lack[i] > 0)
            return 1;
    return 0;
}

// Takes a run's GPUs off what lacks; returns whether any lacked where it runs.
static int relieve(const Moves *m, int64_t count, int64_t job, int always) {
    const Board *b = m->b;
    double end = b->end[job];
    int64_t first = low_bound(m->moment, count, b->start[job]), last = first;
    int meets = always;
    for (; last < count && m->moment[last] < end; last++)
        meets |= m->lack[last] > 0;
    for (int64_t i = first; meets && i < last; i++)
        m->lack[i] -= b->option_gpus[b->option[job]];
    return meets;
}

// Narrows [start, end) to where GPUs lack while nobody has left; 0 where none do.
static int lacking(const Board *b, int64_t most, double *start, double *end) {
    double first = INFINITY, last = -INFINITY;
    for (Cursor c = step_at(b, *start); more(b, &c) && time_of(b, &c) < *end;) {
        int lacks = used_at(b, &c) > most;
        if (lacks && time_of(b, &c) < first)
            first = time_of(b, &c);
        forward(b, &c);
        if (lacks)
            last = more(b, &c) ? time_of(b, &c) : INFINITY;
    }
    if (first > last)
        return 0;
    *start = first > *start ? first : *start;
    *end = last < *end ? last : *end;
    return 1;
}

// Jobs whose leaving makes room for a run; -1 if too many would have to.
static int64_t in_the_way(Moves *m, int64_t job, const Place *to, int64_t *found) {
    Board *b = m->b;
    double start = to->start, end = start + b->duration[to->option];
    int64_t count = 0, most = b->gpus - b->option_gpus[to->option];
    if (!lacking(b, most, &start, &end))
        return 0;
    // The profile forgets where one run follows another: such moments are borders here.
    m->moment[count++] = start;
    int64_t others = meeting(m, start, end);
    for (int64_t n = 0; n < others; n++) {
        int64_t other = m->others[n];
        if (b->start[other] > start)
            m->moment[count++] = b->start[other];
        if (b->end[other] < end)
            m->moment[count++] = b->end[other];
    }
    Cursor at = step_at(b, start);
    for (Cursor c = at; more(b, &c) && time_of(b, &c) < end; forward(b, &c))
        if (time_of(b, &c) > start)
            m->moment[count++] = time_of(b, &c);
    sort(m->moment, count, start, end, m->moment + count, m->lack);
    int64_t fine = 0;
    for (int64_t i = 0; i < count; i++)
        if (!fine || m->moment[i] != m->moment[fine - 1])
            m->moment[fine++] = m->moment[i];
    for (int64_t i = 0; i < fine; i++) {
        // Every step but the first is among the moments.
        if (i && time_of(b, &at) < m->moment[i]) {
            Cursor ahead = at;
            forward(b, &ahead);
            if (more(b, &ahead) && time_of(b, &ahead) == m->moment[i])
                at = ahead;
        }
        m->lack[i] = used_at(b, &at) - most;
    }
    if (b->option[job] >= 0 && b->start[job] < end && b->end[job] > start)
        relieve(m, fine, job, 1);
    if (!short_of(m->lack, fine))
        return 0;
    int weigh = chance(m) < 0.5;
    for (int64_t n = 0; n < others; n++) {
        double ease = m->ease[m->others[n]];
        ease = ease < 0.05 ? 0.05 : ease > 20 ? 20 : ease;
        m->weight[n] = weigh ? chance(m) / ease : chance(m);
    }
    int many = b->option[job] < 0 && chance(m) < SHARE_MANY;
    int64_t ejected = 0, at_most = many ? MOST_EJECTED_ABSENT : MOST_EJECTED;
    for (int64_t n = others / 2; n--;)
        sink(m, n, others);
    for (int64_t left = others; left; left--) {
        int64_t other = m->others[0];
        m->others[0] = m->others[left - 1];
        m->weight[0] = m->weight[left - 1];
        sink(m, 0, left - 1);
        if (other == job || !relieve(m, fine, other, 0))
            continue;
        found[ejected++] = other;
        if (!short_of(m->lack, fine))
            return ejected;
        if (ejected >= at_most)
            return -1;
    }
    return -1;
}
