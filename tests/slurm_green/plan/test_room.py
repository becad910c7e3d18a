# SPDX-License-Identifier: Apache-2.0
"""Room against a second implementation that knows no grid."""

from dataclasses import dataclass, field

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from slurm_green.plan.room import Room

STEP_S = 10.0
SLOTS = 12
END_S = STEP_S * SLOTS
CAPACITY = 4.0


@dataclass
class Continuous:
    """Bookings as a list of intervals; asks at every instant where something changes."""

    start_s: float
    taken: list[tuple[float, float, float]] = field(default_factory=list)

    def used(self, at_s: float) -> float:
        return sum(need for need, begin, end in self.taken if begin <= at_s < end)

    def fits(self, need: float, begin_s: float, end_s: float) -> bool:
        instants = [begin_s, *(b for _, b, _ in self.taken if begin_s < b < end_s)]
        return all(self.used(at) + need <= CAPACITY + 1e-9 for at in instants)


# Whole slots: there grid and continuous time must agree to the second.
on_grid = st.integers(0, SLOTS - 1).map(lambda n: 1000.0 + n * STEP_S)
grid_lengths = st.integers(1, SLOTS).map(lambda n: n * STEP_S)
anywhere = st.integers(0, int(END_S) - 1).map(lambda n: 1000.0 + n)
lengths = st.integers(1, int(END_S)).map(float)
needs = st.integers(1, 4).map(float)


def both(bookings: list[tuple[float, float, float]]) -> tuple[Room, Continuous]:
    grid = Room.empty(start_s=1000.0, step_s=STEP_S, slots=SLOTS, capacity=(CAPACITY,))
    plain = Continuous(start_s=1000.0)
    for need, begin, length in bookings:
        grid.take((need,), begin, begin + length)
        plain.taken.append((need, begin, begin + length))
    return grid, plain


@given(st.lists(st.tuples(needs, on_grid, grid_lengths), max_size=6), needs, on_grid, grid_lengths)
def test_grid_and_continuous_time_agree_on_whole_slots(
    bookings: list[tuple[float, float, float]], need: float, begin: float, length: float
) -> None:
    grid, plain = both([(n, b, min(x, 1000 + END_S - b)) for n, b, x in bookings])
    length = min(length, 1000 + END_S - begin)
    assert grid.fits((need,), begin, begin + length) == plain.fits(need, begin, begin + length)


@given(st.lists(st.tuples(needs, anywhere, lengths), max_size=6), needs, anywhere, lengths)
def test_what_fits_the_grid_fits_continuous_time(
    bookings: list[tuple[float, float, float]], need: float, begin: float, length: float
) -> None:
    grid, plain = both(bookings)
    if grid.fits((need,), begin, begin + length):
        assert plain.fits(need, begin, begin + length)


@given(
    st.lists(st.tuples(needs, anywhere, lengths), max_size=6),
    needs,
    anywhere,
    anywhere,
    lengths,
)
def test_earliest_and_latest_fit_are_the_first_and_last_second_that_fits(
    bookings: list[tuple[float, float, float]],
    need: float,
    begin: float,
    until: float,
    length: float,
) -> None:
    grid, _ = both(bookings)
    seconds = np.arange(begin, max(until, begin) + 1)
    fitting = [s for s in seconds if grid.fits((need,), s, s + length)]
    latest = grid.latest_fit((need,), begin, until, length)
    assert latest == (fitting[-1] if fitting and until >= begin else None)
    earliest = grid.earliest_fit((need,), begin, length)
    beyond = np.arange(begin, 1000 + END_S + 1)
    later = [s for s in beyond if grid.fits((need,), s, s + length)]
    assert earliest == (later[0] if later else None)


@given(st.lists(st.tuples(needs, anywhere, lengths), max_size=8))
def test_what_is_given_back_is_free_again(bookings: list[tuple[float, float, float]]) -> None:
    grid, _ = both(bookings)
    for need, begin, length in bookings:
        grid.take((-need,), begin, begin + length)
    assert (grid.free == CAPACITY).all()


@given(st.lists(st.tuples(needs, anywhere, lengths), max_size=6), needs, lengths)
def test_fitting_says_the_same_as_fits(
    bookings: list[tuple[float, float, float]], need: float, length: float
) -> None:
    grid, _ = both(bookings)
    begins = np.arange(995.0, 1000 + END_S + 30, 2.5)
    expected = [grid.fits((need,), s, s + length) for s in begins]
    assert expected == grid.fitting((need,), begins, length).tolist()


def test_a_booking_that_ends_on_an_edge_leaves_the_next_slot_free() -> None:
    grid, _ = both([(4.0, 1000.0, 20.0)])
    assert not grid.fits((1.0,), 1019.0, 1020.0)
    assert grid.fits((1.0,), 1020.0, 1030.0)


def test_edges_hold_at_posix_seconds_of_today() -> None:
    start = 1_795_300_000.0
    grid = Room.empty(start_s=start, step_s=1.4, slots=100, capacity=(1.0,))
    grid.take((1.0,), start + 14 * 1.4, start + 15 * 1.4)
    assert grid.free[0].tolist() == [1.0] * 14 + [0.0] + [1.0] * 85
    assert grid.latest_fit((1.0,), start, start + 100, 14.0) == pytest.approx(start + 100)


def test_the_last_slot_holds_on_for_ever() -> None:
    grid, _ = both([(4.0, 1000.0 + END_S + 500, 10.0)])
    assert not grid.fits((1.0,), 1000.0 + END_S + 9000, 1000.0 + END_S + 9001)
    assert grid.earliest_fit((1.0,), 1000.0 + END_S + 50, 5.0) is None


def test_what_lies_before_the_grid_is_ignored() -> None:
    grid, _ = both([(4.0, 0.0, 1000.0), (4.0, 1005.0, 0.0)])
    assert (grid.free == CAPACITY).all()


def test_several_resources_must_all_fit() -> None:
    grid = Room.empty(start_s=0.0, step_s=1.0, slots=10, capacity=(2.0, 8.0))
    grid.take((0.0, 8.0), 0.0, 4.0)
    assert grid.earliest_fit((1.0, 1.0), 0.0, 3.0) == 4.0
    assert grid.earliest_fit((1.0, 0.0), 0.0, 3.0) == 0.0
    assert grid.earliest_fit((3.0, 0.0), 0.0, 3.0) is None


def test_latest_fit_ends_where_the_room_does() -> None:
    grid, _ = both([(4.0, 1050.0, 20.0)])
    assert grid.latest_fit((1.0,), 1000.0, 1045.0, 7.0) == 1043.0
    assert grid.latest_fit((1.0,), 1044.0, 1045.0, 7.0) is None
    assert grid.latest_fit((1.0,), 1044.0, 1043.0, 7.0) is None


def test_a_copy_is_booked_alone() -> None:
    grid, _ = both([])
    other = grid.copy()
    other.take((1.0,), 1000.0, 1010.0)
    assert grid.free[0, 0] == CAPACITY
    assert other.free[0, 0] == CAPACITY - 1
