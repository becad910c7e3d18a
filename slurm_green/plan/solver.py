# SPDX-License-Identifier: Apache-2.0
"""Plans for given weights of carbon and performance, and what is proven of them. Pure."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from slurm_green.errors import PlanError
from slurm_green.plan import certificate, services
from slurm_green.plan.draft import Draft, draft, prices_for
from slurm_green.plan.limits import Limits
from slurm_green.plan.outcome import Prices, Weights
from slurm_green.plan.polish import polish
from slurm_green.plan.problem import Ints, Problem, Site
from slurm_green.plan.schedule import Schedule

__all__ = ["RELATIVE", "Plan", "Solver"]

RELATIVE = 1e-9
_EARLIER = (0.06, 6.0)  # times what performance costs: a little, and much
_FEW = 5000  # jobs; of more it takes too long


@dataclass(frozen=True, kw_only=True)
class Plan:
    """A draft with its clocks and figures."""

    schedule: Schedule
    clocks: tuple[Ints, ...]
    prices: Prices
    weights: Weights
    carbon_g: float
    late: int
    unplaced: int
    performance: float
    service_performance: float | None

    @property
    def total(self) -> float:
        """Performance of jobs and services."""
        return self.performance + (self.service_performance or 0.0)

    @property
    def cost_g(self) -> float:
        """What its weights make of it."""
        return self.weights.carbon * self.carbon_g - self.weights.performance_g * self.total

    @property
    def misses(self) -> tuple[int, int]:
        """What comes before any objective: jobs not done in time, those without a place worst."""
        return self.unplaced + self.late, self.unplaced

    @property
    def harm(self) -> int:
        """The same as one number: a job that does not run at all is as bad as three late ones."""
        return self.late + 3 * self.unplaced


class Solver:
    """Makes plans for one problem, a seed and a time."""

    def __init__(
        self,
        problem: Problem,
        *,
        seed: int,
        expired: Callable[[], bool],
        progress: Callable[[str, float, str], None],
    ) -> None:
        self.problem = problem
        self.expired = expired
        self.progress = progress
        self._seed = seed
        soonest_s = problem.jobs.earliest_s + problem.fastest_s
        self._hopeless = int((soonest_s > problem.jobs.deadline_s).sum())  # late anyway

    def plan(
        self,
        weights: Weights,
        *,
        warm: Prices | None = None,
        previous: Schedule | None = None,
    ) -> Plan:
        """The best plan found for these weights."""
        problem, nothing = self.problem, np.zeros(self.problem.site.slots)
        # Under a cap or a ramp services first leave jobs all that they can.
        first = Weights() if Limits.any(problem.site) else weights
        clocks = services.choose_clocks(problem, first, nothing)
        if problem.services:
            _check_services(self._loaded(clocks).site)
        made = self._draft(weights, clocks, warm, previous)
        plans = [self.figures(made.schedule, clocks, made.prices, weights)]
        if problem.services and weights.performance_g:
            # Once more, each side beside what the other one chose.
            clocks = services.choose_clocks(problem, weights, self._jobs_w(made.schedule))
            plans.append(self.figures(made.schedule, clocks, made.prices, weights))
            made = self._draft(weights, clocks, made.prices, made.schedule)
            plans.append(self.figures(made.schedule, clocks, made.prices, weights))
        allowed = [
            one
            for one in plans
            if len(plans) == 1 or certificate.check(problem, one.schedule, one.clocks) is None
        ]
        return min(allowed or plans[:1], key=lambda one: (one.misses, one.cost_g))

    def figures(
        self, schedule: Schedule, clocks: tuple[Ints, ...], prices: Prices, weights: Weights
    ) -> Plan:
        """A plan with its figures, as separate code counts them."""
        problem = self.problem
        ends = schedule.ends_s(problem)
        placed = schedule.placed(problem)
        waited = np.fmax(ends - problem.jobs.earliest_s, problem.fastest_s)
        return Plan(
            schedule=schedule,
            clocks=clocks,
            prices=prices,
            weights=weights,
            carbon_g=certificate.carbon_g(problem, schedule, clocks),
            late=int(schedule.late(problem).sum()),
            unplaced=int((~placed).sum()),
            performance=float((problem.fastest_s / waited)[placed].sum()),
            service_performance=services.performance(problem, clocks),
        )

    def polished(
        self, plan: Plan, weights_g: Sequence[float], gain: Callable[[float, float], float]
    ) -> Plan:
        """The plan, its jobs moved one by one as long as `gain` of carbon and performance rises."""
        found = polish(
            self._loaded(plan.clocks),
            plan.schedule,
            carbon_g=plan.carbon_g,
            performance=plan.performance,
            weights=[Weights(performance_g=one) for one in weights_g],
            score=gain,
            expired=self.expired,
        )
        if found is None or certificate.check(self.problem, found, plan.clocks) is not None:
            return plan
        other = self.figures(found, plan.clocks, plan.prices, plan.weights)
        better = other.misses <= plan.misses
        better &= gain(other.carbon_g, other.performance) > gain(plan.carbon_g, plan.performance)
        return other if better else plan

    def in_time(self, plan: Plan) -> Plan:
        """The plan, or one with fewer jobs late: early ends are worth something there.

        Who waits for the cleanest hours leaves others no room. Once such a plan is found, its jobs
        are moved for carbon alone.
        """
        for share in _EARLIER if len(self.problem.jobs) <= _FEW else ():
            if self.expired() or plan.late + plan.unplaced <= self._hopeless:
                break
            worth_g = share * max(plan.carbon_g, 1e-6) / max(plan.total, 1e-9)
            early = self.plan(Weights(performance_g=worth_g), warm=plan.prices).schedule
            clocks = services.choose_clocks(self.problem, plan.weights, self._jobs_w(early))
            if certificate.check(self.problem, early, clocks) is not None:
                continue
            other = self.figures(early, clocks, plan.prices, plan.weights)
            if other.misses < plan.misses and other.harm < plan.harm:
                plan = self.polished(other, [0.0], lambda carbon_g, _: -carbon_g)
        return plan

    def bound_g(self, plan: Plan, prices: Prices) -> float:
        """The least carbon that any plan with the same jobs late and not placed has."""
        late = plan.schedule.late(self.problem)
        unplaced = ~plan.schedule.placed(self.problem)
        return certificate.lower_bound_g(self.problem, prices, late=late, unplaced=unplaced)

    def proven(self, plan: Plan, prices: Prices) -> tuple[float, Prices]:
        """The best bound for the plan, and the prices that prove it."""
        best = self.bound_g(plan, prices), prices
        late = plan.schedule.late(self.problem)
        unplaced = ~plan.schedule.placed(self.problem)
        if not (late.any() or unplaced.any()) or self.expired():
            return best
        loaded = self._loaded(plan.clocks)
        # Prices at which somebody had to be late are too high to begin with.
        warm = prices if len(self.problem.jobs) > _FEW else None
        others = prices_for(loaded, late, unplaced, warm)
        return max([best, *((self.bound_g(plan, p), p) for p in others)], key=lambda pair: pair[0])

    def _loaded(self, clocks: tuple[Ints, ...]) -> Problem:
        """The problem with its services as a part of the base load."""
        site = self.problem.site
        base = site.base_power_w + services.draws_w(self.problem, clocks)
        return replace(self.problem, site=replace(site, base_power_w=base), services=())

    def _draft(
        self,
        weights: Weights,
        clocks: tuple[Ints, ...],
        warm: Prices | None,
        previous: Schedule | None,
    ) -> Draft:
        return draft(
            self._loaded(clocks),
            weights,
            warm=warm,
            previous=previous,
            seed=self._seed,
            expired=self.expired,
            progress=lambda phase, done: self.progress(phase, done, ""),
        )

    def _jobs_w(self, schedule: Schedule) -> np.ndarray:
        bare = replace(self.problem, services=())
        return certificate.slot_energy_j(bare, schedule) / self.problem.site.step_s


def _check_services(site: Site) -> None:
    over = np.flatnonzero(site.base_power_w > site.power_cap_w * (1 + RELATIVE))
    if len(over):
        raise PlanError(
            f"services and base load need {site.base_power_w[over[0]]:.6g} W in slot {over[0]},"
            f" more than the power cap of {site.power_cap_w:g} W: raise the cap or lower the load"
        )
    rise = np.diff(site.base_power_w)
    over = np.flatnonzero(rise > site.ramp_w_per_slot * (1 + RELATIVE))
    if len(over):
        raise PlanError(
            f"services and base load rise by {rise[over[0]]:.6g} W into slot {over[0] + 1}, more"
            f" than the ramp of {site.ramp_w_per_slot:g} W a slot: no plan can keep it"
        )
