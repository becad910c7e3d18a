# SPDX-License-Identifier: Apache-2.0
"""Inference services beside the jobs: which clock in which slot. Pure.

At least carbon a service runs at the clock that draws least of those that meet its latency; what
a slot's kWh costs does not change which one that is. Where performance counts, it runs faster as
long as that is worth its carbon, given what else draws power in that slot.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from slurm_green.plan.outcome import Weights
from slurm_green.plan.problem import JOULES_PER_KWH, Floats, Ints, Problem, Service

__all__ = ["choose_clocks", "draws_w", "performance"]

_ROUNDS = 3
_ROUNDING = 1e-7


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
    # A ramp is kept by the least draw that the loads allow: faster clocks would have to climb.
    if not weights.performance_g or np.isfinite(site.ramp_w_per_slot):
        return tuple(clocks)
    per_w = site.carbon_g_per_kwh * (weights.carbon * site.step_s / JOULES_PER_KWH)
    for _ in range(_ROUNDS):
        for number, service in enumerate(problem.services):
            others = clocks.copy()
            others.pop(number)
            rest = Problem(
                site=site,
                shapes=problem.shapes,
                jobs=problem.jobs,
                services=tuple(s for s in problem.services if s is not service),
            )
            load = jobs_w + site.base_power_w + draws_w(rest, others)
            after = load + tables[number]
            cost = per_w * np.maximum(after - site.renewable_w, 0.0)
            cost = cost - weights.performance_g * _worth(service)
            keeps = allowed[number] & (after <= site.power_cap_w)
            cost = np.where(keeps, cost, np.inf)
            best = cost.argmin(axis=0)
            clocks[number] = np.where(np.isfinite(cost[best, slots]), best, clocks[number])
    return tuple(clocks)


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
