# SPDX-License-Identifier: Apache-2.0
"""The best response of one job to published prices: the submit hook's hot path. Pure.

The cost of a run is an integral of prices that are constant within a slot, so over starts it is
piecewise linear (with the performance term: concave in between), and its least value lies where
the start or the end meets a border of slots or of the job's window. Only those starts are looked
at, for all shapes in a handful of numpy calls: at this size calls cost more than numbers.

The trap: `cost_g` is what the planner minimises, GPU-hours at their price and performance
included. It ranks ways to run a job; it is not the job's carbon.
"""

import math
from dataclasses import dataclass
from functools import cached_property
from typing import Self

import numpy as np

from slurm_green.errors import BadInputError
from slurm_green.plan.outcome import Weights
from slurm_green.plan.price_file import PriceFile
from slurm_green.plan.problem import JOULES_PER_KWH, SECONDS_PER_HOUR, Floats, Ints, Shapes
from slurm_green.plan.split_one import split_one

__all__ = ["PriceCurve", "Response", "Stretch", "best_response", "why_none"]

_SLIVER = 1e-9  # of a slot
_TOLERANCE_S = 1e-3
_ROUNDING = 1e-9  # of a cost: what sums in another order may differ by


@dataclass(frozen=True, kw_only=True)
class PriceCurve:
    """A price file made ready, once, for any number of best responses.

    `start_s` is in the caller's clock. `price` has the shape (2, slots): g for a second at one
    watt, and for a second of one GPU.
    """

    start_s: float
    step_s: float
    gpus: int
    weights: Weights
    price: Floats

    @classmethod
    def of(cls, file: PriceFile) -> Self:
        """The curve of a price file."""
        energy = (file.prices.mu + file.prices.nu) / JOULES_PER_KWH
        return cls(
            start_s=file.start_s,
            step_s=file.step_s,
            gpus=file.gpus,
            weights=file.weights,
            price=np.stack([energy, file.prices.lam / SECONDS_PER_HOUR]),
        )

    @property
    def slots(self) -> int:
        """Number of slots."""
        return int(self.price.shape[1])

    @property
    def end_s(self) -> float:
        """Where the prices end, in the caller's clock."""
        return self.start_s + self.step_s * self.slots

    @cached_property
    def area(self) -> Floats:
        """The integrals of `price` up to each border, shape (2, slots + 1)."""
        return np.concatenate([np.zeros((2, 1)), np.cumsum(self.price * self.step_s, axis=1)], 1)

    @cached_property
    def border(self) -> Floats:
        """0, 1, ... slots."""
        return np.arange(self.slots + 1, dtype=np.float64)


@dataclass(frozen=True, slots=True, kw_only=True)
class Stretch:
    """A part of a job without interruption, in one shape (index into `Shapes`)."""

    start_s: float
    end_s: float
    shape: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Response:
    """How the job runs best; times in the caller's clock.

    `shape` (index into `Shapes`), `workers` and `clock_mhz` are those of the first of the
    `stretches`; there is but one unless splitting the job pays. `earliest_cost_g` is what the
    fastest shape costs from the earliest start on, in the same terms. `late`: the deadline cannot
    be met, and the job runs as early and as fast as it can.
    """

    start_s: float
    end_s: float
    shape: int
    workers: int
    clock_mhz: int
    cost_g: float
    earliest_cost_g: float
    late: bool
    stretches: tuple[Stretch, ...]

    @property
    def saved_g(self) -> float:
        """What this response is better by than the earliest start; never negative."""
        return self.earliest_cost_g - self.cost_g


@dataclass(frozen=True, slots=True, kw_only=True)
class _Ways:
    """The shapes in which a job may run and its window, in slots from the start of the curve."""

    shape: Ints
    gpus: Floats
    power_w: Floats
    duration: Floats
    early: float
    late: Floats


