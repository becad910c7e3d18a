# SPDX-License-Identifier: Apache-2.0
"""Jobs split over what is free: work done, nothing twice, and costs that a recount confirms."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from problems import HOUR, make

from slurm_green.plan import certificate
from slurm_green.plan.board import Board
from slurm_green.plan.options import options_of
from slurm_green.plan.outcome import Prices, Weights
from slurm_green.plan.pieces import Pieces
from slurm_green.plan.problem import Problem
from slurm_green.plan.schedule import Schedule
from slurm_green.plan.split import split_response

SLOTS = 4


def empty(problem: Problem) -> Pieces:
    """Pieces on a board without runs."""
    nobody = np.zeros(0, dtype=np.int64)
    return Pieces(Board(problem, options_of(problem, nobody, np.zeros(0)), Weights()))


def schedule(pieces: Pieces) -> Schedule:
    rows = [(job, *piece) for job, stretches in pieces.of.items() for piece in stretches]
    job, shape, start, end = zip(*rows, strict=True) if rows else ((), (), (), ())
    return Schedule(
        job=np.array(job, dtype=np.int64),
        shape=np.array(shape, dtype=np.int64),
        start_s=np.array(start, dtype=float),
        end_s=np.array(end, dtype=float),
    )


def added_g(pieces: Pieces) -> float:
    """What separate code says that all stretches add to the site's carbon."""
    problem = pieces.board.problem
    bare = certificate.carbon_g(problem, schedule(empty(problem)))
    return certificate.carbon_g(problem, schedule(pieces)) - bare


hour = st.integers(0, 40 * SLOTS).map(lambda tenth: tenth / 40)
each = st.lists(st.sampled_from([0.0, 100.0, 300.0]), min_size=SLOTS, max_size=SLOTS)


@st.composite
def drawn(draw: st.DrawFn, shapes: int = 3, cap: bool = False) -> Problem:
    """Up to four jobs that may be split, of one or two classes."""
    shape = st.tuples(
        st.integers(1, 3),
        st.sampled_from([0.7, 1.0, 2.0]),
        st.sampled_from([0.0, 300.0, 700.0, 1000.0]),
    )
    classes = draw(st.lists(st.lists(shape, min_size=1, max_size=shapes), min_size=1, max_size=2))
    jobs = []
    for _ in range(draw(st.integers(1, 4))):
        early, late = sorted([draw(hour), draw(hour)])
        work = draw(st.sampled_from([0.3, 1.0, 2.5]))
        jobs.append((draw(st.integers(0, len(classes) - 1)), work, early, late, True))
    limits = {"power_cap_w": draw(st.sampled_from([600.0, 1200.0]))} if cap else {}
    return make(
        classes, jobs, draw(each), gpus=3, renewable_w=draw(each), base_w=draw(each), **limits
    )


@pytest.mark.parametrize("cap", [False, True])
def test_work_is_done_and_costs_are_what_they_add(cap: bool) -> None:
    @settings(max_examples=60, deadline=None)
    @given(drawn(cap=cap), st.lists(st.floats(0, 500), min_size=SLOTS, max_size=SLOTS))
    def holds(problem: Problem, lam: list[float]) -> None:
        pieces, jobs = empty(problem), problem.jobs
        pieces.board.guide(np.array(lam))
        for job in range(len(jobs)):
            cost = pieces.put(job, float(jobs.deadline_s[job]))
            assert (cost is None) == (job not in pieces.of)
        made = schedule(pieces)
        # Whole, in time, on free GPUs, under the cap.
        assert certificate.check(problem, made) is None
        assert not made.late(problem).any()
        assert pieces.board.cost_g == pytest.approx(added_g(pieces), abs=1e-6)

    holds()


@settings(max_examples=60, deadline=None)
@given(drawn(), st.data())
def test_who_is_taken_out_leaves_nothing(problem: Problem, data: st.DataObject) -> None:
    """Costs asked and given back agree, with the guide's price of GPU-hours in both."""
    pieces, jobs = empty(problem), problem.jobs
    pieces.board.guide(np.array([50.0, 0.0, 20.0, 70.0]))
    last = len(jobs) - 1
    for job in range(last):
        pieces.put(job, float(jobs.deadline_s[job]))
    without_g = pieces.board.cost_g
    pieces.put(last, float(jobs.deadline_s[last]))
    if last in pieces.of:
        before = pieces.of[last]
        stretches = pieces.take(last)
        assert stretches.tolist() == before.tolist()
        assert pieces.board.cost_g == pytest.approx(without_g, abs=1e-6)
        pieces.put_back(last, stretches)
        assert pieces.board.cost_g == pytest.approx(added_g(pieces), abs=1e-6)
    for job in data.draw(st.permutations(list(pieces.of))):
        pieces.take(job)
    board, fresh = pieces.board, empty(problem).board
    assert board.profile.times.tolist() == [0.0]
    assert board.net_j == pytest.approx(fresh.net_j, abs=1e-6)
    assert board.cost_g == pytest.approx(0.0, abs=1e-6)


@settings(max_examples=40, deadline=None)
@given(drawn())
def test_settling_never_makes_it_dearer(problem: Problem) -> None:
    pieces, jobs = empty(problem), problem.jobs
    for job in range(len(jobs)):
        pieces.put(job, float(jobs.deadline_s[job]))
    placed, before = set(pieces.of), pieces.board.cost_g
    moved = pieces.settle(list(range(len(jobs))), jobs.deadline_s)
    after = pieces.board.cost_g
    assert after <= before + 1e-6
    assert moved or after == pytest.approx(before, abs=1e-6)
    assert set(pieces.of) == placed
    assert certificate.check(problem, schedule(pieces)) is None
    assert after == pytest.approx(added_g(pieces), abs=1e-6)


