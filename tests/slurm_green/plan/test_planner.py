# SPDX-License-Identifier: Apache-2.0
"""What every plan must keep, against brute force over half hours on small problems."""

import math
import random
import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import count, pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from problems import HOUR, Plans, all_plans, make, permuted, prices, service, tiny

from slurm_green.errors import PlanError
from slurm_green.plan import certificate, draft, runs, split_plan
from slurm_green.plan.kernel import library
from slurm_green.plan.outcome import Objective, Outcome
from slurm_green.plan.planner import solve
from slurm_green.plan.problem import Problem
from slurm_green.plan.start_now import start_now

pytestmark = pytest.mark.slow

ONE = [(1, 1.0, 1000.0)]  # one GPU, a unit of work an hour, 1 kW


def late(outcome: Outcome, problem: Problem) -> set[int]:
    return set(np.flatnonzero(outcome.schedule.late(problem)).tolist())


def unplaced(outcome: Outcome, problem: Problem) -> set[int]:
    return set(np.flatnonzero(~outcome.schedule.placed(problem)).tolist())


def solved(problem: Problem, **how: Any) -> Outcome:
    """A plan; whatever it is, it is allowed, and its figures are those of its rows."""
    found = solve(problem, **how)
    schedule, clocks = found.schedule, found.service_clock
    assert certificate.check(problem, schedule, clocks) is None
    carbon = certificate.carbon_g(problem, schedule, clocks)
    assert found.carbon_g == pytest.approx(carbon, rel=1e-9, abs=1e-9)
    assert found.peak_w == pytest.approx(certificate.peak_w(problem, schedule, clocks))
    assert found.energy_j == pytest.approx(schedule.energy_j(problem).sum())
    assert found.late_jobs == len(late(found, problem))
    assert found.unplaced_jobs == len(unplaced(found, problem))
    took = (schedule.ends_s(problem) - problem.jobs.earliest_s)[schedule.placed(problem)]
    worth = problem.fastest_s[schedule.placed(problem)] / took
    assert found.performance == pytest.approx(worth.sum())
    assert found.ppc == pytest.approx(found.performance / max(found.carbon_g / 1000, 1e-9))
    bound = certificate.lower_bound_g(
        problem,
        found.prices,
        late=schedule.late(problem),
        unplaced=~schedule.placed(problem),
    )
    assert found.lower_bound_g == pytest.approx(bound, rel=1e-6, abs=1e-6)
    assert found.lower_bound_g <= found.carbon_g * (1 + 1e-5) + 1e-6
    both_nothing = found.carbon_g < 1e-6 and bound < 1e-6
    gap = 0.0 if both_nothing else (found.carbon_g - bound) / max(bound, 1e-9)
    assert found.gap == pytest.approx(gap, rel=1e-6, abs=1e-9)
    for price in (found.prices.mu, found.prices.lam, found.prices.nu):
        assert (price >= 0).all()
    assert (found.prices.mu <= problem.site.carbon_g_per_kwh * (1 + 1e-9)).all()
    return found


def rivals(outcome: Outcome, problem: Problem) -> Plans | None:
    """All plans on the grid with the same jobs late and not placed."""
    return all_plans(problem, late=late(outcome, problem), unplaced=unplaced(outcome, problem))


def misses(outcome: Outcome) -> tuple[int, int]:
    return outcome.late_jobs + outcome.unplaced_jobs, outcome.unplaced_jobs


def rows(outcome: Outcome, job: int = 0) -> list[tuple[int, float, float]]:
    """Shape, start and end in hours of a job's stretches."""
    schedule = outcome.schedule
    return [
        (int(schedule.shape[at]), schedule.start_s[at] / HOUR, schedule.end_s[at] / HOUR)
        for at in np.flatnonzero(schedule.job == job)
    ]


# Least carbon.


def full_site(gpus: int) -> Problem:
    """80 moldable jobs of half an hour to eight: two days of work for 11.5 GPUs."""
    dice = random.Random(26)
    classes = [
        [(k, k**0.9 * clock, k * 300 * clock**2) for k in workers for clock in (0.7, 1.0)]
        for workers in ((1, 2), (1, 2, 4), (2, 4, 8))
    ]
    jobs = []
    for _ in range(80):
        kind, hours = dice.randrange(3), dice.choice((0.5, 1, 2, 4, 8))
        early = dice.uniform(0, 46 - hours)
        until = min(early + hours + (6 if hours <= 2 else 24), 72)
        jobs.append((kind, hours * classes[kind][-1][0] / 2, early, until, False))
    carbon = [300 + 150 * math.sin(hour / 24 * 6.28) + 30 * dice.random() for hour in range(72)]
    return make(classes, jobs, carbon, gpus=gpus)


def test_nobody_is_late_for_want_of_room_that_others_left_for_cleaner_hours() -> None:
    """By carbon alone five of them found no room in time."""
    assert misses(solved(full_site(10))) == (0, 0)


def test_prices_at_which_somebody_had_to_be_late_prove_nothing_of_a_plan_with_fewer() -> None:
    found = solved(full_site(9))
    assert 0 < found.late_jobs + found.unplaced_jobs < 12
    assert found.gap < 0.5


def no_worse_than_starting_now(found: Outcome, problem: Problem) -> None:
    now = start_now(problem)
    if certificate.check(problem, now, found.service_clock) is not None:
        return
    missing = int((~now.placed(problem)).sum())
    if (int(now.late(problem).sum()) + missing, missing) <= misses(found):
        assert found.carbon_g <= certificate.carbon_g(problem, now, found.service_clock) + 1e-6


