# SPDX-License-Identifier: Apache-2.0
"""The clock of one job: cheapest of those it has time for, and never one that it has not."""

import math

import pytest
from clock_points import POINTS, point, profile
from hypothesis import given, settings
from hypothesis import strategies as st

from slurm_green.controller.clocks import Price, choose_clock, points_for, slowdown_at

JOULES = Price()


def test_least_energy_where_nothing_has_a_price() -> None:
    chosen = choose_clock(POINTS, room=10, max_slowdown=10, price=JOULES)
    assert chosen is not None
    assert (chosen.clock_mhz, chosen.floor_mhz, chosen.slowdown) == (1200, 900, 1.25)
    assert chosen.energy == pytest.approx(462.5 / 620)


def test_room_bounds_the_clock_and_the_floor() -> None:
    chosen = choose_clock(POINTS, room=1.2, max_slowdown=10, price=JOULES)
    assert chosen is not None
    assert (chosen.clock_mhz, chosen.floor_mhz) == (1500, 1500)
    assert choose_clock(POINTS, room=1.01, max_slowdown=10, price=JOULES) is None
    assert choose_clock(POINTS, room=0.5, max_slowdown=10, price=JOULES) is None


def test_the_sites_maximum_bounds_the_plan_and_not_the_cap() -> None:
    chosen = choose_clock(POINTS, room=10, max_slowdown=1.1, price=JOULES)
    assert chosen is not None
    assert (chosen.clock_mhz, chosen.floor_mhz) == (1500, 900)


def test_a_dear_gpu_runs_fast_and_free_power_does_not_slow() -> None:
    dear = choose_clock(POINTS, room=10, max_slowdown=10, price=Price(energy=1.0, gpu_s=1e6))
    free = choose_clock(POINTS, room=10, max_slowdown=10, price=Price(energy=0.0))
    assert dear is not None
    assert free is not None
    assert (dear.clock_mhz, free.clock_mhz) == (1980, 1980)


def test_which_shape_speaks_for_a_job() -> None:
    small = (point(900, 1, 100), point(1980, 2, 300))
    large = tuple(point(one.clock_mhz, 6, 900, workers=4) for one in small)
    known = profile(*small, *large)
    assert points_for(known, 4) == points_for(known, 7) == large
    assert points_for(known, 1) == points_for(known, 3) == small
    assert points_for(profile(*large), 3) == ()


def test_settings_nobody_knows_enough_of_do_not_count() -> None:
    lonely = profile(point(900, 1, None), point(None, 1.5, 300, workers=1), point(1980, 2, 300))
    assert points_for(lonely, 1) == ()


def test_slowdown_between_points_is_the_lower_ones() -> None:
    assert slowdown_at(POINTS, 1300) == 1.25
    assert slowdown_at(POINTS, 899) == math.inf
    assert slowdown_at(POINTS, 2500) == 1.0


@settings(deadline=None)
@given(
    rates=st.lists(st.floats(1, 3), min_size=2, max_size=8).map(sorted)
    | st.lists(st.floats(0.1, 10), min_size=2, max_size=8),
    powers=st.lists(st.floats(50, 700), min_size=8, max_size=8),
    room=st.floats(1, 5) | st.floats(0, 5),
    most=st.floats(1, 5),
    price=st.tuples(st.floats(0, 1e-3), st.floats(0, 1e-3)),
)
def test_whatever_the_profile_nothing_is_slowed_beyond_its_room(
    rates: list[float], powers: list[float], room: float, most: float, price: tuple[float, float]
) -> None:
    points = tuple(
        point(500 + 100 * i, rate, power)
        for i, (rate, power) in enumerate(zip(rates, powers, strict=False))
    )
    chosen = choose_clock(
        points, room=room, max_slowdown=most, price=Price(energy=price[0], gpu_s=price[1])
    )
    if chosen is None:
        return
    assert chosen.floor_mhz <= chosen.clock_mhz
    assert chosen.slowdown <= most
    # Wherever a cap stops it between floor and top, its limit still holds.
    for mhz in range(chosen.floor_mhz, 500 + 100 * len(points)):
        assert slowdown_at(points, mhz) <= room