def best_response(
    curve: PriceCurve,
    shapes: Shapes,
    *,
    work: float,
    earliest_s: float,
    deadline_s: float = math.inf,
    class_index: int = 0,
    preemptible: bool = False,
    weights: Weights | None = None,
    tolerance: float = 0.002,
) -> Response | None:
    """The cheapest way to run a job of this class, None where the prices do not say.

    A deadline after the curve's end counts as that end. None, for a job that is then to run
    unchanged: the earliest start lies before the curve, the job does not end within it even if it
    starts at once, or every shape is wider than the site; `why_none` tells which. `weights` are
    the curve's own unless given.

    Of ways whose cost is within `tolerance` of the least (a share of what the cheapest one pays)
    the first to end is taken: delay is worth something too. A preemptible job is split only where
    that saves more than this, and as in a plan only where performance counts for nothing.
    """
    _refuse_nonsense(work, earliest_s, deadline_s, tolerance)
    weights = curve.weights if weights is None else weights
    ways = _ways(curve, shapes, class_index, work, earliest_s)
    if ways is None:
        return None
    until = min((deadline_s - curve.start_s) / curve.step_s, float(curve.slots))
    latest = until - ways.duration
    slack = _TOLERANCE_S / curve.step_s
    in_time = latest >= ways.early - slack
    late = not in_time.any()
    if late:
        chosen = ways.duration <= ways.duration.min() + slack * 1e-3
        latest = np.full(len(latest), ways.early)
    else:
        chosen = in_time
    run = _Ways(
        shape=ways.shape[chosen],
        gpus=ways.gpus[chosen],
        power_w=ways.power_w[chosen],
        duration=ways.duration[chosen],
        early=ways.early,
        late=np.maximum(latest[chosen], ways.early),
    )
    # Of those that the site has GPUs for the fastest is among the ways.
    worth_g_s = weights.performance_g * float(ways.duration.min()) * curve.step_s
    row, start, cost, earliest = _cheapest(curve, run, worth_g_s, tolerance)
    stretches: tuple[Stretch, ...] = ()
    if preemptible and not late and not worth_g_s:
        split = _split(curve, shapes, class_index, work, ways.early, until)
        if split is not None and split[0] < cost / (1 + tolerance + _ROUNDING):
            cost, stretches = split
    if not stretches:
        # By way of slots the caller's own earliest start would lose its last digits.
        start_s = earliest_s if start == ways.early else curve.start_s + start * curve.step_s
        shape = int(run.shape[row])
        end_s = start_s + work / float(shapes.rate[shape])
        stretches = (Stretch(start_s=start_s, end_s=end_s, shape=shape),)
    first = stretches[0]
    return Response(
        start_s=first.start_s,
        end_s=stretches[-1].end_s,
        shape=first.shape,
        workers=int(shapes.workers[first.shape]),
        clock_mhz=int(shapes.clock_mhz[first.shape]),
        cost_g=cost,
        earliest_cost_g=earliest,
        late=late,
        stretches=stretches,
    )


def why_none(
    curve: PriceCurve, shapes: Shapes, *, work: float, earliest_s: float, class_index: int = 0
) -> str | None:
    """Why there is no best response, for a log; None if there is one."""
    _refuse_nonsense(work, earliest_s, math.inf, 0.0)
    if _ways(curve, shapes, class_index, work, earliest_s) is not None:
        return None
    if earliest_s < curve.start_s:
        return f"the prices begin {curve.start_s - earliest_s:.0f} s after the earliest start"
    own = [one for one in shapes.of(class_index) if shapes.gpus[one] <= curve.gpus]
    if not own:
        return f"no shape of the class fits on {curve.gpus} GPUs"
    left_s = curve.end_s - earliest_s
    if left_s <= 0:
        return f"the prices end {-left_s:.0f} s before the earliest start"
    length_s = work / float(shapes.rate[own].max())
    return f"the prices end {left_s:.0f} s after the earliest start, the job takes {length_s:.0f} s"


def _refuse_nonsense(work: float, earliest_s: float, deadline_s: float, tolerance: float) -> None:
    if not 0 < work < math.inf:
        raise BadInputError(f"work of a job: {work:g}; wanted a finite number above 0")
    if not math.isfinite(earliest_s):
        raise BadInputError(f"earliest start of a job: {earliest_s:g}; wanted finite seconds")
    if not deadline_s > -math.inf:  # also NaN
        raise BadInputError(f"deadline of a job: {deadline_s:g}; wanted seconds, or inf for none")
    if not 0 <= tolerance < math.inf:
        raise BadInputError(f"tolerance: {tolerance:g}; wanted a finite number from 0")


def _ways(
    curve: PriceCurve, shapes: Shapes, class_index: int, work: float, earliest_s: float
) -> _Ways | None:
    """The shapes that end within the curve if started at once; None if there are none."""
    early = (earliest_s - curve.start_s) / curve.step_s
    if early < -_SLIVER:
        return None
    early = max(early, 0.0)
    low, high = int(shapes.first[class_index]), int(shapes.first[class_index + 1])
    duration = work / (shapes.rate[low:high] * curve.step_s)
    gpus = shapes.gpus[low:high]
    fits = np.flatnonzero((gpus <= curve.gpus) & (early + duration <= curve.slots + _SLIVER))
    if not len(fits):
        return None
    return _Ways(
        shape=low + fits,
        gpus=gpus[fits].astype(np.float64),
        power_w=shapes.power_w[low:high][fits],
        duration=duration[fits],
        early=early,
        late=np.full(len(fits), np.inf),
    )


