// SPDX-License-Identifier: Apache-2.0
// Busy GPUs over continuous time: profile.py, arranged for many changes. A short sorted list of
// steps for each stretch of time; each has a step at its begin, whether anything changes there or
// not.

#include "board.h"

#include <stdlib.h>
#include <string.h>

enum { PER_LIST = 8 };

typedef struct {
    int64_t count, room;
    double *time;
    int64_t *used;
} List;

struct Steps {
    int64_t lists;
    double width; // a power of two: borders of lists are exact
    List *list;
};

static void insert(List *l, int64_t at, double time, int64_t used) {
    if (l->count == l->room) {
        l->room = 2 * l->room + PER_LIST;
        l->time = realloc(l->time, l->room * sizeof *l->time);
        l->used = realloc(l->used, l->room * sizeof *l->used);
        if (!l->time || !l->used)
            abort();
    }
    memmove(l->time + at + 1, l->time + at, (l->count - at) * sizeof *l->time);
    memmove(l->used + at + 1, l->used + at, (l->count - at) * sizeof *l->used);
    l->time[at] = time;
    l->used[at] = used;
    l->count++;
}

static void drop(List *l, int64_t at) {
    l->count--;
    memmove(l->time + at, l->time + at + 1, (l->count - at) * sizeof *l->time);
    memmove(l->used + at, l->used + at + 1, (l->count - at) * sizeof *l->used);
}

// Arranges the board's arrays in lists.
int sg_open(Board *b, int64_t lists) {
    double horizon = b->slots * b->step;
    struct Steps *s = malloc(sizeof *s);
    if (!s)
        return 0;
    s->width = exp2(ceil(log2(horizon / lists)));
    s->width = s->width > 1 / GRID ? s->width : 1 / GRID;
    s->lists = (int64_t)(horizon / s->width) + 1;
    s->list = calloc(s->lists, sizeof *s->list);
    if (!s->list) {
        free(s);
        return 0;
    }
    int64_t i = 0, used = 0;
    for (int64_t k = 0; k < s->lists; k++) {
        double border = k * s->width;
        if (i < b->count && b->times[i] == border)
            used = b->used[i++];
        insert(&s->list[k], 0, border, used);
        for (; i < b->count && b->times[i] < border + s->width; i++)
            insert(&s->list[k], s->list[k].count, b->times[i], used = b->used[i]);
    }
    b->steps = s;
    return 1;
}

// Writes the lists back into the board's arrays, which have room.
void sg_close(Board *b) {
    struct Steps *s = b->steps;
    b->count = 0;
    for (int64_t k = 0; k < s->lists; k++) {
        List *l = &s->list[k];
        for (int64_t i = 0; i < l->count; i++)
            if (!b->count || b->used[b->count - 1] != l->used[i]) {
                b->times[b->count] = l->time[i];
                b->used[b->count++] = l->used[i];
            }
        free(l->time);
        free(l->used);
    }
    free(s->list);
    free(s);
    b->steps = NULL;
}

typedef struct {
    int64_t list, at;
} Cursor;

// The step in which a moment lies.
static Cursor step_at(const Board *b, double moment) {
    const struct Steps *s = b->steps;
    int64_t k = (int64_t)(moment / s->width);
    k = k < s->lists ? k : s->lists - 1;
    const List *l = &s->list[k];
    int64_t at = low_bound(l->time, l->count, moment);
    return (Cursor){k, at < l->count && l->time[at] == moment ? at : at - 1};
}

static int more(const Board *b, const Cursor *c) { return c->list < b->steps->lists; }

static void forward(const Board *b, Cursor *c) {
    if (++c->at == b->steps->list[c->list].count) {
        c->list++;
        c->at = 0;
    }
}

static double time_of(const Board *b, const Cursor *c) { return b->steps->list[c->list].time[c->at]; }

static int64_t used_at(const Board *b, const Cursor *c) { return b->steps->list[c->list].used[c->at]; }

static Cursor split(Board *b, double moment) {
    Cursor c = step_at(b, moment);
    List *l = &b->steps->list[c.list];
    if (l->time[c.at] != moment) {
        insert(l, c.at + 1, moment, l->used[c.at]);
        c.at++;
    }
    return c;
}

static void merge(Board *b, Cursor c) {
    List *l = &b->steps->list[c.list];
    if (c.at > 0 && l->used[c.at] == l->used[c.at - 1])
        drop(l, c.at);
}

static void occupy(Board *b, double start, double end, int64_t gpus) {
    split(b, end);
    Cursor first = split(b, start), c = first;
    for (; more(b, &c) && time_of(b, &c) < end; forward(b, &c))
        b->steps->list[c.list].used[c.at] += gpus;
    if (more(b, &c))
        merge(b, c);
    merge(b, first);
}