FAMILIES: dict[str, dict[str, Any]] = {
    "in one go": {"preemptible": False},
    "hopeless ones too": {"preemptible": False, "tight": True, "jobs": 2},
    "under a cap": {"preemptible": False, "cap": True},
    "with a ramp": {"preemptible": False, "ramp": True, "jobs": 2},
    "split": {"preemptible": True, "jobs": 2},
    "split under a cap": {"cap": True, "jobs": 2},
    "no renewables": {"renewables": False},
}


@pytest.mark.parametrize("family", FAMILIES)
def test_least_carbon_keeps_everything_and_its_bound_holds(family: str) -> None:
    @settings(max_examples=5, deadline=None, derandomize=True)
    @given(tiny(**FAMILIES[family]))
    def holds(problem: Problem) -> None:
        found = solved(problem)
        in_time = all_plans(problem)
        if in_time is not None and len(in_time.carbon_g):
            assert misses(found) == (0, 0)
        plans = rivals(found, problem)
        if plans is not None and len(plans.carbon_g):
            least_g = float(plans.carbon_g.min())
            assert found.lower_bound_g <= least_g * (1 + 1e-6) + 1e-6
        no_worse_than_starting_now(found, problem)

    holds()


@pytest.mark.parametrize(
    ("seed", "dirt"),
    [
        *((seed, 1.0) for seed in range(3)),
        (2, 0.0),
    ],
)
def test_deadlines_that_some_plan_keeps_are_kept(seed: int, dirt: float) -> None:
    """A full site of jobs of all widths, each due soon after it ends in a plan that is known.

    Also where energy is clean, so that no place is cheaper than another.
    """
    dice = np.random.default_rng(seed)
    gpus, jobs = 6, []
    free = np.zeros(gpus)
    for _ in range(40):
        width = int(dice.integers(1, 4))
        hours = float(dice.integers(1, 13)) / 4
        start = float(np.sort(free)[width - 1])
        if start + hours > 24:
            continue
        free[np.argsort(free)[:width]] = start + hours
        early, due = max(0.0, start - dice.uniform(0, 6)), start + hours + dice.uniform(0.3, 6)
        jobs.append((width - 1, hours, early, due, False))
    classes = [[(width, 1.0, 400.0 * width)] for width in (1, 2, 3)]
    carbon = dirt * (200 + 150 * np.sin(np.arange(24) / 24 * 2 * math.pi + seed))
    found = solved(make(classes, jobs, carbon, gpus=gpus))
    assert misses(found) == (0, 0)
    assert found.gap < 0.08


@pytest.mark.parametrize(
    ("carbon", "start_h"), [([400, 300, 100, 200], 2.0), ([400, 200, 100, 300], 1.5)]
)
def test_one_job_goes_where_it_is_cleanest(carbon: list[float], start_h: float) -> None:
    """An hour and a half around the cleanest hour, on its cheaper side."""
    found = solved(make([ONE], [(0, 1.5, 0, 4, False)], carbon))
    assert rows(found) == [(0, pytest.approx(start_h), pytest.approx(start_h + 1.5))]
    assert found.carbon_g == pytest.approx(200.0)
    assert found.gap < 1e-4


def test_a_bound_that_is_met_is_not_passed_by_a_rounding() -> None:
    found = solved(make([ONE], [(0, 1.0, 0, 3, False)], [100, 50, 200]))
    assert found.lower_bound_g <= found.carbon_g
    assert found.gap == 0.0


def test_a_renewable_surplus_is_shared_out() -> None:
    """Two jobs of 1 kW and two hours with 1 kW of supply each: one after the other, no carbon."""
    jobs = [(0, 2.0, 0, 6, False)] * 2
    found = solved(make([ONE], jobs, [300] * 6, renewable_w=[0, 1000, 1000, 1000, 1000, 0]))
    assert found.carbon_g == pytest.approx(0.0, abs=1e-6)
    assert found.gap == pytest.approx(0.0, abs=1e-4)
    assert found.lower_bound_g > -1e-2


def test_the_bound_of_few_jobs_is_near() -> None:
    """With GPUs and supply to spare for nobody: the relaxation is exact up to the last job."""
    jobs = [(0, 2.0, 0, 4, False), (0, 2.0, 0, 4, False)]
    found = solved(make([ONE], jobs, [100, 300, 200, 200], gpus=1))
    assert found.carbon_g == pytest.approx(800.0)
    assert found.gap < 1e-3


def test_a_wider_shape_is_taken_only_where_it_pays() -> None:
    """Twice the GPUs for less than twice the power: worth it while there is one clean hour."""
    shapes = [(1, 1.0, 1000.0), (2, 2.0, 1800.0)]
    clean = solved(make([shapes], [(0, 2.0, 0, 4, False)], [500, 10, 500, 500]))
    assert rows(clean) == [(1, pytest.approx(1.0), pytest.approx(2.0))]
    shapes[1] = (2, 2.0, 2400.0)
    even = solved(make([shapes], [(0, 2.0, 0, 4, False)], [100] * 4))
    assert rows(even)[0][0] == 0


def test_a_place_is_found_where_all_places_cost_nothing() -> None:
    """Supply for everything: no carbon says who should give way, the deadlines do."""
    jobs = [(0, 3.0, 0.5, 4.0, False), (0, 1.0, 2.5, 3.5, False)]
    problem = make(
        [[(1, 2.0, 800.0)]],
        jobs,
        [0, 50, 0, 400],
        gpus=1,
        renewable_w=[0, 900, 0, 900],
        base_w=[200, 200, 0, 0],
        power_cap_w=800.0,
    )
    assert misses(solved(problem)) == (0, 0)


