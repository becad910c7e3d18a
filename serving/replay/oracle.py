# SPDX-License-Identifier: Apache-2.0
"""`oracle`: the governor with all knowledge of the trace. Pure.

It knows how many tokens every running request will still get and which prompts arrive while it
does, so that a bank may be overdrawn for as long as it can be won back in time. It still decides
iteration by iteration: a strong reference, no proven optimum.
"""

from bisect import bisect_left
from collections.abc import Sequence
from itertools import accumulate

import numpy as np

from serving.governor.engine import Batch, EngineModel
from serving.governor.governor import Governor
from serving.governor.protocol import Moment, Slo
from serving.replay.replica import Replica
from serving.replay.requests import Request

__all__ = ["Oracle"]

# Chosen so that it meets about what `max` meets: of what can be won back at the highest clock it
# trusts 0.3, and takes stalls by prompts to come for twice as long as at the highest clock.
_CERTAIN = 0.3
_STALL = 2.0


class Oracle(Governor):
    """The governor that knows."""

    def __init__(self, engine: EngineModel, slo: Slo, requests: Sequence[Request]) -> None:
        super().__init__(engine, slo)
        self._arrivals = [one.arrival_s for one in requests]
        works_s = (engine.prompt_s(one.prompt_tokens, self._high) for one in requests)
        self._work_s = [0.0, *accumulate(works_s)]
        self._replicas = 1
        self._replica: Replica | None = None
        self._spare_s = np.zeros(0)

    def attach(self, replica: Replica, replicas: int) -> None:
        """Look into this replica, one of so many that share the requests."""
        self._replica, self._replicas = replica, replicas

    def choose(self, moment: Moment) -> int:
        """As the governor, after a look at what is to come."""
        assert self._replica is not None
        banks, left = self._replica.outlook()
        if banks:
            plain_s = self._engine.time_s(
                Batch(moment.batch.decodes, moment.batch.context), self._high
            )
            stalls_s = [self._stall_s(moment.now_s, one * plain_s) for one in left]
            most_s = np.maximum(np.array(left) - 1.0, 0) * (self._slo.tpot_s - plain_s)
            spare_s = np.array(banks) + self._slo.tpot_s
            # What is lost at the highest clock too binds nobody.
            fastest_s = self._engine.time_s(moment.batch, self._high)
            open_to = spare_s + most_s >= fastest_s
            self._spare_s = (spare_s + _CERTAIN * most_s - np.array(stalls_s))[open_to]
        return super().choose(moment)

    def _stall_s(self, now_s: float, within_s: float) -> float:
        first = bisect_left(self._arrivals, now_s)
        last = bisect_left(self._arrivals, now_s + within_s)
        return _STALL * (self._work_s[last] - self._work_s[first]) / self._replicas

    def _keeps(self, moment: Moment, clock: int) -> bool:
        if moment.batch.decodes and len(self._spare_s):
            duration_s = self._engine.time_s(moment.batch, clock)
            if duration_s > self._spare_s.min():
                return False
        return self._prompts_in_time(moment, clock)
