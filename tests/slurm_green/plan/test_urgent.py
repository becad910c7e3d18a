# SPDX-License-Identifier: Apache-2.0
"""Lists of who must start first."""

import numpy as np
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from slurm_green.plan.board import Board
from slurm_green.plan.options import options_of
from slurm_green.plan.outcome import Weights
from slurm_green.plan.problem import Problem
from slurm_green.plan.urgent import most_urgent_first
from tests.slurm_green.plan.problems import make

FEW = settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))


def board_of(problem: Problem) -> Board:
    jobs = np.arange(len(problem.jobs))
    return Board(problem, options_of(problem, jobs, problem.jobs.deadline_s), Weights())


@FEW
@given(seed=st.integers(0, 10_000))
def test_runs_keep_their_windows_and_the_gpus(seed: int) -> None:
    rng = np.random.default_rng(seed)
    early = rng.uniform(0, 16, 30)
    late = early + rng.uniform(1, 8, 30)
    shapes = [(1, 1.0, 300.0), (2, 1.8, 650.0)], [(4, 4.0, 1300.0)]
    jobs = [
        (int(rng.integers(2)), float(rng.uniform(0.3, 4)), one, two, False)
        for one, two in zip(early.tolist(), late.tolist(), strict=True)
    ]
    board = board_of(make(shapes, jobs, [100.0] * 24))
    for found in most_urgent_first(board):
        board.restore(found.option, found.start_s)
        assert board.profile.used.max(initial=0) <= 4
        placed = [job for job, option in enumerate(found.option) if option >= 0]
        assert sorted([*placed, *found.absent]) == list(range(30))
        for job in placed:
            option = found.option[job]
            assert board.options.first[job] <= option < board.options.first[job + 1]
            assert board.early_s[option] <= found.start_s[job]
            assert found.start_s[job] + board.duration_s[option] <= board.until_s[option]


def test_a_wide_job_that_must_start_soon_is_waited_for() -> None:
    """Without waiting, narrow jobs that come later would hold GPUs until it is too late."""
    narrow = [(0, 2.0, hour, 20.0, False) for hour in (0.0, 1.0, 2.0, 3.0)]
    problem = make([[(1, 1.0, 300.0)], [(2, 1.0, 600.0)]], [*narrow, (1, 2.0, 1.0, 4.5, False)],
                   [100.0] * 24, gpus=2)  # fmt: skip
    found = next(most_urgent_first(board_of(problem)))
    assert found.absent == []
    assert found.start_s[4] == 2 * 3600
