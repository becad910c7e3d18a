// SPDX-License-Identifier: Apache-2.0
// What takers cost and use at some prices: rolling_use.py's work, some thirty times faster.

#include <math.h>
#include <stdint.h>
#include <string.h>

// Wider registers where the machine that runs it has them; not fused, so that the bits are alike.
#if defined(__x86_64__) && defined(__GLIBC__) && defined(__GNUC__) && !defined(__clang__)
#define WIDE __attribute__((target_clones("avx2", "default")))
#else
#define WIDE
#endif
#if defined(__GNUC__)
#define INLINE static inline __attribute__((always_inline))
#else
#define INLINE static inline
#endif

// Fields as in kernel/__init__.py. A taker has the rows from `first` on: a shape each, which may
// start at `begin`, at `between` slot borders from `border` on, and at `last`; positions in slots.
// Prices and their integrals have slots + 1 entries; `cost` has room for the starts of a taker, and
// one more entry in each row.
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

// What costs so many times the heat more than the least is not taken (4e-11).
static const double NEVER = 24.0, NOT_TAKEN = -100.0;

INLINE double until(const double *value, const double *sum, int64_t slots, double moment) {
    int64_t at = (int64_t)moment;
    at = at > slots ? slots : at;
    return sum[at] + (moment - at) * value[at];
}

INLINE double cost_at(const Rolling *r, int64_t row, double begin) {
    double end = begin + r->length[row];
    end = end > r->slots ? r->slots : end;
    double energy = until(r->per_w, r->per_w_sum, r->slots, end)
                    - until(r->per_w, r->per_w_sum, r->slots, begin);
    double busy = until(r->per_gpu, r->per_gpu_sum, r->slots, end)
                  - until(r->per_gpu, r->per_gpu_sum, r->slots, begin);
    return r->power[row] * energy + r->gpus[row] * busy;
}

// The least of some values, at least one.
INLINE double least_of(const double *value, int64_t count) {
    double least[4] = {value[0], value[0], value[0], value[0]}; // four at a time
    int64_t k = 0;
    for (; k + 4 <= count; k += 4)
        for (int64_t j = 0; j < 4; j++)
            least[j] = value[k + j] < least[j] ? value[k + j] : least[j];
    for (; k < count; k++)
        least[0] = value[k] < least[0] ? value[k] : least[0];
    for (int64_t j = 1; j < 4; j++)
        least[0] = least[j] < least[0] ? least[j] : least[0];
    return least[0];
}

// All starts of a row: the first, those at borders, the last. The least of their costs.
INLINE double costs_of(const Rolling *r, int64_t row, double *restrict cost) {
    int64_t between = r->between[row], border = r->border[row];
    cost[0] = cost_at(r, row, r->begin[row]);
    cost[between + 1] = cost_at(r, row, r->last[row]);
    int64_t whole = (int64_t)r->length[row];
    double part = r->length[row] - whole, power = r->power[row], gpus = r->gpus[row];
    const double *restrict w = r->per_w + border, *restrict ws = r->per_w_sum + border;
    const double *restrict g = r->per_gpu + border, *restrict gs = r->per_gpu_sum + border;
    for (int64_t k = 0; k < between; k++) {
        double energy = ws[k + whole] + part * w[k + whole] - ws[k];
        double busy = gs[k + whole] + part * g[k + whole] - gs[k];
        cost[k + 1] = power * energy + gpus * busy;
    }
    return least_of(cost, between + 2);
}

// Less than any start of the row costs, where no price is less than these.
INLINE double bound_of(const Rolling *r, int64_t row, double per_w, double per_gpu) {
    return r->length[row] * (r->power[row] * per_w + r->gpus[row] * per_gpu) * (1.0 - 1e-9);
}

// An amount that begins or ends within a slot, as differences of slot averages.
INLINE void step(double *difference, double moment, double amount) {
    int64_t at = (int64_t)moment;
    double part = moment - at;
    difference[at] += amount * (1.0 - part);
    difference[at + 1] += amount * part;
}

INLINE void run(const Rolling *r, double *difference, double begin, double length,
                double amount) {
    double end = begin + length;
    step(difference, begin, amount);
    step(difference, end > r->slots ? r->slots : end, -amount);
}

