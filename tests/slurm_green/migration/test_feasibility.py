# SPDX-License-Identifier: Apache-2.0
"""Whether a move fits: the formulas, the classes, which condition forbids it."""

import dataclasses
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from slurm_green.migration.domain import fractions, largest_gb, limits
from slurm_green.migration.feasibility import Binding, Move, break_even_s, check, migration_s

MOVE = Move(checkpoint_gb=40, bandwidth_gbps=10, window_h=4)
ENERGY = dataclasses.replace(
    MOVE, job_power_w=700.0, green_share_here=0.2, green_share_there=0.9, remaining_h=10.0
)


def test_time_is_snapshot_transfer_and_restart() -> None:
    answer = check(MOVE)
    assert answer.migration_s == pytest.approx(30 + 8 * 40 / (0.8 * 10) + 120)
    assert answer.fraction_of_window == pytest.approx(answer.migration_s / 14400)
    assert (answer.feasible, answer.klass, answer.binding) == (True, "A", Binding.NONE)


def test_time_forbids_a_large_checkpoint_over_a_thin_link() -> None:
    answer = check(dataclasses.replace(MOVE, checkpoint_gb=400, bandwidth_gbps=1))
    assert (answer.feasible, answer.klass, answer.binding) == (False, "C", Binding.TIME)


@pytest.mark.parametrize(
    ("window_s", "klass", "feasible"),
    [(190 / 0.02, "A", True), (190 / 0.05, "B", True), (190 / 0.1 - 1, "C", False)],
)
def test_classes_follow_the_share_of_the_window(
    window_s: float, klass: str, feasible: bool
) -> None:
    answer = check(dataclasses.replace(MOVE, window_h=window_s / 3600))
    assert (answer.klass, answer.feasible) == (klass, feasible)


@pytest.mark.parametrize(
    ("window_h", "alpha", "snapshot_s", "klass"),
    [
        (3.0, 0.7, 7559.3, "B"),
        (3.0, 0.7, 7559.4, "C"),
        (8.4, 0.1, 604.1, "A"),
        (8.4, 0.1, 604.2, "B"),
    ],
)
def test_exactly_the_share_still_fits(
    window_h: float, alpha: float, snapshot_s: float, klass: str
) -> None:
    """In floats 0.7 of three hours is less than 7,560 s, and 604.1 + 0.7 s more than 604.8 s."""
    move = dataclasses.replace(
        MOVE, checkpoint_gb=0.0, window_h=window_h, alpha=alpha, snapshot_s=snapshot_s,
        restart_s=0.7,
    )  # fmt: skip
    answer = check(move)
    assert (answer.klass, answer.feasible) == (klass, klass != "C")


def test_energy_is_won_back_by_the_share_that_is_greener_there() -> None:
    answer = check(ENERGY)
    assert answer.energy_cost_j == pytest.approx(700 * 190)
    # 80 % of the power here is not green, 10 % there: seven eighths are saved.
    assert answer.break_even_s == pytest.approx(190 / (1 - 0.1 / 0.8))
    assert answer.feasible
    assert "pays for itself within" in answer.reason


@pytest.mark.parametrize(("here", "there"), [(0.5, 0.5), (0.9, 0.2), (1.0, 1.0), (1.0, 0.0)])
def test_a_site_that_is_no_greener_never_pays(here: float, there: float) -> None:
    move = dataclasses.replace(ENERGY, green_share_here=here, green_share_there=there)
    answer = check(move)
    assert (answer.feasible, answer.binding) == (False, Binding.ENERGY)
    assert answer.break_even_s is None
    assert answer.energy_cost_j is not None
    assert answer.reason == "the power there is no greener than here"


def test_little_power_and_short_windows_count_as_much() -> None:
    """What a job costs and saves grows with its power alike, and a window is one however short."""
    shares = {"green_share_here": 0.2, "green_share_there": 0.9}
    base = Move(checkpoint_gb=1.0, bandwidth_gbps=10.0, window_h=2.0, job_power_w=700.0, **shares)
    little = check(dataclasses.replace(base, job_power_w=0.5))
    assert little.break_even_s == pytest.approx(check(base).break_even_s)
    assert check(
        dataclasses.replace(base, window_h=0.5 / 3600)
    ).fraction_of_window == pytest.approx(2 * little.migration_s)


def test_a_job_that_draws_nothing_has_nothing_to_save() -> None:
    answer = check(dataclasses.replace(ENERGY, job_power_w=0.0))
    assert answer.binding is Binding.ENERGY
    assert answer.reason == "a job that draws nothing saves nothing"


def test_a_job_that_ends_too_soon_stays() -> None:
    soon = check(dataclasses.replace(ENERGY, remaining_h=0.1))
    assert soon.binding is Binding.ENERGY
    sooner = check(dataclasses.replace(MOVE, remaining_h=0.01))
    assert (sooner.feasible, sooner.binding) == (False, Binding.TIME)


