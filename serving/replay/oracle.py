# SPDX-License-Identifier: Apache-2.0
"""`oracle`: the governor with all knowledge of the trace. Pure.

Where the governor weighs chances, it knows: how many tokens every request will still get, and
which prompts arrive meanwhile. It still decides iteration by iteration, and takes what is to come
as if it ran at the highest clock: a strong reference, no proven optimum.
"""

from bisect import bisect_right
from collections.abc import Sequence
from itertools import accumulate

import numpy as np

from profiling.law import Floats
from serving.governor.engine import Batch, EngineModel
from serving.governor.governor import Governor, Tuning
from serving.governor.protocol import Moment, Slo
from serving.governor.risk import Risk
from serving.replay.replica import Replica
from serving.replay.requests import Request

__all__ = ["Oracle"]

_SAFE, _LOST = 0.4, 2.0  # of what a request can win back: never late, always late
_SLOWER = 2.0  # than at the highest clock, while prompts arrive


class Oracle(Governor):
    """The governor that knows."""

    def __init__(self, engine: EngineModel, slo: Slo, requests: Sequence[Request]) -> None:
        super().__init__(engine, slo, Tuning(miss_requests=200.0, most_lost=None))
        self._foreseen = _Foreseen(engine, slo, requests)
        self._risk = self._foreseen

    def attach(self, replica: Replica, replicas: int) -> None:
        """Look into this replica, one of so many that share the requests."""
        self._foreseen.replica, self._foreseen.replicas = replica, replicas


class _Foreseen(Risk):
    """Certain knowledge in the place of chances."""

    replica: Replica | None = None
    replicas = 1

    def __init__(self, engine: EngineModel, slo: Slo, requests: Sequence[Request]) -> None:
        super().__init__(engine, slo)
        self._arrivals_s = np.array([one.arrival_s for one in requests])
        works_s = (engine.prompt_s(one.prompt_tokens, self._high) for one in requests)
        self._work_s = np.array([0.0, *accumulate(works_s)])

    def look(self, moment: Moment) -> None:
        """Nothing is news."""

    def late(
        self, moment: Moment, durations_s: Floats, correction: float, left_s: float = 0.0
    ) -> Floats | None:
        """How many will be late if the iteration lasts so long, for each duration."""
        assert self.replica is not None
        batch, tpot_s = moment.batch, self._tpot_s
        plain = Batch(max(batch.decodes, 1), batch.context)
        plain_s = self._engine.time_s(plain, self._high)
        won_s = max(tpot_s - plain_s, 1e-6)
        wait_s = self._waiting_s(moment)
        # The highest clock is not there at once.
        slow_s = durations_s[:, None] + self._engine.switch_latency_s
        banks_s, left = self.replica.outlook()
        found = np.zeros(len(durations_s))
        if banks_s:
            spare_s, further = np.array(banks_s) + tpot_s, np.array(left) - 1.0
            lasts_s = slow_s + wait_s
            within_s = lasts_s + further * plain_s * _SLOWER
            over_s = lasts_s + self._between(moment.now_s, within_s) - spare_s
            found += _chance(over_s, further * won_s)
        starting = np.array(self.replica.starting(), dtype=np.float64) - 1.0
        if len(starting):
            # Who arrives until it ends waits for its end, and then stalls those that begin.
            lasts_s = slow_s + wait_s
            within_s = lasts_s + starting * plain_s * _SLOWER
            found += _chance(self._between(moment.now_s, within_s), starting * won_s)
        return found

    def _between(self, now_s: float, within_s: Floats) -> Floats:
        first = bisect_right(self._arrivals_s, now_s)
        last = np.searchsorted(self._arrivals_s, now_s + within_s, side="right")
        found: Floats = (self._work_s[last] - self._work_s[first]) / self.replicas
        return found


def _chance(over_s: Floats, most_s: Floats) -> Floats:
    """How many of the columns cannot win that back; a ramp, since the rest may go otherwise."""
    share = np.maximum(over_s, 0.0) / np.maximum(most_s, 1e-9)
    found: Floats = np.clip((share - _SAFE) / (_LOST - _SAFE), 0.0, 1.0).sum(axis=1)
    return found
