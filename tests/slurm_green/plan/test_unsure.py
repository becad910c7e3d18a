# SPDX-License-Identifier: Apache-2.0
"""Supply that may be less or more: what the grid is expected to give, in Python and in C."""

import numpy as np
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from problems import HOUR, make, prices

from slurm_green.plan.board import Board
from slurm_green.plan.improve import Improver
from slurm_green.plan.kernel import library
from slurm_green.plan.kernel.lists import place_all
from slurm_green.plan.options import options_of
from slurm_green.plan.outcome import Weights
from slurm_green.plan.pool import Pool
from slurm_green.plan.problem import JOULES_PER_KWH
from slurm_green.plan.squeaky import Aim, PriceTags, build, places

WIND_W, CARBON = 1000.0, 300.0
FEW = settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))


def board_of(problem, unsure_w=None):
    """All its jobs on a board."""
    jobs = np.arange(len(problem.jobs))
    options = options_of(problem, jobs, problem.jobs.deadline_s)
    return Board(problem, options, Weights(), unsure_w)


def hour_of(unsure_w):
    """One hour of wind that may be so much less or more."""
    return board_of(make([], [], [CARBON], renewable_w=WIND_W), np.array([unsure_w]))


@settings(max_examples=100, deadline=None)
@given(net=st.floats(-4, 4), unsure=st.floats(1e-3, 3))
@example(net=1.0, unsure=1.0)
@example(net=-1.0, unsure=1.0)
@example(net=0.0, unsure=1.0)
def test_what_is_drawn_is_the_mean_over_all_that_supply_may_be(net, unsure):
    """The same as summed over ten thousand equally likely amounts, in kWh."""
    parts = (np.arange(10_000) + 0.5) / 5000 - 1
    mean = np.maximum(net + unsure * parts, 0.0).mean()

    found = hour_of(unsure * 1000.0).drawn_j(np.array([net * JOULES_PER_KWH])) / JOULES_PER_KWH

    assert found[0] == pytest.approx(mean, abs=1e-7 * unsure + 1e-12)


@pytest.mark.parametrize("unsure_w", [None, np.zeros(2)])
def test_nothing_is_reckoned_where_supply_is_sure(unsure_w):
    """The kernel is told of nothing, and the grid gives just what supply does not."""
    sure = board_of(make([], [], [CARBON] * 2, renewable_w=WIND_W), unsure_w)
    net_j = np.array([-0.3, 0.7])

    assert "unsure" not in sure.arrays
    assert sure.drawn_j(net_j).tolist() == [0.0, 0.7]


def test_a_kwh_more_costs_the_odds_that_it_is_the_grids():
    """As much is wanted as is forecast, which may be nothing or twice that: it is half of a kWh."""
    board = hour_of(WIND_W)
    almost, all_of_it = board.drawn_j(np.array([-1.0, 1.0]))

    assert all_of_it - almost == pytest.approx(2.0 * 0.5)
    assert board.bare_g == 0.0


@pytest.mark.parametrize(("unsure_w", "hours"), [(0.0, [2, 2]), (WIND_W, [1, 2])])
def test_two_jobs_do_not_both_wait_for_what_may_not_come(unsure_w, hours):
    """The third hour has wind for both, the second a third of the carbon: only the first waits.

    If it may be nothing or twice that, the first adds an eighth of its energy to what the grid is
    expected to give, the second three eighths.
    """
    job = (0, 1.0, 1.0, 3.0, False)
    problem = make(
        [[(1, 1.0, WIND_W)]],
        [job, job],
        [CARBON, CARBON / 3, CARBON],
        renewable_w=[0.0, 0.0, 2 * WIND_W],
    )
    board = board_of(problem, np.array([0.0, 0.0, 2 * unsure_w]))
    for number in (0, 1):
        place = board.best(number)
        board.put(number, place.option, place.start_s)

    assert sorted((board.start_s / HOUR).tolist()) == hours


