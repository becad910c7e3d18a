# SPDX-License-Identifier: Apache-2.0
"""Plans of jobs that all may be split: anew, and from the prices of an earlier one."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from slurm_green.plan import certificate, draft, split_lists, split_plan
from slurm_green.plan.board import Board
from slurm_green.plan.kernel import library
from slurm_green.plan.options import options_of
from slurm_green.plan.outcome import Prices, Weights
from slurm_green.plan.pieces import Pieces
from slurm_green.plan.planner import solve
from slurm_green.plan.problem import Problem
from slurm_green.plan.split_plan import plan_splits, split_prices
from tests.slurm_green.plan.problems import make, prices, schedule

NOBODY = np.zeros(0, dtype=np.int64)


def crowded(jobs: int, renewable_w: float = 0.0) -> Problem:
    rng = np.random.default_rng(5)
    return make(
        [[(1, 1.0, 300.0), (2, 1.8, 650.0)]],
        [
            (0, float(rng.uniform(1, 4)), (early := float(rng.uniform(0, 30))), early + 18, True)
            for _ in range(jobs)
        ],
        (200 + 150 * np.sin(np.arange(48) / 4)).tolist(),
        renewable_w=(renewable_w * np.maximum(np.sin(np.arange(48) / 7), 0)).tolist(),
    )


def planned(problem: Problem, warm: Prices | None) -> tuple[Pieces, list[int], Prices]:
    pieces = Pieces(Board(problem, options_of(problem, NOBODY, np.zeros(0)), Weights()))
    missing, there = plan_splits(
        pieces,
        np.arange(len(problem.jobs)),
        NOBODY,
        problem.jobs.deadline_s,
        warm,
        expired=lambda: False,
        progress=lambda done: None,
    )
    return pieces, missing, there


def proven_g(problem: Problem, at: Prices) -> float:
    nobody = np.zeros(len(problem.jobs), dtype=bool)
    return certificate.lower_bound_g(problem, at, late=nobody, unplaced=nobody)


@pytest.fixture
def efforts(monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """For each start that was tried whether it was a thorough one."""
    tried: list[bool] = []
    place_at = split_lists._place_at

    def noted(*what: Any, thorough: bool, **how: Any) -> None:
        tried.append(thorough)
        place_at(*what, thorough=thorough, **how)

    monkeypatch.setattr(split_lists, "_place_at", noted)
    return tried


@pytest.mark.parametrize("near", [True, False])
def test_near_an_earlier_plan_little_is_tried_and_else_all(
    near: bool, efforts: list[bool], monkeypatch: pytest.MonkeyPatch
) -> None:
    now = crowded(41)
    _, _, at = planned(crowded(40), None)
    efforts.clear()
    for name in ("_NEAR", "_NEAR_SLOW"):
        monkeypatch.setattr(split_plan, name, 1.0 if near else -1.0)
    pieces, missing, there = planned(now, at)
    assert missing == []
    assert proven_g(now, there) > proven_g(now, at)
    made = schedule(pieces)
    assert certificate.check(now, made) is None
    assert pieces.board.cost_g == pytest.approx(certificate.carbon_g(now, made))
    assert efforts[0] is False
    assert any(efforts) is not near


@pytest.mark.skipif(library() is None, reason="no compiled kernel: no C compiler?")
@pytest.mark.parametrize(
    ("over", "unplaced", "starts"),
    [
        ((0.9,), 0, 1),  # near enough at once
        ((1.5, 0.9), 0, 2),
        ((1.5, 1.5, 1.5), 0, 3),
        ((2.5,), 0, 1),  # hopeless
        ((-9.0,), 1, 1),  # so is a list that leaves somebody out, however cheap
    ],
)
def test_not_quite_near_enough_is_tried_again(
    over: tuple[float, ...], unplaced: int, starts: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`over` is how far each start ends above the bound, in what is near enough."""
    one = make([[(1, 1.0, 1000.0)]], [(0, 1.0, 0.0, 4.0, True)] * 2, [400.0, 20.0, 300.0, 400.0])
    bound_g = 2 * 20.0  # both in the clean hour
    tried = 0

    def place_at(
        pieces: Pieces, state: object, order: list[int], *_: object, thorough: bool, **__: object
    ) -> None:
        nonlocal tried
        pieces.put_all(order if thorough else order[unplaced:], one.jobs.deadline_s)
        if not thorough:
            pieces.board.cost_g = bound_g * (1 + over[tried] * split_plan._NEAR)
            tried += 1

    monkeypatch.setattr(split_lists, "_place_at", place_at)
    planned(one, prices(4, mu=one.site.carbon_g_per_kwh))
    assert tried == starts