def test_a_shape_wider_than_the_site_does_not_spoil_the_plan() -> None:
    """It draws so little that, averaged, half of it would run: the bound says little."""
    shapes = [(1, 2.0, 1000.0), (2, 2.0, 300.0)]
    # 0.9 h are below the supply; the rest runs right before, or in the cleanest hour.
    for split, least_g in ((False, 30.0), (True, 20.0)):
        problem = make(
            [shapes], [(0, 2.0, 0, 3, split)], [200, 300, 400], gpus=1, renewable_w=[0, 0, 900]
        )
        found = solved(problem)
        assert found.carbon_g == pytest.approx(least_g, rel=1e-6)
        assert found.lower_bound_g <= least_g


@pytest.mark.parametrize(
    "step_s",
    [30.0, 300.0, 900.0],
)
def test_a_cap_binds_in_short_slots_too(step_s: float) -> None:
    """A third of every slot, to a hair, in one stretch or in crumbs."""
    jobs = [(0, step_s * 2.5 / HOUR, 0, 9, True), (0, step_s / 4 / HOUR, 0, 9, False)]
    problem = make([ONE], jobs, [300 - hour for hour in range(12)], step_s=step_s,
                   power_cap_w=333.3)  # fmt: skip
    assert misses(solved(problem)) == (0, 0)


def test_a_cap_off_the_grid_of_times_costs_no_more_than_its_share() -> None:
    """A slot holds 999 of 1,000 W: seconds that the grid has not, so one beside them must do."""
    found = solved(make([ONE], [(0, 1.0, 0, 3, False)], [100, 50, 200], power_cap_w=999.0))
    assert found.carbon_g == pytest.approx(0.001 * 100 + 0.999 * 50, rel=1e-6)
    # The same at the other end: what is dear comes first, so the run begins with its hour.
    found = solved(make([ONE], [(0, 1.0, 0, 3, False)], [200, 50, 100], power_cap_w=999.0))
    assert found.carbon_g == pytest.approx(0.999 * 50 + 0.001 * 100, rel=1e-6)


# Preemptible jobs.


def test_a_job_that_may_be_split_takes_the_clean_hours_only() -> None:
    found = solved(make([ONE], [(0, 2.0, 0, 4, True)], [10, 500, 20, 500]))
    assert rows(found) == [
        (0, pytest.approx(0.0), pytest.approx(1.0)),
        (0, pytest.approx(2.0), pytest.approx(3.0)),
    ]
    assert found.carbon_g == pytest.approx(30.0)


def test_nothing_is_split_for_nothing() -> None:
    """Stretches in the same shape never touch, and are no more than slots, plus one."""
    shapes = [(1, 1.0, 300.0), (2, 1.7, 550.0)]
    jobs = [(0, 5.0, 0.3, 11.7, True), (0, 3.0, 2.1, 9.0, True), (0, 2.0, 0.0, 4.0, True)]
    carbon = [300, 280, 120, 90, 80, 110, 250, 300, 310, 150, 90, 200]
    problem = make([shapes], jobs, carbon, gpus=2)
    found = solved(problem)
    assert misses(found) == (0, 0)
    for job in range(3):
        mine = rows(found, job)
        assert len(mine) <= 13
        for before, after in pairwise(mine):
            assert before[2] < after[1] or before[0] != after[0]
    once = solved(make([ONE], [(0, 2.0, 0, 6, True)], [200] * 6))
    assert len(rows(once)) <= 3


def test_split_jobs_share_the_supply_of_a_green_site() -> None:
    """Who is first does not waste what is free: without a price of it the gap is 9 %."""
    rng, hour = np.random.default_rng(2), np.arange(48)
    clocks = ((1.0, 350.0), (0.85, 227.5))
    shapes = [(n, n**0.85 * rate, n * watts) for n in (1, 2, 4) for rate, watts in clocks]
    jobs = [
        (0, float(rng.uniform(1, 6)), early, early + float(rng.uniform(6.5, 12)), True)
        for early in rng.uniform(0, 36, 60).tolist()
    ]
    sun = np.maximum(0.3, 1 + np.sin(hour * np.pi / 12))
    carbon_g = 300 + 100 * np.sin(hour * np.pi / 12 + 1)
    problem = make([shapes], jobs, carbon_g.tolist(), gpus=11, renewable_w=(1010 * sun).tolist())
    assert solved(problem).gap < 0.03


def test_a_split_job_finds_crumbs_of_room() -> None:
    """Half an hour here and there is all that the others leave."""
    jobs = [
        (0, 1.5, 0.0, 1.5, False),
        (0, 1.0, 2.0, 3.0, False),
        (0, 1.0, 3.5, 4.5, False),
        (0, 1.0, 0.0, 5.0, True),
    ]
    found = solved(make([ONE], jobs, [200] * 4 + [300], gpus=1))
    assert misses(found) == (0, 0)


@pytest.mark.parametrize(
    "jobs",
    [
        # The job in one go must leave the others their hours.
        [(0, 0.5, 1.0, 2.0, True), (0, 1.5, 0.5, 4.0, False), (0, 1.0, 3.0, 4.0, True)],
        [(0, 1.0, 0.0, 2.5, False), (0, 2.0, 0.5, 3.0, True)],
    ],
)
def test_a_job_in_one_go_leaves_room_for_split_ones(jobs: list[Any]) -> None:
    found = solved(make([ONE], jobs, [0, 0, 100, 50], gpus=1))
    assert misses(found) == (0, 0)


def test_under_a_cap_a_split_job_does_its_work_and_no_more() -> None:
    """A slot is a hair too short for it; the crumb beside it is not as small as it may be."""
    problem = make([ONE], [(0, 1.0, 0, 3, True)], [100, 50, 200], power_cap_w=999.0)
    schedule = solved(problem).schedule
    assert (schedule.end_s - schedule.start_s).sum() == pytest.approx(HOUR, abs=1e-3)


