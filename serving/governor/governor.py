# SPDX-License-Identifier: Apache-2.0
"""`governor`: the lowest clock that keeps the SLOs, and no lower than saves energy. Pure.

Every decoding request has a bank: how much later than now its last token could have come. An
iteration may spend what the bank holds. Each prompt is to be done by arrival + TTFT, with a margin.
From the lowest clock that does both on, energy is weighed against the requests that a slower
iteration is likely to make late (`Risk`): prompts stall decodes, and come in bursts. In which
order they come, and in pieces of what size, is chosen as well (`Pace`). The model is corrected by
how long iterations really take.

What is left of the slack an objective may spend on speed (`Steering`), never on less.

The trap: GPUs switch slowly. Up at once where the SLO needs it, else only when it is worth a
switch, and seldom.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from serving.governor.caution import Caution
from serving.governor.engine import Batch, EngineModel
from serving.governor.floor import Floor
from serving.governor.objective import Steering
from serving.governor.pace import Pace
from serving.governor.protocol import Ended, Moment, Policy, Slo
from serving.governor.risk import Risk
from serving.governor.twin import Twin

__all__ = ["Governor", "Tuning"]

_CROWD_S = 30.0  # over which the number of requests is averaged
_STEPS = 6  # clocks that are weighed against each other
_LEAST_CROWD, _MOST_CROWD = 0.25, 1.0  # for the most frugal clock


@dataclass(frozen=True, kw_only=True)
class Tuning:
    """What may be set; the defaults are what the replays were run with."""

    miss_requests: float = 100.0  # a late request costs the energy of so many usual ones, at first
    most_lost: float | None = 0.0015  # share of requests late for want of speed; None: that price
    margin: float = 0.3  # on the time to a first token
    changes_per_s: float = 5.0  # half of them down
    worth_mhz: float = 45.0  # a smaller step down is not made
    park_after_s: float = 0.05
    most_cache: float = 0.6  # of the cache that is held; beyond it runs at the highest clock
    most_wait: float = 0.9  # of its TTFT within which a prompt is to be done; 0: vLLM's own way
    orders: bool = True  # prompts that wait come in the order that makes the fewest late
    correct: float = 0.05  # how fast the correction of the model follows


class Governor(Policy):
    """The slack-bank governor for one replica; `steering` tells what more speed is worth."""

    park_after_s: float | None = None
    paces: bool = True
    orders: bool = True

    def __init__(
        self,
        engine: EngineModel,
        slo: Slo,
        tuning: Tuning | None = None,
        steering: Steering | None = None,
    ) -> None:
        self._engine = engine
        self._slo = slo
        self._tuning = tuning or Tuning()
        self._high = len(engine.clocks_mhz) - 1
        self._floor = Floor(engine)
        self._steering = steering
        # Sooner it would wait for its clock after a pause between two requests.
        self._park_s = max(self._tuning.park_after_s, 2 * engine.switch_latency_s)
        self.park_after_s = self._park_s
        self.correction = 1.0
        self.out_of_reach = 0  # decisions at which no clock was enough
        self._asked = self._high
        self._rations = 2.0  # changes that may be made now
        self._rationed_s = 0.0
        self._crowd = 1.0  # requests in the replica, on average over time
        self._seen_s: float | None = None
        self._pace = 1.0  # of the last iteration that had one clock, against the profile
        self._risk = Risk(engine, slo)
        self._request_j = _request_j(engine)
        most_lost = self._tuning.most_lost
        self.caution = Caution(self._tuning.miss_requests, most_lost or 1.0)
        self.twin = None if most_lost is None else Twin(engine, slo)
        self.paces = self._tuning.most_wait > 0
        self.orders = self.paces and self._tuning.orders
        self._pacing = Pace(engine, slo, self._tuning.most_wait)

    def order(
        self, moment: Moment, begun_tokens: int, waiting: Sequence[tuple[float, int]]
    ) -> Sequence[int]:
        """As few late first tokens as possible."""
        if not self.orders:
            return range(len(waiting))
        return self._pacing.order(moment, begun_tokens, waiting, self.correction)

    def prompt_tokens(self, moment: Moment) -> int | None:
        """How fast prompts are computed."""
        if not self.paces:
            return None
        return self._pacing.tokens(moment, self._risk, self.correction, self._crowd)

    def choose(self, moment: Moment) -> int:
        """The clock for this iteration and the next ones."""
        safe = self._lowest(moment)
        wanted = max(safe, self._worth(moment))
        tuning = self._tuning
        passed_s = moment.now_s - self._rationed_s
        self._rations = min(self._rations + passed_s * tuning.changes_per_s, 3.0)
        self._rationed_s = moment.now_s
        if wanted == self._asked:
            return wanted
        clocks = self._engine.clocks_mhz
        if safe <= self._asked:
            small = abs(clocks[self._asked] - clocks[wanted]) < tuning.worth_mhz
            if small or self._rations < 2 or moment.now_s < moment.settled_s:
                return self._asked
        self._rations -= 1
        self._asked = wanted
        return wanted

    def saw(self, moment: Moment, duration_s: float) -> None:
        """Correct the model, and count the requests."""
        if moment.now_s >= moment.settled_s:
            expected_s = self._engine.time_s(moment.batch, moment.clock)
            ratio = min(max(duration_s / max(expected_s, 1e-9), 0.25), 4.0)
            self.correction += self._tuning.correct * (ratio - self.correction)
            if moment.clock == self._asked:
                self._pace = ratio
        if self.twin is not None:
            self.twin.ran(moment, moment.now_s + duration_s, self._pace)
            for lost in self.twin.go_on(moment.oldest_s):
                self.caution.hear(lost, self.twin.behind)
        idle_s = 0.0 if self._seen_s is None else max(moment.now_s - self._seen_s, 0.0)
        self._seen_s = moment.now_s + duration_s
        if self._steering is not None:
            self._steering.ran(moment, duration_s, idle_s)
        self._risk.ran(moment.batch, duration_s + idle_s)
        requests = moment.batch.decodes + len(moment.queue)
        self._crowd *= math.exp(-idle_s / _CROWD_S)
        self._crowd += -math.expm1(-duration_s / _CROWD_S) * (requests - self._crowd)

    def finished(self, one: Ended) -> None:
        """Remember how long answers are: short ones end before much is won back."""
        if one.finished:
            self._risk.ended(one.tokens)
        if self.twin is not None:
            self.twin.ended(one)

    def _worth(self, moment: Moment) -> int:
        """The clock that the objective asks for, SLO or not."""
        if self._steering is None:
            return 0
        worth_w = self._steering.worth_w(moment)
        # Where energy is free, waking up is all that parking does.
        self.park_after_s = None if math.isinf(worth_w) else self._park_s
        if not worth_w:
            return 0
        return self._floor.clock(moment.batch, min(self._crowd, _MOST_CROWD), worth_w)

    def _lowest(self, moment: Moment) -> int:
        if self._fills(moment):
            return self._high
        # Slower still would save while it never parks, but leave no room for the next stall.
        low = self._floor.clock(moment.batch, min(self._crowd, _MOST_CROWD))
        high = self._high
        low += int(self.caution.floor * (high - low))
        while low < high:
            middle = (low + high) // 2
            if self._keeps(moment, middle):
                high = middle
            else:
                low = middle + 1
        if low == self._high and not self._keeps(moment, low):
            self.out_of_reach += 1
        return self._cheapest(moment, low)

    def _cheapest(self, moment: Moment, low: int) -> int:
        """From that clock on the one at which energy and what is likely late cost least."""
        batch, engine, high = moment.batch, self._engine, self._high
        self._risk.look(moment)
        if low == high:
            return high
        steps = min(high - low, _STEPS)
        clocks = [low + round(k * (high - low) / steps) for k in range(steps + 1)]
        take_s = [engine.time_s(batch, clock) for clock in clocks]
        durations_s = np.array(take_s)
        # The fuller the cache, the less is won by waiting: who decodes fills it further.
        free = max(1 - self._held(moment) / (self._tuning.most_cache * engine.kv_tokens), 0.0)
        left_s = free * self._pacing.counted_s(moment, self.correction)
        late = self._risk.late(moment, durations_s * self.correction, self.correction, left_s)
        if late is None:
            return low
        crowd = min(max(self._crowd, _LEAST_CROWD), _MOST_CROWD)
        fastest_s = float(durations_s[-1])
        busy_s = fastest_s / crowd * -np.expm1(-crowd / fastest_s * durations_s)
        watts = np.array([engine.power_w(batch, *one) for one in zip(clocks, take_s, strict=True)])
        miss_j = self.caution.price * self._request_j
        cost_j = busy_s * (watts - engine.parked_w) + miss_j * late
        return clocks[int(np.argmin(cost_j))]

    def _fills(self, moment: Moment) -> bool:
        """Whether the cache is soon full: slower answers hold it longer, and evicted ones begin
        anew.
        """
        coming = sum(left for _, left in moment.queue)
        if moment.held is not None:
            # What this batch computes has its place already.
            coming = max(coming - sum(new for _, new in moment.batch.chunks), 0)
        return self._held(moment) + coming > self._tuning.most_cache * self._engine.kv_tokens

    def _held(self, moment: Moment) -> float:
        """Tokens in the cache, where a prefix that several share is once, though each reads it."""
        if moment.held is None:
            return moment.batch.decodes * moment.batch.context
        return moment.held * self._engine.kv_tokens

    def _keeps(self, moment: Moment, clock: int) -> bool:
        batch, decode_s = moment.batch, 0.0
        if batch.decodes:
            decode_s = self._engine.time_s(Batch(batch.decodes, batch.context), clock)
            lowest_s = moment.banks_s[0] if moment.banks_s else 0.0
            if decode_s * self.correction > self._slo.tpot_s + max(lowest_s, 0.0):
                return False
        return self._prompts_in_time(moment, clock, decode_s)

    def _prompts_in_time(self, moment: Moment, clock: int, decode_s: float) -> bool:
        """Beside those who decode, whose step takes so long."""
        engine, batch, tuning = self._engine, moment.batch, self._tuning
        room = max(engine.max_batched_tokens - batch.decodes, 1)
        known = 1 + tuning.margin
        tokens, added_s = 0, 0.0
        for arrival_s, left in moment.queue:
            tokens += left
            added_s += engine.prompt_s(left, clock)
            done_s = (added_s + decode_s * (1 + tokens // room)) * self.correction
            if moment.now_s + known * done_s > arrival_s + self._slo.ttft_s:
                return False
        return True


def _request_j(engine: EngineModel) -> float:
    """Joules beyond parking of 1,000 tokens of prompt and 100 of answer at the highest clock."""
    high = len(engine.clocks_mhz) - 1
    first_s, first_w = engine.time_and_power(Batch(chunks=[(0, 1000)]), high)
    next_s, next_w = engine.time_and_power(Batch(8, 1000.0), high)
    return first_s * (first_w - engine.parked_w) + 100 / 8 * next_s * (next_w - engine.parked_w)
