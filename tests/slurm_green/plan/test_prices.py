# SPDX-License-Identifier: Apache-2.0
"""Prices: their value never exceeds a plan's carbon, and comes near that of the linear program."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from problems import all_plans, make, prices, relaxation_g, tiny

from slurm_green.plan import certificate
from slurm_green.plan.draft import draft
from slurm_green.plan.options import options_of
from slurm_green.plan.outcome import Prices, Weights
from slurm_green.plan.prices import PriceSearch
from slurm_green.plan.problem import Problem


def search_of(problem: Problem, weights: Weights | None = None) -> PriceSearch:
    split = problem.jobs.preemptible
    runs, splits = np.flatnonzero(~split), np.flatnonzero(split)
    deadline_s = problem.jobs.deadline_s
    options = options_of(problem, runs, deadline_s[runs])
    return PriceSearch(problem, weights or Weights(), options, splits, deadline_s)


def proven_g(problem: Problem, at: Prices, weights: Weights | None = None) -> float:
    nobody = np.zeros(len(problem.jobs), dtype=bool)
    return certificate.lagrangian_g(problem, at, weights or Weights(), late=nobody, unplaced=nobody)


def hopeless(problem: Problem) -> bool:
    """Whether a job cannot be in time even alone; prices are not made for such ones."""
    fits = np.where(problem.shapes.gpus <= problem.site.gpus, problem.shapes.rate, 1e-9)
    fastest = np.maximum.reduceat(fits, problem.shapes.first[:-1])[problem.jobs.class_index]
    jobs = problem.jobs
    return bool((jobs.earliest_s + jobs.work / fastest > jobs.deadline_s + 1e-3).any())


share = st.lists(st.floats(0, 1), min_size=4, max_size=4).map(np.array)


@settings(max_examples=60, deadline=None)
@given(
    tiny(cap=True, jobs=2) | tiny(jobs=2),
    share,
    share,
    share,
    st.sampled_from([0.0, 30.0, 400.0]),
)
def test_any_prices_are_worth_no_more_than_the_best_plan(problem, mu, lam, nu, worth_g):
    """And as much as separate code says."""
    if hopeless(problem):
        return
    carbon = problem.site.carbon_g_per_kwh
    capped = np.isfinite(problem.site.power_cap_w)
    at = prices(4, mu=mu * carbon, lam=300 * lam, nu=500 * nu * capped)
    weights = Weights(performance_g=worth_g)
    answer = search_of(problem, weights).answer(at)
    wide = (problem.shapes.gpus > problem.site.gpus).any()  # those the proof knows too
    if not problem.jobs.preemptible.any() and not wide:
        assert answer.value_g == pytest.approx(proven_g(problem, at, weights), abs=0.02)
    plans = all_plans(problem)
    if plans is not None and len(plans.carbon_g):
        best = (plans.carbon_g - worth_g * plans.performance).min()
        assert answer.value_g <= best + 1e-6


FAMILIES: dict[str, dict[str, Any]] = {
    "in one go": {"preemptible": False},
    "no renewables": {"preemptible": False, "renewables": False},
    "under a cap": {"preemptible": False, "cap": True},
    "split": {"preemptible": True},
}


@pytest.mark.parametrize("family", FAMILIES)
def test_the_search_ends_near_the_linear_program(family):
    """Few jobs, so that their pool is soon complete: within a hundredth, never above."""

    @settings(max_examples=25, deadline=None, derandomize=True)
    @given(tiny(**FAMILIES[family]))
    def holds(problem: Problem) -> None:
        wide = (problem.shapes.gpus > problem.site.gpus).any()
        if wide or hopeless(problem) or (wanted := relaxation_g(problem)) is None:
            return
        found = search_of(problem).search()
        assert found.value_g <= wanted + 1e-6 * abs(wanted) + 1e-6
        assert found.value_g >= wanted - 0.01 * abs(wanted) - 0.05
        assert found.value_g == pytest.approx(proven_g(problem, found.prices), rel=1e-5, abs=0.02)
        assert (found.prices.mu <= problem.site.carbon_g_per_kwh * (1 + 1e-12)).all()
        assert min(p.min() for p in (found.prices.mu, found.prices.lam, found.prices.nu)) >= 0

    holds()


def test_a_gpu_hour_costs_what_waiting_for_it_does():
    """Two hours of work for one GPU: the clean hour is worth the difference to the next one."""
    problem = make([[(1, 1.0, 1000.0)]], [(0, 1.0, 0, 3, False)] * 2, [100, 300, 800], gpus=1)
    found = search_of(problem).search()
    assert found.value_g == pytest.approx(400.0, rel=1e-3)
    assert found.prices.lam[0] - found.prices.lam[1] == pytest.approx(200.0, rel=0.02)
    assert found.prices.lam[2] == pytest.approx(0.0, abs=1.0)
    assert found.prices.mu.tolist() == [100, 300, 800]


def test_a_kilowatt_hour_costs_what_the_marginal_one_emits():
    """Supply for one job in each hour and two jobs: none for the third, the grid's price for it."""
    jobs = [(0, 1.0, 0, 1, False), (0, 1.0, 1, 2, False), (0, 1.0, 2, 3, False)]
    problem = make([[(1, 1.0, 1000.0)]], jobs, [500] * 3, renewable_w=[1500, 400, 1000])
    found = search_of(problem).search()
    assert found.value_g == pytest.approx(300.0, rel=1e-3, abs=0.1)
    assert found.prices.mu[0] == pytest.approx(0.0, abs=5)
    assert found.prices.mu[1] == pytest.approx(500.0, abs=5)