def test_a_late_job_that_may_be_split_runs_in_what_is_left() -> None:
    """It cannot be in time, but two hours apart from each other are free: it has a place."""
    jobs = [(0, 1.0, 1.0, 2.0, False), (0, 2.0, 0.0, 1.0, True)]
    found = solved(make([ONE], jobs, [100] * 3, gpus=1))
    assert misses(found) == (1, 0)


def test_a_split_job_keeps_its_deadline_under_a_ramp() -> None:
    """Only by a pause in the hour of another job, which no run in one go leaves."""
    jobs = [(0, 1.0, 1.0, 2.0, False), (0, 2.0, 0.0, 3.0, True)]
    found = solved(make([ONE], jobs, [100] * 3, gpus=1, ramp_w_per_slot=1000.0))
    assert misses(found) == (0, 0)


# The two other objectives.


def budgeted(problem: Problem, budget_g: float, **how: Any) -> Outcome:
    how = {"objective": Objective.CARBON_CONSTRAINED, "carbon_budget_g": budget_g, **how}
    return solved(problem, **how)


@settings(max_examples=5, deadline=None, derandomize=True)
@given(tiny(jobs=2), st.sampled_from([1.0, 1.4, 3.0]))
def test_a_budget_is_kept_and_its_best_performance_bounded(problem: Problem, times: float) -> None:
    least = solved(problem)
    if misses(least) != (0, 0):
        return
    budget_g = least.carbon_g * times + 1e-6
    found = budgeted(problem, budget_g)
    assert found.carbon_g <= budget_g * (1 + 1e-6)
    assert misses(found) <= misses(least)
    assert found.performance >= least.performance * (1 - 1e-9)
    if found.performance_at_most is None:
        assert not found.schedule.placed(problem).any()
        return
    assert found.performance <= found.performance_at_most * (1 + 1e-6)
    plans = rivals(found, problem)
    if plans is not None and (within := plans.carbon_g <= budget_g).any():
        best = float(plans.performance[within].max())
        assert best <= found.performance_at_most * (1 + 1e-6) + 1e-6


def test_proofs_are_about_the_same_jobs_missing() -> None:
    """Two jobs want both GPUs of one hour: plans on the way leave out now one, now the other."""
    classes = [[(2, 2.0, 300.0)], [(1, 1.0, 800.0)]]
    jobs = [(0, 1.0, 3.0, 4.0, False), (1, 1.0, 3.0, 4.0, False)]
    problem = make(classes, jobs, [200, 0, 100, 100], gpus=2, renewable_w=[0, 900, 0, 400])
    found = budgeted(problem, 1e-3)
    assert misses(found) == (1, 1)
    assert found.performance_at_most is not None
    assert found.performance_at_most >= 1.0 - 1e-6


@settings(max_examples=5, deadline=None, derandomize=True)
@given(tiny(jobs=2))
def test_performance_per_carbon_rises_and_is_bounded(problem: Problem) -> None:
    least = solved(problem)
    if misses(least) != (0, 0):
        return
    found = solved(problem, objective=Objective.PPC)
    assert misses(found) <= misses(least)
    if misses(found) == misses(least):
        assert found.ppc >= least.ppc * (1 - 1e-9)
    if found.ppc_at_most is None:
        assert not found.schedule.placed(problem).any()
        return
    assert found.ppc <= found.ppc_at_most * (1 + 1e-6)
    plans = rivals(found, problem)
    if plans is not None and len(plans.carbon_g):
        ppc = plans.performance / np.maximum(plans.carbon_g / 1000, 1e-9)
        assert float(ppc.max()) <= found.ppc_at_most * (1 + 1e-6) + 1e-6


def test_a_rich_budget_buys_full_speed() -> None:
    """All jobs at once and fast, as if nobody looked at carbon; a poor one buys nothing."""
    shapes = [(1, 1.0, 1000.0), (2, 2.0, 2400.0)]
    problem = make([shapes], [(0, 2.0, 0, 6, False)] * 2, [500, 400, 300, 200, 100, 100])
    least = solved(problem)
    rich = budgeted(problem, 1e6)
    assert rich.performance == pytest.approx(2.0)
    assert rich.performance == pytest.approx(
        float((problem.fastest_s / start_now(problem).ends_s(problem)).sum())
    )
    poor = budgeted(problem, least.carbon_g)
    assert poor.carbon_g == pytest.approx(least.carbon_g)
    assert least.performance <= poor.performance < 2


def test_full_speed_is_that_of_the_site() -> None:
    """A shape that is wider than the site makes nobody slow; one class has no other."""
    classes = [[(1, 1.0, 1000.0), (2, 2.0, 2400.0), (8, 8.0, 9000.0)], [(8, 8.0, 9000.0)]]
    jobs = [(0, 2.0, 0, 6, False), (1, 2.0, 0, 6, False)]
    problem = make(classes, jobs, [500, 400, 300, 200, 100, 100])
    found = budgeted(problem, 1e6)
    assert found.unplaced_jobs == 1
    assert found.performance == pytest.approx(1.0)


@pytest.mark.parametrize(
    ("budget_g", "start_h"), [(110, 1.5), (130, 17 / 18), (299, 1 / 180), (300, 0)]
)
def test_a_budget_buys_as_much_as_it_can(budget_g: float, start_h: float) -> None:
    """The hours cost 300, 120 and 100 g, and what lies between two of them in between."""
    found = budgeted(make([ONE], [(0, 1.0, 0, 3, False)], [300, 120, 100]), budget_g)
    begins_h = pytest.approx(start_h, abs=1e-3)
    assert rows(found) == [(0, begins_h, pytest.approx(start_h + 1, abs=1e-3))]
    assert found.carbon_g <= budget_g


