# SPDX-License-Identifier: Apache-2.0
"""Jobs split by the kernel against what pieces.py, split.py and split_lists.py make of the same."""

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from slurm_green.plan import certificate, split_lists
from slurm_green.plan.board import Board
from slurm_green.plan.kernel import library
from slurm_green.plan.options import options_of
from slurm_green.plan.outcome import Prices, Weights
from slurm_green.plan.pieces import Pieces
from slurm_green.plan.pool import Expected
from slurm_green.plan.problem import JOULES_PER_KWH, Floats, Problem
from slurm_green.plan.schedule import Schedule
from slurm_green.plan.split import split_response
from slurm_green.plan.split_lists import Start, place_splits
from tests.slurm_green.plan.problems import make, some_prices

pytestmark = pytest.mark.skipif(library() is None, reason="no compiled kernel: no C compiler?")
FEW = settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
SLOTS = 12


def problem(seed: int, *, green: bool, jobs: int = 15) -> Problem:
    """A site that is nearly full: two classes of three shapes, windows of some hours."""
    rng = np.random.default_rng(seed)
    wide = (
        [(1, 1.0, 300.0), (2, 1.8, 650.0), (2, 1.5, 420.0)],
        [(4, 4.0, 1300.0), (2, 2.2, 610.0), (9, 8.0, 2500.0)],
    )
    return make(
        wide,
        [
            (
                int(rng.integers(2)),
                float(rng.uniform(0.3, 4)),
                (early := float(rng.uniform(0, SLOTS - 4))),
                early + float(rng.uniform(1, 4)),
                True,
            )
            for _ in range(jobs)
        ],
        rng.uniform(50, 500, SLOTS).tolist(),
        gpus=8,
        renewable_w=rng.uniform(0, 2500, SLOTS).tolist() if green else 0.0,
        base_w=200.0,
    )


def expected_of(one: Problem, at: Prices) -> Expected:
    found = split_response(one, at, np.arange(len(one.jobs)), one.jobs.deadline_s)
    return Expected(energy_j=found.energy_kwh.times(JOULES_PER_KWH), gpu_h=found.gpu_h)


def two(one: Problem) -> tuple[Pieces, Pieces]:
    """The same board twice: for the kernel, and for Python."""
    made = []
    for _ in range(2):
        nobody = options_of(one, np.zeros(0, dtype=np.int64), np.zeros(0))
        made.append(Pieces(Board(one, nobody, Weights())))
    assert made[0].kernel is not None
    made[1].kernel = None
    return made[0], made[1]


def same(fast: Pieces, slow: Pieces) -> None:
    assert sorted(fast.of) == sorted(slow.of)
    for job, stretches in fast.of.items():
        assert stretches.tolist() == slow.of[job].tolist()
    assert fast.board.profile.times.tolist() == slow.board.profile.times.tolist()
    assert fast.board.profile.used.tolist() == slow.board.profile.used.tolist()
    assert fast.board.cost_g == pytest.approx(slow.board.cost_g, rel=1e-9, abs=1e-6)
    assert fast.board.net_j == pytest.approx(slow.board.net_j, rel=1e-9, abs=1e-3)


@contextmanager
def without_kernel() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("slurm_green.plan.kernel.board.library", lambda: None)
        patch.setattr("slurm_green.plan.split.library", lambda: None)
        yield


@FEW
@given(seed=st.integers(0, 10_000), green=st.booleans())
def test_the_same_stretches_as_in_python(seed: int, green: bool) -> None:
    """Placed one after the other, then each anew at other prices."""
    one = problem(seed, green=green)
    jobs, until_s = list(range(len(one.jobs))), one.jobs.deadline_s
    fast, slow = two(one)
    at = some_prices(one, seed)
    for pieces in (fast, slow):
        pieces.board.guide(at.lam, at.mu)
        pieces.put_all(jobs, until_s)
    same(fast, slow)
    moved = []
    for pieces in (fast, slow):
        pieces.board.guide(0.3 * at.lam, 0.5 * at.mu)
        moved.append(pieces.settle(jobs[::-1], until_s))
    assert moved[0] == moved[1]
    same(fast, slow)


@FEW
@given(seed=st.integers(0, 10_000), green=st.booleans())
def test_the_same_list_as_in_python(seed: int, green: bool) -> None:
    """At steered prices, jobs that are only expected on the board until their turn comes."""
    one = problem(seed, green=green)
    at = some_prices(one, seed)
    start, jobs = Start(at, expected_of(one, at)), list(range(len(one.jobs)))
    fast, slow = two(one)
    for pieces in (fast, slow):
        split_lists._place_list(pieces, jobs, start)
    # What expected loads leave in sums differs by rounding.
    assert {job: one.tolist() for job, one in fast.of.items()} == {
        job: one.tolist() for job, one in slow.of.items()
    }


@FEW
@given(seed=st.integers(0, 10_000), green=st.booleans())
def test_the_same_best_responses_as_in_python(seed: int, green: bool) -> None:
    one = problem(seed, green=green)
    jobs = np.random.default_rng(seed).permutation(len(one.jobs))
    asked = one, some_prices(one, seed), jobs, one.jobs.deadline_s[jobs]
    fast = split_response(*asked)
    with without_kernel():
        slow = split_response(*asked)
    assert fast.cost_g == pytest.approx(slow.cost_g, rel=1e-12)
    for quick, other in ((fast.gpu_h, slow.gpu_h), (fast.energy_kwh, slow.energy_kwh)):
        assert quick.matrix().toarray() == pytest.approx(other.matrix().toarray(), abs=1e-12)


@pytest.mark.parametrize("green", [False, True])
def test_the_same_plan_as_in_python(green: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """From lists to the last of as many passes; what room is made for included."""
    monkeypatch.setattr(split_lists, "_FALLING_FINE", split_lists._FALLING)
    one = problem(7, green=green)
    at = some_prices(one, 7)
    made = []
    for pieces in two(one):
        missing = place_splits(
            pieces,
            np.arange(len(one.jobs)),
            [Start(at, expected_of(one, at))],
            lists=3,
            expired=lambda: False,
            progress=lambda done: None,
        )
        made.append((pieces, missing))
    (fast, _), (slow, _) = made
    assert made[0][1] == made[1][1]
    same(fast, slow)
    assert fast.of
    assert certificate.check(one, schedule(fast.of)) is None


def test_it_comes_back_for_more_rows_than_it_was_lent() -> None:
    """Whoever stands in the way leaves a hundred gaps, and all of them are needed."""
    many = make(
        [[(1, 1.0, 300.0)]],
        [(0, 3.0, 0.0, 6.0, True), *[(0, 3.0, 6.0 * n, 6.0 * n + 6.0, True) for n in range(1, 20)]],
        [100.0] * 120,
        gpus=1,
    )
    fast, slow = two(many)
    for pieces in (fast, slow):
        for minute in range(0, 120 * 60, 2):
            pieces.board.profile.add(60.0 * minute, 60.0 * minute + 60.0, 1)
        pieces.put_all(list(range(20)), many.jobs.deadline_s)
    same(fast, slow)
    assert sum(len(stretches) for stretches in fast.of.values()) == 20 * 180
    assert fast.board.profile.used.tolist() == [1, 0]


def schedule(of: dict[int, Floats]) -> Schedule:
    owner = np.repeat(np.array(list(of)), [len(one) for one in of.values()])
    rows = np.concatenate(list(of.values()))
    return Schedule(
        job=owner, shape=rows[:, 0].astype(np.int64), start_s=rows[:, 1], end_s=rows[:, 2]
    )