def test_supply_for_most_of_the_demand_is_used() -> None:
    """Supply that just suffices costs nothing at the best prices, and is all used nevertheless."""
    problem = crowded(40, renewable_w=1000.0)
    outcome = solve(problem)
    bare = crowded(40)
    at_once_g = certificate.carbon_g(bare, outcome.start_now)
    assert outcome.late_jobs == outcome.unplaced_jobs == 0
    assert outcome.lower_bound_g < 0.2 * at_once_g
    assert outcome.carbon_g - outcome.lower_bound_g < 0.0015 * at_once_g


@settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
@given(renewable_w=st.floats(0.0, 3000.0), jobs=st.integers(1, 30))
def test_prices_prove_at_least_that_nothing_costs_less_than_nothing(
    renewable_w: float, jobs: int
) -> None:
    problem = crowded(jobs, renewable_w=renewable_w)
    at = split_prices(problem, np.arange(jobs), problem.jobs.deadline_s, None)
    assert proven_g(problem, at) >= 0.0


def test_overdue_jobs_make_no_plan_near(
    efforts: list[bool], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What they cost is in the prices, and not on the board."""
    now = crowded(80)
    late = now.jobs.deadline_s.copy()
    late[::2] = now.site.horizon_s
    splits, overdue = np.arange(1, 80, 2), np.arange(0, 80, 2)
    pieces = Pieces(Board(now, options_of(now, NOBODY, np.zeros(0)), Weights()))
    how: dict[str, Any] = {"expired": lambda: False, "progress": lambda done: None}
    _, at = plan_splits(pieces, splits, overdue, late, None, **how)
    efforts.clear()
    for name in ("_NEAR", "_NEAR_SLOW"):
        monkeypatch.setattr(split_plan, name, 1e-9)
    pieces = Pieces(Board(now, options_of(now, NOBODY, np.zeros(0)), Weights()))
    plan_splits(pieces, splits, overdue, late, at, **how)
    assert any(efforts)


def test_one_job_that_fits_nowhere_spoils_no_plan() -> None:
    """It would take all that there is, at any price: two shapes, and more work than 48 h do."""
    crowd = crowded(40)
    fine = solve(crowd)
    jobs = [(0, 1e4, 0.0, 48.0, True), (0, 1e4, 0.0, 48.0, False)]
    both = replace(
        crowd,
        jobs=replace(
            crowd.jobs,
            ids=(*crowd.jobs.ids, "long", "longer"),
            class_index=np.append(crowd.jobs.class_index, [0, 0]),
            work=np.append(crowd.jobs.work, [job[1] for job in jobs]),
            earliest_s=np.append(crowd.jobs.earliest_s, [0.0, 0.0]),
            deadline_s=np.append(crowd.jobs.deadline_s, [crowd.site.horizon_s] * 2),
            preemptible=np.append(crowd.jobs.preemptible, [True, False]),
        ),
    )
    found = solve(both)
    assert (found.late_jobs, found.unplaced_jobs) == (0, 2)
    assert found.carbon_g <= fine.carbon_g * 1.003


def test_a_plan_after_a_plan_proves_no_less(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(draft, "_FEW_JOBS", 0)
    for name in ("_NEAR", "_NEAR_SLOW"):
        monkeypatch.setattr(split_plan, name, 1.0)
    problem = crowded(40)
    first = solve(problem)
    again = solve(problem, warm=first.prices)
    assert again.lower_bound_g >= first.lower_bound_g * (1 - 1e-9)


def test_hours_that_cost_nothing_are_no_measure() -> None:
    """More than half of the hours are clean, and places there are few."""
    rng = np.random.default_rng(1)
    early = rng.uniform(0, 40, 60)
    problem = make(
        [[(1, 1.0, 300.0), (2, 1.8, 650.0)], [(1, 1.0, 300.0), (2, 1.9, 500.0)]],
        [(row % 2, float(rng.uniform(2, 6)), float(at), float(at) + 20, True)
         for row, at in enumerate(early)],
        np.where(np.arange(60) % 9 < 5, 0.0, rng.uniform(200, 500, 60)).tolist(),
        gpus=6,
    )  # fmt: skip
    outcome = solve(problem)
    assert outcome.late_jobs == outcome.unplaced_jobs == 0
    assert outcome.gap < 0.05