def test_a_crowded_site_at_a_rich_budget_is_as_quick_as_first_come_first_served() -> None:
    """Three jobs that just fit; no weight of performance may cost one of them its place."""
    jobs = [(1, 2.0, 1.0, 3.5, False), (0, 1.0, 2.5, 3.5, False), (1, 2.0, 3.0, 4.0, False)]
    classes = [[(2, 2.0, 300.0), (1, 1.0, 300.0)], [(2, 2.0, 300.0)]]
    problem = make(classes, jobs, [400, 400, 50, 50], gpus=2, renewable_w=[0, 0, 400, 400])
    assert budgeted(problem, 1e6).performance == pytest.approx(3.0)


def test_a_small_weight_of_performance_costs_nobody_a_place() -> None:
    """Two jobs fit below the supply, the third one not: it runs all the same."""
    jobs = [(0, 1.0, 0.5, 3.0, False), (0, 3.0, 1.0, 3.5, False), (0, 1.0, 1.0, 3.0, False)]
    classes = [[(2, 1.0, 300.0), (2, 2.0, 500.0)]]
    problem = make(classes, jobs, [400, 200, 0, 100], gpus=3, renewable_w=[0, 400, 400, 400])
    found = budgeted(problem, 1e6, time_limit_s=600.0, clock=ticking(1.0))
    assert found.performance == pytest.approx(2.75)


def test_most_per_carbon_is_found_where_one_hour_decides() -> None:
    """Starting at 0 h costs 300 g for 1, at 2 h 100 g for 1/3, at 1 h 120 g for 1/2: the last."""
    problem = make([ONE], [(0, 1.0, 0, 3, False)], [300, 120, 100])
    found = solved(problem, objective=Objective.PPC)
    assert rows(found) == [(0, pytest.approx(1.0), pytest.approx(2.0))]
    assert found.ppc == pytest.approx(0.5 / 0.12)
    assert found.ppc_at_most == pytest.approx(found.ppc, rel=0.05)


@pytest.mark.parametrize("grams", [123.4561, 123.4567, 0.98765432, 1.0])
def test_an_impossible_budget_says_what_is_possible(grams: float) -> None:
    """And with that budget there is a plan: the figure is never rounded below it."""
    problem = make([ONE], [(0, 1.0, 0, 2, False)], [grams, 2 * grams])
    with pytest.raises(PlanError, match="impossible, least is") as refused:
        budgeted(problem, 0.9 * grams)
    said = re.search(r"least is (\S+) g", str(refused.value))
    assert said is not None
    assert float(said.group(1)) == pytest.approx(grams, rel=1e-4)
    assert budgeted(problem, float(said.group(1))).carbon_g == pytest.approx(grams)


@pytest.mark.parametrize("budget", [None, math.nan])
def test_a_budget_must_be_a_number(budget: float | None) -> None:
    problem = make([ONE], [(0, 1.0, 0, 2, False)], [100, 200])
    with pytest.raises(PlanError, match="budget"):
        solve(problem, objective=Objective.CARBON_CONSTRAINED, carbon_budget_g=budget)


# The same again: order, seed, time, and where to start from.


def crowd(jobs: int = 24) -> Problem:
    """A day of jobs of three kinds, in two shapes each, some renewables."""
    dice = np.random.default_rng(5)
    classes = [[(1, 1.0, 400.0), (2, 1.8, 900.0)], [(2, 1.0, 700.0), (4, 1.9, 1500.0)]]
    found = []
    for number in range(jobs):
        early = dice.uniform(0, 14)
        work = dice.uniform(0.5, 3)
        found.append((number % 2, work, early, early + work + dice.uniform(2, 8), False))
    sun = 3000 * np.maximum(0, np.sin((np.arange(24) - 6) / 12 * math.pi))
    carbon = 300 - 0.03 * sun
    return make(classes, found, carbon, gpus=12, renewable_w=sun)


def test_the_order_of_the_jobs_makes_no_difference_beyond_the_gap() -> None:
    problem = crowd()
    one = solved(problem)
    other = solved(permuted(problem, np.random.default_rng(1).permutation(24).tolist()))
    assert misses(one) == misses(other) == (0, 0)
    gap_g = max(one.gap, other.gap) * max(one.lower_bound_g, other.lower_bound_g)
    assert abs(one.carbon_g - other.carbon_g) <= gap_g
    assert abs(one.lower_bound_g - other.lower_bound_g) < 0.01 * one.lower_bound_g


def test_the_same_arguments_give_the_same_plan() -> None:
    problem = crowd(15)
    one, other = (solved(problem, seed=3) for _ in range(2))
    for name in ("job", "shape", "start_s", "end_s"):
        assert np.array_equal(getattr(one.schedule, name), getattr(other.schedule, name))
    for name in ("mu", "lam", "nu"):
        assert np.array_equal(getattr(one.prices, name), getattr(other.prices, name))


def ticking(each_s: float) -> Callable[[], float]:
    """A clock that moves on by so much whenever it is read."""
    moments: Iterator[int] = count()
    return lambda: next(moments) * each_s


@pytest.mark.parametrize("objective", Objective)
@pytest.mark.parametrize("reads", [1, 30])
def test_a_time_limit_gives_the_best_plan_so_far(objective: Objective, reads: int) -> None:
    """However soon it is over, the plan is whole and proven."""
    problem = crowd(8)
    budget = {} if objective is not Objective.CARBON_CONSTRAINED else {"carbon_budget_g": 1e6}
    found = solved(
        problem, objective=objective, time_limit_s=float(reads), clock=ticking(1.0), **budget
    )
    assert found.stopped == "time limit"
    assert misses(found) == (0, 0)
    assert solved(problem, time_limit_s=1e9, clock=ticking(1.0)).stopped == "done"


