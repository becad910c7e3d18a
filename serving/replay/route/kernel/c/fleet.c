// SPDX-License-Identifier: Apache-2.0
// What the caller does with a fleet: time passes, requests come, clocks and power change.

#include "fleet.h"

void sr_close(Fleet *f) {
    if (!f)
        return;
    for (int64_t k = 0; f->replica && k < f->count; k++) {
        free(f->replica[k].ends);
        free(f->replica[k].chunks);
    }
    free(f->replica);
    free(f->place);
    free(f->done);
    free(f->done_at);
    free(f);
}

Fleet *sr_open(const Model *m, const Requests *q, int64_t replicas, double start, int64_t *view,
               double *watts, double *energy) {
    Fleet *f = calloc(1, sizeof(Fleet));
    if (!f)
        return NULL;
    *f = (Fleet){.m = m, .q = q, .count = replicas, .view = view, .watts = watts, .energy = energy};
    f->place = malloc((q->count + 1) * sizeof(Place));
    f->replica = calloc(replicas + 1, sizeof(Replica));
    f->done = malloc((q->count + 1) * sizeof(int32_t));
    f->done_at = malloc((q->count + 1) * sizeof(int32_t));
    if (!f->place || !f->replica || !f->done || !f->done_at) {
        sr_close(f);
        return NULL;
    }
    const List nobody = {NONE, NONE, 0};
    for (int64_t k = 0; k < replicas; k++) {
        Replica *r = f->replica + k;
        r->state = PARKED;
        r->settled = r->mark = r->now = start;
        r->free = m->blocks;
        r->inbox = r->waiting = r->running = r->prompts = nobody;
        rest(f, r, start);
        show(f, k);
    }
    return f;
}

// All replicas up to a time, what begins just then not included; how many requests ended since the last call, in *done.
int64_t sr_advance(Fleet *f, double until, int32_t **done, int32_t **done_at) {
    for (int64_t k = 0; k < f->count; k++) {
        Replica *r = f->replica + k;
        while (r->event < until && !f->failed)
            happen(f, k);
        if (isfinite(until))
            draw(r, until, r->watts);
        show(f, k);
    }
    if (f->failed)
        return -1;
    *done = f->done;
    *done_at = f->done_at;
    int64_t count = f->done_count;
    f->done_count = 0;
    return count;
}

// A request reaches a replica at a time, not before now; 0 where it could never fit.
int64_t sr_send(Fleet *f, int64_t replica, int32_t one, double at) {
    Replica *r = f->replica + replica;
    Place *p = f->place + one;
    if (blocks((int64_t)f->q->prompt[one] + f->q->output[one]) > f->m->blocks)
        return 0;
    *p = (Place){.at = at, .need = f->q->prompt[one] + f->q->produced[one], .joined = NONE};
    append(f, &r->inbox, one);
    r->queued += p->need;
    if (!r->busy && r->state == AWAKE && at < r->event)
        r->event = at;
    show(f, replica);
    return 1;
}

// From now on a replica is wanted at this clock.
void sr_clock(Fleet *f, int64_t replica, int64_t clock, double now) {
    Replica *r = f->replica + replica;
    settle(r, now);
    if (clock == r->wanted)
        return;
    r->wanted = clock;
    // Back to what still holds: nothing is to be waited for.
    r->settled = clock == r->clock || r->state != AWAKE ? now : now + f->m->switch_s;
    if (r->busy)
        interrupt(f, r, now);
    else
        rest(f, r, now);
    show(f, replica);
}

// From now on it is off, parked or awake; whoever takes its power takes its requests first.
void sr_state(Fleet *f, int64_t replica, int64_t state, double now) {
    Replica *r = f->replica + replica;
    r->state = state;
    if (!r->busy)
        begin(f, r, now);
    show(f, replica);
}

// It loses all it has: their number, and which; what they produced stays with them.
int64_t sr_lose(Fleet *f, int64_t replica, double now, int32_t *lost) {
    Replica *r = f->replica + replica;
    int64_t count = 0;
    while (r->running.count) {
        lost[count] = r->running.head;
        give_up(f, r, lost[count++]);
    }
    List *lists[] = {&r->waiting, &r->inbox};
    for (int k = 0; k < 2; k++)
        while (lists[k]->count) {
            lost[count] = lists[k]->head;
            r->queued -= f->place[lost[count]].need;
            take_out(f, lists[k], lost[count++]);
        }
    r->end_count = r->chunk_count = 0;
    r->free = f->m->blocks; // also those that the iteration under way had taken
    rest(f, r, now);
    show(f, replica);
    return count;
}
