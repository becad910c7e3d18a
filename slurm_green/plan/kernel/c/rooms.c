// SPDX-License-Identifier: Apache-2.0
// Where one job that may be split is cheapest: offers.py and hull.py, edges as they are bought.

#include "board.h"

#include <stdlib.h>

static const double CRUMB = 1e-2;        // of a slot, as in offers.py
static const double TOLERANCE_S = 5e-4;  // of work, likewise
static const double ENOUGH = 1 - 1e-9;   // as in hull.py
static const double JOULES_PER_KWH = 3.6e6;

// A free stretch, and the next one of its room.
typedef struct {
    double begin, end;
    int64_t next;
} Stretch;

// The time of one slot in which a job may use up to so many GPUs; what it offers next: an edge of
// its hull from way `at` to way `ahead`. Ways are counted from 1; 0 is standing still.
typedef struct {
    int64_t slot, level, gpus, head, tail, at, ahead, corner;
    double seconds, supply_j, steep;
} Room;

// What one way offers, way 0 first.
typedef struct {
    double seconds, work, cost_g;
} Offer;

// Fields as in kernel/__init__.py.
typedef struct {
    // Borders of the slots on the grid.
    const double *opens, *closes;
    // One entry a class: where its shapes begin that the site has GPUs for, and where their
    // numbers of GPUs do, each once and ascending.
    const int64_t *own_first, *own, *size_first, *sizes;
    // One entry a shape.
    const int64_t *gpus;
    const double *rate, *power;
    // One entry a job of the problem; moments are on the grid.
    const int64_t *class_of;
    const double *work, *early, *until;
    // The stretches of each job are `count` rows of `row` from `first` on: shape, begin, end.
    int64_t *first, *count;
    double *row;
    int64_t rows, most_rows, most_rooms, most_ways;
    int64_t steps;    // of the profile, at most, beside two for each row
    const double *mu; // g per J in each slot; NULL: what energy adds to the site's carbon
    // For one job's search.
    Stretch *stretch;
    Room *room, **heap;
    Offer *offer;
    int64_t stretches, most_stretches, rooms;
} Splits;

// Makes room for one search after the other; 0 if there is none.
static int open_search(const Board *b, Splits *s) {
    s->most_stretches = s->steps + 2 * s->most_rows + b->slots;
    s->stretch = malloc(s->most_stretches * sizeof *s->stretch);
    s->room = malloc(s->most_rooms * sizeof *s->room);
    s->heap = malloc(s->most_rooms * sizeof *s->heap);
    s->offer = malloc(s->most_ways * sizeof *s->offer);
    return s->stretch && s->room && s->heap && s->offer;
}

static void close_search(Splits *s) {
    free(s->stretch);
    free(s->room);
    free(s->heap);
    free(s->offer);
}

// Whether the rows suffice for one more job, wherever it goes: each row makes two steps at most.
static int rows_left(const Board *b, const Splits *s) {
    return s->rows + s->steps + 2 * s->rows + b->slots + 2 <= s->most_rows;
}

static void add_stretch(Splits *s, Room *r, double begin, double end) {
    if (s->stretches == s->most_stretches)
        abort();
    s->stretch[s->stretches] = (Stretch){begin, end, -1};
    if (r->head < 0)
        r->head = s->stretches;
    else
        s->stretch[r->tail].next = s->stretches;
    r->tail = s->stretches++;
    r->seconds += end - begin;
}

// The room of that slot and level; a slot's rooms are the last ones.
static Room *room_of(Splits *s, int64_t slot, int64_t level, int64_t gpus) {
    for (int64_t k = s->rooms - 1; k >= 0 && s->room[k].slot == slot; k--)
        if (s->room[k].level == level)
            return &s->room[k];
    if (s->rooms == s->most_rooms)
        abort();
    Room *r = &s->room[s->rooms++];
    *r = (Room){.slot = slot, .level = level, .gpus = gpus, .head = -1, .tail = -1};
    return r;
}

// Rooms of one slot share what its supply still allows.
static void share_supply(const Board *b, Splits *s, int64_t low) {
    double total = 0;
    for (int64_t k = low; k < s->rooms; k++)
        total += s->room[k].seconds;
    for (int64_t k = low; k < s->rooms; k++) {
        Room *r = &s->room[k];
        r->supply_j = b->green ? positive(-b->net_j[r->slot]) * (r->seconds / total) : 0;
    }
}