def _cheapest(
    curve: PriceCurve, ways: _Ways, worth_g_s: float, tolerance: float
) -> tuple[int, float, float, float]:
    """Row of `ways`, start in slots, cost in g; and the cost of the fastest from the earliest."""
    slots, rows = curve.slots, len(ways.duration)
    duration, early, late = ways.duration, ways.early, ways.late
    whole = np.floor(duration + _SLIVER)
    part = np.clip(duration - whole, 0.0, 1.0)
    need = np.stack([ways.power_w, ways.gpus], axis=1)
    # Each shape's price up to every border, and a part of a slot after and before each.
    at_border = need @ curve.area
    rise = np.diff(at_border, axis=1)
    rise *= part[:, None]
    after = at_border[:, :-1] + rise
    before = at_border[:, 1:] - rise
    # Columns: a start at each border, an end at each, the earliest and the latest start.
    cost = np.full((rows, 2 * slots + 4), np.inf)
    low = math.ceil(early - _SLIVER)
    last_start = np.minimum(np.floor(late + _SLIVER), slots - 1 - whole)
    first_end = np.maximum(np.ceil(early + duration - _SLIVER), whole + 1)
    last_end = np.minimum(np.floor(late + duration + _SLIVER), slots)
    ends = slots + 1
    bounds = np.stack([whole, last_start, first_end, last_end]).astype(np.int64).T.tolist()
    for row, (long, final, begin, end) in enumerate(bounds):
        if final >= low:
            np.subtract(
                after[row, low + long : final + long + 1],
                at_border[row, low : final + 1],
                out=cost[row, low : final + 1],
            )
        if end >= begin:
            np.subtract(
                at_border[row, begin : end + 1],
                before[row, begin - long - 1 : end - long],
                out=cost[row, ends + begin : ends + end + 1],
            )
    edge = np.stack([np.full(rows, early), late], axis=1)
    moment = np.concatenate([edge + duration[:, None], edge])
    both = np.stack([np.interp(moment, curve.border, one) for one in curve.area], axis=-1)
    cost[:, -2:] = ((both[:rows] - both[rows:]) * need[:, None, :]).sum(axis=-1)
    if worth_g_s:
        # Seconds from the earliest start to the end, per column.
        took = np.empty_like(cost)
        took[:, :ends] = curve.border + (duration[:, None] - early)
        took[:, ends:-2] = curve.border - early
        took[:, -2:] = edge + (duration[:, None] - early)
        took *= curve.step_s
        np.maximum(took, 1e-9, out=took)
        worth = worth_g_s / took
        cost -= worth
    at = int(cost.argmin())
    least = float(cost.flat[at])
    paid = least + (float(worth.flat[at]) if worth_g_s else 0.0)
    near_row, column = np.nonzero(cost <= least + (tolerance + _ROUNDING) * abs(paid))
    shift = np.where(column < ends, 0.0, ends + duration[near_row])
    start = np.where(column < 2 * ends, column - shift, early)
    start = np.where(column == 2 * ends + 1, late[near_row], start)
    start = np.minimum(np.maximum(start, early), late[near_row])
    near_cost = cost[near_row, column]
    first = int(np.lexsort((near_cost, start, start + duration[near_row]))[0])
    fastest = duration == duration.min()
    return (
        int(near_row[first]),
        float(start[first]),
        float(near_cost[first]),
        float(cost[fastest, -2].min()),
    )


def _split(
    curve: PriceCurve, shapes: Shapes, class_index: int, work: float, early: float, until: float
) -> tuple[float, tuple[Stretch, ...]] | None:
    """Cost in g and stretches of the cheapest split; also of shapes too slow to be used alone."""
    low, high = int(shapes.first[class_index]), int(shapes.first[class_index + 1])
    own = low + np.flatnonzero(shapes.gpus[low:high] <= curve.gpus)
    found = split_one(
        curve.price,
        np.stack([shapes.power_w[own], shapes.gpus[own].astype(np.float64)], axis=1),
        shapes.rate[own],
        step_s=curve.step_s,
        work=work,
        early=early,
        until=until,
    )
    if found is None:
        return None
    stretches = tuple(
        Stretch(
            start_s=curve.start_s + begin * curve.step_s,
            end_s=curve.start_s + end * curve.step_s,
            shape=int(own[row]),
        )
        for begin, end, row in found.parts
    )
    return found.cost_g, stretches
