# SPDX-License-Identifier: Apache-2.0
"""Sites whose power is a hard limit: which replicas are on, awake and ready, at which clock. Pure.

Whatever a policy orders, a site never lets its GPUs draw more than it has: replicas awake count
with the most they could draw at their clock. First clocks fall, then parked replicas are turned
off, then replicas that are awake lose what they run. What is beyond an order drains first.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from serving.replay.route.fleet import AWAKE, OFF, PARKED, Fleet
from serving.router.policy.protocol import Moment, SiteOrder

__all__ = ["Sites", "Times"]

_ROOM = 1.05  # of what it needs, before one that was off is started again


@dataclass(frozen=True, kw_only=True)
class Times:
    """How long replicas take to be ready; seconds. Assumed, not measured."""

    wake_s: float = 2.0  # parked: its clock rises, health is seen again
    restart_s: float = 60.0  # off: the engine starts and loads the model


class Sites:
    """The replicas of all sites; the views of `moment` are kept true."""

    def __init__(
        self,
        fleet: Fleet,
        moment: Moment,
        clocks_mhz: Sequence[float],
        peak_w: Sequence[float],
        parked_w: float,
        times: Times,
    ) -> None:
        self._fleet = fleet
        self._moment = moment
        self._clocks_mhz, self._peak_w, self._parked_w = clocks_mhz, peak_w, parked_w
        self._times = times
        views = moment.replicas
        self._of = [
            [number for number, one in enumerate(views) if one.site == site]
            for site in range(len(moment.sites))
        ]
        self._state = [PARKED] * len(views)
        self._ready_s = [float("-inf")] * len(views)  # of one awake or started again
        self._drains = [False] * len(views)
        self._clock = [0] * len(views)
        self.starts = 0

    def next_s(self) -> float:
        """When the next replica becomes ready, or can be woken; inf if none."""
        now_s = self._moment.now_s
        return min((one for one in self._ready_s if one > now_s), default=float("inf"))

    def apply(self, site: int, order: SiteOrder) -> list[int]:
        """Carry out an order within the supply; the requests that lose their replica."""
        lost: list[int] = []
        limit_w = self._moment.sites[site].supply_w
        limit_w = float("inf") if limit_w is None else limit_w
        wanted = len(self._of[site]) if order.awake is None else order.awake
        self._shed(site, limit_w, lost)
        self._sleep(site, wanted)
        self._wake(site, wanted, limit_w)
        self._set_clocks(site, order, limit_w)
        for one in self._of[site]:
            view = self._moment.replicas[one]
            view.ready = (
                self._state[one] == AWAKE
                and not self._drains[one]
                and self._ready_s[one] <= self._moment.now_s
            )
            view.clock_mhz = self._clocks_mhz[self._clock[one]]
        return lost

    def _need_w(self, site: int, clock: int = 0, *, more: int = 0) -> float:
        awake = self._number(site, AWAKE) + more
        parked = self._number(site, PARKED) - more
        return awake * self._peak_w[clock] + parked * self._parked_w

    def _number(self, site: int, state: int) -> int:
        return sum(1 for one in self._of[site] if self._state[one] == state)

    def _shed(self, site: int, limit_w: float, lost: list[int]) -> None:
        """Turn off, then lose, until the lowest clock fits."""
        while self._need_w(site) > limit_w:
            parked = [one for one in self._of[site] if self._state[one] == PARKED]
            awake = [one for one in self._of[site] if self._state[one] == AWAKE]
            if awake and (not parked or len(awake) * self._peak_w[0] > limit_w):
                self._lose(self._idlest(awake), lost)
            else:
                self._put(max(parked, key=lambda one: self._ready_s[one]), OFF)

    def _sleep(self, site: int, wanted: int) -> None:
        awake = sorted(
            (one for one in self._of[site] if self._state[one] == AWAKE),
            key=lambda one: (self._drains[one], -int(self._fleet.views[one, 0]), one),
        )
        for rank, one in enumerate(awake):
            self._drains[one] = rank >= wanted
            if self._drains[one] and not self._fleet.views[one, 0]:
                self._put(one, PARKED)

    def _wake(self, site: int, wanted: int, limit_w: float) -> None:
        now_s = self._moment.now_s
        off = [one for one in self._of[site] if self._state[one] == OFF]
        for one in off:
            if (self._need_w(site) + self._parked_w) * _ROOM > limit_w:
                break  # nor for the next
            self._put(one, PARKED)
            self._ready_s[one] = now_s + self._times.restart_s
            self.starts += 1
        if wanted and not self._number(site, AWAKE) and self._peak_w[0] <= limit_w:
            # What parked ones draw may be what the only one that could serve lacks.
            parked = sorted(
                (one for one in self._of[site] if self._state[one] == PARKED),
                key=lambda one: self._ready_s[one],
            )
            while len(parked) > 1 and self._need_w(site, more=1) > limit_w:
                self._put(parked.pop(), OFF)
        for one in self._of[site]:
            if self._number(site, AWAKE) >= wanted:
                return
            if self._state[one] != PARKED or self._ready_s[one] > now_s:
                continue
            if self._need_w(site, more=1) > limit_w:
                return
            self._put(one, AWAKE)
            self._ready_s[one] = now_s + self._times.wake_s

    def _set_clocks(self, site: int, order: SiteOrder, limit_w: float) -> None:
        clock = len(self._clocks_mhz) - 1
        if order.ceiling_mhz is not None:
            while clock and self._clocks_mhz[clock] > order.ceiling_mhz * (1 + 1e-9):
                clock -= 1
        while clock and self._need_w(site, clock) > limit_w:
            clock -= 1
        for one in self._of[site]:
            wanted = clock if self._state[one] == AWAKE else 0
            if self._clock[one] != wanted:
                self._clock[one] = wanted
                self._fleet.clock(one, wanted, self._moment.now_s)

    def _lose(self, one: int, lost: list[int]) -> None:
        lost += self._fleet.lose(one, self._moment.now_s)
        self._put(one, PARKED)

    def _idlest(self, among: list[int]) -> int:
        return min(among, key=lambda one: (not self._drains[one], self._fleet.views[one, 0], one))

    def _put(self, one: int, state: int) -> None:
        self._state[one] = state
        self._drains[one] = False
        self._fleet.state(one, state, self._moment.now_s)
