// SPDX-License-Identifier: Apache-2.0
// What takers cost and use at some prices: rolling_use.py's work, some thirty times faster.

#include <math.h>
#include <stdint.h>

// Fields as in kernel/__init__.py. A taker has the rows from `first` on: a shape each, which may
// start at `begin`, at `between` slot borders from `border` on, and at `last`; positions in slots.
// Prices and their integrals have slots + 1 entries; `cost` has room for the starts of a taker.
typedef struct {
    int64_t slots, takers;
    const int64_t *first;
    const double *weight, *heat;
    const int64_t *target;
    const double *gpus, *power, *length, *begin, *last;
    const int64_t *border, *between;
    const double *per_w, *per_w_sum, *per_gpu, *per_gpu_sum;
    double *cost;
} Rolling;

// Beyond so many times the heat more a start is not taken at all (4e-11).
static const double NEVER = 24.0;

static inline double until(const double *value, const double *sum, int64_t slots, double moment) {
    int64_t at = (int64_t)moment;
    at = at > slots ? slots : at;
    return sum[at] + (moment - at) * value[at];
}

static inline double cost_at(const Rolling *r, int64_t row, double begin) {
    double end = begin + r->length[row];
    end = end > r->slots ? r->slots : end;
    double energy = until(r->per_w, r->per_w_sum, r->slots, end)
                    - until(r->per_w, r->per_w_sum, r->slots, begin);
    double busy = until(r->per_gpu, r->per_gpu_sum, r->slots, end)
                  - until(r->per_gpu, r->per_gpu_sum, r->slots, begin);
    return r->power[row] * energy + r->gpus[row] * busy;
}

// All starts of a row: the first, those at borders, the last. The least of their costs.
static double costs_of(const Rolling *r, int64_t row, double *restrict cost) {
    int64_t between = r->between[row], border = r->border[row];
    cost[0] = cost_at(r, row, r->begin[row]);
    cost[between + 1] = cost_at(r, row, r->last[row]);
    double least = cost[0] < cost[between + 1] ? cost[0] : cost[between + 1];
    int64_t whole = (int64_t)r->length[row];
    double part = r->length[row] - whole, power = r->power[row], gpus = r->gpus[row];
    const double *restrict w = r->per_w + border, *restrict ws = r->per_w_sum + border;
    const double *restrict g = r->per_gpu + border, *restrict gs = r->per_gpu_sum + border;
    for (int64_t k = 0; k < between; k++) {
        double energy = ws[k + whole] + part * w[k + whole] - ws[k];
        double busy = gs[k + whole] + part * g[k + whole] - gs[k];
        cost[k + 1] = power * energy + gpus * busy;
    }
    double other = least; // two at a time
    int64_t k = 1;
    for (; k < between; k += 2) {
        least = cost[k] < least ? cost[k] : least;
        other = cost[k + 1] < other ? cost[k + 1] : other;
    }
    if (k == between)
        least = cost[k] < least ? cost[k] : least;
    return other < least ? other : least;
}

// An amount that begins or ends within a slot, as differences of slot averages.
static inline void step(double *difference, double moment, double amount) {
    int64_t at = (int64_t)moment;
    double part = moment - at;
    difference[at] += amount * (1.0 - part);
    difference[at + 1] += amount * part;
}

static inline void run(const Rolling *r, double *difference, double begin, double length,
                       double amount) {
    double end = begin + length;
    step(difference, begin, amount);
    step(difference, end > r->slots ? r->slots : end, -amount);
}

// What the starts of a row use, `amount` in each at these odds.
static void spread(const Rolling *r, int64_t row, const double *restrict odds, double amount,
                   double *restrict difference) {
    int64_t between = r->between[row], border = r->border[row];
    double length = r->length[row];
    int64_t whole = (int64_t)length;
    if (odds[0] > 0.0)
        run(r, difference, r->begin[row], length, amount * odds[0]);
    if (odds[between + 1] > 0.0)
        run(r, difference, r->last[row], length, amount * odds[between + 1]);
    double *at = difference + border, first = amount * (1.0 - (length - whole)),
           second = amount * (length - whole);
    for (int64_t k = 0; k < between; k++)
        at[k] += amount * odds[k + 1];
    at += whole;
    for (int64_t k = 0; k < between; k++)
        at[k] -= first * odds[k + 1];
    for (int64_t k = 0; k < between; k++)
        at[k + 1] -= second * odds[k + 1];
}

// Costs become odds, those of the least being 1; their sum.
static double odds_of(double *cost, int64_t starts, double least, double heat) {
    double total = 0.0, most = least + NEVER * heat;
    for (int64_t k = 0; k < starts; k++) {
        if (cost[k] < most) {
            cost[k] = exp((least - cost[k]) / heat);
            total += cost[k];
        } else {
            cost[k] = 0.0;
        }
    }
    return total;
}

// What all takers cost at these prices (a soft minimum over their starts, times their weights).
// What each is expected to use is added to its row of `gpus` and, unless NULL, of `watts`, as
// differences over the slots: rows of slots + 2 entries.
double sr_use(const Rolling *r, double *gpus, double *watts) {
    double value = 0.0;
    int64_t wide = r->slots + 2;
    for (int64_t i = 0; i < r->takers; i++) {
        int64_t first = r->first[i], end = r->first[i + 1], to = r->target[i] * wide;
        double least = INFINITY, total = 0.0, *cost = r->cost;
        for (int64_t row = first; row < end; cost += r->between[row++] + 2) {
            double mine = costs_of(r, row, cost);
            least = mine < least ? mine : least;
        }
        total = odds_of(r->cost, cost - r->cost, least, r->heat[i]);
        value += r->weight[i] * (least - r->heat[i] * log(total));
        double often = r->weight[i] / total;
        const double *odds = r->cost;
        for (int64_t row = first; row < end; odds += r->between[row++] + 2) {
            spread(r, row, odds, often * r->gpus[row], gpus + to);
            if (watts)
                spread(r, row, odds, often * r->power[row], watts + to);
        }
    }
    return value;
}