def test_a_re_plan_without_room_for_anybody_ends_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    problem = make(
        [[(1, 1.0, 1000.0)]], [(0, 2.0, 0, 12, True)] * 5, [100] * 24,
        base_w=500.0, power_cap_w=500.0,
    )  # fmt: skip
    first = solved(problem)
    monkeypatch.setattr(draft, "_FEW_JOBS", 0)
    again = solved(
        problem, warm=first.prices, previous=first.schedule, time_limit_s=1.0, clock=ticking(1.0)
    )
    assert misses(first) == misses(again) == (5, 5)


def test_a_plan_made_from_an_earlier_one_is_as_good(monkeypatch: pytest.MonkeyPatch) -> None:
    problem = crowd()
    first = solved(problem)
    monkeypatch.setattr(draft, "_FEW_JOBS", 0)  # few are planned anew at any rate
    again = solved(problem, warm=first.prices, previous=first.schedule)
    warm = solved(problem, warm=first.prices)
    assert misses(again) == misses(warm) == (0, 0)
    assert again.carbon_g <= first.carbon_g * 1.001
    assert max(again.gap, warm.gap) <= first.gap + 0.015


@pytest.mark.parametrize("may_split", [False, True])
def test_a_plan_near_an_earlier_one_needs_no_new_prices(
    monkeypatch: pytest.MonkeyPatch, may_split: bool
) -> None:
    jobs = [(0, 1.0 + row % 3, row % 12, 24, may_split) for row in range(30)]
    problem = make([ONE], jobs, [200 + 100 * math.sin(slot / 4) for slot in range(24)], gpus=6)
    first = solved(problem)
    monkeypatch.setattr(draft, "_FEW_JOBS", 0)
    monkeypatch.setattr(runs, "_FAR_AGAIN", 1.0)
    monkeypatch.setattr(split_plan, "_NEAR", 1.0)
    monkeypatch.setattr(split_plan, "_NEAR_SLOW", 1.0)
    monkeypatch.setattr(split_plan, "_proof", None)
    monkeypatch.setattr(draft.PriceSearch, "search", None)
    # Where all may be split prices say all: what ran where is not asked for.
    again = solved(problem, warm=first.prices, previous=None if may_split else first.schedule)
    assert misses(again) == (0, 0)
    assert again.lower_bound_g >= first.lower_bound_g * (1 - 1e-6)


