# SPDX-License-Identifier: Apache-2.0
"""vLLM's scheduler written out, token by token, at one clock: to compare the replica with."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from serving.governor.engine import Batch, EngineModel
from serving.replay.requests import Request


@dataclass
class Going:
    """One request with everything it holds."""

    request: Request
    computed: int = 0
    produced: int = 0
    decodes: bool = False  # its prompt is done
    again: bool = False  # it was evicted
    first_s: float | None = None
    end_s: float | None = None

    @property
    def needed(self) -> int:
        """Tokens to be in the cache before the next one comes out."""
        return self.request.prompt_tokens + self.produced


def serve(
    requests: Sequence[Request],
    engine: EngineModel,
    clock: int,
    paces: Callable[[int, int], int | None] = lambda decodes, waiting: None,
    orders: Callable[[int, Sequence[tuple[float, int]]], Sequence[int]] | None = None,
) -> list[Going]:
    """All requests to their end; with so many tokens of prompts by who decodes and who waits, and
    those that wait and never ran in an order by what is begun and what they are.
    """
    blocks = engine.kv_tokens // 16
    todo = [Going(one) for one in requests]
    everything = list(todo)
    waiting: list[Going] = []
    running: list[Going] = []
    now_s = 0.0

    def held() -> int:
        return sum(math.ceil(one.computed / 16) for one in running)

    def evict() -> None:
        one = running.pop()
        one.computed, one.decodes, one.again = 0, False, True
        waiting.insert(0, one)

    while todo or waiting or running:
        while todo and todo[0].request.arrival_s <= now_s:
            waiting.append(todo.pop(0))
        if not waiting and not running:
            now_s = todo[0].request.arrival_s
            continue
        evicted, decodes = False, sum(one.decodes for one in running)
        most = None
        anew = any(one.first_s for one in (*running, *waiting) if not one.decodes)
        fresh = [one for one in waiting[:64] if not one.again]
        if orders and len(fresh) > 1:
            again = [one for one in waiting[:64] if one.again]
            left = sum(one.needed - one.computed for one in (*running, *again) if not one.decodes)
            prompts = [(one.request.arrival_s, one.needed) for one in fresh]
            numbers = orders(left, prompts)
            waiting = [*again, *(fresh[k] for k in numbers), *waiting[64:]]
        if not anew and (waiting or decodes < len(running)):
            most = paces(decodes, len(waiting))
        while True:
            extra = sum(one.decodes and one.computed % 16 == 0 for one in running)
            if held() + extra <= blocks or len(running) <= 1:
                break
            evict()
            evicted = True
        free = blocks - held() - extra
        decoding = [one for one in running if one.decodes]
        budget = engine.max_batched_tokens - len(decoding)
        if most is not None and (most > 0 or decoding):
            budget = min(budget, most)
        chunks = []
        for one in [one for one in running if not one.decodes]:
            new = min(one.needed - one.computed, budget)
            wanted = math.ceil((one.computed + new) / 16) - math.ceil(one.computed / 16)
            if new <= 0 or wanted > free:
                break
            free, budget = free - wanted, budget - new
            chunks.append((one, new))
        while waiting and budget > 0 and not evicted:
            one = waiting[0]
            new = min(one.needed, budget)
            if len(running) >= engine.max_num_seqs or math.ceil(new / 16) > free:
                break
            running.append(waiting.pop(0))
            free, budget = free - math.ceil(new / 16), budget - new
            chunks.append((one, new))
        if not chunks and not decoding:
            evict()
            continue
        context = sum(one.computed for one in decoding) / max(len(decoding), 1)
        batch = Batch(len(decoding), context, [(one.computed, new) for one, new in chunks])
        now_s += engine.time_s(batch, clock)
        for one in decoding:
            one.computed += 1
            one.produced += 1
        for one, new in chunks:
            one.computed += new
            if one.computed == one.needed:
                one.produced, one.decodes = one.produced + 1, True
                one.first_s = one.first_s or now_s
        for one in list(running):
            if one.produced == one.request.output_tokens:
                one.end_s = now_s
                running.remove(one)
    return everything