// Finds what is free from early to late for one of these numbers of GPUs.
static void find_rooms(const Board *b, Splits *s, const int64_t *sizes, int64_t count, double early,
                       double late) {
    s->rooms = s->stretches = 0;
    int64_t slot = low_bound(s->opens, b->slots + 1, early);
    slot -= !(slot <= b->slots && s->opens[slot] == early);
    slot = slot < b->slots ? slot : b->slots - 1;
    int64_t first_room = 0, level = -1;
    double begin = early, end = early;
    Cursor c = step_at(b, early);
    for (double now = early; now < late;) {
        Cursor after = c;
        forward(b, &after);
        double change = more(b, &after) ? time_of(b, &after) : INFINITY;
        double border = slot + 1 < b->slots ? s->opens[slot + 1] : INFINITY;
        double next = change < border ? change : border;
        next = next < late ? next : late;
        int64_t free_gpus = b->gpus - used_at(b, &c), fits = 0;
        while (fits < count && sizes[fits] <= free_gpus)
            fits++;
        if (fits != level) {
            if (level > 0 && end > begin)
                add_stretch(s, room_of(s, slot, level, sizes[level - 1]), begin, end);
            begin = now;
            level = fits;
        }
        end = next < s->closes[slot] ? next : s->closes[slot];
        if (next == border || next == late) {
            if (level > 0 && end > begin)
                add_stretch(s, room_of(s, slot, level, sizes[level - 1]), begin, end);
            share_supply(b, s, first_room);
            first_room = s->rooms;
            begin = next;
            level = -1;
            slot += next == border;
        }
        if (next == change)
            c = after;
        now = next;
    }
}

// What a room offers in each way: each shape for all of its seconds, then each only as long as
// renewable supply lasts. Returns the number of ways.
static int64_t fill_offers(const Board *b, Splits *s, const Room *r, const int64_t *own,
                           int64_t count) {
    int64_t ways = r->supply_j > 0 ? 2 * count : count;
    double lam = b->lam[r->slot], per_joule = b->per_joule[r->slot], crumb = CRUMB * b->step;
    s->offer[0] = (Offer){0, 0, 0};
    for (int64_t n = 0; n < ways; n++) {
        int64_t shape = own[n % count];
        double power = s->power[shape];
        double seconds = s->gpus[shape] <= r->gpus ? r->seconds : 0;
        if (n >= count) {
            double covered = power > 0 ? floor(r->supply_j / power * GRID) / GRID : INFINITY;
            seconds = covered > crumb && covered < seconds - crumb ? covered : 0;
        }
        double energy = seconds * power, cost;
        if (s->mu)
            cost = energy * s->mu[r->slot];
        else
            cost = positive(energy - r->supply_j) * per_joule +
                   fmin(energy, r->supply_j) * b->supply[r->slot];
        cost += seconds * s->gpus[shape] * lam;
        s->offer[n + 1] = (Offer){seconds, seconds * s->rate[shape], cost};
    }
    return ways + 1;
}

// The next edge of a room's hull: where work costs least per unit; 0 if there is none.
static int next_edge(const Offer *offer, int64_t ways, Room *r) {
    double steep = INFINITY;
    int64_t ahead = 0;
    const Offer *here = &offer[r->at];
    for (int64_t way = 0; way < ways; way++) {
        double work = offer[way].work - here->work;
        if (work <= 0)
            continue;
        double slope = (offer[way].cost_g - here->cost_g) / work;
        if (slope < steep) {
            steep = slope;
            ahead = way;
        }
    }
    // Never less than the edge before, which rounding makes of equals.
    r->steep = steep > r->steep ? steep : r->steep;
    r->ahead = ahead;
    return isfinite(r->steep);
}

// Of equals, the lower corner of a hull, then the earlier slot.
static int comes_first(const Room *one, const Room *other) {
    if (one->steep != other->steep)
        return one->steep < other->steep;
    if (one->corner != other->corner)
        return one->corner < other->corner;
    return one->slot != other->slot ? one->slot < other->slot : one->level < other->level;
}

// Lets a room sink in the heap to where it belongs.
static void sink_room(Room **heap, int64_t count, int64_t at) {
    Room *r = heap[at];
    for (int64_t child; (child = 2 * at + 1) < count; at = child) {
        child += child + 1 < count && comes_first(heap[child + 1], heap[child]);
        if (comes_first(r, heap[child]))
            break;
        heap[at] = heap[child];
    }
    heap[at] = r;
}