@pytest.mark.skipif(library() is None, reason="no compiled kernel: no C compiler?")
def test_supply_that_just_suffices_is_shared_better_from_softer_prices(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def planned(seed: int, softer: tuple[float, ...]) -> Outcome:
        rng = random.Random(seed)
        early = [rng.uniform(0, 30) for _ in range(60)]
        problem = make(
            [[(1, 1.0, 300.0), (2, 1.8, 650.0), (1, 0.8, 200.0)]],
            [(0, rng.uniform(1, 5), one, one + 18, False) for one in early],
            [200 + 150 * math.sin(slot / 4) for slot in range(48)],
            gpus=6,
            renewable_w=[2600 * max(math.sin(slot / 7), 0.0) for slot in range(48)],
        )
        monkeypatch.setattr(draft, "_SOFTER", softer)
        return solved(problem)

    before, now = ([planned(seed, softer) for seed in range(4)] for softer in ((), draft._SOFTER))
    assert all(misses(outcome) == (0, 0) for outcome in [*before, *now])
    assert all(b.carbon_g <= a.carbon_g for a, b in zip(before, now, strict=True))
    assert sum(b.carbon_g for b in now) < 0.995 * sum(a.carbon_g for a in before)


def test_prices_of_a_dirtier_forecast_do_no_harm(monkeypatch: pytest.MonkeyPatch) -> None:
    """They lie above what energy can cost now, so they prove nothing."""
    problem = crowd()
    cold = solved(problem)
    monkeypatch.setattr(draft, "_FEW_JOBS", 0)
    dirty = prices(24, mu=10 * problem.site.carbon_g_per_kwh, lam=1e4, nu=50.0)
    assert solved(problem, warm=dirty).lower_bound_g >= 0.95 * cold.lower_bound_g


def test_an_earlier_plan_that_no_longer_fits_is_changed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fewer GPUs and earlier deadlines than when it was made; jobs that are gone stay gone."""
    problem = crowd(15)
    first = solved(problem)
    jobs = replace(problem.jobs, deadline_s=problem.jobs.deadline_s - 0.5 * HOUR)
    small = replace(problem, site=replace(problem.site, gpus=8), jobs=jobs)
    monkeypatch.setattr(draft, "_FEW_JOBS", 0)
    found = solved(small, warm=first.prices, previous=first.schedule)
    assert misses(found) == (0, 0)


def test_progress_is_told() -> None:
    heard: list[tuple[str, float]] = []
    solved(crowd(10), progress=lambda phase, done, best: heard.append((phase, done)))
    assert len({phase for phase, _ in heard}) > 1
    assert all(0 <= done <= 1 for _, done in heard)


# The edges.

WIDE = [(8, 1.0, 1000.0)]
DAY = [300.0, 100.0, 200.0, 400.0]
EDGES: dict[str, tuple[Problem, tuple[int, int]]] = {
    "no jobs": (make([ONE], [], DAY, base_w=500.0), (0, 0)),
    "no jobs, no classes": (make([], [], DAY), (0, 0)),
    "no GPUs": (make([ONE], [(0, 1, 0, 4, False), (0, 1, 0, 4, True)], DAY, gpus=0), (2, 2)),
    "constant intensity": (make([ONE], [(0, 1, 0, 4, False)] * 3, [100.0] * 4), (0, 0)),
    "zero intensity": (make([ONE], [(0, 1, 0, 4, False)] * 3, [0.0] * 4), (0, 0)),
    "one slot": (make([ONE], [(0, 0.5, 0, 1, False), (0, 0.5, 0, 1, True)], [100.0]), (0, 0)),
    "all late": (make([ONE], [(0, 2, 0, 1, False), (0, 2, 1, 2, True)], DAY), (2, 0)),
    "due before it may start": (make([ONE], [(0, 1, 2, 1, False)], DAY), (1, 0)),
    "due before all": (make([ONE], [(0, 1, 0, -5, False), (0, 1, 0, -5, True)], DAY), (2, 0)),
    "released after all": (make([ONE], [(0, 1, 9, 12, False), (0, 1, 9, 12, True)], DAY), (2, 2)),
    "longer than all": (make([ONE], [(0, 5, 0, 4, False), (0, 5, 0, 4, True)], DAY), (2, 2)),
    "more than fit": (make([ONE], [(0, 2, 0, 4, False)] * 5, DAY, gpus=1), (3, 3)),
    "more than fit, split": (make([ONE], [(0, 2, 0, 4, True)] * 5, DAY, gpus=1), (3, 3)),
    "too wide": (make([WIDE], [(0, 1, 0, 4, False), (0, 1, 0, 4, True)], DAY), (2, 2)),
    "one shape too wide": (
        make([ONE + WIDE], [(0, 2, 0, 4, False), (0, 2, 0, 4, True)], DAY),
        (0, 0),
    ),
    "only too wide ones are quick enough": (
        make([[(1, 1.0, 9.0), (8, 4.0, 9.0)]], [(0, 2, 0, 1, False), (0, 2, 0, 1, True)], DAY),
        (2, 0),
    ),
    "all time, exactly": (
        make([ONE], [(0, 4, 0, 4, False), (0, 4, 0, 4, True)], DAY, gpus=2),
        (0, 0),
    ),
    "a hair too long": (
        make([ONE], [(0, 1 + 1e-7, 1, 2, False), (0, 1 + 1e-7, 1, 2, True)], DAY),
        (0, 0),
    ),
    "too long by a hair, split": (make([ONE], [(0, 1 + 1e-7, 1, 2, True)], DAY), (0, 0)),
    "hundredths of a second": (
        make([ONE], [(0, 1e-2 / HOUR, 0, 4, s) for s in (0, 1)], DAY),
        (0, 0),
    ),
    "microseconds": (make([ONE], [(0, 1e-6 / HOUR, 0, 4, s) for s in (0, 1)], DAY), (0, 0)),
    "vast work": (make([[(1, 1e15, 1e9)]], [(0, 1e15, 0, 4, s) for s in (0, 1)], DAY), (0, 0)),
    "vast GPUs": (
        make([[(10**9, 1.0, 1e9)]], [(0, 1, 0, 4, s) for s in (0, 1)], DAY, gpus=10**12),
        (0, 0),
    ),
    "vast intensity": (
        make([ONE], [(0, 1, 0, 4, s) for s in (0, 1)], [1e12, 1e11, 9e11, 0]),
        (0, 0),
    ),
    "tiny power": (make([[(1, 1.0, 1e-9)]], [(0, 1, 0, 4, s) for s in (0, 1)], DAY), (0, 0)),
    "no power": (make([[(1, 1.0, 0.0)]], [(0, 1, 0, 4, s) for s in (0, 1)], DAY), (0, 0)),
    "long slots": (
        make([ONE], [(0, 3e5, 0, 1e6, s) for s in (0, 1)], DAY, step_s=1e9),
        (0, 0),
    ),
    "short slots": (
        make([ONE], [(0, 1e-3, 0, 1, s) for s in (0, 1)], DAY, step_s=1.5),
        (0, 0),
    ),
    "seven-second slots": (
        make([ONE], [(0, 5e-3, 0, 1, s) for s in (0, 1)], DAY, step_s=7.7),
        (0, 0),
    ),
    "all supplied": (make([ONE], [(0, 1, 0, 4, False)] * 3, DAY, renewable_w=1e4), (0, 0)),
    "a cap of nothing": (
        make([ONE], [(0, 1, 0, 4, s) for s in (0, 1)], DAY, power_cap_w=0.0),
        (2, 2),
    ),
    # Power is an average over a slot: what is split takes a third of each.
    "a cap below one job": (
        make([ONE], [(0, 1, 0, 4, s) for s in (0, 1)], DAY, power_cap_w=400.0),
        (1, 1),
    ),
    "a cap for one job": (
        make([ONE], [(0, 2, 0, 4, s) for s in (0, 1)], DAY, power_cap_w=1000.0),
        (0, 0),
    ),
    "a ramp of nothing": (
        make([ONE], [(0, 1, 1, 4, False)], DAY, ramp_w_per_slot=0.0),
        (1, 1),
    ),
}


@pytest.mark.parametrize("name", EDGES)
def test_the_edges(name: str) -> None:
    problem, wanted = EDGES[name]
    found = solved(problem)
    assert misses(found) == wanted
    assert found.lower_bound_g > -1e-6 * max(found.carbon_g, 1.0)
    no_worse_than_starting_now(found, problem)


@pytest.mark.parametrize("objective", [Objective.CARBON_CONSTRAINED, Objective.PPC])
@pytest.mark.parametrize(
    "name", ["no jobs", "zero intensity", "all late", "too wide", "all supplied", "vast work"]
)
def test_the_edges_of_the_other_objectives(name: str, objective: Objective) -> None:
    problem, wanted = EDGES[name]
    budget = {} if objective is Objective.PPC else {"carbon_budget_g": 1e30}
    found = solved(problem, objective=objective, **budget)
    assert misses(found) == wanted
    if name in ("zero intensity", "all supplied"):
        assert found.performance == pytest.approx(3.0)  # it costs nothing


def test_late_jobs_run_as_early_as_they_can() -> None:
    """One that is late at any rate gives way to who can be in time."""
    jobs = [(0, 2.0, 0.0, 1.0, False), (0, 1.0, 0.0, 1.0, False), (0, 1.0, 2.0, 3.0, False)]
    found = solved(make([ONE], jobs, [100, 50, 10, 10, 10, 10], gpus=1))
    assert misses(found) == (1, 0)
    assert rows(found, 0) == [(0, pytest.approx(3.0), pytest.approx(5.0))]


@pytest.mark.parametrize(
    ("jobs", "cap_w", "start_h"),
    [
        # Half of it in each of two slots is all that the cap allows.
        ([(0, 1.0, 0.0, 0.5, False)], 500.0, 0.5),
        # Six tenths in the second slot.
        ([(0, 1.0, 0.0, 0.5, False)], 600.0, 0.4),
        # The first one takes the first two slots' share, and leaves 0.2 in the second.
        ([(0, 1.0, 0.0, 0.5, False), (0, 1.0, 0.0, 0.5, False)], 600.0, 0.4),
    ],
)
def test_late_jobs_run_across_a_border_where_a_cap_allows_no_more(
    jobs: list[Any], cap_w: float, start_h: float
) -> None:
    found = solved(make([ONE], jobs, [100, 50, 10, 10, 10], power_cap_w=cap_w))
    assert misses(found) == (len(jobs), 0)
    assert min(rows(found))[1] == pytest.approx(start_h, abs=1e-4)


# Services.


def test_a_service_runs_at_the_clock_that_draws_least_in_time() -> None:
    """The slowest is too slow for its latency, the next one for the rush hour."""
    clocks = [(10.0, 100.0, 0.9), (20.0, 150.0, 0.4), (40.0, 300.0, 0.2)]
    chat = service([5, 15, 30, 99], clocks, latency_slo_s=0.5)
    problem = make([ONE], [(0, 1.0, 0, 4, False)], DAY, services=[chat])
    found = solved(problem)
    assert found.service_clock[0].tolist() == [1, 1, 2, 2]
    draw_w = [30 + 120 * 5 / 20, 30 + 120 * 15 / 20, 60 + 240 * 30 / 40, 300]
    own_g = float(np.dot(draw_w, DAY)) / 1000
    assert found.carbon_g == pytest.approx(own_g + 100.0)
    assert found.gap < 1e-3
    worth = (0.2 / 0.4 * 20 + 129) / 149
    assert found.service_performance == pytest.approx(worth)


def test_training_and_serving_share_the_renewable_watts() -> None:
    """The service takes all of the sun at noon: the job goes to what is left in the evening."""
    chat = service([0, 20, 0, 0], [(20.0, 1000.0, 0.1)])
    sun = [0, 1000, 1200, 0]
    found = solved(
        make([ONE], [(0, 1.0, 0, 4, False)], [300] * 4, renewable_w=sun, services=[chat])
    )
    assert rows(found) == [(0, pytest.approx(2.0), pytest.approx(3.0))]
    assert found.carbon_g == pytest.approx(0.2 * 300 * 2)  # idle, in the first and the last hour


def test_a_service_runs_faster_where_that_is_worth_its_carbon() -> None:
    """With carbon to spend, or in the sun; never above the budget."""
    chat = service([10, 10], [(20.0, 1000.0, 0.4), (40.0, 4000.0, 0.1)])
    problem = make(
        [ONE], [(0, 1.0, 0, 2, False)], [100, 100], renewable_w=[0, 9000], services=[chat]
    )
    least = solved(problem)
    assert least.service_clock[0].tolist() == [0, 0]
    rich = budgeted(problem, 10 * least.carbon_g)
    assert rich.service_clock[0].tolist() == [1, 1]
    assert rich.service_performance == pytest.approx(1.0)
    most = solved(problem, objective=Objective.PPC)
    assert most.service_clock[0].tolist()[1] == 1


def test_jobs_keep_their_place_beside_a_service_under_a_cap() -> None:
    """The service may draw all of the cap alone, but not while the job must run."""
    chat = service([10, 10, 10], [(20.0, 500.0, 0.4), (40.0, 1500.0, 0.1)])
    problem = make([ONE], [(0, 1.0, 1, 2, False)], [100] * 3, services=[chat], power_cap_w=1500.0)
    assert misses(solved(problem)) == (0, 0)
    rich = budgeted(problem, 1e6, time_limit_s=300.0, clock=ticking(1.0))
    assert rich.service_performance == pytest.approx((1 + 0.25 + 1) / 3)


def test_services_that_no_plan_can_carry_are_an_error() -> None:
    chat = service([5, 40], [(40.0, 2000.0, 0.1)])
    with pytest.raises(PlanError, match="more than the power cap of 1500 W"):
        solve(make([ONE], [], [1, 1], services=[chat], power_cap_w=1500.0))
    with pytest.raises(PlanError, match="ramp of 100 W"):
        solve(make([ONE], [], [1, 1], services=[chat], ramp_w_per_slot=100.0))


def test_a_ramp_is_kept_by_a_faster_clock_in_time() -> None:
    """The clock of the rush hour may be too high a step, unless the hour before runs it too."""
    chat = service([1, 40], [(20.0, 200.0, 0.2), (40.0, 2000.0, 0.1)])
    problem = make([ONE], [], [100, 100], services=[chat], ramp_w_per_slot=1600.0)
    found = solved(problem)
    assert found.service_clock[0].tolist() == [1, 1]
