# SPDX-License-Identifier: Apache-2.0
"""Jobs that go elsewhere, one by one, for what a budget still buys."""

import math

import numpy as np
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from slurm_green.plan import certificate
from slurm_green.plan.outcome import Objective, Weights
from slurm_green.plan.planner import solve
from slurm_green.plan.polish import polish
from slurm_green.plan.problem import Problem
from slurm_green.plan.schedule import Schedule
from tests.slurm_green.plan.problems import all_plans, make, tiny

FEW = settings(max_examples=8, deadline=None, suppress_health_check=list(HealthCheck))


@pytest.mark.parametrize("other", ["none", "unplaced", "late"])
def test_a_budget_is_spent_on_the_job_that_still_fits_it(other: str) -> None:
    """Both wait for the clean hour; the budget buys one of them its dirty one, and that is all.

    A job that fits nowhere keeps nobody from it, nor does one that is late, which stays.
    """
    classes = [[(1, 1.0, 1000.0)], [(8, 8.0, 8000.0)], [(1, 1.0, 0.0)]]
    jobs = [(0, 1.0, 0.0, 4.0, False)] * 2
    jobs += [(1, 1.0, 0.0, 4.0, False)] * (other == "unplaced")
    jobs += [(2, 1.0, 0.0, 0.5, True)] * (other == "late")
    problem = make(classes, jobs, [100.0, 400.0, 50.0, 50.0])
    late = other == "late"
    start_s = np.array([7200.0, 7200.0] + [3600.0] * late)
    waits = Schedule(
        job=np.arange(2 + late), shape=np.array([0, 0] + [2] * late),
        start_s=start_s, end_s=start_s + 3600.0,
    )  # fmt: skip

    def gain(carbon_g: float, performance: float) -> float:
        return performance if carbon_g <= 150.0 else -math.inf

    found = polish(
        problem, waits, carbon_g=100.0, performance=2 / 3, weights=[Weights(performance_g=1e4)],
        score=gain, expired=lambda: False,
    )  # fmt: skip
    assert found is not None
    assert sorted(found.start_s[:2].tolist()) == [0.0, 7200.0]
    assert found.start_s[2:].tolist() == [3600.0] * late
    assert certificate.carbon_g(problem, found, ()) == pytest.approx(150.0)


def test_a_split_job_is_left_alone() -> None:
    problem = make([[(1, 1.0, 1000.0)]], [(0, 2.0, 0.0, 4.0, True)], [100.0] * 4)
    split = Schedule(
        job=np.zeros(2, dtype=np.int64), shape=np.zeros(2, dtype=np.int64),
        start_s=np.array([0.0, 7200.0]), end_s=np.array([3600.0, 10800.0]),
    )  # fmt: skip
    assert polish(problem, split, carbon_g=200.0, performance=0.7, weights=[Weights()],
                  score=lambda grams, worth: worth, expired=lambda: False) is None  # fmt: skip


@pytest.mark.slow
@FEW
@example(
    problem=make([[(1, 1, 300.0)]], [(0, 1.0, 1.0, 3.0, False)], [0.0, 200.0, 0.0, 0.0]), times=1.1
)
@given(problem=tiny(preemptible=False), times=st.sampled_from([1.1, 1.5, 2.5]))
def test_few_jobs_get_nearly_all_that_a_budget_buys(problem: Problem, times: float) -> None:
    """Against every plan on the grid of half hours."""
    plans = all_plans(problem)
    if plans is None or not len(plans.carbon_g):
        return
    budget_g = max(times * float(plans.carbon_g.min()), 30.0)
    found = solve(problem, objective=Objective.CARBON_CONSTRAINED, carbon_budget_g=budget_g)
    best = float(plans.performance[plans.carbon_g <= budget_g].max())
    assert found.carbon_g <= budget_g * (1 + 1e-9)
    assert found.performance >= 0.95 * best
