# SPDX-License-Identifier: Apache-2.0
"""A plan after a plan: what it takes from the one before."""

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from slurm_green.plan import draft
from slurm_green.plan.as_before import expected_of, places_of, stay_of
from slurm_green.plan.board import Board
from slurm_green.plan.certificate import slot_energy_j
from slurm_green.plan.kernel import library
from slurm_green.plan.kernel.lists import place_all
from slurm_green.plan.options import options_of
from slurm_green.plan.outcome import Weights
from slurm_green.plan.problem import Problem
from slurm_green.plan.schedule import Schedule
from slurm_green.plan.squeaky import PriceTags
from tests.slurm_green.plan.problems import make, prices

pytestmark = pytest.mark.slow

FEW = settings(max_examples=15, deadline=None, suppress_health_check=list(HealthCheck))
SHAPES = [(1, 1.0, 300.0), (2, 1.8, 650.0)], [(4, 4.0, 1300.0), (2, 2.2, 610.0)]


def problem(seed: int, jobs: int = 25, slots: int = 24) -> Problem:
    rng = np.random.default_rng(seed)
    early = rng.uniform(0, slots - 9, jobs).tolist()
    return make(
        SHAPES,
        [
            (int(rng.integers(2)), float(rng.uniform(0.3, 4)), one, one + 8.0, False)
            for one in early
        ],
        rng.uniform(50, 500, slots).tolist(),
    )


def board_of(one: Problem) -> Board:
    jobs = np.arange(len(one.jobs))
    return Board(one, options_of(one, jobs, one.jobs.deadline_s), Weights())


@FEW
@given(seed=st.integers(0, 10_000), gone=st.integers(0, 24))
def test_what_was_is_where_each_job_ran_and_what_it_drew(seed: int, gone: int) -> None:
    one = problem(seed)
    plan = draft.draft(one, Weights()).schedule
    keep = plan.job != gone
    before = Schedule(
        job=plan.job[keep],
        shape=plan.shape[keep],
        start_s=plan.start_s[keep],
        end_s=plan.end_s[keep],
    )
    board = board_of(one)
    places = places_of(board, before)
    in_time = before.end_s <= one.jobs.deadline_s[before.job] + 1e-3
    assert set(before.job[in_time].tolist()) <= set(places.row.tolist()) <= set(before.job.tolist())
    drawn = expected_of(board, places.option, places.start_s).energy_j.by_slot()
    same = np.isin(before.job, places.row)
    part = Schedule(
        job=before.job[same],
        shape=before.shape[same],
        start_s=before.start_s[same],
        end_s=before.end_s[same],
    )
    assert drawn == pytest.approx(slot_energy_j(one, part), abs=1e3)


def test_a_place_outside_of_its_new_window_is_none() -> None:
    one = make([SHAPES[0]], [(0, 1.0, 2, 6, False), (0, 1.0, 2, 6, False)], [100] * 8)
    board = board_of(one)
    hour = 3600.0
    before = Schedule(
        job=np.array([0, 1]),
        shape=np.array([0, 0]),
        start_s=np.array([1.0, 3.0]) * hour,
        end_s=np.array([2.0, 4.0]) * hour,
    )
    option, start_s = stay_of(board, places_of(board, before))
    assert option.tolist() == [-1, int(board.options.first[1])]
    assert start_s[1] == 3 * hour


@pytest.mark.skipif(library() is None, reason="no compiled kernel: no C compiler?")
@FEW
@given(seed=st.integers(0, 10_000))
def test_in_a_list_jobs_stay_while_there_is_room_and_never_beyond(seed: int) -> None:
    """Two of three places of a plan are asked for again, each third one an hour later."""
    one = problem(seed)
    plan = draft.draft(one, Weights()).schedule
    board = board_of(one)
    option, start_s = stay_of(board, places_of(board, plan))
    start_s[::3] += 3600.0
    option[::3] = np.where(
        start_s[::3] + board.arrays["duration"][option[::3]] <= board.arrays["until"][option[::3]],
        option[::3],
        -1,
    )
    tags = PriceTags(board, prices(one.site.slots))
    order = np.arange(len(one.jobs))
    nothing = expected_of(board, np.zeros(0, dtype=np.int64), np.zeros(0))
    lam = np.zeros(one.site.slots)
    absent = place_all(
        board, tags.ranking, tags.least_by_option_g, order, lam, nothing, (option, start_s)
    )
    assert board.profile.used.max() <= one.site.gpus
    placed = np.array(board.option) >= 0
    assert sorted(absent) == np.flatnonzero(~placed).tolist()
    # The first in the list finds the site empty: it stays if it may.
    first = int(order[0])
    if option[first] >= 0:
        assert (board.option[first], board.start_s[first]) == (option[first], start_s[first])


@pytest.mark.skipif(library() is None, reason="no compiled kernel: no C compiler?")
def test_without_a_new_job_the_list_is_the_plan_before() -> None:
    one = problem(7)
    plan = draft.draft(one, Weights()).schedule
    board = board_of(one)
    places = places_of(board, plan)
    tags = PriceTags(board, prices(one.site.slots))
    expected = expected_of(board, places.option, places.start_s)
    order = places.row.copy()
    place_all(
        board,
        tags.ranking,
        tags.least_by_option_g,
        order,
        np.zeros(one.site.slots),
        expected,
        stay_of(board, places),
    )
    assert np.array(board.option)[places.row].tolist() == places.option.tolist()
    assert board.start_s[places.row] == pytest.approx(places.start_s)
