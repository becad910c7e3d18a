# SPDX-License-Identifier: Apache-2.0
"""Plans of jobs that may be split: the best of some starts, and one after an earlier plan."""

import numpy as np
import pytest

from slurm_green.plan import certificate, split_lists
from slurm_green.plan.board import Board
from slurm_green.plan.options import options_of
from slurm_green.plan.outcome import Weights
from slurm_green.plan.pieces import Pieces
from slurm_green.plan.pool import Expected
from slurm_green.plan.problem import Problem
from slurm_green.plan.slot_table import SlotTable
from slurm_green.plan.split_lists import Start, place_splits
from tests.slurm_green.plan.problems import make, prices, schedule


def pieces_of(problem: Problem) -> Pieces:
    nobody = options_of(problem, np.zeros(0, dtype=np.int64), np.zeros(0))
    return Pieces(Board(problem, nobody, Weights()))


def placed(problem: Problem, starts: list[Start], good_g: float = -np.inf) -> Pieces:
    pieces = pieces_of(problem)
    missing = place_splits(
        pieces,
        np.arange(len(problem.jobs)),
        starts,
        lists=1,
        good_g=good_g,
        expired=lambda: False,
        progress=lambda done: None,
    )
    assert missing == []
    return pieces


def nothing_expected(problem: Problem) -> Expected:
    nothing = SlotTable.empty(len(problem.jobs), problem.site.slots)
    return Expected(energy_j=nothing, gpu_h=nothing)


def test_the_start_that_ends_best_is_kept() -> None:
    """One start keeps both jobs off the clean hour; what it leaves on the board is gone then."""
    one = make([[(1, 1.0, 1000.0)]], [(0, 1.0, 0.0, 4.0, True)] * 2, [400.0, 20.0, 300.0, 400.0])
    carbon = one.site.carbon_g_per_kwh
    far = prices(4, mu=carbon, lam=np.array([0.0, 9e3, 0.0, 0.0]))
    near = prices(4, mu=carbon)

    def place_at(
        pieces: Pieces, state: object, order: list[int], start: Start, *_: object, **__: object
    ) -> None:
        pieces.board.guide(start.prices.lam)
        pieces.put_all(order, one.jobs.deadline_s)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(split_lists, "_place_at", place_at)
        made = [
            placed(one, [Start(at, nothing_expected(one)) for at in starts])
            for starts in ([far], [near], [far, near], [near, far])
        ]
        ended = [
            placed(one, [Start(at, nothing_expected(one)) for at in (far, near)], good_g)
            for good_g in (500.0, 700.0)
        ]
    assert [pieces.board.cost_g for pieces in ended] == pytest.approx([40.0, 600.0])
    assert [pieces.board.cost_g for pieces in made] == pytest.approx([600.0, 40.0, 40.0, 40.0])
    assert made[2].board.profile.used.max() == 2
    assert certificate.check(one, schedule(made[3])) is None
