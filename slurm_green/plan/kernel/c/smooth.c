// SPDX-License-Identifier: Apache-2.0
// What jobs that may be split use where nobody is quite sure of a tie: smooth.py.

#include "board.h"

#include <stdlib.h>

// Newton's steps for one job: its work is piecewise linear in its price.
static const int MOST_STEPS = 60;

// Fields as in kernel/__init__.py; prices per J and per GPU-second.
typedef struct {
    int64_t slots, classes, ways; // ways of a class, at most
    double step;
    const double *per_joule, *per_gpu_s; // slots
    const int64_t *own_first, *own;      // classes; the shapes that the site has GPUs for
    const double *rate, *gpus, *power;   // shapes
    const int64_t *job_first;            // classes, and the end: where each one's jobs begin
    const double *temperature;           // classes, g per unit of work
    const double *early, *late, *work;   // jobs
    double *price;  // jobs: what a unit of work costs; where the next call starts from
    double *cost_g; // jobs
    int64_t *count; // jobs: entries of each, of those below
    int32_t *slot;
    double *gpu_s, *energy_j;
} Smooth;

// An edge of a slot's hull, per second of the slot.
typedef struct {
    double steep, rate, cost_g, gpus, power_w;
} Rise;

// The hulls of a class: `most` places a slot, of which `count` are taken.
typedef struct {
    int64_t most, *count;
    Rise *rise;
} Hulls;

static void find_hulls(const Smooth *s, int64_t class, Offer *offer, Hulls *h) {
    const int64_t *own = s->own + s->own_first[class];
    int64_t ways = s->own_first[class + 1] - s->own_first[class];
    for (int64_t k = 0; k < s->slots; k++) {
        offer[0] = (Offer){1, 0, 0};
        for (int64_t n = 0; n < ways; n++)
            offer[n + 1] = (Offer){1, s->rate[own[n]],
                                   s->per_joule[k] * s->power[own[n]] +
                                       s->per_gpu_s[k] * s->gpus[own[n]]};
        Room r = {.steep = -INFINITY};
        for (h->count[k] = 0; next_edge(offer, ways + 1, &r); r.at = r.ahead) {
            int64_t low = r.at ? own[r.at - 1] : -1, high = own[r.ahead - 1];
            h->rise[k * h->most + h->count[k]++] =
                (Rise){r.steep, s->rate[high] - (r.at ? s->rate[low] : 0),
                       offer[r.ahead].cost_g - offer[r.at].cost_g,
                       s->gpus[high] - (r.at ? s->gpus[low] : 0),
                       s->power[high] - (r.at ? s->power[low] : 0)};
        }
    }
}

// The seconds of a slot in a job's window.
static double seconds_of(const Smooth *s, int64_t job, int64_t k) {
    double begin = k * s->step, end = begin + s->step;
    end = end < s->late[job] ? end : s->late[job];
    return positive(end - (begin > s->early[job] ? begin : s->early[job]));
}

// The price at which a job's work is done; beyond all edges where they do not suffice.
static double price_of(const Smooth *s, const Hulls *h, int64_t job, int64_t low, int64_t high,
                       double temperature) {
    double price = s->price[job], least = -INFINITY, most = INFINITY;
    for (int n = 0; n < MOST_STEPS; n++) {
        double done = 0, slope = 0, above = INFINITY, below = -INFINITY;
        for (int64_t k = low; k < high; k++) {
            const Rise *r = h->rise + k * h->most, *end = r + h->count[k];
            double seconds = seconds_of(s, job, k);
            for (; seconds > 0 && r < end; r++) {
                if (r->steep >= price + temperature) {
                    above = r->steep < above ? r->steep : above;
                    break;
                }
                double work = seconds * r->rate;
                if (r->steep <= price - temperature) {
                    below = r->steep > below ? r->steep : below;
                    done += work;
                } else {
                    done += work * (0.5 + (price - r->steep) / (2 * temperature));
                    slope += work / (2 * temperature);
                }
            }
        }
        double lack = s->work[job] - done;
        if (fabs(lack) <= 1e-9 * s->work[job])
            break;
        *(lack > 0 ? &least : &most) = price;
        double next;
        if (slope > 0)
            next = price + lack / slope;
        else if (lack < 0)
            next = below + 0.999 * temperature;
        else if (isfinite(above))
            next = above - 0.999 * temperature;
        else
            break;
        // Beyond what is known: the middle of that.
        price = next > least && next < most ? next : (least + most) / 2;
    }
    return price;
}

// What each job uses at its price, and what that costs. Returns the number of entries written, at
// most one for each job and slot that its window meets; -1 without memory.
int64_t sg_split_smooth(const Smooth *s) {
    Hulls h = {.most = s->ways};
    Offer *offer = malloc((s->ways + 1) * sizeof *offer);
    h.rise = malloc((s->slots * s->ways + 1) * sizeof *h.rise);
    h.count = malloc((s->slots + 1) * sizeof *h.count);
    int64_t written = offer && h.rise && h.count ? 0 : -1;
    for (int64_t class = 0; written >= 0 && class < s->classes; class ++) {
        double temperature = s->temperature[class];
        if (s->job_first[class] < s->job_first[class + 1])
            find_hulls(s, class, offer, &h);
        for (int64_t job = s->job_first[class]; job < s->job_first[class + 1]; job++) {
            int64_t low = (int64_t)floor(s->early[job] / s->step);
            int64_t high = (int64_t)ceil(s->late[job] / s->step), before = written;
            low = low > 0 ? low : 0;
            high = high < s->slots ? high : s->slots;
            double price = price_of(s, &h, job, low, high, temperature), cost = 0;
            for (int64_t k = low; k < high; k++) {
                const Rise *r = h.rise + k * h.most, *end = r + h.count[k];
                double seconds = seconds_of(s, job, k), gpu_s = 0, energy_j = 0;
                for (; seconds > 0 && r < end && r->steep < price + temperature; r++) {
                    double share = 0.5 + (price - r->steep) / (2 * temperature);
                    share = share < 1 ? share : 1;
                    // Being unsure is worth something: nothing where all or none is bought.
                    double unsure = (share - 0.5) * (share - 0.5) - 0.25;
                    cost += seconds * (share * r->cost_g + r->rate * temperature * unsure);
                    gpu_s += seconds * share * r->gpus;
                    energy_j += seconds * share * r->power_w;
                }
                if (gpu_s <= 0 && energy_j <= 0)
                    continue;
                s->slot[written] = (int32_t)k;
                s->gpu_s[written] = gpu_s;
                s->energy_j[written++] = energy_j;
            }
            s->price[job] = price;
            s->cost_g[job] = cost;
            s->count[job] = written - before;
        }
    }
    free(offer);
    free(h.rise);
    free(h.count);
    return written;
}
