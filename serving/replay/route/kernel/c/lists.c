// SPDX-License-Identifier: Apache-2.0
// Lists of requests through their places, and the heap of steps at which answers end.

#include "fleet.h"

static void append(Fleet *f, List *list, int32_t one) {
    Place *p = f->place;
    p[one].next = NONE;
    p[one].before = list->tail;
    if (list->tail == NONE)
        list->head = one;
    else
        p[list->tail].next = one;
    list->tail = one;
    list->count++;
}

static void put_first(Fleet *f, List *list, int32_t one) {
    Place *p = f->place;
    p[one].before = NONE;
    p[one].next = list->head;
    if (list->head == NONE)
        list->tail = one;
    else
        p[list->head].before = one;
    list->head = one;
    list->count++;
}

static void take_out(Fleet *f, List *list, int32_t one) {
    Place *p = f->place, *at = p + one;
    if (at->before == NONE)
        list->head = at->next;
    else
        p[at->before].next = at->next;
    if (at->next == NONE)
        list->tail = at->before;
    else
        p[at->next].before = at->before;
    list->count--;
}

// The same for those whose prompt is being computed, who are in another list besides.
static void append_prompt(Fleet *f, List *list, int32_t one) {
    Place *p = f->place;
    p[one].next_prompt = NONE;
    p[one].before_prompt = list->tail;
    if (list->tail == NONE)
        list->head = one;
    else
        p[list->tail].next_prompt = one;
    list->tail = one;
    list->count++;
}

static void take_out_prompt(Fleet *f, List *list, int32_t one) {
    Place *p = f->place, *at = p + one;
    if (at->before_prompt == NONE)
        list->head = at->next_prompt;
    else
        p[at->before_prompt].next_prompt = at->next_prompt;
    if (at->next_prompt == NONE)
        list->tail = at->before_prompt;
    else
        p[at->next_prompt].before_prompt = at->before_prompt;
    list->count--;
}

static int sooner(End a, End b) {
    return a.step < b.step || (a.step == b.step && a.request < b.request);
}

static void push_end(Fleet *f, Replica *r, End new) {
    if (r->end_count == r->end_room) {
        int64_t room = r->end_room ? 2 * r->end_room : 64;
        End *more = realloc(r->ends, room * sizeof(End));
        if (!more) {
            f->failed = 1;
            return;
        }
        r->ends = more;
        r->end_room = room;
    }
    int64_t at = r->end_count++;
    while (at && sooner(new, r->ends[(at - 1) / 2])) {
        r->ends[at] = r->ends[(at - 1) / 2];
        at = (at - 1) / 2;
    }
    r->ends[at] = new;
}

static void pop_end(Replica *r) {
    End last = r->ends[--r->end_count];
    int64_t at = 0, count = r->end_count;
    for (int64_t child; (child = 2 * at + 1) < count; at = child) {
        if (child + 1 < count && sooner(r->ends[child + 1], r->ends[child]))
            child++;
        if (!sooner(r->ends[child], last))
            break;
        r->ends[at] = r->ends[child];
    }
    r->ends[at] = last;
}

static void push_chunk(Fleet *f, Replica *r, Chunk new) {
    if (r->chunk_count == r->chunk_room) {
        int64_t room = r->chunk_room ? 2 * r->chunk_room : 64;
        Chunk *more = realloc(r->chunks, room * sizeof(Chunk));
        if (!more) {
            f->failed = 1;
            return;
        }
        r->chunks = more;
        r->chunk_room = room;
    }
    r->chunks[r->chunk_count++] = new;
}
