# SPDX-License-Identifier: Apache-2.0
"""Solves a problem under one of the three objectives, and proves the result before returning it.

Least carbon is one draft. The other two objectives are drafts with performance weighed against
carbon: for a budget the weight is found by halving an interval, for performance per carbon by
Dinkelbach's iteration (weight = carbon / performance of the plan before; Dinkelbach 1967).
"""

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from slurm_green.errors import PlanError
from slurm_green.plan import certificate, services
from slurm_green.plan.draft import Draft, draft, prices_for
from slurm_green.plan.limits import Limits
from slurm_green.plan.outcome import Objective, Outcome, Prices, Weights
from slurm_green.plan.polish import polish
from slurm_green.plan.problem import Ints, Problem, Site
from slurm_green.plan.schedule import Schedule
from slurm_green.plan.start_now import start_now

__all__ = ["solve"]

_G_PER_KG = 1000.0
_HALVINGS = 12
_RICH, _LESS = 4, 8.0  # plans for a budget that buys all, and the steps of their weights
_MUCH, _LITTLE = 64.0, 1e-5  # times what performance costs: from all to hardly anything
_SPENT = 0.995  # of a budget: more is hardly worth looking for
_DINKELBACH = 8
_ASIDE = (2.0, 0.5)
_SETTLED = 1e-4
_RELATIVE = 1e-9


@dataclass(frozen=True, kw_only=True)
class _Plan:
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


class _Solver:
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

    def plan(
        self,
        weights: Weights,
        *,
        warm: Prices | None = None,
        previous: Schedule | None = None,
    ) -> _Plan:
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
    ) -> _Plan:
        """A plan with its figures, as separate code counts them."""
        problem = self.problem
        ends = schedule.ends_s(problem)
        placed = schedule.placed(problem)
        waited = np.fmax(ends - problem.jobs.earliest_s, problem.fastest_s)
        return _Plan(
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
        self, plan: _Plan, weights_g: Sequence[float], gain: Callable[[float, float], float]
    ) -> _Plan:
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

    def bound_g(self, plan: _Plan, prices: Prices) -> float:
        """The least carbon that any plan with the same jobs late and not placed has."""
        late = plan.schedule.late(self.problem)
        unplaced = ~plan.schedule.placed(self.problem)
        return certificate.lower_bound_g(self.problem, prices, late=late, unplaced=unplaced)

    def proven(self, plan: _Plan, prices: Prices) -> tuple[float, Prices]:
        """The best bound for the plan, and the prices that prove it."""
        best = self.bound_g(plan, prices), prices
        late = plan.schedule.late(self.problem)
        unplaced = ~plan.schedule.placed(self.problem)
        if not (late.any() or unplaced.any()) or self.expired():
            return best
        loaded = self._loaded(plan.clocks)
        others = prices_for(loaded, late, unplaced, prices)
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


