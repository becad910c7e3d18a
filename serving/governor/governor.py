# SPDX-License-Identifier: Apache-2.0
"""`governor`: the lowest clock that keeps the SLOs, and no lower than saves energy. Pure.

Every decoding request has a bank: how much later than now its last token could have come. An
iteration may spend what the bank holds; what a long prompt has overdrawn is won back over the
next iterations. Requests without a token are served in order, each by arrival + TTFT. Margins
on both grow when a request misses its SLO that would have met it at the highest clock, and
shrink slowly while none does. Models are corrected by how long iterations really take.

The trap: GPUs switch slowly. Up at once, down only when it is worth a switch and seldom.
"""

from bisect import bisect_left
from collections import deque
from dataclasses import dataclass

from serving.governor.engine import Batch, EngineModel
from serving.governor.floor import Floor
from serving.governor.protocol import Moment, Slo

__all__ = ["Governor", "Tuning"]


@dataclass(frozen=True, kw_only=True)
class Tuning:
    """What may be set; the defaults are what the replays were run with."""

    recover_iterations: float = 1.0  # over which an overdrawn bank is won back, at the start
    least_recover: float = 0.5
    most_recover: float = 12.0
    margin: float = 0.05  # on the time to the first token, at the start
    most_margin: float = 0.6
    learn: float = 0.1  # how much one avoidable miss changes them
    target: float = 0.0015  # avoidable misses that are borne, of all requests
    changes_per_s: float = 4.0
    worth_mhz: float = 45.0  # a smaller step down is not made
    park_after_s: float = 0.05
    correct: float = 0.05  # how fast the correction of the model follows


class Governor:
    """The slack-bank governor for one replica."""

    def __init__(self, engine: EngineModel, slo: Slo, tuning: Tuning | None = None) -> None:
        self._engine = engine
        self._slo = slo
        self._tuning = tuning or Tuning()
        self._high = len(engine.clocks_mhz) - 1
        self._floor = Floor(engine)
        self.park_after_s: float | None = max(
            self._tuning.park_after_s, 2 * engine.switch_latency_s
        )
        self.ttft_margin = self._tuning.margin
        self.recover = self._tuning.recover_iterations
        self.correction = 1.0
        self._asked = self._high
        self._tokens = 2.0  # changes that may be made now
        self._filled_s = 0.0
        self._lost_s = 0.0  # by clocks below the highest, since the beginning
        self._losses: deque[tuple[float, float]] = deque([(float("-inf"), 0.0)], maxlen=20_000)

    def choose(self, moment: Moment) -> int:
        """The clock for this iteration and the next ones."""
        wanted = self._lowest(moment)
        self._refill(moment.now_s)
        if wanted == self._asked:
            return wanted
        clocks = self._engine.clocks_mhz
        if wanted < self._asked:
            small = clocks[self._asked] - clocks[wanted] < self._tuning.worth_mhz
            if small or self._tokens < 2 or moment.now_s < moment.settled_s:
                return self._asked
        self._tokens -= 1
        self._asked = wanted
        return wanted

    def saw(self, moment: Moment, duration_s: float) -> None:
        """Correct the model, and note what the clock cost."""
        if moment.now_s >= moment.settled_s:
            expected_s = self._engine.time_s(moment.batch, moment.clock)
            ratio = min(max(duration_s / max(expected_s, 1e-9), 0.25), 4.0)
            self.correction += self._tuning.correct * (ratio - self.correction)
        fastest_s = self._engine.time_s(moment.batch, self._high) * self.correction
        self._lost_s += max(duration_s - fastest_s, 0.0)
        self._losses.append((moment.now_s + duration_s, self._lost_s))

    def finished(self, arrival_s: float, first_s: float, end_s: float, tokens: int) -> None:
        """Learn from a request that ended."""
        tuning = self._tuning
        missed = self._avoidable(first_s - arrival_s - self._slo.ttft_s, arrival_s, first_s)
        margin = self.ttft_margin + 0.3 * tuning.learn * (missed - tuning.target)
        self.ttft_margin = min(max(margin, 0.0), tuning.most_margin)
        if tokens > 1:
            late_s = end_s - first_s - self._slo.tpot_s * (tokens - 1)
            missed = self._avoidable(late_s, first_s, end_s)
            recover = self.recover * (1 - tuning.learn * (missed - tuning.target))
            self.recover = min(max(recover, tuning.least_recover), tuning.most_recover)

    def _avoidable(self, late_s: float, begin_s: float, end_s: float) -> bool:
        return 0.0 < late_s <= self._lost(end_s) - self._lost(begin_s)

    def _lost(self, at_s: float) -> float:
        index = bisect_left(self._losses, at_s + 1e-9, key=lambda one: one[0]) - 1
        return self._losses[max(index, 0)][1]

    def _refill(self, now_s: float) -> None:
        self._tokens = min(
            self._tokens + (now_s - self._filled_s) * self._tuning.changes_per_s, 3.0
        )
        self._filled_s = now_s

    def _lowest(self, moment: Moment) -> int:
        low, high = self._floor.clock(moment.batch), self._high
        while low < high:
            middle = (low + high) // 2
            if self._keeps(moment, middle):
                high = middle
            else:
                low = middle + 1
        return low

    def _keeps(self, moment: Moment, clock: int) -> bool:
        batch, engine = moment.batch, self._engine
        lowest_s = moment.banks_s[0] if moment.banks_s else 0.0
        duration_s = engine.time_s(batch, clock) * self.correction
        if batch.decodes:
            allowed_s = self._slo.tpot_s
            bank_s = lowest_s if lowest_s > 0 else lowest_s / self.recover
            plain_s = duration_s
            if batch.chunks:
                # The stall is there at any clock; what follows must win it back.
                plain = Batch(batch.decodes, batch.context)
                plain_s = engine.time_s(plain, clock) * self.correction
                over_s = duration_s - allowed_s - max(lowest_s, 0.0)
                bank_s = min(bank_s, -max(over_s, 0.0) / self.recover)
            if plain_s > allowed_s + bank_s:
                return False
        return self._prompts_in_time(moment, clock)

    def _prompts_in_time(self, moment: Moment, clock: int) -> bool:
        if not moment.queue:
            return True
        engine, batch = self._engine, moment.batch
        decode_s = 0.0
        if batch.decodes:
            decode_s = engine.time_s(Batch(batch.decodes, batch.context), clock)
        room = max(engine.max_batched_tokens - batch.decodes, 1)
        tokens, added_s = 0, 0.0
        stretch = self.correction * (1 + self.ttft_margin)
        for arrival_s, left in moment.queue:
            tokens += left
            added_s += engine.prompt_s(left, clock)
            done_s = (added_s + decode_s * (1 + tokens // room)) * stretch
            if moment.now_s + done_s > arrival_s + self._slo.ttft_s:
                return False
        return True
