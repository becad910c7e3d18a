# SPDX-License-Identifier: Apache-2.0
"""The same requests at the highest clock: what a replica would have done, by its profile. Pure.

A request enters when it and all that came before it have ended, because its answer's length must
be known; so the twin lags by the oldest request's age. It is as slow as the replica was at the
time, compared with the profile, and under the same ceiling: what a busy machine or a site takes is
not the governor's doing.

The trap: this runs in front of iterations, so only a few of its own go with each of the replica's.
"""

import heapq
from collections import deque
from dataclasses import replace

from serving.governor.engine import Batch, EngineModel
from serving.governor.fixed import Fixed
from serving.governor.protocol import Ended, Moment, Slo
from serving.replay.replica import Replica, Served
from serving.replay.requests import Request

__all__ = ["Twin"]

_MOST = 3  # iterations for each of the replica's: enough to catch up
_HELD = 1 << 16  # what a request of an hour holds up must not pile up: who ends then is left out


class Twin:
    """What went otherwise than at the highest clock, and what that clock would have drawn."""

    def __init__(self, engine: EngineModel, slo: Slo) -> None:
        self.requests = 0  # finished, and compared
        self.late = self.late_anyway = 0  # of them; at the highest clock
        self._slo = slo
        self._engine = _Paced(engine)
        self._high = len(engine.clocks_mhz) - 1
        self._policy = Fixed(self._high)
        self._replica: Replica | None = None
        self._known: list[tuple[float, int, Ended]] = []  # not inside yet, by arrival
        self._inside: dict[int, Ended] = {}
        self._count = 0
        # until_s, ratio, ceiling
        self._paces: deque[tuple[float, float, int | None]] = deque(maxlen=_HELD)

    @property
    def energy_j(self) -> float:
        """Joules that the highest clock would have taken until now, by the profile."""
        return 0.0 if self._replica is None else self._replica.meter.energy_j

    @property
    def behind(self) -> int:
        """Requests that ended and are still to be compared."""
        return len(self._known) + len(self._inside)

    def ended(self, one: Ended) -> None:
        """A request that was served, or left after some tokens."""
        if one.tokens > 0 and self.behind < _HELD:
            heapq.heappush(self._known, (one.arrival_s, self._count, one))
            self._count += 1

    def ran(self, moment: Moment, end_s: float, ratio: float) -> None:
        """Until then iterations took so many times what the profile says."""
        self._paces.append((end_s, ratio, moment.most))

    def go_on(self, before_s: float) -> list[int]:
        """Run what is known of the time before; for each finished request 1 if it was late and
        would not have been at the highest clock, -1 if the other way round, else 0.
        """
        if self._replica is None:
            if not self._known or self._known[0][0] >= before_s:
                return []
            self._replica = Replica(
                engine=self._engine, policy=self._policy, slo=self._slo, start_s=self._known[0][0]
            )
        replica = self._replica
        for _ in range(_MOST):
            next_s = self._enter(replica, before_s)
            if not replica.load or replica.now_s >= next_s:
                break
            self._keep_pace(replica.now_s)
            replica.advance(next_s, 1)
        ended, replica.ended = replica.ended, []
        compared = (self._compare(self._inside.pop(one.number), one) for one in ended)
        return [one for one in compared if one is not None]

    def _enter(self, replica: Replica, before_s: float) -> float:
        """Let in who has arrived by now; until when the next iteration may begin."""
        while self._known and self._known[0][0] < before_s:
            arrival_s, number, one = self._known[0]
            if replica.load and arrival_s > replica.now_s:
                return arrival_s
            heapq.heappop(self._known)
            self._inside[number] = one
            request = Request(arrival_s, one.prompt_tokens, one.tokens, one.cached_tokens)
            replica.submit(request, number)
        return before_s

    def _keep_pace(self, now_s: float) -> None:
        while len(self._paces) > 1 and self._paces[0][0] <= now_s:
            self._paces.popleft()
        if self._paces:
            _, self._engine.ratio, most = self._paces[0]
            self._policy.clock = self._high if most is None else min(most, self._high)

    def _compare(self, one: Ended, twin: Served) -> int | None:
        if not one.finished or twin.first_s is None or twin.end_s is None:
            return None
        there = replace(one, first_s=twin.first_s, end_s=twin.end_s)
        late, anyway = _late(one, self._slo), _late(there, self._slo)
        self.requests += 1
        self.late += late
        self.late_anyway += anyway
        return late - anyway


def _late(one: Ended, slo: Slo) -> bool:
    first_s = one.first_s - one.arrival_s
    last_s = one.end_s - one.first_s if one.tokens > 1 else 0.0
    return first_s > slo.ttft_s + 1e-9 or last_s > slo.tpot_s * (one.tokens - 1) + 1e-9


class _Paced(EngineModel):
    """The profile, and how many times longer an iteration takes at the moment, with its watts."""

    def __init__(self, engine: EngineModel) -> None:
        self.__dict__.update(engine.__dict__)
        self._believed = engine
        self.ratio = 1.0

    def time_and_power(self, batch: Batch, clock: int) -> tuple[float, float]:
        whole_s, watts = self._believed.time_and_power(batch, clock)
        return whole_s * self.ratio, watts
