# SPDX-License-Identifier: Apache-2.0
"""The compiled lists and moves against what board.py says of the plans they make."""

from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from slurm_green.plan import certificate, draft, planner
from slurm_green.plan.board import Board
from slurm_green.plan.improve import Improver
from slurm_green.plan.kernel import library
from slurm_green.plan.kernel.lists import place_all
from slurm_green.plan.options import options_of
from slurm_green.plan.outcome import Weights
from slurm_green.plan.pool import Pool
from slurm_green.plan.problem import Problem
from slurm_green.plan.squeaky import PriceTags
from tests.slurm_green.plan.problems import HOUR, make, prices

pytestmark = pytest.mark.skipif(library() is None, reason="no compiled kernel: no C compiler?")
FEW = settings(max_examples=15, deadline=None, suppress_health_check=list(HealthCheck))


def problem(seed: int, *, green: bool, jobs: int = 30, slots: int = 24) -> Problem:
    """A full site: jobs of one to four GPUs in two shapes each, windows of some hours."""
    rng = np.random.default_rng(seed)
    wide = [(1, 1.0, 300.0), (2, 1.8, 650.0)], [(4, 4.0, 1300.0), (2, 2.2, 610.0)]
    return make(
        wide,
        [
            (
                int(rng.integers(2)),
                float(rng.uniform(0.3, 4)),
                (early := float(rng.uniform(0, slots - 9))),
                early + float(rng.uniform(4, 9)),
                False,
            )
            for _ in range(jobs)
        ],
        rng.uniform(50, 500, slots).tolist(),
        renewable_w=rng.uniform(0, 2500, slots).tolist() if green else 0.0,
        base_w=200.0,
    )


@pytest.mark.slow
@FEW
@given(seed=st.integers(0, 10_000), green=st.booleans(), worth=st.sampled_from([0.0, 50.0]))
def test_its_costs_and_its_gpus_are_those_of_the_board(
    seed: int, green: bool, worth: float
) -> None:
    """After lists and moves the board's running figures are those of the same runs anew."""
    boards: list[Board] = []

    class Kept(Board):
        def __init__(self, *given_: Any) -> None:
            super().__init__(*given_)
            boards.append(self)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(draft, "Board", Kept)
        patch.setattr(draft, "place_overdue", lambda board, job: [])
        draft.draft(problem(seed, green=green), Weights(performance_g=worth))
    (board,) = boards
    cost_g, used = board.cost_g, board.profile.used.tolist()
    board.restore(list(board.option), board.start_s.copy())
    assert board.cost_g == pytest.approx(cost_g, rel=1e-9, abs=1e-6)
    assert board.profile.used.tolist() == used
    assert max(used) <= board.problem.site.gpus


@pytest.mark.slow
@FEW
@given(seed=st.integers(0, 10_000), green=st.booleans())
def test_plans_with_and_without_it_hold_and_do_not_contradict(seed: int, green: bool) -> None:
    """Each plan is allowed, and above the bound that the other one proves of the same jobs."""
    one = problem(seed, green=green)
    fast = planner.solve(one)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("slurm_green.plan.kernel.board.library", lambda: None)
        slow = planner.solve(one)
    assert certificate.check(one, fast.schedule, fast.service_clock) is None
    if (fast.late_jobs, fast.unplaced_jobs) == (slow.late_jobs, slow.unplaced_jobs) == (0, 0):
        assert fast.carbon_g >= slow.lower_bound_g * (1 - 1e-9)
        assert slow.carbon_g >= fast.lower_bound_g * (1 - 1e-9)


@FEW
@given(seed=st.integers(0, 10_000), green=st.booleans(), share=st.sampled_from([0.0, 0.6, 1.0]))
def test_in_a_list_each_job_costs_the_least_that_it_can_then(
    seed: int, green: bool, share: float
) -> None:
    """Nothing expected and no price of GPU-hours: its place costs what the board's best does.

    Supply has a price, some share of the intensity, or none.
    """
    one = problem(seed, green=green)
    slots, jobs = one.site.slots, np.arange(len(one.jobs))
    options = options_of(one, jobs, one.jobs.deadline_s)
    board = Board(one, options, Weights())
    tags = PriceTags(board, prices(slots))
    expected = Pool(one).expected(prices(slots), 1.0).only(jobs[:0])
    board.guide(np.zeros(slots), share * one.site.carbon_g_per_kwh)
    for job in jobs.tolist():
        place = board.best(job)
        absent = place_all(
            board,
            tags.ranking,
            np.full(len(options), -np.inf),
            np.array([job]),
            np.zeros(slots),
            expected,
        )
        assert (place is None) == (absent == [job])
        if place is not None:
            found = board.take(job)
            assert found.cost_g + board.guided_g(found) == pytest.approx(place.cost_g, rel=1e-9)
            board.put(job, found.option, found.start_s)


@pytest.mark.parametrize("fast", [True, False])
def test_supply_that_others_want_is_not_wasted(fast: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """A run leaves it for the hour that nobody wants and the clock that needs least energy."""
    if not fast:
        monkeypatch.setattr("slurm_green.plan.kernel.board.library", lambda: None)
    one = make(
        [[(1, 2.0, 1000.0), (1, 1.0, 300.0)]],
        [(0, 1.0, 0.0, 3.0, False)],
        [500.0] * 3,
        renewable_w=[2000.0, 2000.0, 0.0],
    )
    board = Board(one, options_of(one, np.arange(1), one.jobs.deadline_s), Weights())
    wanted, nothing = np.array([300.0, 100.0, 500.0]), np.zeros(3)
    tags = PriceTags(board, prices(3, mu=wanted))
    improver = Improver(
        board, tags, [], option=tags.option, start_s=tags.start_s, lam=nothing, mu=wanted, seed=0
    )
    for option in (0, 1):
        board.restore([option], np.zeros(1))
        improver.settle(1.0, lambda: False)
        assert (board.option, board.start_s.tolist()) == ([1], [HOUR])
        assert board.cost_g == 0.0


def test_a_job_as_wide_as_the_site_takes_the_place_of_many() -> None:
    """Thirty jobs that could run at any time hold the only hours that the wide one has."""
    small = [(0, 9.0, 0.0, 24.0, False)] * 30
    crowded = make(
        [[(1, 1.0, 300.0)], [(30, 1.0, 9000.0)]],
        [*small, (1, 3.0, 10.0, 13.5, False)],
        [400.0] * 8 + [50.0] * 8 + [400.0] * 8,
        gpus=30,
    )
    options = options_of(crowded, np.arange(31), crowded.jobs.deadline_s)
    board = Board(crowded, options, Weights())
    board.restore([*range(30), -1], np.array([8 * HOUR] * 30 + [np.nan]))
    tags = PriceTags(board, prices(24, mu=crowded.site.carbon_g_per_kwh))
    improver = Improver(
        board, tags, [30], option=tags.option, start_s=tags.start_s, lam=np.zeros(24), seed=0
    )
    improver.eject(3000, lambda: not improver.absent, free=False)
    assert improver.absent == []
    assert board.profile.used.max() <= 30