def crowd(seed, share):
    """Jobs of one to four GPUs on a full site, and how unsure its supply is."""
    rng, slots = np.random.default_rng(seed), 24
    classes = [(1, 1.0, 300.0), (2, 1.8, 650.0)], [(4, 4.0, 1300.0), (2, 2.2, 610.0)]
    jobs = []
    for _ in range(30):
        early = float(rng.uniform(0, slots - 9))
        until = early + float(rng.uniform(4, 9))
        jobs.append((int(rng.integers(2)), float(rng.uniform(0.3, 4)), early, until, False))
    problem = make(
        classes,
        jobs,
        rng.uniform(50, 500, slots).tolist(),
        renewable_w=rng.uniform(0, 2500, slots).tolist(),
        base_w=200.0,
    )
    some = rng.uniform(size=slots) < 0.8  # of the others supply is sure
    return problem, np.where(some, share * problem.site.renewable_w, 0.0)


@pytest.mark.skipif(library() is None, reason="no compiled kernel: no C compiler?")
@FEW
@given(
    seed=st.integers(0, 10_000),
    share=st.sampled_from([0.3, 1.0, 1.5]),
    guided=st.sampled_from([0.0, 0.6]),
)
def test_kernel_and_board_agree_on_what_each_job_costs_in_a_list(seed, share, guided):
    """Each is put where the board's best is, at the same cost, supply with a price or without."""
    problem, unsure_w = crowd(seed, share)
    board, slots = board_of(problem, unsure_w), problem.site.slots
    tags = PriceTags(board, prices(slots))
    nobody = Pool(problem).expected(prices(slots), 1.0).only(np.arange(0))
    board.guide(np.zeros(slots), guided * problem.site.carbon_g_per_kwh)
    everywhere = np.full(len(board.options), -np.inf)
    placed = 0
    for job in range(len(problem.jobs)):
        place = board.best(job)
        absent = place_all(
            board, tags.ranking, everywhere, np.array([job]), np.zeros(slots), nobody
        )
        assert (place is None) == (absent == [job])
        if place is not None:
            found = board.take(job)
            cost_g = found.cost_g + board.guided_g(found)
            assert cost_g == pytest.approx(place.cost_g, rel=1e-9, abs=1e-9)
            board.put(job, found.option, found.start_s)
            placed += 1
    assert placed > 10


@pytest.mark.parametrize("fast", [True, False])
@FEW
@given(
    seed=st.integers(0, 10_000),
    share=st.sampled_from([0.3, 1.0, 1.5]),
    guided=st.sampled_from([0.0, 0.6]),
)
def test_lists_and_moves_count_what_the_same_runs_cost_anew(fast, seed, share, guided):
    """With the kernel and without; what the grid gives and the guide asks falls with each move.

    In the end nobody is better off elsewhere in the same shape.
    """
    problem, unsure_w = crowd(seed, share)
    board, slots = board_of(problem, unsure_w), problem.site.slots
    carbon = problem.site.carbon_g_per_kwh
    at, nothing, mu = prices(slots, mu=carbon), np.zeros(slots), guided * carbon
    tags = PriceTags(board, at)
    nobody = Pool(problem).expected(at, 1.0).only(np.arange(0))

    def asked_g():
        net_j = board.net_j[:-1]
        asked = (carbon - mu) * board.drawn_j(net_j) + mu * net_j
        return float(asked.sum()) / JOULES_PER_KWH

    with pytest.MonkeyPatch.context() as patch:
        if not fast:
            patch.setattr("slurm_green.plan.kernel.board.library", lambda: None)
        aim = Aim(tags=tags, lam=nothing, expected=nobody)
        built = build(board, aim, places(board.options.ease()), rounds=1)
        listed_g = asked_g()
        improver = Improver(
            board,
            tags,
            built.absent,
            option=tags.option,
            start_s=tags.start_s,
            lam=nothing,
            mu=mu,
            seed=0,
        )
        for _ in range(20):
            improver.settle(1.0, lambda: False)
    cost_g = board.cost_g
    assert asked_g() <= listed_g + 1e-6
    board.guide(nothing, mu)
    for job in range(len(problem.jobs)):
        if board.option[job] >= 0:
            old = board.take(job)
            best = board.best(job, [old.option])
            assert best.cost_g >= (old.cost_g + board.guided_g(old)) * (1 - 1e-6) - 1e-6
            board.put(job, old.option, old.start_s)

    board.restore(list(board.option), board.start_s.copy())

    assert board.cost_g == pytest.approx(cost_g, rel=1e-9)
    assert board.carbon_g() - board.bare_g == pytest.approx(cost_g, rel=1e-9)