def solve(
    problem: Problem,
    *,
    objective: Objective = Objective.PERFORMANCE_CONSTRAINED,
    carbon_budget_g: float | None = None,
    time_limit_s: float | None = None,
    seed: int = 0,
    warm: Prices | None = None,
    previous: Schedule | None = None,
    progress: Callable[[str, float, str], None] | None = None,
    clock: Callable[[], float] = time.monotonic,
) -> Outcome:
    """The best plan found, with its proof; the same for the same arguments without a time limit.

    `warm` prices and a `previous` schedule (of the same jobs' numbers) are where it starts.
    `progress` hears the phase, the share of it that is done, and the best figure so far. Raises
    PlanError where a carbon budget is less than any plan needs.
    """
    began = clock()
    until = math.inf if time_limit_s is None else began + 0.9 * time_limit_s
    solver = _Solver(
        problem,
        seed=seed,
        expired=lambda: clock() > until,
        progress=progress or (lambda phase, done, best: None),
    )
    least = solver.plan(Weights(), warm=warm, previous=previous)
    at_once = start_now(problem)
    least = _or_start_now(solver, least, at_once)
    chosen = least
    performance_at_most = ppc_at_most = None
    if objective is Objective.CARBON_CONSTRAINED:
        if carbon_budget_g is None or math.isnan(carbon_budget_g):
            raise PlanError(f"carbon-constrained needs a carbon budget in g, not {carbon_budget_g}")
        chosen, performance_at_most = _within_budget(solver, least, at_once, carbon_budget_g)
    elif objective is Objective.PPC:
        chosen, ppc_at_most = _most_per_carbon(solver, least)
    wrong = certificate.check(problem, chosen.schedule, chosen.clocks)
    if wrong is not None:
        raise PlanError(f"the planner made a plan that is not allowed, please report it: {wrong}")
    bound, prices = solver.proven(chosen, least.prices)
    if bound <= chosen.carbon_g * (1 + _RELATIVE):
        # Beyond it by the sums' own rounding alone: less is a bound, too.
        bound = min(bound, chosen.carbon_g)
    both_nothing = chosen.carbon_g < 1e-6 and bound < 1e-6
    gap = 0.0 if both_nothing else (chosen.carbon_g - bound) / max(bound, 1e-9)
    return Outcome(
        objective=objective,
        schedule=chosen.schedule,
        service_clock=chosen.clocks,
        prices=prices,
        weights=chosen.weights,
        response_prices=chosen.prices if chosen.weights.performance_g else prices,
        carbon_g=chosen.carbon_g,
        lower_bound_g=bound,
        gap=gap,
        energy_j=float(chosen.schedule.energy_j(problem).sum()),
        late_jobs=chosen.late,
        unplaced_jobs=chosen.unplaced,
        peak_w=certificate.peak_w(problem, chosen.schedule, chosen.clocks),
        performance=chosen.performance,
        service_performance=chosen.service_performance,
        ppc=chosen.performance / max(chosen.carbon_g / _G_PER_KG, 1e-9),
        performance_at_most=_finite(performance_at_most),
        ppc_at_most=_finite(ppc_at_most),
        start_now=at_once,
        solve_s=clock() - began,
        stopped="time limit" if solver.expired() else "done",
    )


