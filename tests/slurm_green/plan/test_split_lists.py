# SPDX-License-Identifier: Apache-2.0
"""Plans of jobs that may be split: the best of some starts, and one after an earlier plan."""

import numpy as np
import pytest

from slurm_green.plan import certificate, draft, split_lists
from slurm_green.plan.board import Board
from slurm_green.plan.kernel import library
from slurm_green.plan.options import options_of
from slurm_green.plan.outcome import Prices, Weights
from slurm_green.plan.pieces import Pieces
from slurm_green.plan.pool import Expected
from slurm_green.plan.prices import PriceSearch
from slurm_green.plan.problem import Problem
from slurm_green.plan.schedule import Schedule
from slurm_green.plan.slot_table import SlotTable
from slurm_green.plan.split_lists import Start, place_splits, place_splits_again
from tests.slurm_green.plan.problems import make, prices


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


def schedule(pieces: Pieces) -> Schedule:
    job = np.repeat(np.array(list(pieces.of)), [len(one) for one in pieces.of.values()])
    rows = np.concatenate(list(pieces.of.values()))
    order = np.lexsort((rows[:, 1], job))
    return Schedule(
        job=job[order],
        shape=rows[order, 0].astype(np.int64),
        start_s=rows[order, 1],
        end_s=rows[order, 2],
    )


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


@pytest.mark.skipif(library() is None, reason="no compiled kernel: no C compiler?")
@pytest.mark.parametrize(
    ("far", "cost_g", "has_place"), [(True, 100.0, True), (False, 0.0, True), (True, 0.0, False)]
)
def test_far_from_the_bound_supply_that_just_suffices_has_a_price(
    far: bool, cost_g: float, has_place: bool
) -> None:
    """A job of 0.95 kWh has 1 kWh: at the relaxation's prices that is free.

    A plan in which somebody has no place may cost little and is not near the bound.
    """
    one = make([[(1, 1.0, 950.0)]], [(0, 1.0, 0.0, 1.0, True)], [500.0], renewable_w=1000.0)
    jobs, pieces = np.arange(1), pieces_of(one)
    nobody = options_of(one, jobs[:0], np.zeros(0))
    found = PriceSearch(one, Weights(), nobody, jobs, one.jobs.deadline_s).search()
    starts = []
    for start in draft._starts(found, draft._kinds(one, Weights()), pieces):
        starts.append(start)
        pieces.board.cost_g = cost_g
        pieces.of = {0: np.array([[0.0, 0.0, 3600.0]])} if has_place else {}
    assert len(starts) == (5 if far else 3)
    assert starts[0].prices.mu[0] < 1.0
    if far:
        assert starts[-1].prices.mu[0] > 100.0


def crowded(jobs: int) -> Problem:
    rng = np.random.default_rng(5)
    return make(
        [[(1, 1.0, 300.0), (2, 1.8, 650.0)]],
        [
            (0, float(rng.uniform(1, 4)), (early := float(rng.uniform(0, 30))), early + 18, True)
            for _ in range(jobs)
        ],
        (200 + 150 * np.sin(np.arange(48) / 4)).tolist(),
    )


def proven_g(problem: Problem, at: Prices) -> float:
    nobody = np.zeros(len(problem.jobs), dtype=bool)
    return certificate.lower_bound_g(problem, at, late=nobody, unplaced=nobody)


@pytest.mark.parametrize("near", [True, False])
def test_after_an_earlier_plan_all_have_a_place_or_nothing_is_placed(near: bool) -> None:
    before, now = crowded(40), crowded(41)
    splits = np.arange(41)
    nobody = options_of(before, splits[:0], np.zeros(0))
    search = PriceSearch(before, Weights(), nobody, splits[:40], before.jobs.deadline_s)
    found = search.search()
    at: Prices = found.prices
    pieces = pieces_of(now)
    with pytest.MonkeyPatch.context() as patch:
        for name in ("NEAR_AGAIN", "_FAR_SLOW"):
            patch.setattr(split_lists, name, 1.0 if near else -1.0)
        made = place_splits_again(
            pieces, splits, at, expired=lambda: False, progress=lambda done: None
        )
    board = pieces.board
    if near:
        assert made is not None
        missing, there = made
        assert missing == []
        assert proven_g(now, there) > 1.001 * proven_g(now, at)
        assert certificate.check(now, schedule(pieces)) is None
        assert board.cost_g == pytest.approx(certificate.carbon_g(now, schedule(pieces)))
        return
    assert made is None
    assert not pieces.of
    assert board.profile.times.tolist() == [0.0]
    assert board.cost_g == 0.0


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
    over: tuple[float, ...], unplaced: int, starts: int
) -> None:
    """`over` is how far each start ends above the bound, in what is near enough."""
    one = make([[(1, 1.0, 1000.0)]], [(0, 1.0, 0.0, 4.0, True)] * 2, [400.0, 20.0, 300.0, 400.0])
    at = prices(4, mu=one.site.carbon_g_per_kwh)
    splits = np.arange(2)
    bound_g = 2 * 20.0  # both in the clean hour
    tried: list[float] = []

    def place_at(
        pieces: Pieces, state: object, order: list[int], start: Start, *_: object, **__: object
    ) -> None:
        pieces.put_all(order[unplaced:], one.jobs.deadline_s)
        near_g = split_lists.NEAR_AGAIN * bound_g
        pieces.board.cost_g = bound_g + over[len(tried)] * near_g
        tried.append(float(start.prices.lam.sum()))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(split_lists, "_place_at", place_at)
        place_splits_again(
            pieces_of(one), splits, at, expired=lambda: False, progress=lambda done: None
        )
    assert len(tried) == starts
