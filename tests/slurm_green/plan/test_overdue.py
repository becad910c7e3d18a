# SPDX-License-Identifier: Apache-2.0
"""Who cannot be in time ends as early as it can, in what the others left."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from problems import HOUR, make

from slurm_green.plan.board import Board
from slurm_green.plan.options import options_of
from slurm_green.plan.outcome import Weights
from slurm_green.plan.overdue import place_overdue
from slurm_green.plan.planner import solve

WIDE, NARROW = (4, 2.0, 800.0), (1, 1.0, 300.0)


def board_of(job, taken=(), *, shapes=(WIDE, NARROW), slots=12, **limits):
    """A site of four GPUs on which some are taken from one hour to another."""
    problem = make([list(shapes)], [job], [100.0] * slots, **limits)
    nobody = np.zeros(0, np.int64)
    board = Board(problem, options_of(problem, nobody, np.zeros(0)), Weights())
    for gpus, begin_h, end_h in taken:
        board.book(0.0, gpus, begin_h * HOUR, end_h * HOUR, 1)
    return board


def hours(pieces):
    return [(one.shape, one.start_s / HOUR, one.end_s / HOUR) for one in pieces]


def test_a_job_that_may_pause_takes_what_is_free_at_once():
    """Slowly while little is free, not at all while nothing is, then as fast as it can."""
    taken = [(3, 0, 2), (4, 2, 3)]
    assert hours(place_overdue(board_of((0, 5.0, 0.0, 0.5, True), taken), 0)) == [
        (1, 0.0, 2.0),
        (0, 3.0, pytest.approx(4.5)),
    ]
    assert hours(place_overdue(board_of((0, 5.0, 0.0, 0.5, False), taken), 0)) == [
        (0, 3.0, pytest.approx(5.5))
    ]


@pytest.mark.parametrize("work", [40.0, 1e9])
def test_who_never_ends_has_no_place(work):
    assert place_overdue(board_of((0, work, 0.0, 0.5, True)), 0) == []


def test_a_cap_is_kept_in_one_go():
    board = board_of((0, 4.0, 0.0, 0.5, True), [(3, 0, 2)], power_cap_w=500.0)
    assert hours(place_overdue(board, 0)) == [(1, 0.0, pytest.approx(4.0))]
    assert board.limits.hold()


@given(
    taken=st.lists(
        st.tuples(st.integers(1, 4), st.integers(0, 40), st.integers(1, 12)), max_size=12
    ),
    early=st.integers(0, 20),
    work=st.floats(0.01, 60),
)
def test_nobody_ends_earlier_than_who_takes_all_that_is_free(taken, early, work):
    """Its work is done, in free GPUs, and by then no more could have been."""
    used = np.zeros(48, int)
    for gpus, begin, length in taken:
        if (used[begin : begin + length] + gpus <= 4).all():
            used[begin : begin + length] += gpus
    blocks = [(int(gpus), at, at + 1) for at, gpus in enumerate(used) if gpus]
    board = board_of((0, work, float(early), early + 0.001, True), blocks, slots=48)
    found = place_overdue(board, 0)

    rate = np.select([used == 0, used <= 3], [2.0, 1.0], 0.0)
    rate[:early] = 0.0
    if rate.sum() < work:
        assert found == []
        return
    full = np.append(0.0, np.cumsum(rate))
    last = int(np.searchsorted(full, work)) - 1
    assert found[-1].end_s / HOUR == pytest.approx(
        last + (work - full[last]) / rate[last], abs=1e-3
    )
    assert sum((2.0, 1.0)[one.shape] * (one.end_s - one.start_s) for one in found) >= work * HOUR
    assert int(board.profile.used.max()) <= 4


def test_a_plan_does_not_put_a_late_job_off_until_there_is_a_long_gap():
    """Others leave an hour in two: in one go it could begin in the evening only."""
    others = [(0, 1.0, float(at), at + 1.0, False) for at in range(0, 20, 2)]
    late = (0, 3.0, 0.0, 1.0, True)
    problem = make([[(4, 1.0, 800.0)]], [*others, late], [100.0] * 30)
    schedule = solve(problem).schedule
    assert schedule.end_s[schedule.job == 10].max() == pytest.approx(6 * HOUR)
