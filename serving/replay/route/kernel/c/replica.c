// SPDX-License-Identifier: Apache-2.0
// A replica in time: what it draws, its clock, and the iteration that runs; power.py's Meter.

#include "fleet.h"

static void draw(Replica *r, double at, double watts) {
    if (at > r->mark) {
        r->energy += r->watts * (at - r->mark);
        r->mark = at;
    }
    r->watts = watts;
}

static double resting_w(const Fleet *f, const Replica *r) {
    if (r->state == AWAKE)
        return f->m->idle_w[r->clock];
    return r->state == PARKED ? f->m->parked_w : 0;
}

static void settle(Replica *r, double at) {
    if (at >= r->settled)
        r->clock = r->wanted;
}

// The rest of the iteration at the clock in effect, up to the next switch at most.
static void go_on(Fleet *f, Replica *r, double at) {
    double watts;
    settle(r, at);
    time_and_power(f->m, r, &r->whole, &watts);
    draw(r, at, watts);
    r->since = at;
    r->event = at + r->left * r->whole;
    r->switching = r->clock != r->wanted && r->settled < r->event;
    if (r->switching)
        r->event = r->settled;
}

// It goes on with what is left, at another clock.
static void interrupt(Fleet *f, Replica *r, double at) {
    r->left -= (at - r->since) / r->whole;
    if (r->left < 0)
        r->left = 0;
    go_on(f, r, at);
}

static void rest(Fleet *f, Replica *r, double at) {
    settle(r, at);
    r->busy = 0;
    r->event = INFINITY;
    draw(r, at, resting_w(f, r));
    if (r->state == AWAKE && r->clock != r->wanted)
        r->event = r->settled;
    if (r->state == AWAKE && r->inbox.head != NONE) {
        double next = f->place[r->inbox.head].at;
        if (next < r->event)
            r->event = next > at ? next : at;
    }
}

// Nothing runs at this time: begin an iteration, or wait.
static void begin(Fleet *f, Replica *r, double at) {
    r->now = at;
    if (r->state == AWAKE) {
        arrive(f, r);
        if (r->running.count || r->waiting.count) {
            schedule(f, r);
            r->busy = 1;
            r->left = 1;
            go_on(f, r, at);
            return;
        }
    }
    rest(f, r, at);
}

static void finish_iteration(Fleet *f, int64_t replica) {
    Replica *r = f->replica + replica;
    r->now = r->event;
    decoded(f, replica);
    for (int64_t k = 0; k < r->chunk_count; k++)
        computed(f, replica, r->chunks[k]);
    r->busy = 0;
}

static void happen(Fleet *f, int64_t replica) {
    Replica *r = f->replica + replica;
    double at = r->event;
    if (r->busy && r->switching) {
        interrupt(f, r, at);
        return;
    }
    if (r->busy)
        finish_iteration(f, replica);
    begin(f, r, at);
}

static void show(Fleet *f, int64_t replica) {
    const Replica *r = f->replica + replica;
    int64_t *view = f->view + 4 * replica, waiting = r->inbox.count + r->waiting.count;
    view[0] = waiting + r->running.count;
    view[1] = waiting;
    view[2] = r->queued;
    view[3] = f->m->blocks - r->free;
    f->watts[replica] = r->watts;
    f->energy[replica] = r->energy;
}
