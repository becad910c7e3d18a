// SPDX-License-Identifier: Apache-2.0
// Replicas as serving/replay/replica.py has them, with clocks and power that change under them.
#ifndef SLURM_GREEN_REPLAY_FLEET_H
#define SLURM_GREEN_REPLAY_FLEET_H

#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

enum { BLOCK = 16, NONE = -1 };
enum { OFF, PARKED, AWAKE };

// Fields as in kernel/__init__.py, in this order. Tables have one row per clock.
typedef struct {
    int64_t clocks, batches, contexts, points, powers;
    int64_t blocks, max_batched, max_seqs;
    double switch_s, parked_w;
    const double *batch, *context, *log_batch, *log_context, *times, *watts;
    const double *tokens, *added, *fixed, *log_tokens, *prompt_w;
    const double *least, *idle_w;
} Model;

// What a request brings and what became of it; one entry per request, owned by the caller.
typedef struct {
    int64_t count;
    double patience;
    const double *arrival;
    const int32_t *prompt, *output;
    double *first, *end;
    int32_t *produced;
} Requests;

// Where a request stands in its replica. `need` is to be computed before its next token.
typedef struct {
    double at;
    int32_t need, computed, joined, born;
    int32_t next, before, next_prompt, before_prompt;
} Place;

typedef struct {
    int32_t head, tail, count;
} List;

typedef struct {
    int32_t step, request;
} End;

typedef struct {
    int32_t request, cached, fresh;
} Chunk;

typedef struct {
    int64_t state, clock, wanted;
    double settled;
    // Energy up to `mark`, drawn at `watts` since.
    double mark, watts, energy;
    // The iteration that runs: `left` of it at `since`, `whole` seconds long at this clock.
    // `event` is when it ends, or the clock switches before that, or a request comes.
    int64_t busy, switching;
    double left, since, whole, event, now;
    int64_t step, decodes, context, free, queued;
    int64_t due[BLOCK];
    List inbox, waiting, running, prompts;
    End *ends;
    int64_t end_count, end_room;
    Chunk *chunks;
    int64_t chunk_count, chunk_room;
} Replica;

typedef struct {
    const Model *m;
    const Requests *q;
    Place *place;
    Replica *replica;
    int64_t count;
    // For the caller: by replica running, waiting, queued tokens, blocks in use; watts; joules.
    int64_t *view;
    double *watts, *energy;
    // Requests that ended since the caller last looked, with their replica.
    int32_t *done, *done_at;
    int64_t done_count;
    int64_t failed; // out of memory
} Fleet;

static inline int64_t blocks(int64_t tokens) { return (tokens + BLOCK - 1) / BLOCK; }

#endif
