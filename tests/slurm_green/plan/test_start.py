# SPDX-License-Identifier: Apache-2.0
"""The choice of a start against trying every minute."""

import numpy as np
import pytest
from builders import DAY, HOUR, NOW_S, days, room, series
from hypothesis import given
from hypothesis import strategies as st

from slurm_green.plan.room import Room
from slurm_green.plan.start import Start, carbon_g, choose_start

TOLERANCE = 0.002
values = st.lists(st.integers(0, 600).map(float), min_size=2, max_size=24)
minutes = st.integers(0, 23 * 60)
bookings = st.lists(st.tuples(st.integers(1, 2), minutes, st.integers(1, 300)), max_size=5)


@st.composite
def cases(draw: st.DrawFn) -> tuple[object, float, float, float, Room]:
    """A signal in hours, a span in minutes, and a room of two GPUs in ten-minute slots."""
    signal = series(draw(values))
    earliest = NOW_S + 60 * draw(minutes)
    latest = earliest + 60 * draw(minutes)
    length = 60.0 * draw(st.integers(1, 400))
    space = room(2.0, slots=24 * 6)
    for need, begin, long in draw(bookings):
        space.take((float(need),), NOW_S + 60 * begin, NOW_S + 60 * (begin + long))
    return signal, earliest, latest, length, space


@given(cases(), st.booleans())
def test_no_minute_is_cleaner(case: tuple, needs_room: bool) -> None:
    signal, earliest, latest, length, space = case
    chosen = choose_start(
        signal=signal,
        earliest_s=earliest,
        latest_s=latest,
        length_s=length,
        power_w=1000.0,
        rooms=[(space, (1.0,))],
        earliest_needs_room=needs_room,
    )
    end = float(signal.edges_s[-1])
    if earliest + length > end:
        assert chosen is None
        return
    assert chosen is not None
    starts = np.arange(earliest, min(latest, end - length) + 1, 60.0)
    room_for = [s for s in starts if space.fits((1.0,), s, s + length)]
    if not needs_room or not room_for:
        room_for.append(earliest)
    grams = carbon_g(signal, np.array(room_for), length, 1000.0)
    assert chosen.carbon_g <= grams.min() * (1 + TOLERANCE) + 1e-9
    assert earliest <= chosen.start_s <= max(latest, earliest)
    assert chosen.start_s + length <= end + 1e-6
    if not needs_room:
        assert chosen.carbon_g <= chosen.earliest_carbon_g
        assert chosen.saved_g >= 0
    if chosen.start_s > earliest:
        assert space.fits((1.0,), chosen.start_s, chosen.start_s + length)


def choose(**fields: object) -> Start | None:
    given_fields: dict = {
        "signal": days(),
        "earliest_s": NOW_S,
        "latest_s": NOW_S + DAY,
        "length_s": 2 * HOUR,
        "power_w": 1000.0,
    }
    return choose_start(**(given_fields | fields))


def test_noon_is_chosen_and_its_grams_are_right() -> None:
    chosen = choose_start(
        signal=series([400, 100, 400, 400]),
        earliest_s=NOW_S,
        latest_s=NOW_S + 4 * HOUR,
        length_s=HOUR,
        power_w=500.0,
    )
    assert chosen is not None
    assert (chosen.start_s, chosen.carbon_g) == (NOW_S + HOUR, pytest.approx(50.0))
    assert chosen.earliest_carbon_g == pytest.approx(200.0)
    assert chosen.saved_g == pytest.approx(150.0)


def test_of_equals_the_first_is_taken() -> None:
    chosen = choose(signal=series([300.0] * 48))
    assert chosen is not None
    assert chosen.start_s == NOW_S


def test_a_gram_in_a_thousand_is_not_worth_a_wait() -> None:
    chosen = choose(signal=series([300.0, 300.0, 299.9, 299.9, 299.9]), latest_s=NOW_S + 3 * HOUR)
    assert chosen is not None
    assert chosen.start_s == NOW_S


def test_a_start_that_ends_where_room_ends_is_considered() -> None:
    """Carbon falls all the time, room ends in the middle: the last start that fits is best."""
    space = room(1.0)
    space.take((1.0,), NOW_S + 10 * HOUR, NOW_S + 40 * HOUR)
    chosen = choose(
        signal=series(list(range(480, 0, -10))),
        length_s=2.1 * HOUR,
        rooms=[(space, (1.0,))],
    )
    assert chosen is not None
    assert chosen.start_s == pytest.approx(NOW_S + 7.9 * HOUR)


def test_a_full_room_leaves_only_the_earliest_start() -> None:
    space = room(1.0)
    space.take((1.0,), NOW_S, NOW_S + 9 * DAY)
    for needs_room in (False, True):
        chosen = choose(rooms=[(space, (1.0,))], earliest_needs_room=needs_room)
        assert chosen is not None
        assert chosen.start_s == NOW_S


def test_held_jobs_need_room_at_the_earliest_start_too() -> None:
    falling = series([100.0] * 4 + [200.0] * 44)
    space = room(1.0)
    space.take((1.0,), NOW_S, NOW_S + HOUR)
    free = choose(signal=falling, length_s=HOUR, rooms=[(space, (1.0,))])
    bound = choose(signal=falling, length_s=HOUR, rooms=[(space, (1.0,))], earliest_needs_room=True)
    assert free is not None
    assert bound is not None
    assert (free.start_s, bound.start_s) == (NOW_S, NOW_S + HOUR)


@pytest.mark.parametrize("earliest", [-HOUR, 47.5 * HOUR])
def test_a_signal_that_does_not_cover_the_earliest_run_gives_nothing(earliest: float) -> None:
    assert choose(signal=series([1.0] * 48), earliest_s=NOW_S + earliest) is None


def test_a_demo_day_of_minutes_counts_its_own_hours() -> None:
    fast = series([400, 100, 400, 400], step_s=60.0)
    object.__setattr__(fast, "time_scale", 60.0)
    chosen = choose(signal=fast, length_s=60.0, latest_s=NOW_S + 180, power_w=500.0)
    assert chosen is not None
    assert chosen.carbon_g == pytest.approx(50.0)
