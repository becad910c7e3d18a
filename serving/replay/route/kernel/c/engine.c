// SPDX-License-Identifier: Apache-2.0
// How long an iteration takes and what it draws: serving/governor/engine.py's EngineModel.

#include "fleet.h"

// The cell of an axis that holds a value, and how far into it; held at both ends.
static int64_t place_on(const double *axis, int64_t count, double at, double *far) {
    if (count == 1 || at <= axis[0]) {
        *far = 0;
        return 0;
    }
    if (at >= axis[count - 1]) {
        *far = 1;
        return count - 2;
    }
    int64_t low = 0, high = count - 1;
    while (high - low > 1) {
        int64_t middle = (low + high) / 2;
        if (axis[middle] <= at)
            low = middle;
        else
            high = middle;
    }
    *far = (at - axis[low]) / (axis[low + 1] - axis[low]);
    return low;
}

static double along(const double *axis, const double *values, int64_t count, double at) {
    double far;
    if (count == 1)
        return values[0];
    int64_t i = place_on(axis, count, at, &far);
    return values[i] + far * (values[i + 1] - values[i]);
}

static double mixed(const double *table, int64_t width, int64_t i, double u, int64_t j, double v) {
    const double *low = table + i * width, *high = low + width;
    double below = low[j] + v * (low[j + 1] - low[j]);
    return below + u * (high[j] + v * (high[j + 1] - high[j]) - below);
}

static double decode_s(const Model *m, double batch, double context, int64_t clock) {
    double u, v;
    int64_t i = place_on(m->batch, m->batches, batch, &u);
    int64_t j = place_on(m->context, m->contexts, context, &v);
    return mixed(m->times + clock * m->batches * m->contexts, m->contexts, i, u, j, v);
}

static double decode_w(const Model *m, double batch, double context, int64_t clock) {
    double u, v;
    int64_t i = place_on(m->log_batch, m->batches, log(batch), &u);
    int64_t j = place_on(m->log_context, m->contexts, log1p(context), &v);
    return mixed(m->watts + clock * m->batches * m->contexts, m->contexts, i, u, j, v);
}

static double added_s(const Model *m, double cached, double fresh, int64_t clock) {
    const double *row = m->added + clock * m->points;
    return along(m->tokens, row, m->points, cached + fresh) -
           along(m->tokens, row, m->points, cached);
}

static void time_and_power(const Model *m, const Replica *r, double *seconds, double *watts) {
    double decoding = 0, prompts = 0, tokens = 0;
    double context = r->decodes ? (double)r->context / r->decodes : 0;
    int64_t clock = r->clock;
    if (r->decodes)
        decoding = decode_s(m, r->decodes, context, clock);
    if (!r->chunk_count) {
        *seconds = decoding;
        *watts = decode_w(m, r->decodes, context, clock);
        return;
    }
    for (int64_t k = 0; k < r->chunk_count; k++) {
        prompts += added_s(m, r->chunks[k].cached, r->chunks[k].fresh, clock);
        tokens += r->chunks[k].fresh;
    }
    prompts += m->fixed[clock];
    if (prompts < m->least[clock])
        prompts = m->least[clock];
    double over = decoding - m->least[clock];
    *seconds = prompts + (over > 0 ? over : 0);
    *watts = along(m->log_tokens, m->prompt_w + clock * m->powers, m->powers, log1p(tokens));
    if (r->decodes) {
        double plain = decode_w(m, r->decodes, context, clock);
        *watts = plain + (*watts - plain) * prompts / *seconds;
    }
}
