# SPDX-License-Identifier: Apache-2.0
"""Whether a move fits: the formulas, the classes, which condition forbids it."""

import dataclasses

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


def test_energy_is_won_back_by_the_share_that_is_greener_there() -> None:
    answer = check(ENERGY)
    assert answer.energy_cost_j == pytest.approx(700 * 190)
    # 80 % of the power here is not green, 10 % there: seven eighths are saved.
    assert answer.break_even_s == pytest.approx(190 / (1 - 0.1 / 0.8))
    assert answer.feasible


@pytest.mark.parametrize(("here", "there"), [(0.5, 0.5), (0.9, 0.2), (1.0, 1.0), (1.0, 0.0)])
def test_a_site_that_is_no_greener_never_pays(here: float, there: float) -> None:
    move = dataclasses.replace(ENERGY, green_share_here=here, green_share_there=there)
    answer = check(move)
    assert (answer.feasible, answer.binding) == (False, Binding.ENERGY)
    assert answer.break_even_s is None
    assert answer.energy_cost_j is not None


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


def test_no_window_is_no_move() -> None:
    answer = check(dataclasses.replace(MOVE, window_h=0.0))
    assert (answer.feasible, answer.klass, answer.fraction_of_window) == (False, "C", None)


def test_a_shared_link_is_slower() -> None:
    alone, shared = check(MOVE), check(dataclasses.replace(MOVE, transfers=4))
    assert shared.migration_s - 150 == pytest.approx(4 * (alone.migration_s - 150))


amounts = st.floats(0, 1e4)
moves = st.builds(
    Move,
    checkpoint_gb=amounts,
    bandwidth_gbps=st.floats(0.01, 1e3),
    window_h=st.floats(0, 100),
    alpha=st.floats(0.01, 1),
    efficiency=st.floats(0.1, 1),
    snapshot_s=amounts,
    restart_s=amounts,
    queue_wait_s=amounts,
    lost_work_s=amounts,
    transfers=st.integers(1, 16),
    job_power_w=st.none() | amounts,
    green_share_here=st.none() | st.floats(0, 1),
    green_share_there=st.none() | st.floats(0, 1),
    remaining_h=st.none() | st.floats(0, 1e3),
)


@given(moves)
def test_feasible_exactly_when_nothing_forbids_it(move: Move) -> None:
    answer = check(move)
    assert answer.feasible == (answer.binding is Binding.NONE)
    if answer.feasible:
        assert answer.migration_s <= move.alpha * move.window_h * 3600
        assert answer.klass in ("A", "B")
        if answer.break_even_s is not None and move.remaining_h is not None:
            assert answer.migration_s + answer.break_even_s < move.remaining_h * 3600


@given(moves, st.sampled_from(["checkpoint_gb", "lost_work_s", "queue_wait_s"]))
def test_more_of_a_burden_never_makes_it_feasible(move: Move, burden: str) -> None:
    heavier = dataclasses.replace(move, **{burden: getattr(move, burden) + 10})
    assert check(heavier).feasible <= check(move).feasible


def test_arrays_give_what_numbers_give() -> None:
    sizes = np.array([1.0, 40.0, 400.0])
    assert migration_s(sizes, np.full(3, 10.0))[1] == migration_s(40.0, 10.0)
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
