# SPDX-License-Identifier: Apache-2.0
"""Inference services beside the jobs: which clock in which slot. Pure.

At least carbon a service runs at the clock that draws least of those that meet its latency; what
a slot's kWh costs does not change which one that is. Where performance counts, it runs faster as
long as that is worth its carbon, given what else draws power in that slot. Under a ramp it may run
faster before a rush hour, so that the climb is in two steps.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from slurm_green.plan.outcome import Weights
from slurm_green.plan.problem import JOULES_PER_KWH, Floats, Ints, Problem, Service

__all__ = ["choose_clocks", "draws_w", "performance"]

_ROUNDS = 3
_ROUNDING = 1e-7
_HAIR = 1e-9


def draws_w(problem: Problem, clocks: Sequence[Ints]) -> Floats:
    """Average power of all services per slot at these clocks (an index per slot each)."""
    slots = np.arange(problem.site.slots)
    total = np.zeros(problem.site.slots)
    for service, clock in zip(problem.services, clocks, strict=True):
        total += _draw_w(service)[clock, slots]
    return total


def performance(problem: Problem, clocks: Sequence[Ints]) -> float | None:
    """Sum over services of weight x load-weighted least latency over latency; None without any."""
    if not problem.services:
        return None
    slots = np.arange(problem.site.slots)
    pairs = zip(problem.services, clocks, strict=True)
    return float(sum(_worth(service)[clock, slots].sum() for service, clock in pairs))


def choose_clocks(problem: Problem, weights: Weights, jobs_w: Floats) -> tuple[Ints, ...]:
    """The best clock of each service in each slot, beside jobs that draw `jobs_w`."""
    site = problem.site
    slots = np.arange(site.slots)
    tables = [_draw_w(service) for service in problem.services]
    allowed = [_allowed(service) for service in problem.services]
    clocks = [
        np.where(free, table, np.inf).argmin(axis=0)
        for table, free in zip(tables, allowed, strict=True)
    ]
    ramp_w = site.ramp_w_per_slot
    if not weights.performance_g and np.isinf(ramp_w):
        return tuple(clocks)
    per_w = site.carbon_g_per_kwh * (weights.carbon * site.step_s / JOULES_PER_KWH)
    usual_g = max(float(per_w.mean()), 1e-12)
    for _ in range(_ROUNDS):
        for number, service in enumerate(problem.services):
            others = sum(
                table[clock, slots]
                for at, (table, clock) in enumerate(zip(tables, clocks, strict=True))
                if at != number
            )
            after = tables[number] + (others + jobs_w + site.base_power_w)
            cost = per_w * np.maximum(after - site.renewable_w, 0.0)
            # Of clocks that emit alike the one that draws least.
            cost = cost + _HAIR * usual_g * after - weights.performance_g * _worth(service)
            keeps = allowed[number] & (after <= site.power_cap_w)
            cost = np.where(keeps, cost, np.inf)
            if np.isinf(ramp_w):
                best = cost.argmin(axis=0)
            else:
                best = _climbing(cost, after, ramp_w, usual_g)
            clocks[number] = np.where(np.isfinite(cost[best, slots]), best, clocks[number])
    return tuple(clocks)


def _climbing(cost: Floats, after_w: Floats, ramp_w: float, usual_g: float) -> Ints:
    """The cheapest way through the slots that climbs least above the ramp; both (clocks, slots).

    Slot by slot the best way to each clock (Viterbi 1967).
    """
    clocks, slots = cost.shape
    finite = cost[np.isfinite(cost)]
    # A watt above the ramp outweighs all that clocks can cost.
    dear = usual_g + float(np.abs(finite).sum())
    cost = np.where(np.isfinite(cost), cost, dear * (1 + float(after_w.max())) * slots)
    came = np.zeros((slots, clocks), dtype=np.int64)
    total = cost[:, 0]
    for slot in range(1, slots):
        rise = after_w[:, slot] - after_w[:, slot - 1][:, None] - ramp_w
        way = total[:, None] + dear * np.where(rise > _ROUNDING * ramp_w, rise, 0.0)
        came[slot] = way.argmin(axis=0)
        total = way.min(axis=0) + cost[:, slot]
    best = np.zeros(slots, dtype=np.int64)
    best[-1] = total.argmin()
    for slot in range(slots - 1, 0, -1):
        best[slot - 1] = came[slot, best[slot]]
    return best


def _worth(service: Service) -> Floats:
    """Performance of each clock in each slot, shape (clocks, slots)."""
    total = float(service.load_per_s.sum())
    share = service.load_per_s / total if total > 0 else np.zeros_like(service.load_per_s)
    speed = service.latency_s.min() / service.latency_s
    return np.asarray(service.weight * np.outer(speed, share))


def _draw_w(service: Service) -> Floats:
    """Average power of each clock in each slot, shape (clocks, slots)."""
    busy = np.clip(np.outer(1 / service.max_rate, service.load_per_s), 0.0, 1.0)
    span = service.power_w - service.idle_power_w
    return np.asarray(service.idle_power_w[:, None] + busy * span[:, None])


def _allowed(service: Service) -> NDArray[np.bool_]:
    """Clocks that carry a slot's load in time, else the strongest, shape (clocks, slots)."""
    allowed = np.outer(1 / service.max_rate, service.load_per_s) <= 1 + _ROUNDING
    allowed[service.latency_s > service.latency_slo_s * (1 + _ROUNDING)] = False
    overloaded = ~allowed.any(axis=0)
    allowed[:, overloaded] = (service.max_rate == service.max_rate.max())[:, None]
    return np.asarray(allowed)
