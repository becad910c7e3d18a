# SPDX-License-Identifier: Apache-2.0
"""The proof of a plan: what every plan must cost at given prices, and whether this one is allowed.

It shares nothing with the planner but the types. The trap: a bound holds for any prices inside
their domain, so they are clipped to it and never refused. Pure.

For prices mu, lam, nu and weights c (carbon) and w (performance_g), every plan with the same jobs
late and the same jobs not placed keeps, X being its carbon in g and P its performance,

    c X - w P >= L = lagrangian_g(...)

whatever its cap, ramp and clocks are: L is the least of the left side where GPUs, cap and supply
may be overdrawn at their prices. Hence P <= (c X - L) / w, see `performance_at_most` and
`ppc_at_most`.
"""

import math
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from slurm_green.plan.least_cost import Question, least_costs_g
from slurm_green.plan.outcome import Prices, Weights
from slurm_green.plan.problem import JOULES_PER_KWH, SECONDS_PER_HOUR, Floats, Problem, Service
from slurm_green.plan.verify import (
    carbon_g,
    check,
    peak_w,
    service_clocks_allowed,
    service_power_w,
    slot_energy_j,
)

__all__ = [
    "carbon_g",
    "check",
    "lagrangian_g",
    "lower_bound_g",
    "peak_w",
    "performance_at_most",
    "ppc_at_most",
    "slot_energy_j",
]

_LEAST_G = 1e-6  # the guard of 1e-9 kg by which ppc never divides by less
_G_PER_KG = 1000.0


def lower_bound_g(
    problem: Problem, prices: Prices, *, late: NDArray[np.bool_], unplaced: NDArray[np.bool_]
) -> float:
    """The least carbon in g of any plan with these jobs late and these not placed, or less.

    `late` and `unplaced` have the shape (jobs,). Late jobs get the horizon as their deadline, as
    do those that even alone in their fastest shape are late; jobs that are not placed, and those
    for which the horizon is too short, cost nothing.
    """
    return lagrangian_g(problem, prices, Weights(), late=late, unplaced=unplaced)


def lagrangian_g(
    problem: Problem,
    prices: Prices,
    weights: Weights,
    *,
    late: NDArray[np.bool_],
    unplaced: NDArray[np.bool_],
) -> float:
    """The least carbon x g - performance_g x performance of any such plan, or less.

    mu is in units of what is minimised: between 0 and weights.carbon x intensity. Performance is
    that of the jobs and of the services together.
    """
    site = problem.site
    mu, lam, nu = _clipped(problem, prices, weights.carbon)
    kwh_per_w = site.step_s / JOULES_PER_KWH
    total = float((mu * (site.base_power_w - site.renewable_w)).sum()) * kwh_per_w
    total -= float(lam.sum()) * site.gpus * site.step_s / SECONDS_PER_HOUR
    if math.isfinite(site.power_cap_w):
        total += float((nu * (site.base_power_w - site.power_cap_w)).sum()) * kwh_per_w
    for service in problem.services:
        total += _service_g(service, (mu + nu) * kwh_per_w, weights.performance_g)
    question = Question(
        problem=problem,
        energy_price=mu + nu,
        gpu_price=lam,
        deadline_s=np.where(late, site.horizon_s, problem.jobs.deadline_s),
        performance_g=weights.performance_g,
    )
    placed = np.flatnonzero(~unplaced)
    costs = least_costs_g(question, placed)
    hopeless = np.flatnonzero(np.isinf(costs))
    if len(hopeless):
        anytime = replace(question, deadline_s=np.full(len(problem.jobs), site.horizon_s))
        costs[hopeless] = least_costs_g(anytime, placed[hopeless])
    return total + float(costs[np.isfinite(costs)].sum())


def performance_at_most(lagrangian_g: float, weights: Weights, budget_g: float) -> float:
    """The most performance of any plan within a carbon budget, or more; see the module's text."""
    if weights.performance_g <= 0:
        return math.inf
    return (weights.carbon * budget_g - lagrangian_g) / weights.performance_g


def ppc_at_most(lagrangian_g: float, weights: Weights, least_carbon_g: float) -> float:
    """The most performance per kg of any plan, or more; none has less carbon than the least.

    P / X <= (c - L / X) / w: with L above 0 at most c / w, else most where X is least.
    """
    if weights.performance_g <= 0:
        return math.inf
    least_g = max(least_carbon_g, _LEAST_G)
    per_g = weights.carbon - min(lagrangian_g, 0.0) / least_g
    return _G_PER_KG * per_g / weights.performance_g


def _clipped(problem: Problem, prices: Prices, carbon: float) -> tuple[Floats, Floats, Floats]:
    site = problem.site
    for name, price in (("mu", prices.mu), ("lam", prices.lam), ("nu", prices.nu)):
        if price.shape != (site.slots,):
            raise ValueError(f"{name} has the shape {price.shape} for {site.slots} slots")
    nu = np.maximum(prices.nu, 0.0) if math.isfinite(site.power_cap_w) else np.zeros(site.slots)
    return np.clip(prices.mu, 0.0, carbon * site.carbon_g_per_kwh), np.maximum(prices.lam, 0.0), nu


def _service_g(service: Service, price_g_per_w: Floats, performance_g: float) -> float:
    """A service at the cheapest clock of every slot; its GPUs are its own and cost nothing."""
    cost = service_power_w(service) * price_g_per_w
    if performance_g > 0:
        load = service.load_per_s.sum()
        share = service.load_per_s / load if load > 0 else np.zeros_like(service.load_per_s)
        speed = service.latency_s.min() / service.latency_s[:, None]
        cost = cost - performance_g * service.weight * speed * share
    return float(np.where(service_clocks_allowed(service), cost, np.inf).min(axis=0).sum())
