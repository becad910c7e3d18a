# SPDX-License-Identifier: Apache-2.0
"""One replica: vLLM's scheduler, iteration by iteration. Pure.

First come, first served; every running request gets a token, or the next chunk of its prompt,
before another is admitted, within `max_batched_tokens`. A request that finds no block evicts the
last admitted one, which begins anew at the head of the queue. A policy may change the order of
those that wait, and let an iteration compute fewer tokens of prompts.

The trap: nothing here may look at every request in every iteration. Decoding sequences end at a
step known beforehand, and share one clock of steps.
"""

import heapq
import math
from bisect import bisect_left, insort
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import chain, islice, takewhile

from serving.governor.engine import Batch, EngineModel
from serving.governor.protocol import MOST_ORDERED, Ended, Moment, Policy, Slo
from serving.replay.cache import Cache, blocks
from serving.replay.power import Meter
from serving.replay.requests import Request

__all__ = ["Replica", "Served"]

_SEEN = 16  # requests of the queue, and banks, that a policy sees


@dataclass(slots=True)
class Served:
    """A request on its way. `first_s` and `end_s` are None until they happen."""

    request: Request
    number: int
    prompt: int  # to be computed before the next token: the prompt, after an eviction also tokens
    computed: int = 0
    produced: int = 0
    first_s: float | None = None
    end_s: float | None = None
    evictions: int = 0
    joined: int = -1  # the step after which it began to decode
    born: int = 0  # the step of its first token, had it never been evicted


