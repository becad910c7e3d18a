# SPDX-License-Identifier: Apache-2.0
"""How far one profile is from another at the settings of the first. Pure.

The trap: only settings within the other's axes count; beyond them a curve is a rule, not a fact.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from profiling.curve import Curve
from profiling.errors import ProfileError
from profiling.grid import Grid
from profiling.law import Floats
from profiling.profile import Profile

__all__ = ["Difference", "Optimum", "compare", "optima"]


@dataclass(frozen=True, kw_only=True)
class Difference:
    """Of one phase, the second profile over the first, relative; None where not known."""

    phase: str
    points: int  # that the second covers
    of: int
    time_bias: float
    time_mean: float  # of the absolute values
    time_most: float
    power_bias: float | None
    power_mean: float | None
    power_most: float | None


@dataclass(frozen=True, kw_only=True)
class Optimum:
    """The clock of least energy at one batch and context, in each profile."""

    phase: str
    batch: int
    context: int | None
    tp: int
    first_mhz: float
    second_mhz: float
    regret: float | None  # energy by the first's figures that the second's choice costs on top


def compare(first: Profile, second: Profile) -> list[Difference]:
    """A difference for each phase of the first; ProfileError where they have nothing in common."""
    curve = Curve.of(second)
    ratios: dict[str, list[tuple[float, float]]] = {}
    asked: dict[str, int] = {}
    for phase, grid, place, time_s, power_w in _placed(first, curve):
        asked[phase] = asked.get(phase, 0) + 1
        if grid is None or not grid.covers(*place):
            continue
        ratio = (
            float(grid.time_at(*place)) / time_s,
            math.nan if power_w is None else float(grid.power_at(*place)) / power_w,
        )
        ratios.setdefault(phase, []).append(ratio)
    if not ratios:
        raise ProfileError(
            "the profiles have no setting in common: same phase, tp, and clocks, batches and "
            "contexts of the first within those of the second; points under a cap do not count"
        )
    return [_difference(phase, np.array(found), asked[phase]) for phase, found in ratios.items()]


def optima(first: Profile, second: Profile) -> list[Optimum]:
    """Where both know power at clocks: the best ones at each batch and context that both cover."""
    one, other = Curve.of(first), Curve.of(second)
    found = []
    keys = {(at.phase, at.tp, at.batch, at.context_tokens) for at in first.inference}
    for phase, tp, batch, context in sorted(keys, key=lambda key: (*key[:3], key[3] or 0)):
        if (phase, tp) not in one.inference or (phase, tp) not in other.inference:
            continue
        place = (phase, batch, context or 0)
        first_mhz = one.optimal_clock_mhz(*place, tp=tp)
        second_mhz = other.optimal_clock_mhz(*place, tp=tp)
        if first_mhz is None or second_mhz is None or math.inf in (first_mhz, second_mhz):
            continue
        if not (
            one.grid(phase, tp).covers(context or 0, batch, first_mhz)
            and other.grid(phase, tp).covers(context or 0, batch, second_mhz)
        ):
            continue
        clocks = np.array([first_mhz, second_mhz])
        latency_s = one.latency_s(*place, clocks, tp=tp)
        spent_j = (latency_s * one.power_w(*place, clocks, tp=tp)).tolist()
        low, high = one.grid(phase, tp).clocks[[0, -1]]
        found.append(
            Optimum(
                phase=phase,
                batch=batch,
                context=context,
                tp=tp,
                first_mhz=first_mhz,
                second_mhz=second_mhz,
                regret=spent_j[1] / spent_j[0] - 1 if low <= second_mhz <= high else None,
            )
        )
    return found


def _placed(
    profile: Profile, curve: Curve
) -> Iterator[tuple[str, Grid | None, tuple[float, float, float], float, float | None]]:
    """Each point: its phase, the other's grid, its place on it, time and power."""
    for one in profile.inference:
        if one.power_cap_w is None:
            grid = curve.inference.get((one.phase, one.tp))
            place = (one.context_tokens or 0.0, float(one.batch), _clock(one.clock_mhz))
            yield one.phase, grid, place, one.latency_s, one.power_w
    for shape in profile.training:
        if shape.power_cap_w is None:
            there = curve.training.get((shape.workers, shape.gpus_per_worker))
            place = (0.0, 1.0, _clock(shape.clock_mhz))
            yield "training", there, place, 1 / shape.rate, shape.power_w


def _clock(clock_mhz: float | None) -> float:
    return math.inf if clock_mhz is None else clock_mhz


def _difference(phase: str, ratios: Floats, of: int) -> Difference:
    off = ratios - 1
    power = off[:, 1][np.isfinite(off[:, 1])]
    return Difference(
        phase=phase,
        points=len(off),
        of=of,
        time_bias=float(off[:, 0].mean()),
        time_mean=float(np.abs(off[:, 0]).mean()),
        time_most=float(np.abs(off[:, 0]).max()),
        power_bias=float(power.mean()) if len(power) else None,
        power_mean=float(np.abs(power).mean()) if len(power) else None,
        power_most=float(np.abs(power).max()) if len(power) else None,
    )
