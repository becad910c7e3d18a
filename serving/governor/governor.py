# SPDX-License-Identifier: Apache-2.0
"""`governor`: the lowest clock that keeps the SLOs, and no lower than saves energy. Pure.

Every decoding request has a bank: how much later than now its last token could have come. An
iteration may spend what the bank holds; what a long prompt has overdrawn is won back within a few
iterations. Prompts are served in order, each by arrival + TTFT, with a margin for those to come.
The more requests there are, the more of them a stall hurts: margins grow with their number.
The model is corrected by how long iterations really take.

What is left of the slack an objective may spend on speed (`Steering`), never on less.

The trap: GPUs switch slowly. Up at once where the SLO needs it, else only when it is worth a
switch, and seldom.
"""

import math
from dataclasses import dataclass

from serving.governor.engine import Batch, EngineModel
from serving.governor.floor import Floor
from serving.governor.objective import Steering
from serving.governor.protocol import Moment, Slo

__all__ = ["Governor", "Tuning"]

_CROWD_S = 30.0  # over which the number of requests is averaged
_TOKENS, _TOKENS_SHARE = 64.0, 0.02  # of an answer before any ended, and what one more counts
_MOST_CROWD = 1.0  # for the most frugal clock


@dataclass(frozen=True, kw_only=True)
class Tuning:
    """What may be set; the defaults are what the replays were run with."""

    recover_iterations: float = 3.0  # an overdrawn bank is won back within these, at most
    recover_by_crowd: float = 24.0  # and within these over the number of requests
    recover_by_tokens: float = 0.016  # and within these for each token of a usual answer
    margin: float = 0.3  # on the time to a first token
    margin_by_crowd: float = 0.25  # and for each request
    changes_per_s: float = 8.0  # half of them down; three a second are made
    worth_mhz: float = 45.0  # a smaller step down is not made
    park_after_s: float = 0.05
    correct: float = 0.05  # how fast the correction of the model follows


class Governor:
    """The slack-bank governor for one replica; `steering` tells what more speed is worth."""

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
        self.park_after_s: float | None = self._park_s
        self.correction = 1.0
        self.out_of_reach = 0  # decisions at which no clock was enough
        self._asked = self._high
        self._rations = 2.0  # changes that may be made now
        self._rationed_s = 0.0
        self._crowd = 1.0  # requests in the replica, on average over time
        self._seen_s: float | None = None
        self._usual_tokens = _TOKENS

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
        idle_s = 0.0 if self._seen_s is None else max(moment.now_s - self._seen_s, 0.0)
        self._seen_s = moment.now_s + duration_s
        if self._steering is not None:
            self._steering.ran(moment, duration_s, idle_s)
        requests = moment.batch.decodes + len(moment.queue)
        self._crowd *= math.exp(-idle_s / _CROWD_S)
        self._crowd += -math.expm1(-duration_s / _CROWD_S) * (requests - self._crowd)

    def finished(self, arrival_s: float, first_s: float, end_s: float, tokens: int) -> None:
        """Remember how long answers are: short ones end before much is won back."""
        self._usual_tokens += _TOKENS_SHARE * (tokens - self._usual_tokens)

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
        # Slower still would save while it never parks, but leave no room for the next stall.
        low = self._floor.clock(moment.batch, min(self._crowd, _MOST_CROWD))
        high = self._high
        while low < high:
            middle = (low + high) // 2
            if self._keeps(moment, middle):
                high = middle
            else:
                low = middle + 1
        if low == self._high and not self._keeps(moment, low):
            self.out_of_reach += 1
        return low

    def _keeps(self, moment: Moment, clock: int) -> bool:
        return self._tokens_in_time(moment, clock) and self._prompts_in_time(moment, clock)

    def _tokens_in_time(self, moment: Moment, clock: int) -> bool:
        batch, engine, tpot_s = moment.batch, self._engine, self._slo.tpot_s
        if not batch.decodes:
            return True
        recover = min(
            self._tuning.recover_iterations,
            self._tuning.recover_by_crowd / max(self._crowd, 1.0),
            self._tuning.recover_by_tokens * self._usual_tokens,
        )
        lowest_s = moment.banks_s[0] if moment.banks_s else 0.0
        bank_s = lowest_s if lowest_s > 0 else lowest_s / recover
        duration_s = plain_s = engine.time_s(batch, clock) * self.correction
        if batch.chunks:
            # The stall is there at any clock; the iterations that follow must win it back.
            plain_s = engine.time_s(Batch(batch.decodes, batch.context), clock) * self.correction
            over_s = duration_s - tpot_s - max(lowest_s, 0.0)
            bank_s = min(bank_s, -max(over_s, 0.0) / recover)
        return plain_s <= tpot_s + bank_s

    def _prompts_in_time(self, moment: Moment, clock: int) -> bool:
        if not moment.queue:
            return True
        engine, batch, tuning = self._engine, moment.batch, self._tuning
        decode_s = 0.0
        if batch.decodes:
            decode_s = engine.time_s(Batch(batch.decodes, batch.context), clock)
        room = max(engine.max_batched_tokens - batch.decodes, 1)
        stretch = self.correction * (1 + tuning.margin + tuning.margin_by_crowd * self._crowd)
        tokens, added_s = 0, 0.0
        for arrival_s, left in moment.queue:
            tokens += left
            added_s += engine.prompt_s(left, clock)
            done_s = (added_s + decode_s * (1 + tokens // room)) * stretch
            if moment.now_s + done_s > arrival_s + self._slo.ttft_s:
                return False
        return True