def _finite(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None


def _or_start_now(solver: _Solver, plan: _Plan, at_once: Schedule) -> _Plan:
    """The plan, or starting everything now where that is allowed and better: never worse."""
    if certificate.check(solver.problem, at_once, plan.clocks) is not None:
        return plan
    other = solver.figures(at_once, plan.clocks, plan.prices, plan.weights)
    return min(plan, other, key=lambda p: (p.misses, p.carbon_g))


def _within_budget(
    solver: _Solver, least: _Plan, at_once: Schedule, budget_g: float
) -> tuple[_Plan, float]:
    """Most performance within a budget, and what no plan within it exceeds."""
    slack = _RELATIVE * abs(budget_g)
    if least.carbon_g > budget_g + slack:
        bound = solver.bound_g(least, least.prices)
        # Rounded up, so that the figure is one that can be given as the budget.
        enough = math.ceil(least.carbon_g * 1e6) / 1e6
        raise PlanError(
            f"--carbon-budget-g {budget_g!r}: impossible, least is {enough!r} g"
            f" (no plan has less than {bound:.6g} g); allow that much"
        )
    best, proofs = least, [least]
    high = _MUCH * max(least.carbon_g, budget_g, 1e-6) / max(least.total, 1e-9)
    low, rich = high * _LITTLE, False
    for number in range(_HALVINGS):
        if solver.expired() or (number > 3 and best.carbon_g >= _SPENT * budget_g):
            break
        solver.progress("budget", number / _HALVINGS, f"{best.total:.6g}")
        # First as if carbon were free; whoever can afford that needs little else.
        weight = math.sqrt(low * high) if number else high
        if rich:
            if number == _RICH:
                break
            weight = high / _LESS**number
        plan = solver.plan(Weights(performance_g=weight), warm=best.prices, previous=best.schedule)
        proofs.append(plan)
        if plan.carbon_g <= budget_g + slack and plan.misses <= best.misses:
            if plan.total > best.total:
                best = plan
            rich = rich or not number
            low = weight
        elif number:
            high = weight

    if certificate.check(solver.problem, at_once, least.clocks) is None:
        other = solver.figures(at_once, least.clocks, best.prices, best.weights)
        affordable = other.carbon_g <= budget_g and other.misses <= best.misses
        best = other if affordable and other.total > best.total else best

    def gain(carbon_g: float, performance: float) -> float:
        return performance if carbon_g <= budget_g else -math.inf

    best = solver.polished(best, [low, high, 8 * high, 64 * high], gain)
    # Proofs hold for the same jobs late and not placed: those of the plan that is returned.
    return best, min(_at_most(solver, best, proof, budget_g) for proof in proofs)


def _most_per_carbon(solver: _Solver, least: _Plan) -> tuple[_Plan, float | None]:
    """Most performance per carbon, and what no plan exceeds."""
    best, proofs = least, []
    times = [1.0, *_ASIDE]
    for number in range(_DINKELBACH):
        if solver.expired() or best.total <= 0 or not times:
            break
        solver.progress("ppc", number / _DINKELBACH, f"{best.total:.6g}")
        weight = times[0] * max(best.carbon_g, 1e-6) / best.total
        plan = solver.plan(Weights(performance_g=weight), warm=best.prices, previous=best.schedule)
        proofs.append(plan)
        better = plan.misses <= best.misses and _ratio(plan) > _ratio(best) * (1 + _SETTLED)
        if better:
            best = plan
        else:
            # What is planned is not quite the best at its weight: others may lead further.
            times.pop(0)

    def gain(carbon_g: float, performance: float) -> float:
        total = performance + (best.service_performance or 0.0)
        return total / max(carbon_g, 1e-6)

    weight = max(best.carbon_g, 1e-6) / max(best.total, 1e-9)
    best = solver.polished(best, [weight / 4, weight, 4 * weight], gain)
    at_most = [_ppc_at_most(solver, best, proof, least) for proof in proofs]
    return best, min(at_most, default=None)


def _ratio(plan: _Plan) -> float:
    return plan.total / max(plan.carbon_g, 1e-6)


def _lagrangian_g(solver: _Solver, plan: _Plan, proof: _Plan) -> float:
    """What the prices of `proof` say about all plans with the same jobs late as `plan`."""
    late = plan.schedule.late(solver.problem)
    unplaced = ~plan.schedule.placed(solver.problem)
    return certificate.lagrangian_g(
        solver.problem, proof.prices, proof.weights, late=late, unplaced=unplaced
    )


def _at_most(solver: _Solver, plan: _Plan, proof: _Plan, budget_g: float) -> float:
    value = _lagrangian_g(solver, plan, proof)
    return certificate.performance_at_most(value, proof.weights, budget_g)


def _ppc_at_most(solver: _Solver, plan: _Plan, proof: _Plan, least: _Plan) -> float:
    bound = solver.bound_g(plan, least.prices)
    return certificate.ppc_at_most(_lagrangian_g(solver, plan, proof), proof.weights, bound)


def _check_services(site: Site) -> None:
    over = np.flatnonzero(site.base_power_w > site.power_cap_w * (1 + _RELATIVE))
    if len(over):
        raise PlanError(
            f"services and base load need {site.base_power_w[over[0]]:.6g} W in slot {over[0]},"
            f" more than the power cap of {site.power_cap_w:g} W: raise the cap or lower the load"
        )
    rise = np.diff(site.base_power_w)
    over = np.flatnonzero(rise > site.ramp_w_per_slot * (1 + _RELATIVE))
    if len(over):
        raise PlanError(
            f"services and base load rise by {rise[over[0]]:.6g} W into slot {over[0] + 1}, more"
            f" than the ramp of {site.ramp_w_per_slot:g} W a slot: no plan can keep it"
        )
