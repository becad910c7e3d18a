# SPDX-License-Identifier: Apache-2.0
"""Which windows a sweep measures, round by round, from what it has measured. Pure.

The same records always lead to the same windows: that is how a sweep goes on after a kill. So
chance comes from the seed and a window's place, and never from a generator that lives on.
"""

import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from profiling.curve import best_setting
from profiling.device.gpu import snapped
from profiling.errors import ProfileError
from profiling.fit import Fit, Sweep, bootstrap, fit_sweeps
from profiling.leftover import relative_error
from profiling.sweep.records import Point, Window
from profiling.sweep_plan import next_settings
from profiling.workload.protocol import Load

__all__ = ["Ask", "block", "fit_of", "more_batches", "more_clocks", "reference_of", "swept_clocks"]

# Below, no load spends less per unit of work, as memory slows down too; facts of A100 and V100.
_LOWEST_SHARE = 0.36
_REPLICAS = 24  # as sweep_plan
_MANY = 3  # clocks
_DELAY_S = 0.1  # one period of the energy counter
_CURVED = 0.05  # latency at a batch, against a straight line between its neighbours


@dataclass(frozen=True, slots=True, kw_only=True)
class Ask:
    """One window to measure: after a delay, so that no two begin at the same place of a sensor."""

    order: int
    clock_mhz: int | None
    reference: bool
    delay_s: float


def swept_clocks(clocks: Sequence[int]) -> list[int]:
    """The clocks worth measuring, of those a GPU holds; MHz."""
    return [one for one in clocks if one >= _LOWEST_SHARE * max(clocks, default=0)]


def reference_of(clocks: Sequence[int | None]) -> int | None:
    """The clock that a load returns to; the middle of those it begins with."""
    return clocks[len(clocks) // 2]


def block(
    load: Load,
    clocks: Sequence[int | None],
    *,
    round_: int,
    reference: int | None,
    repeats: int,
    seed: int,
) -> Iterator[Ask]:
    """Every clock `repeats` times in random order; the reference before, after, and between.

    Where only a clock or two are measured, the reference before and after is enough.
    """
    rng = np.random.default_rng([seed, round_, zlib.crc32(load.name.encode())])
    others = [one for one in clocks if one != reference]
    order = [reference] * (1 if others else repeats)
    passes = [others] * repeats if len(others) >= _MANY else [others * repeats]
    for one in passes if others else ():
        order += [one[at] for at in rng.permutation(len(one))]
        order.append(reference)
    for at, clock_mhz in enumerate(order):
        yield Ask(
            order=at,
            clock_mhz=clock_mhz,
            reference=clock_mhz == reference,
            delay_s=float(rng.uniform(0.0, _DELAY_S)),
        )


def fit_of(known: Sequence[Point], loads: Mapping[str, Load], clocks: Sequence[int]) -> Fit | None:
    """The law fitted to all points of `loads`; None while none of them has enough."""
    rows: dict[str, list[Point]] = {}
    for one in known:
        if one.clock_mhz is not None and one.load in loads:
            rows.setdefault(one.load, []).append(one)
    sweeps = [
        Sweep(
            name=name,
            setting=np.array([one.clock_mhz for one in own], dtype=np.float64),
            time_s=np.array([1 / one.rate.value for one in own]),
            power_w=np.array([one.power_w.value / loads[name].gpus for one in own]),
            error=np.array(
                [
                    [
                        relative_error(mean.value, mean.ci95, one.n)
                        for mean in (one.rate, one.power_w)
                    ]
                    for one in own
                ]
            ),
        )
        for name, own in rows.items()
    ]
    try:
        return fit_sweeps(sweeps, "clock_mhz", top=max(clocks))
    except ProfileError:
        return None


def more_clocks(
    known: Sequence[Point],
    given_up: Mapping[tuple[str, int | None], Window],
    loads: Mapping[str, Load],
    clocks: Sequence[int],
) -> dict[str, list[int]]:
    """For each load that needs one, the next clock; nothing: the sweep is done.

    First what it reached in place of one it did not hold; below that, what `next_settings` asks
    for; at last the best one by the fit, until that was measured.
    """
    measured = {(one.load, one.clock_mhz) for one in known}
    usable = {name: list(clocks) for name in loads}
    wanted: dict[str, list[int]] = {}
    for (name, clock_mhz), window in given_up.items():
        if clock_mhz is None or name not in loads:
            continue
        holds_more = any(
            load == name and mhz is not None and mhz > clock_mhz for load, mhz in measured
        )
        usable[name] = [
            one for one in usable[name] if one < clock_mhz or (holds_more and one > clock_mhz)
        ]
        reached_mhz = window.observed_mhz
        if reached_mhz is not None and usable[name] and reached_mhz < clock_mhz:
            instead = snapped(usable[name], int(reached_mhz))
            if (name, instead) not in measured and (name, instead) not in given_up:
                wanted[name] = [instead]
    fit = fit_of(known, loads, clocks)
    if fit is not None:
        drawn = bootstrap(fit, _REPLICAS, np.random.default_rng(0))
        for part in {tuple(usable[name]) for name in fit.names if usable[name]}:
            asked = next_settings(fit, part, drawn)
            for name in fit.names:
                if tuple(usable[name]) == part and name not in wanted:
                    best = _unconfirmed(fit, name, part)
                    more = int(asked[name]) if name in asked else best
                    if more is not None:
                        wanted[name] = [more]
    return {name: wanted[name] for name in loads if name in wanted}


def _unconfirmed(fit: Fit, name: str, clocks: Sequence[int]) -> int | None:
    """The best clock by the fit, if it was not measured.

    A smooth law misses a kink, and the least energy often lies on one.
    """
    grid = np.array(clocks, dtype=np.float64)
    best = best_setting(grid, np.prod(fit.predict(name, grid), axis=0))
    return None if clocks[best] in fit.seen(name) else clocks[best]


def more_batches(known: Sequence[Point], loads: Sequence[Load]) -> list[Load]:
    """Loads between two batches where latency is no straight line in the batch, at one clock."""
    times = {(one.load, one.clock_mhz): one.step_s.value for one in known}
    found: list[Load] = []
    rows: dict[Load, list[Load]] = {}
    for one in loads:
        if one.batch is not None:
            rows.setdefault(replace(one, batch=1), []).append(one)
    for row in rows.values():
        row = sorted(row, key=lambda one: one.batch or 0)
        for low, middle, high in zip(row, row[1:], row[2:], strict=False):
            if _bent(low, middle, high, times):
                for a, b in ((low, middle), (middle, high)):
                    batch = round(((a.batch or 1) * (b.batch or 1)) ** 0.5)
                    found.append(replace(a, batch=batch))
    there = {one.name for one in loads}
    return [one for one in dict.fromkeys(found) if one.name not in there]


def _bent(
    low: Load, middle: Load, high: Load, times: Mapping[tuple[str, int | None], float]
) -> bool:
    clocks = [clock for name, clock in times if name == middle.name]
    shared = [one for one in clocks if (low.name, one) in times and (high.name, one) in times]
    if not shared:
        return False
    clock = max(shared, key=lambda mhz: mhz or 0)
    a, b, c = (float(one.batch or 1) for one in (low, middle, high))
    y, z = times[low.name, clock], times[high.name, clock]
    straight = y + (z - y) * (b - a) / (c - a)
    return abs(times[middle.name, clock] / straight - 1) > _CURVED
