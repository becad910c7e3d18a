# SPDX-License-Identifier: Apache-2.0
"""What the planner returns: a schedule, the prices that prove how good it is, and its figures."""

from dataclasses import dataclass, field
from enum import StrEnum

from slurm_green.plan.problem import Floats, Ints
from slurm_green.plan.schedule import Schedule

__all__ = ["Objective", "Outcome", "Prices", "Weights"]


class Objective(StrEnum):
    """CA-RM's three objectives."""

    PERFORMANCE_CONSTRAINED = "performance-constrained"
    CARBON_CONSTRAINED = "carbon-constrained"
    PPC = "ppc"


@dataclass(frozen=True, slots=True, kw_only=True)
class Prices:
    """The prices of the scarce things, one entry per slot.

    `mu` is gCO2e per kWh, between 0 and the grid's intensity; `nu` gCO2e per kWh on top of it
    where the power cap binds; `lam` gCO2e per GPU-hour.
    """

    mu: Floats
    lam: Floats
    nu: Floats


@dataclass(frozen=True, slots=True, kw_only=True)
class Weights:
    """What the planner minimises: `carbon` x gCO2e minus `performance_g` x performance.

    Least carbon is (1, 0). `performance_g` is what one unit of performance is worth, in gCO2e.
    """

    carbon: float = 1.0
    performance_g: float = 0.0


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """A plan with its proof.

    `gap` is (carbon - bound) / bound. `service_clock` holds for each service the index of its
    clock per slot. `performance_at_most` and `ppc_at_most` are proven upper bounds under the
    objective that needs them, else None; `weights` and `response_prices` are those to which each
    part of the plan is the best response (with least carbon as the objective, `prices`).
    `start_now` is the plan of who starts everything at once, where it is known.
    """

    objective: Objective
    schedule: Schedule
    service_clock: tuple[Ints, ...] = ()
    prices: Prices
    weights: Weights = field(default_factory=Weights)
    response_prices: Prices
    carbon_g: float
    lower_bound_g: float
    gap: float
    energy_j: float
    late_jobs: int
    unplaced_jobs: int
    peak_w: float
    performance: float
    service_performance: float | None = None
    ppc: float
    performance_at_most: float | None = None
    ppc_at_most: float | None = None
    solve_s: float
    start_now: Schedule | None = None
    stopped: str = "done"  # or "time limit": the best plan so far
