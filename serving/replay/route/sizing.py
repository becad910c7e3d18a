# SPDX-License-Identifier: Apache-2.0
"""How many GPUs a site with varying power should have. Pure.

Fluid, without single requests: in each step of the power a site serves what its best setting does
(`serving.router.policy.capacity`). With a router, demand goes wherever there is room; without one
each site gets its share of demand by GPUs and loses what it cannot serve. Demand is a share of
what all GPUs serve at full power, steady.

Payback is against a data centre at a grid price that serves as much with GPUs that always have
power: years until cheaper energy has paid for the GPUs that stand still here; None: never.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from profiling.law import Floats
from serving.replay.route.supply import Supply
from serving.router.policy.capacity import Capacity

__all__ = ["Costs", "Size", "sizes"]

_CELL = 20  # replicas that stand for many
_POINTS = 600
_YEAR_S = 365.25 * 86_400


@dataclass(frozen=True, kw_only=True)
class Costs:
    """Prices in one currency."""

    per_kwh: float
    grid_per_kwh: float
    per_gpu: float
    life_years: float


@dataclass(frozen=True, kw_only=True)
class Size:
    """All sites together, GPUs sized so that a percentile of each site's power feeds them.

    `utilisation` is what they could serve with the power they have, of what they would at full
    power; goodput is in requests a second. None where there are no GPUs, or no payback.
    """

    percentile: float
    gpus: Sequence[int]
    utilisation: float | None
    worst_hours: float | None  # utilisation, mean of the worst 1 % of the time
    goodput_rps: float
    goodput_alone_rps: float
    used_share: float  # of the energy that there was
    cost_per_mtoken: float | None
    payback_years: float | None


def sizes(
    supply: Supply,
    capacity: Capacity,
    percentiles: Sequence[float],
    *,
    tp: int,
    load: float,
    tokens: float,
    costs: Costs,
) -> list[Size]:
    """One for each percentile; `tokens` are those of a mean answer."""
    curve_w, curve_rate = _curve(capacity)
    return [
        _size(supply, capacity, one, curve_w, curve_rate, tp, load, tokens, costs)
        for one in percentiles
    ]


def _curve(capacity: Capacity) -> tuple[Floats, Floats]:
    """Watts of a replica, and the rate of one among many that have so much each."""
    watts = np.linspace(0, capacity.peak_w[-1], _POINTS)
    rates = [capacity.best(_CELL, _CELL * one).rate / _CELL for one in watts.tolist()]
    return watts, np.maximum.accumulate(np.array(rates))


def _size(
    supply: Supply,
    capacity: Capacity,
    percentile: float,
    curve_w: Floats,
    curve_rate: Floats,
    tp: int,
    load: float,
    tokens: float,
    costs: Costs,
) -> Size:
    lasts_s = np.diff(np.append(supply.start_s, supply.end_s))
    levels_w = _levels_w(supply.watts, lasts_s, percentile / 100)
    replicas = np.floor(levels_w / capacity.peak_w[-1]).astype(int)
    gpus = [int(one) * tp for one in replicas]
    weights = lasts_s / lasts_s.sum()
    if not replicas.sum():
        return Size(
            percentile=percentile, gpus=gpus, utilisation=None, worst_hours=None, goodput_rps=0.0,
            goodput_alone_rps=0.0, used_share=0.0, cost_per_mtoken=None, payback_years=None,
        )  # fmt: skip
    per_replica_w = supply.watts / np.maximum(replicas, 1)[:, None]
    able = np.interp(per_replica_w, curve_w, curve_rate) * replicas[:, None]
    full = float(curve_rate[-1]) * replicas
    utilisation = able.sum(axis=0) / full.sum()
    pooled = np.minimum(load * full.sum(), able.sum(axis=0))
    alone = np.minimum(load * full[:, None], able).sum(axis=0)
    goodput = float(pooled @ weights)
    # What it serves costs what the setting that serves it draws; the rest is parked.
    share = pooled / np.maximum(able.sum(axis=0), 1e-12)
    busy_w = np.interp(np.minimum(able / np.maximum(full, 1e-12)[:, None], 1.0) * curve_rate[-1],
                       curve_rate, curve_w) * replicas[:, None]  # fmt: skip
    parked_w = np.minimum(capacity.parked_w * replicas[:, None], supply.watts)
    drawn_w = (parked_w + share * np.maximum(busy_w - parked_w, 0.0)).sum(axis=0)
    mean_w = float(drawn_w @ weights)
    year_kwh = mean_w / 1000 * _YEAR_S / 3600
    mtokens = goodput * tokens * _YEAR_S / 1e6
    owned = costs.per_gpu * float(sum(gpus)) / costs.life_years
    grid_replicas = goodput / (load * float(curve_rate[-1]))
    extra = costs.per_gpu * max(float(replicas.sum()) - grid_replicas, 0.0) * tp
    saved = (costs.grid_per_kwh - costs.per_kwh) * year_kwh
    return Size(
        percentile=percentile,
        gpus=gpus,
        utilisation=float(utilisation @ weights),
        worst_hours=_worst(utilisation, lasts_s),
        goodput_rps=goodput,
        goodput_alone_rps=float(alone @ weights),
        used_share=mean_w / max(float(supply.watts.sum(axis=0) @ weights), 1e-12),
        cost_per_mtoken=(owned + costs.per_kwh * year_kwh) / mtokens if mtokens else None,
        payback_years=extra / saved if saved > 0 else None,
    )


def _levels_w(watts: Floats, lasts_s: Floats, share: float) -> Floats:
    """By site, what its power is at most for this share of the time, whatever its rows' lengths."""
    if _even(lasts_s):
        return np.asarray(np.quantile(watts, share, axis=1))
    orders = np.argsort(watts, axis=1)
    until_s = np.cumsum(lasts_s[orders], axis=1)
    at = [np.searchsorted(row[:-1], share * row[-1]) for row in until_s]
    return np.array([row[order[one]] for row, order, one in zip(watts, orders, at, strict=True)])


def _worst(utilisation: Floats, lasts_s: Floats) -> float:
    """Its mean over the worst 1 % of the time; of even steps over whole ones, one at least."""
    order = np.argsort(utilisation)
    if _even(lasts_s):
        return float(utilisation[order[: max(len(order) // 100, 1)]].mean())
    until_s = np.cumsum(lasts_s[order])
    within_s = np.clip(0.01 * until_s[-1] - (until_s - lasts_s[order]), 0.0, lasts_s[order])
    return float(np.average(utilisation[order], weights=within_s))


def _even(lasts_s: Floats) -> bool:
    return bool(np.allclose(lasts_s, lasts_s[0]))
