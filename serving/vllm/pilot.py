# SPDX-License-Identifier: Apache-2.0
"""From what a scheduler does to what a policy sees, and from its answer to a wish for a clock.

Knows nothing of vLLM's modules: requests are whatever has the numbers of `Tracked`. With
batches queued ahead, a batch is taken to begin when the one before it ends, and the clock is the
higher of both wishes. The trap: all this runs in front of every iteration. Pure.
"""

from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice

from serving.governor.engine import Batch, EngineModel
from serving.governor.protocol import Ended, Moment, Policy, Slo
from serving.vllm.parts import Clocks, Running, Tracked, Waiting
from serving.vllm.reading import SEEN, Live, Reading, most_urgent
from serving.vllm.share import Iteration

__all__ = ["Pilot"]

_LEARN = 0.05  # of each prompt


@dataclass(slots=True)
class _Flight:
    key: object
    asked_s: float
    free_s: float  # when it is expected to end
    iteration: Iteration
    moment: Moment | None
    choice: int


class Pilot:
    """One replica; without a policy it only watches. `ran` and `over` get what is accounted.

    `highest_mhz` is the GPUs' own highest clock.
    """

    def __init__(
        self,
        clocks: Clocks,
        *,
        slo: Slo,
        engine: EngineModel | None,
        policy: Policy | None,
        ran: Callable[[Iteration], None],
        over: Callable[[str, str], None],
        failed: Callable[[Exception], None],
        highest_mhz: int | None = None,
    ) -> None:
        self.policy = policy
        self.paced = self.reordered = 0  # steps: tokens limited, another order among who waits
        self._clocks = clocks
        self._slo = slo
        self._engine = engine
        self._mhz = [round(one) for one in engine.clocks_mhz] if engine is not None else [0]
        self._high = len(self._mhz) - 1
        if highest_mhz is not None:
            # Whoever wants all speed gets all, also beyond what the profile tells of.
            self._mhz[-1] = max(self._mhz[-1], highest_mhz)
        self._ran, self._over, self._failed = ran, over, failed
        self._live: dict[str, Live] = {}
        self._tokenless: dict[str, Live] = {}  # in the order of service
        self._read: Reading | None = None  # before the batch that is being scheduled
        self._flying: deque[_Flight] = deque()
        self._end_s = float("-inf")
        self._fresh = 1.0  # of a prompt's tokens, that the cache does not have; on average

    @property
    def busy(self) -> bool:
        """Whether a batch runs."""
        return bool(self._flying)

    def arrived(self, name: str, request: Tracked, arrival_s: float) -> None:
        """A request is in the queue."""
        self._live[name] = self._tokenless[name] = Live(request, arrival_s)

    def prompts(
        self, now_s: float, running: Sequence[Running], first: Sequence[Waiting], waiting: int
    ) -> tuple[list[Waiting] | None, int | None]:
        """Of the batch about to be scheduled: in which order the first that wait should come, and
        how many tokens it may have; None: as they are, and as many as fit. So many wait in all.
        """
        self._read = None
        policy = self.policy
        if policy is None or not (policy.paces or policy.orders) or not self._tokenless:
            return None, None
        begin_s = max(now_s, self._flying[-1].free_s) if self._flying else now_s
        begun = len(self._live) - len(self._tokenless)
        read = Reading.of(running, self._live, begun, begin_s, self._slo.tpot_s)
        self._read = read
        moment = self._moment(begin_s, read.batch, self._clock(), {}, waiting, read.banks)
        order = tokens = None
        try:
            if policy.orders and len(first) > 1:
                order = self._order(policy, moment, first)
            if policy.paces and read.plain:
                if order is not None:
                    moment.queue = self._queue({})
                tokens = policy.prompt_tokens(moment)
        except Exception as error:
            self.give_up(error)
            return None, None
        decodes = read.batch.decodes
        if tokens is None or tokens + decodes < 1:
            return order, None
        self.paced += 1
        return order, decodes + tokens

    def _order(
        self, policy: Policy, moment: Moment, first: Sequence[Waiting]
    ) -> list[Waiting] | None:
        """The policy's, of those that never ran; others stay, and begin anew before them."""
        places, prompts, again = [], [], 0
        known, fresh = self._tokenless, self._fresh
        for place, request in enumerate(first):
            one = known.get(request.request_id)
            if one is not None and one.cached is None:
                places.append(place)
                prompts.append((one.arrival_s, round(request.num_prompt_tokens * fresh)))
            else:
                again += request.num_prompt_tokens + request.num_output_tokens
        if len(places) < 2:
            return None
        behind = {request.request_id for request in first}
        served = {}
        for name, one in known.items():
            if name in behind:
                break
            served[name] = one
            again += max(one.request.num_prompt_tokens - one.request.num_computed_tokens, 0)
        numbers = list(policy.order(moment, again, prompts))
        same = list(range(len(places)))
        if numbers == same:
            return None
        if sorted(numbers) != same:
            raise ValueError(f"{numbers} is no order of {len(places)} prompts")
        self.reordered += 1
        found = list(first)
        for place, number in zip(places, numbers, strict=True):
            found[place] = first[places[number]]
        names = [one.request_id for one in found if one.request_id in known]
        self._tokenless = served | {name: known[name] for name in names} | known
        return found

    def scheduled(
        self,
        now_s: float,
        counts: Mapping[str, int],
        key: object,
        waiting: int,
        held: float | None = None,
    ) -> None:
        """A batch is about to run: new tokens by request; `key` is given again when it ends.

        `held` is the share of the cache that is taken, this batch included; None: not known.
        """
        begin_s = max(now_s, self._flying[-1].free_s) if self._flying else now_s
        clock = self._clock()
        iteration, urgent = self._iteration(begin_s, clock, counts)
        if not iteration.decodes and not iteration.chunks:
            return
        flight = _Flight(key, now_s, begin_s, iteration, None, self._high)
        if self._engine is not None:
            flight.free_s = begin_s + self._engine.time_s(iteration.batch, clock)
        if self.policy is not None:
            try:
                flight.moment = self._moment(
                    begin_s, iteration.batch, clock, counts, waiting, urgent
                )
                flight.moment.held = held
                flight.choice = self.policy.choose(flight.moment)
                before = self._flying[-1].choice if self._flying else 0
                self._clocks.ask(self._mhz[max(flight.choice, before)])
            except Exception as error:
                self.give_up(error)
        self._flying.append(flight)
        self._clocks.work()

    def done(self, now_s: float, key: object, finished: Iterable[str]) -> None:
        """That batch has run, and these requests have all their tokens."""
        flight = self._landed(key)
        if flight is not None:
            iteration = flight.iteration
            iteration.begin_s = max(flight.asked_s, self._end_s)
            iteration.end_s = self._end_s = now_s
            for name, _, _ in iteration.chunks:
                live = self._tokenless.get(name)
                if live is not None and live.request.num_output_tokens > 0:
                    live.first_s = now_s
                    del self._tokenless[name]
            self._ran(iteration)
            if self.policy is not None and flight.moment is not None:
                moment = flight.moment
                moment.now_s, moment.clock = iteration.begin_s, self._clock()
                moment.settled_s = self._settled_s(now_s)
                try:
                    self.policy.saw(moment, now_s - moment.now_s)
                except Exception as error:
                    self.give_up(error)
        self.ended(now_s, finished, "finished")

    def ended(self, now_s: float, names: Iterable[str], end: str) -> None:
        """Requests are "finished", "aborted", or "stopped"; said twice, the first counts.

        Of who met a stop string the engine hears an iteration later, or so: it is finished since
        its last token came.
        """
        self._read = None
        for name in names:
            live = self._live.pop(name, None)
            if live is None:
                continue
            self._tokenless.pop(name, None)
            self._over(name, "finished" if end == "stopped" else end)
            if self.policy is None or live.first_s is None:
                continue
            request, finished = live.request, end != "aborted"
            end_s = now_s if end != "stopped" else max(live.first_s, min(self._end_s, now_s))
            prompt = request.num_prompt_tokens
            cached = min(live.cached or 0, prompt - 1)
            try:
                self.policy.finished(
                    Ended(
                        live.arrival_s, live.first_s, end_s, request.num_output_tokens,
                        prompt - cached, finished, cached,
                    )
                )  # fmt: skip
            except Exception as error:
                self.give_up(error)
        if not self._live:
            park_s = self.policy.park_after_s if self.policy is not None else None
            self._clocks.rest(None if park_s is None else (park_s, self._mhz[0]))

    def give_up(self, error: Exception) -> None:
        """No policy from now on; clocks go back."""
        self.policy = None
        self._clocks.ask(None)
        self._failed(error)

    def _landed(self, key: object) -> _Flight | None:
        """The batch of that key; what was queued before it never ran."""
        while self._flying:
            flight = self._flying.popleft()
            if flight.key is key:
                return flight
        return None

    def _clock(self) -> int:
        """The clock in effect; without a lease it is nobody's but the highest."""
        holds_mhz = self._clocks.holds_mhz
        if holds_mhz is None or self._engine is None:
            return self._high
        return self._engine.index(holds_mhz)

    def _settled_s(self, now_s: float) -> float:
        assert self._engine is not None
        since_s = now_s if self._clocks.pending else self._clocks.since_s
        return since_s + self._engine.switch_latency_s

    def _iteration(
        self, begin_s: float, clock: int, counts: Mapping[str, int]
    ) -> tuple[Iteration, list[tuple[float, int]]]:
        """What the batch is, and of the most urgent decodes until when each may end, and the
        tokens it has.
        """
        decodes: list[tuple[str, int]] = []
        urgent: list[tuple[float, int]] = []
        chunks, lasts_s, made, context = [], [], [], 0
        read, self._read = self._read, None
        if read is not None and read.begins(counts):
            decodes, urgent = list(zip(read.names, read.held, strict=True)), read.urgent
            context = sum(read.held)
        live, tpot_s = self._live, self._slo.tpot_s
        for name, new in islice(counts.items(), len(decodes), None):
            one = live.get(name)
            if one is None:
                continue
            request = one.request
            held = request.num_computed_tokens - new
            if one.cached is None:
                one.cached = held
                self._fresh += _LEARN * (1 - held / max(request.num_prompt_tokens, 1) - self._fresh)
            further = held - request.num_prompt_tokens
            if new > 1 or further < 0:
                chunks.append((name, held, new))
                continue
            decodes.append((name, held))
            context += held
            if one.first_s is not None:
                lasts_s.append(one.first_s + further * tpot_s)
                made.append(further + 1)
        count = len(decodes)
        batch = Batch(
            count, context / count if count else 0.0, [(held, new) for _, held, new in chunks]
        )
        iteration = Iteration(begin_s, begin_s, clock, batch, decodes, chunks)
        return iteration, sorted(urgent + most_urgent(lasts_s, made))[:SEEN]

    def _moment(
        self,
        begin_s: float,
        batch: Batch,
        clock: int,
        counts: Mapping[str, int],
        waiting: int,
        urgent: list[tuple[float, int]],
    ) -> Moment:
        return Moment(
            now_s=begin_s,
            batch=batch,
            clock=clock,
            settled_s=self._settled_s(begin_s),
            queue=self._queue(counts),
            waiting=waiting,
            banks_s=[last_s - begin_s for last_s, _ in urgent],
            made=[made for _, made in urgent],
            oldest_s=next(iter(self._live.values())).arrival_s,
        )

    def _queue(self, counts: Mapping[str, int]) -> list[tuple[float, int]]:
        """The first without a token in the order of service: arrivals, and tokens that are left."""
        queue = []
        for name, live in islice(self._tokenless.items(), SEEN):
            request = live.request
            if live.cached is None:
                # What the cache has of it is looked up later.
                left = round(request.num_prompt_tokens * self._fresh)
            else:
                left = request.num_prompt_tokens - request.num_computed_tokens + counts.get(name, 0)
            if left > 0:
                queue.append((live.arrival_s, left))
        return queue
