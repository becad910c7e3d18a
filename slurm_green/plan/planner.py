# SPDX-License-Identifier: Apache-2.0
"""Solves a problem under one of the three objectives, and proves the result before returning it.

Least carbon is one draft. The other two objectives are drafts with performance weighed against
carbon: for a budget the weight is found by halving an interval, for performance per carbon by
Dinkelbach's iteration (weight = carbon / performance of the plan before; Dinkelbach 1967).
"""

import math
import time
from collections.abc import Callable

from slurm_green.errors import PlanError
from slurm_green.plan import certificate
from slurm_green.plan.outcome import Objective, Outcome, Prices, Weights
from slurm_green.plan.problem import Problem
from slurm_green.plan.schedule import Schedule
from slurm_green.plan.solver import RELATIVE, Plan, Solver
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
    solver = Solver(
        problem,
        seed=seed,
        expired=lambda: clock() > until,
        progress=progress or (lambda phase, done, best: None),
    )
    least = solver.plan(Weights(), warm=warm, previous=previous)
    at_once = start_now(problem)
    least = solver.in_time(_or_start_now(solver, least, at_once))
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
    if bound <= chosen.carbon_g * (1 + RELATIVE):
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


def _or_start_now(solver: Solver, plan: Plan, at_once: Schedule) -> Plan:
    """The plan, or starting everything now where that is allowed and better: never worse."""
    if certificate.check(solver.problem, at_once, plan.clocks) is not None:
        return plan
    other = solver.figures(at_once, plan.clocks, plan.prices, plan.weights)
    return min(plan, other, key=lambda p: (p.misses, p.carbon_g))


def _within_budget(
    solver: Solver, least: Plan, at_once: Schedule, budget_g: float
) -> tuple[Plan, float]:
    """Most performance within a budget, and what no plan within it exceeds."""
    slack = RELATIVE * abs(budget_g)
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


def _most_per_carbon(solver: Solver, least: Plan) -> tuple[Plan, float | None]:
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


def _ratio(plan: Plan) -> float:
    return plan.total / max(plan.carbon_g, 1e-6)


def _lagrangian_g(solver: Solver, plan: Plan, proof: Plan) -> float:
    """What the prices of `proof` say about all plans with the same jobs late as `plan`."""
    late = plan.schedule.late(solver.problem)
    unplaced = ~plan.schedule.placed(solver.problem)
    return certificate.lagrangian_g(
        solver.problem, proof.prices, proof.weights, late=late, unplaced=unplaced
    )


def _at_most(solver: Solver, plan: Plan, proof: Plan, budget_g: float) -> float:
    value = _lagrangian_g(solver, plan, proof)
    return certificate.performance_at_most(value, proof.weights, budget_g)


def _ppc_at_most(solver: Solver, plan: Plan, proof: Plan, least: Plan) -> float:
    bound = solver.bound_g(plan, least.prices)
    return certificate.ppc_at_most(_lagrangian_g(solver, plan, proof), proof.weights, bound)