def test_a_cap_has_a_price_where_it_binds():
    """Two jobs want the clean hour, the cap lets one in."""
    jobs = [(0, 1.0, 0, 2, False)] * 2
    problem = make([[(1, 1.0, 1000.0)]], jobs, [100, 500], power_cap_w=1000.0)
    found = search_of(problem).search()
    assert found.value_g == pytest.approx(600.0, rel=1e-3)
    scarce = found.prices.nu + found.prices.lam  # 1 kW and one GPU: either may bear it
    assert scarce[0] - scarce[1] == pytest.approx(400.0, rel=0.02)


def test_a_second_search_from_the_first_ones_prices_is_as_good():
    """With the same problem, and with prices of one twice as dirty."""
    problem = make(
        [[(1, 1.0, 700.0), (2, 1.8, 1500.0)]],
        [(0, 1.0 + number % 3, 0.3 * number, 24, False) for number in range(40)],
        [300 - 200 * np.sin(hour / 4) for hour in range(24)],
        renewable_w=[1000 * max(0.0, np.sin(hour / 6)) for hour in range(24)],
        gpus=5,
    )
    first = search_of(problem).search()
    again = search_of(problem).search(first.prices)
    assert again.value_g >= 0.995 * first.value_g
    dirty = Prices(mu=2 * first.prices.mu, lam=2 * first.prices.lam, nu=first.prices.nu + 100)
    other = search_of(problem).search(dirty)
    assert other.value_g >= 0.98 * first.value_g
    assert other.value_g == pytest.approx(proven_g(problem, other.prices), rel=1e-5)


def test_a_search_that_may_not_go_on_still_has_an_answer():
    problem = make([[(1, 1.0, 700.0)]], [(0, 1.0, 0, 4, False)] * 3, [100, 200, 300, 50])
    found = search_of(problem).search(enough=lambda: True)
    assert found.value_g == pytest.approx(proven_g(problem, found.prices), rel=1e-5)
    assert len(found.option) == len(found.start_s) == 3


@pytest.mark.parametrize("jobs", [[], [(0, 1.0, 0, 4, True)]])
def test_no_runs_or_no_splits(jobs):
    """Either kind may be missing, or both."""
    problem = make([[(1, 1.0, 1000.0)]], jobs, [100, 200, 300, 50], base_w=100.0)
    found = search_of(problem).search()
    assert proven_g(problem, found.prices) == pytest.approx(65.0 + 50 * len(jobs), rel=1e-3)


def test_jobs_that_may_run_at_any_time_do_not_spoil_the_bound():
    """Each has hundreds of ways, so that the first few of them say little about the prices."""
    rng = np.random.default_rng(0)
    hours = np.arange(120)
    problem = make(
        [[(1, 1.0, 300.0)], [(4, 1.0, 1600.0)]],
        [
            (int(rng.integers(2)), float(min(rng.lognormal(0.7, 1.0), 20)), 0.0, 120.0, False)
            for _ in range(150)
        ],
        (350 + 180 * np.sin(2 * np.pi * hours / 24)).tolist(),
        gpus=14,
    )
    found = draft(problem, Weights())
    assert found.schedule.placed(problem).all()
    carbon_g = certificate.carbon_g(problem, found.schedule, ())
    assert proven_g(problem, found.prices) >= 0.96 * carbon_g