@pytest.mark.parametrize("missing", ["job_power_w", "green_share_here", "green_share_there"])
def test_energy_is_unknown_without_power_or_shares(missing: str) -> None:
    answer = check(dataclasses.replace(ENERGY, **{missing: None}))
    assert answer.energy_cost_j is None
    assert answer.break_even_s is None
    assert answer.feasible
    assert answer.reason.endswith("for that takes the job's power and both green shares")


def test_no_window_is_no_move() -> None:
    answer = check(dataclasses.replace(MOVE, window_h=0.0))
    assert (answer.feasible, answer.klass, answer.fraction_of_window) == (False, "C", None)


def test_a_shared_link_is_slower() -> None:
    alone, shared = check(MOVE), check(dataclasses.replace(MOVE, transfers=4))
    assert shared.migration_s - 150 == pytest.approx(4 * (alone.migration_s - 150))


# Each condition decides on some of them, and a third are feasible.
seconds = st.floats(0, 600)
shares = st.floats(0, 1)
moves = st.builds(
    Move,
    checkpoint_gb=st.integers(0, 400).map(float),
    bandwidth_gbps=st.integers(1, 100).map(float),
    window_h=st.integers(0, 100).map(float) | st.floats(0, 5),
    alpha=st.sampled_from([0.01, 0.05, 0.1, 0.5, 1.0]),
    efficiency=st.floats(0.5, 1),
    snapshot_s=seconds,
    restart_s=seconds,
    queue_wait_s=seconds,
    lost_work_s=seconds,
    transfers=st.integers(1, 4),
    network_j_per_gb=st.floats(0, 1e4),
    job_power_w=st.sampled_from([300.0, 2e3, 1e4, 0.0, None]),
    green_share_here=st.sampled_from([0.0, 0.2, 0.5, 1.0, None]) | shares,
    green_share_there=st.sampled_from([1.0, 0.9, 0.6, 0.3, None]) | shares,
    remaining_h=st.sampled_from([200.0, 9.0, 2.0, 0.5, None]) | st.floats(0, 3),
)


def away_s(move: Move) -> float:
    """Seconds in which it does not run."""
    gb_per_s = move.efficiency * move.bandwidth_gbps / move.transfers / 8
    return move.snapshot_s + move.checkpoint_gb / gb_per_s + move.restart_s + move.queue_wait_s


def forbids(move: Move) -> Binding:
    """The conditions, written down again."""
    away = away_s(move)
    ends_s = math.inf if move.remaining_h is None else 3600 * move.remaining_h
    if away > move.alpha * 3600 * move.window_h or ends_s <= away:
        return Binding.TIME
    power_w, here, there = move.job_power_w, move.green_share_here, move.green_share_there
    if power_w is None or here is None or there is None:
        return Binding.NONE
    # Joules that are not green: those of the move, and what the rest of the run has less of there.
    costs_j = power_w * (away + move.lost_work_s) + move.network_j_per_gb * move.checkpoint_gb
    stays_s = min(3600 * move.window_h, ends_s) - away
    wins_j = power_w * (there - here) / (1 - here) * stays_s if here < 1 else 0.0
    return Binding.NONE if wins_j > costs_j else Binding.ENERGY


@given(moves)
def test_feasible_exactly_when_nothing_forbids_it(move: Move) -> None:
    answer = check(move)
    assert answer.binding is forbids(move)
    assert answer.feasible == (answer.binding is Binding.NONE)
    window_s = 3600 * move.window_h
    assert answer.migration_s == pytest.approx(away_s(move))
    small = window_s > 0 and away_s(move) <= 0.02 * window_s
    assert answer.klass == ("A" if small else "B" if away_s(move) <= move.alpha * window_s else "C")


@given(moves, st.sampled_from(["checkpoint_gb", "lost_work_s", "queue_wait_s"]))
def test_more_of_a_burden_never_makes_it_feasible(move: Move, burden: str) -> None:
    heavier = dataclasses.replace(move, **{burden: getattr(move, burden) + 10})
    assert check(heavier).feasible <= check(move).feasible


def test_arrays_give_what_numbers_give() -> None:
    sizes = np.array([1.0, 40.0, 400.0])
    assert migration_s(sizes, np.full(3, 10.0))[1] == migration_s(40.0, 10.0) == 30 + 40 + 120
    pays = break_even_s(np.full(2, 7e4), np.full(2, 700.0), np.array([0.5, 0.5]), np.array([1, 0]))
    assert pays.tolist() == [100.0, np.inf]


def test_the_domain_ends_where_check_ends() -> None:
    move = dataclasses.replace(MOVE, window_h=2.5)
    largest = limits(move)
    for gbps, size in largest.items():
        assert size is not None
        at = dataclasses.replace(move, bandwidth_gbps=float(gbps))
        assert check(dataclasses.replace(at, checkpoint_gb=size * 0.999)).feasible
        assert not check(dataclasses.replace(at, checkpoint_gb=size * 1.001)).feasible
    share = fractions(move, largest_gb(move, np.array([7.0]), move.alpha), np.array([7.0]))
    assert share[0, 0] == pytest.approx(move.alpha)


def test_a_window_too_short_for_any_move_has_no_domain() -> None:
    assert set(limits(dataclasses.replace(MOVE, window_h=0.1)).values()) == {None}