// What the starts of a row use, `amount` in each at these odds.
INLINE void spread(const Rolling *r, int64_t row, const double *restrict odds, double amount,
                   double *restrict difference) {
    int64_t between = r->between[row], border = r->border[row];
    double length = r->length[row];
    int64_t whole = (int64_t)length;
    run(r, difference, r->begin[row], length, amount * odds[0]);
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

// exp(x) for -700 < x <= 0, right to the last bit or two, in steps that a compiler does for several
// at once: x = n log 2 + rest, and the series of exp(rest).
INLINE double exp_of(double x) {
    static const double SHIFT = 0x1.8p52; // what is added to it is rounded to a whole number
    double shifted = x * 0x1.71547652b82fep0 + SHIFT, n = shifted - SHIFT;
    double rest = (x - n * 0x1.62e42fee00000p-1) - n * 0x1.a39ef35793c76p-33;
    double sum = 1.0 / 479001600;
    sum = sum * rest + 1.0 / 39916800;
    sum = sum * rest + 1.0 / 3628800;
    sum = sum * rest + 1.0 / 362880;
    sum = sum * rest + 1.0 / 40320;
    sum = sum * rest + 1.0 / 5040;
    sum = sum * rest + 1.0 / 720;
    sum = sum * rest + 1.0 / 120;
    sum = sum * rest + 1.0 / 24;
    sum = sum * rest + 1.0 / 6;
    sum = sum * rest + 0.5;
    sum = sum * rest + 1.0;
    sum = sum * rest + 1.0;
    uint64_t bits;
    memcpy(&bits, &shifted, sizeof bits);
    bits = (bits + 1023) << 52;
    double power;
    memcpy(&power, &bits, sizeof power);
    return sum * power;
}

// The costs of a row become odds, those of the least of its taker being 1; their sum.
INLINE double odds_of(double *restrict cost, int64_t starts, double least, double heat) {
    double total[4] = {0.0, 0.0, 0.0, 0.0};
    int64_t k = 0;
    for (; k < starts; k++) {
        double x = (least - cost[k]) / heat;
        cost[k] = x < -NEVER ? NOT_TAKEN : x;
    }
    for (k = 0; k < starts; k++)
        cost[k] = exp_of(cost[k]);
    for (k = 0; k + 4 <= starts; k += 4)
        for (int64_t j = 0; j < 4; j++)
            total[j] += cost[k + j];
    for (; k < starts; k++)
        total[0] += cost[k];
    return (total[0] + total[1]) + (total[2] + total[3]);
}

// What all takers cost at these prices (a soft minimum over their starts, times their weights).
// What each is expected to use is added to its row of `gpus` and, unless NULL, of `watts`, as
// differences over the slots: rows of slots + 2 entries.
WIDE double sr_use(const Rolling *r, double *gpus, double *watts) {
    double value = 0.0;
    int64_t wide = r->slots + 2;
    for (int64_t i = 0; i < r->takers; i++) {
        int64_t first = r->first[i], end = r->first[i + 1], to = r->target[i] * wide;
        double heat = r->heat[i], total = 0.0, *cost = r->cost;
        // The slots that its runs may meet.
        int64_t from = (int64_t)r->begin[first], count = 0;
        for (int64_t row = first; row < end; row++) {
            int64_t met = (int64_t)(r->last[row] + r->length[row]) + 1 - from;
            count = met > count ? met : count;
        }
        count = from + count > r->slots ? r->slots - from : count;
        double least_w = least_of(r->per_w + from, count);
        double least_gpu = least_of(r->per_gpu + from, count);
        // A row's last entry is the least of its costs, or infinite where that is out of reach.
        double least = INFINITY;
        for (int64_t row = first; row < end; row++) {
            double *mine = cost + r->between[row] + 2;
            *mine = INFINITY;
            if (bound_of(r, row, least_w, least_gpu) <= least + NEVER * heat)
                *mine = costs_of(r, row, cost);
            least = *mine < least ? *mine : least;
            cost = mine + 1;
        }
        cost = r->cost;
        for (int64_t row = first; row < end; row++) {
            double *mine = cost + r->between[row] + 2;
            if (*mine <= least + NEVER * heat)
                total += odds_of(cost, r->between[row] + 2, least, heat);
            else
                *mine = INFINITY;
            cost = mine + 1;
        }
        value += r->weight[i] * (least - heat * log(total));
        double often = r->weight[i] / total;
        const double *odds = r->cost;
        for (int64_t row = first; row < end; row++) {
            const double *mine = odds + r->between[row] + 2;
            if (*mine < INFINITY) {
                spread(r, row, odds, often * r->gpus[row], gpus + to);
                if (watts)
                    spread(r, row, odds, often * r->power[row], watts + to);
            }
            odds = mine + 1;
        }
    }
    return value;
}

// The size of what Python hands over: a library of another source is known by it.
const int64_t sg_sizes[] = {sizeof(Rolling), 0};