@dataclass
class Replica:
    """A replica under a policy."""

    engine: EngineModel
    policy: Policy
    slo: Slo
    start_s: float
    now_s: float = 0.0
    step: int = 0
    ended: list[Served] = field(default_factory=list)
    waiting: deque[Served] = field(default_factory=deque)
    running: dict[int, Served] = field(default_factory=dict)
    prefilling: dict[int, Served] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Idle, at the highest clock."""
        self.now_s = self.start_s
        self.meter = Meter(self.engine, self.start_s)
        self.cache = Cache(self.engine.kv_tokens)
        self._here: dict[int, Served] = {}  # by arrival
        self._ends: list[tuple[int, int]] = []
        self._banks: list[tuple[float, int]] = []  # of decoding sequences: their part of it, `born`
        self._context = 0  # tokens that decoding sequences read
        self._decodes = 0

    @property
    def load(self) -> int:
        """How busy it is, for whoever spreads requests: waiting ones count four times."""
        return len(self.running) + 4 * len(self.waiting)

    def submit(self, request: Request, number: int) -> None:
        """A request arrives; one that can never fit into the cache is refused, without a token."""
        served = Served(request, number, request.prompt_tokens)
        if blocks(request.prompt_tokens + request.output_tokens) > self.cache.size:
            self.ended.append(served)
            return
        if not self.running and not self.waiting:
            self._idle(request.arrival_s)
        self._here[number] = served
        self.waiting.append(served)

    def advance(self, until_s: float, most: float = math.inf) -> None:
        """Run the iterations that begin before a time, at most so many."""
        while self.now_s < until_s and most > 0 and (self.running or self.waiting):
            self._iterate()
            most -= 1

    def outlook(self) -> tuple[list[float], list[int]]:
        """Banks of all decoding requests, and the tokens that they will still get."""
        shared_s = self.step * self.slo.tpot_s - self.now_s
        decoding = [one for number, one in self.running.items() if number not in self.prefilling]
        return (
            [self._bank_key(one) + shared_s for one in decoding],
            [self._ends_at(one) - self.step for one in decoding],
        )

    def starting(self) -> list[int]:
        """Tokens that admitted requests without one will get."""
        return [
            one.request.output_tokens for one in self.prefilling.values() if one.first_s is None
        ]

    def finish(self, end_s: float) -> None:
        """Stay idle until the end of the trace."""
        self._idle(end_s)

    def _idle(self, until_s: float) -> None:
        if until_s > self.now_s:
            self.meter.idle(self.now_s, until_s, self.policy.park_after_s)
            self.now_s = until_s

    def _iterate(self) -> None:
        self._order()
        chunks = self._schedule(self._prompt_tokens())
        decodes = self._decodes
        moment = self._moment(
            [(one.request.cached_tokens + one.computed, new) for one, new in chunks]
        )
        self.meter.ask(self.policy.choose(moment), self.now_s)
        end_s = self.meter.run(moment.batch, self.now_s)
        self.policy.saw(moment, end_s - self.now_s)
        self.now_s = end_s
        self._decode(decodes)
        for one, new in chunks:
            self._prefill(one, new)

    def _moment(self, chunks: Sequence[tuple[int, int]]) -> Moment:
        decodes = self._decodes
        lowest, shared_s = self._banks[:_SEEN], self.step * self.slo.tpot_s - self.now_s
        return Moment(
            now_s=self.now_s,
            batch=Batch(decodes, self._context / decodes if decodes else 0.0, chunks),
            clock=self.meter.clock_at(self.now_s),
            settled_s=self.meter.settled_s,
            queue=self._queue(),
            waiting=len(self.waiting),
            banks_s=[key + shared_s for key, _ in lowest],
            made=[self.step - born + 1 for _, born in lowest],
            oldest_s=next(iter(self._here.values())).request.arrival_s,
        )

    def _order(self) -> None:
        """The policy's order among the first that wait and never ran."""
        if len(self.waiting) < 2 or not self.policy.orders:
            return
        first = list(islice(self.waiting, MOST_ORDERED))
        fresh = [one for one in first if not one.evictions]
        if len(fresh) < 2:
            return
        head = [one for one in first if one.evictions]
        begun = sum(one.prompt - one.computed for one in chain(self.prefilling.values(), head))
        prompts = [(one.request.arrival_s, one.prompt) for one in fresh]
        order = self.policy.order(self._moment(()), begun, prompts)
        for _ in first:
            self.waiting.popleft()
        self.waiting.extendleft(reversed([*head, *(fresh[number] for number in order)]))

    def _prompt_tokens(self) -> int | None:
        """So many tokens of prompts this iteration may compute; None: as many as fit."""
        if not self.policy.paces or not (self.prefilling or self.waiting):
            return None
        # Who was evicted is at the head of the queue.
        evicted = takewhile(lambda one: one.evictions, self.waiting)
        if any(one.first_s is not None for one in chain(self.prefilling.values(), evicted)):
            return None
        return self.policy.prompt_tokens(self._moment(()))

    def _queue(self) -> list[tuple[float, int]]:
        first = [
            (one.request.arrival_s, one.prompt - one.computed)
            for one in self.prefilling.values()
            if one.first_s is None
        ]
        room = _SEEN - len(first)
        if room > 0 and self.waiting:
            first += [
                (one.request.arrival_s, one.prompt)
                for one in islice(self.waiting, room)
                if one.first_s is None
            ]
        return first

    def _bank_key(self, one: Served) -> float:
        assert one.first_s is not None
        return one.first_s - one.born * self.slo.tpot_s

    def _schedule(self, most: int | None = None) -> list[tuple[Served, int]]:
        """What the next iteration computes of prompts, at most so many tokens; blocks are taken,
        decodes included.
        """
        evicted = False
        while self.cache.wanted(self.step) > self.cache.free and len(self.running) > 1:
            self._evict()
            evicted = True
        self.cache.free -= self.cache.wanted(self.step)
        budget = self.engine.max_batched_tokens - self._decodes
        if most is not None and (most > 0 or self._decodes):
            budget = min(budget, most)
        chunks = []
        for one in list(self.prefilling.values()):
            new = min(one.prompt - one.computed, budget)
            if new <= 0:
                break
            wanted = blocks(one.computed + new) - blocks(one.computed)
            if wanted > self.cache.free:
                break
            self.cache.free -= wanted
            budget -= new
            chunks.append((one, new))
        while self.waiting and budget > 0 and not evicted:
            one = self.waiting[0]
            new = min(one.prompt, budget)
            if len(self.running) >= self.engine.max_num_seqs or blocks(new) > self.cache.free:
                break
            self.waiting.popleft()
            self.cache.free -= blocks(new)
            budget -= new
            self.running[one.number] = self.prefilling[one.number] = one
            chunks.append((one, new))
        if not chunks and not self._decodes:
            # Prompts alone fill the cache: the last admitted gives way, the first goes on.
            self._evict()
            return self._schedule()
        return chunks

    def _evict(self) -> None:
        number, one = self.running.popitem()
        if number in self.prefilling:
            del self.prefilling[number]
            self.cache.free += blocks(one.computed)
        else:
            self._leave(one)
        one.prompt = one.request.prompt_tokens + one.produced
        one.computed = 0
        one.evictions += 1
        self.waiting.appendleft(one)

    def _decode(self, decodes: int) -> None:
        if not decodes:
            return
        self.step += 1
        self._context += decodes
        while self._ends and self._ends[0][0] <= self.step:
            _, number = heapq.heappop(self._ends)
            one = self.running.get(number)
            if one is None or number in self.prefilling or self._ends_at(one) != self.step:
                continue
            self._leave(one)
            del self.running[number]
            self._end(one)

    def _ends_at(self, one: Served) -> int:
        return one.born + one.request.output_tokens - 1

    def _leave(self, one: Served) -> None:
        """It no longer decodes."""
        done = self.step - one.joined
        self._decodes -= 1
        self._context -= one.request.cached_tokens + one.computed + done
        self.cache.leave(one.computed + done, self.step)
        one.produced += done
        del self._banks[bisect_left(self._banks, (self._bank_key(one), one.born))]

    def _prefill(self, one: Served, new: int) -> None:
        one.computed += new
        if one.computed < one.prompt:
            return
        del self.prefilling[one.number]
        one.produced += 1
        if one.first_s is None:
            one.first_s = self.now_s
        if one.produced == one.request.output_tokens:
            del self.running[one.number]
            self.cache.free += blocks(one.computed)
            self._end(one)
            return
        one.joined = self.step
        one.born = self.step - (one.produced - 1)
        self._decodes += 1
        self._context += one.request.cached_tokens + one.computed
        self.cache.join(one.computed, self.step)
        heapq.heappush(self._ends, (self._ends_at(one), one.number))
        insort(self._banks, (self._bank_key(one), one.born))

    def _end(self, one: Served) -> None:
        del self._here[one.number]
        one.end_s = self.now_s
        one.produced = one.request.output_tokens
        self.ended.append(one)
        assert one.first_s is not None
        request = one.request
        self.policy.finished(
            Ended(
                request.arrival_s, one.first_s, one.end_s, one.produced, request.prompt_tokens,
                cached_tokens=request.cached_tokens,
            )
        )  # fmt: skip