@settings(max_examples=60, deadline=None)
@given(drawn(), each.map(np.array))
def test_one_job_alone_is_split_as_its_best_response(problem: Problem, lam: np.ndarray) -> None:
    """Without renewables the cost is linear: what it is placed for is what it could have."""
    problem = make(
        [
            [
                (
                    int(problem.shapes.gpus[k]),
                    problem.shapes.rate[k] * HOUR,
                    problem.shapes.power_w[k],
                )
                for k in problem.shapes.of(int(problem.jobs.class_index[0]))
            ]
        ],
        [(0, problem.jobs.work[0], problem.jobs.earliest_s[0] / HOUR,
          problem.jobs.deadline_s[0] / HOUR, True)],
        problem.site.carbon_g_per_kwh,
        gpus=3,
    )  # fmt: skip
    pieces = empty(problem)
    pieces.board.guide(lam)
    found = pieces.put(0, float(problem.jobs.deadline_s[0]))
    nothing = np.zeros(SLOTS)
    at = Prices(mu=problem.site.carbon_g_per_kwh, lam=lam, nu=nothing)
    least = float(split_response(problem, at, np.array([0]), problem.jobs.deadline_s).cost_g[0])
    if found is None:
        assert np.isinf(least)
        return
    # A slot mixes shapes only where the work is just done, so that it may cost a little more.
    assert least - 1e-3 <= found <= least * 1.5 + 1e-3


def test_two_shapes_share_the_last_slot() -> None:
    """The wide shape as long as needed, the narrow one for the rest of the hour."""
    shapes = [(1, 1.0, 100.0), (2, 2.0, 400.0)]
    problem = make([shapes], [(0, 2.5, 0.0, 2.0, True)], [1000.0] * 2)
    pieces = empty(problem)
    assert pieces.put(0, 2 * HOUR) == pytest.approx(100 + 200 + 50, rel=1e-3)
    assert len(pieces.of[0]) == 3
    assert certificate.check(problem, schedule(pieces)) is None


def test_supply_is_used_as_long_as_it_lasts() -> None:
    """Half an hour at 1 kW where there are 500 W for an hour; the other half where it is clean."""
    problem = make(
        [[(1, 1.0, 1000.0)]], [(0, 1.0, 0, 3, True)], [500, 20, 300], renewable_w=[500, 0, 0]
    )
    pieces = empty(problem)
    assert pieces.put(0, 3 * HOUR) == pytest.approx(10.0, rel=1e-3)


@pytest.mark.parametrize("anew", [False, True])
def test_supply_that_others_want_is_not_wasted(anew: bool) -> None:
    """A kWh of it costs what it is worth to them: the slow clock, in the hour nobody wants."""
    problem = make(
        [[(1, 2.0, 1000.0), (1, 1.0, 300.0)]],
        [(0, 1.0, 0, 3, True)],
        [500, 500, 500],
        renewable_w=[2000, 2000, 0],
    )
    pieces = empty(problem)
    nothing, wanted = np.zeros(3), np.array([300.0, 100.0, 500.0])
    if anew:
        pieces.put(0, 3 * HOUR)
        assert pieces.of[0].tolist() == [[0, 0, 0.5 * HOUR]]
    pieces.board.guide(nothing, wanted)
    if anew:
        pieces.settle([0], problem.jobs.deadline_s)
    else:
        assert pieces.put(0, 3 * HOUR) == pytest.approx(0.3 * 100)
    assert pieces.of[0].tolist() == [[1, HOUR, 2 * HOUR]]
    assert pieces.added_g(pieces.of[0]) == pytest.approx(0.3 * 100)
    assert pieces.board.cost_g == 0.0


def test_room_for_the_wide_shape_does_not_take_that_of_the_narrow_one() -> None:
    """Two GPUs are free late in the hour only; the narrow shape must do the rest before that."""
    shapes = [(1, 1.0, 100.0), (2, 2.0, 400.0)]
    problem = make([shapes], [(0, 1.5, 0.0, 1.0, True)], [1000.0], gpus=2)
    pieces = empty(problem)
    pieces.board.profile.add(0.0, 0.5 * HOUR, 1)  # somebody else
    assert pieces.put(0, HOUR) is not None
    done = sum(
        (end_s - start_s) / HOUR * shapes[int(shape)][1] for shape, start_s, end_s in pieces.of[0]
    )
    assert done == pytest.approx(1.5, rel=1e-4)


def test_what_fits_exactly_fits() -> None:
    """All seconds of a window that begins between two steps of the board's grid."""
    early_h = 0.3 / HOUR + 1e-5 / HOUR
    problem = make([[(1, 1.0, 100.0)]], [(0, 2.0, early_h, early_h + 2.0, True)], [100.0] * 3)
    pieces = empty(problem)
    assert pieces.put(0, float(problem.jobs.deadline_s[0])) is not None
    assert certificate.check(problem, schedule(pieces)) is None


def test_there_is_no_room_where_all_is_taken() -> None:
    problem = make([[(2, 1.0, 100.0)]], [(0, 2.0, 0.0, 2.0, True)] * 2, [100.0] * 2, gpus=3)
    pieces = empty(problem)
    assert pieces.put(0, 2 * HOUR) is not None
    assert pieces.put(1, 2 * HOUR) is None
    assert list(pieces.of) == [0]
