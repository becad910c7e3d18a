// SPDX-License-Identifier: Apache-2.0
// What one iteration schedules and what it leaves behind: replica.py's Replica.

#include "fleet.h"

static int32_t ends_at(const Fleet *f, int32_t one) {
    return f->place[one].born + f->q->output[one] - 1;
}

// It no longer decodes.
static void leave(Fleet *f, Replica *r, int32_t one) {
    Place *p = f->place + one;
    int64_t done = r->step - p->joined, held = p->computed + done;
    r->decodes--;
    r->context -= held;
    r->due[((r->step - held) % BLOCK + BLOCK) % BLOCK]--;
    r->free += blocks(held);
    f->q->produced[one] += (int32_t)done;
    p->joined = NONE;
}

static int in_prompt(const Fleet *f, int32_t one) {
    return f->place[one].computed < f->place[one].need;
}

// It has no blocks any more; what it produced stays its own.
static void give_up(Fleet *f, Replica *r, int32_t one) {
    Place *p = f->place + one;
    take_out(f, &r->running, one);
    if (in_prompt(f, one)) {
        take_out_prompt(f, &r->prompts, one);
        r->free += blocks(p->computed);
        r->queued -= p->need;
    } else {
        leave(f, r, one);
    }
    p->need = f->q->prompt[one] + f->q->produced[one];
    p->computed = 0;
}

static void evict(Fleet *f, Replica *r) {
    int32_t one = r->running.tail;
    give_up(f, r, one);
    r->queued += f->place[one].need;
    put_first(f, &r->waiting, one);
}

static void finish(Fleet *f, int64_t replica, int32_t one) {
    f->q->end[one] = f->replica[replica].now;
    f->q->produced[one] = f->q->output[one];
    f->done[f->done_count] = one;
    f->done_at[f->done_count++] = (int32_t)replica;
}

// Clients that waited too long for their first token have gone.
static void let_go(Fleet *f, Replica *r) {
    while (r->waiting.head != NONE) {
        int32_t one = r->waiting.head;
        if (!isnan(f->q->first[one]) || r->now - f->q->arrival[one] <= f->q->patience)
            return;
        take_out(f, &r->waiting, one);
        r->queued -= f->place[one].need;
    }
}

static void arrive(Fleet *f, Replica *r) {
    while (r->inbox.head != NONE && f->place[r->inbox.head].at <= r->now) {
        int32_t one = r->inbox.head;
        take_out(f, &r->inbox, one);
        append(f, &r->waiting, one);
    }
    let_go(f, r);
}

// What the next iteration computes of prompts; blocks are taken, decodes included.
static void schedule(Fleet *f, Replica *r) {
    const Model *m = f->m;
    for (;;) {
        int evicted = 0;
        while (r->due[r->step % BLOCK] > r->free && r->running.count > 1) {
            evict(f, r);
            evicted = 1;
        }
        r->free -= r->due[r->step % BLOCK];
        int64_t budget = m->max_batched - r->decodes;
        r->chunk_count = 0;
        for (int32_t one = r->prompts.head; one != NONE; one = f->place[one].next_prompt) {
            Place *p = f->place + one;
            int64_t fresh = p->need - p->computed;
            fresh = fresh < budget ? fresh : budget;
            int64_t wanted = blocks(p->computed + fresh) - blocks(p->computed);
            if (fresh <= 0 || wanted > r->free)
                break;
            r->free -= wanted;
            budget -= fresh;
            push_chunk(f, r, (Chunk){one, p->computed, (int32_t)fresh});
        }
        while (r->waiting.head != NONE && budget > 0 && !evicted) {
            int32_t one = r->waiting.head;
            int64_t fresh = f->place[one].need;
            fresh = fresh < budget ? fresh : budget;
            if (r->running.count >= m->max_seqs || blocks(fresh) > r->free)
                break;
            take_out(f, &r->waiting, one);
            r->free -= blocks(fresh);
            budget -= fresh;
            append(f, &r->running, one);
            append_prompt(f, &r->prompts, one);
            push_chunk(f, r, (Chunk){one, 0, (int32_t)fresh});
            let_go(f, r);
        }
        if (r->chunk_count || r->decodes || f->failed)
            return;
        // Prompts alone fill the cache: the last admitted gives way, the first goes on.
        evict(f, r);
    }
}

static void decoded(Fleet *f, int64_t replica) {
    Replica *r = f->replica + replica;
    if (!r->decodes)
        return;
    r->step++;
    r->context += r->decodes;
    while (r->end_count && r->ends[0].step <= r->step) {
        int32_t one = r->ends[0].request, step = r->ends[0].step;
        pop_end(r);
        // Stale where it was evicted since.
        if (f->place[one].joined == NONE || ends_at(f, one) != step)
            continue;
        leave(f, r, one);
        take_out(f, &r->running, one);
        finish(f, replica, one);
    }
}

static void computed(Fleet *f, int64_t replica, Chunk chunk) {
    Replica *r = f->replica + replica;
    int32_t one = chunk.request;
    Place *p = f->place + one;
    p->computed += chunk.fresh;
    if (p->computed < p->need)
        return;
    take_out_prompt(f, &r->prompts, one);
    r->queued -= p->need;
    f->q->produced[one]++;
    if (isnan(f->q->first[one]))
        f->q->first[one] = r->now;
    if (f->q->produced[one] == f->q->output[one]) {
        take_out(f, &r->running, one);
        r->free += blocks(p->computed);
        finish(f, replica, one);
        return;
    }
    p->joined = (int32_t)r->step;
    p->born = (int32_t)(r->step - (f->q->produced[one] - 1));
    r->decodes++;
    r->context += p->computed;
    r->due[((r->step - p->computed) % BLOCK + BLOCK) % BLOCK]++;
    push_end(f, r, (End){ends_at(f, one), one});
}
