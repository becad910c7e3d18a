# SPDX-License-Identifier: Apache-2.0
"""Which clock for which job: the best response to the prices among those it has time for. Pure.

The trap: a slowed job that would have ended in time must still end in time. So room is counted
from the longest run that is to be expected, and who knows none has no room.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from profiling.curve import SLACK
from profiling.profile import Profile, TrainingPoint

__all__ = ["Clock", "Price", "choose_clock", "points_for", "slowdown_at"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Price:
    """What counts: g per joule and g per second of one GPU; without a plan, joules.

    `performance_g` is what a job is worth that ran at once at full speed; this one waited, and
    takes `length_s` at full speed (plan.outcome.Weights).
    """

    energy: float = 1.0
    gpu_s: float = 0.0
    performance_g: float = 0.0
    waited_s: float = 0.0
    length_s: float = 1.0

    def cost(self, one: TrainingPoint, longer: float) -> float:
        """Of what full speed does in a second, at a setting that takes so many times as long."""
        spent = longer * (self.energy * (one.power_w or 0.0) + self.gpu_s * one.gpus)
        return spent - self.performance_g / (self.waited_s + self.length_s * longer)


@dataclass(frozen=True, slots=True, kw_only=True)
class Clock:
    """A ceiling for a job's GPUs, and the lowest with which its time limit holds.

    `slowdown` and `energy` are run time and GPU energy against the profile's highest clock.
    """

    clock_mhz: int
    floor_mhz: int
    slowdown: float
    energy: float


def points_for(profile: Profile, gpus: int) -> tuple[TrainingPoint, ...]:
    """Settings that a job of so many GPUs may have, rising in clock; () where none are known.

    Those of the profile's shape with as many GPUs, else of the largest with fewer: more GPUs wait
    more for each other, so that a clock costs them rather less time than it says.
    """
    shapes: dict[tuple[int, int], list[TrainingPoint]] = {}
    for one in profile.training:
        if one.clock_mhz is not None and one.power_w is not None and one.power_cap_w is None:
            shapes.setdefault((one.workers, one.gpus_per_worker), []).append(one)
    fitting = [key for key in shapes if key[0] * key[1] <= gpus and len(shapes[key]) > 1]
    if not fitting:
        return ()
    best = max(fitting, key=lambda key: (key[0] * key[1], -key[0]))
    return tuple(sorted(shapes[best], key=lambda one: one.clock_mhz or 0.0))


def choose_clock(
    points: Sequence[TrainingPoint], *, room: float, max_slowdown: float, price: Price
) -> Clock | None:
    """The clock that costs least of those that slow the job by less than `room` and the maximum.

    `points` are of one shape, rising in clock; the highest is full speed. None when nothing below
    it fits. Of clocks that cost alike (within 0.1 %) the highest.
    """
    fitting = _fitting(points, room)
    allowed = [one for one in fitting if _slowdown(points, one) <= max_slowdown]
    if len(fitting) < 2 or not allowed:
        return None
    cost = {one.key: price.cost(one, points[-1].rate / one.rate) for one in allowed}
    least = min(cost.values())
    enough = least + SLACK * abs(least)
    best = next(one for one in reversed(allowed) if cost[one.key] <= enough)
    return Clock(
        clock_mhz=_mhz(best),
        floor_mhz=_mhz(fitting[0]),
        slowdown=_slowdown(points, best),
        energy=(best.power_w or 0.0) / best.rate / ((points[-1].power_w or 1.0) / points[-1].rate),
    )


def slowdown_at(points: Sequence[TrainingPoint], clock_mhz: int) -> float:
    """Run time at a clock against full speed: that of the next point at or below it.

    Below the lowest point it is not known: infinite.
    """
    lower = [one for one in points if _mhz(one) <= clock_mhz]
    return _slowdown(points, lower[-1]) if lower else math.inf


def _fitting(points: Sequence[TrainingPoint], room: float) -> list[TrainingPoint]:
    """From full speed down, as long as each fits: a cap may stop anywhere in between."""
    fitting: list[TrainingPoint] = []
    for one in reversed(points):
        if _slowdown(points, one) > room:
            break
        fitting.insert(0, one)
    return fitting


def _slowdown(points: Sequence[TrainingPoint], one: TrainingPoint) -> float:
    return max(points[-1].rate / one.rate, 1.0)


def _mhz(one: TrainingPoint) -> int:
    return int(one.clock_mhz or 0.0)
