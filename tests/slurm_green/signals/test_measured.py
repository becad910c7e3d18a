# SPDX-License-Identifier: Apache-2.0
"""Measured pasts: the grid, its gaps, what is merged, and that nothing of the future gets in."""

import math
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from slurm_green.errors import SignalError
from slurm_green.signals.measured import Measured

START = datetime(2026, 3, 29, tzinfo=UTC)
HOUR = timedelta(hours=1)
GAP = math.nan
CELLS = st.lists(st.none() | st.floats(0, 1000), min_size=1, max_size=30)


def measured(values, *, start=START, step_s=3600.0, **fields):
    """A past on the hour."""
    numbers = [GAP if value is None else value for value in values]
    return Measured(
        start_utc=start, step_s=step_s, values=np.array(numbers), provider="m", **fields
    )


def told(one):
    """When -> value of the steps that are known."""
    return {
        one.start_utc + timedelta(seconds=n * one.step_s): value
        for n, value in enumerate(one.values)
        if not math.isnan(value)
    }


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"values": np.zeros(0)}, "history of m is empty"),
        ({"values": np.ones((2, 2))}, "history of m is empty"),
        ({"values": np.array([1.0, -1.0])}, "-1 at 2026-03-29T01:00Z is no amount of gCO2e/kWh"),
        ({"values": np.array([np.inf])}, "inf at 2026-03-29T00:00Z is no amount"),
        ({"values": np.array([1e9])}, "1e+09 at 2026-03-29T00:00Z is no amount"),
        ({"start_utc": datetime(2026, 3, 29)}, "must carry a time zone"),  # noqa: DTZ001
        ({"quantity": "co2"}, "'co2' is no quantity"),
    ],
)
def test_what_cannot_be_a_past_is_refused(fields, words):
    """One sentence with the amount and the hour."""
    with pytest.raises(SignalError) as caught:
        replace(measured([1.0]), **fields)
    assert words in str(caught.value)


def test_prices_may_be_negative():
    """Sunny Sundays are."""
    assert measured([-0.5], quantity="price_per_kwh").known == 1


def points(*pairs, **fields):
    """A past from (hours after START, value)."""
    given = {"step_s": 3600.0, "provider": "m"} | fields
    return Measured.from_points([(START + h * HOUR, v) for h, v in pairs], **given)


def test_points_are_put_on_the_grid():
    """In any order, several of one step averaged, what is missing a gap."""
    got = points((3.25, 30.0), (0.5, 4.0), (0.0, 2.0), (2.0, None))
    assert (got.start_utc, got.step_s, got.known) == (START, 3600.0, 2)
    assert told(got) == {START: 3.0, START + 3 * HOUR: 30.0}


def test_the_grid_is_that_of_posix_time():
    """A first point at a quarter past does not move it."""
    assert points((0.25, 1.0), (1.25, 2.0)).start_utc == START


def test_points_say_whose_they_are():
    """Basis, scope, region and quantity are kept."""
    got = points((0, 1.0), region="FR", basis="marginal", scope="direct", quantity="price_per_kwh")
    assert (got.region, got.basis, got.scope) == ("FR", "marginal", "direct")
    assert (got.provider, got.quantity) == ("m", "price_per_kwh")


@pytest.mark.parametrize("pairs", [[], [(0, None), (1, None)]])
def test_no_value_at_all_is_an_error(pairs):
    """An answer full of nulls is no past."""
    with pytest.raises(SignalError, match="m: no measured value"):
        points(*pairs)


def test_times_that_span_centuries_are_refused():
    """One row of year 1970 must not fill the memory."""
    with pytest.raises(SignalError, match="span more than any history"):
        points((0, 1.0), (-56 * 365 * 24, 1.0), step_s=300.0)


@given(CELLS)
def test_points_round_trip(values):
    """What is on the grid comes back as it was, gaps and all."""
    one = measured(values)
    if one.known == 0:
        return
    assert told(Measured.from_points(told(one).items(), step_s=3600.0, provider="m")) == told(one)


@given(CELLS, st.integers(-180, 2400))
def test_until_knows_nothing_of_what_comes_after(values, minutes):
    """Only whole steps that had ended; what comes later may be anything."""
    one, now = measured(values), START + timedelta(minutes=minutes)
    got = one.until(now)
    changed = [v if START + (n + 1) * HOUR <= now else 777.0 for n, v in enumerate(values)]
    also = measured(changed).until(now)
    if got is None:
        assert also is None
        assert now < START + HOUR
        return
    assert got.end_utc <= now
    assert min(now, one.end_utc) - got.end_utc < HOUR
    assert told(got) == told(also) == {at: v for at, v in told(one).items() if at + HOUR <= now}


@given(CELLS, st.integers(-180, 2400))
def test_since_keeps_the_step_that_holds_the_instant(values, minutes):
    """And at least the last one."""
    one, then = measured(values), START + timedelta(minutes=minutes)
    got = one.since(then)
    assert got.end_utc == one.end_utc
    assert got.start_utc <= max(then, one.start_utc)
    assert told(got) == {at: v for at, v in told(one).items() if at >= got.start_utc}
    if one.start_utc <= then < one.end_utc:
        assert then < got.start_utc + HOUR


@given(CELLS, CELLS, st.integers(-40, 40))
def test_merging_lets_the_newer_word_hold_and_keeps_gaps(values, newer_values, offset):
    """Each step is the newer one's where that knows it, else the older one's, else unknown."""
    one = measured(values)
    newer = measured(newer_values, start=START + offset * HOUR)
    got = one.merged(newer)
    assert told(got) == told(one) | told(newer)
    assert got.start_utc == min(one.start_utc, newer.start_utc)
    assert got.end_utc == max(one.end_utc, newer.end_utc)
    again = got.merged(newer)
    assert told(again) == told(got)


def test_merging_leaves_both_as_they_were():
    """Values are copied, not shared."""
    one, newer = measured([1.0, 2.0]), measured([5.0])
    one.merged(newer).values[:] = 9.0
    assert (list(one.values), list(newer.values)) == ([1.0, 2.0], [5.0])


@pytest.mark.parametrize(
    ("fields", "name"),
    [
        ({"basis": "marginal"}, "basis"),
        ({"scope": "direct"}, "scope"),
        ({"region": "FR"}, "region"),
        ({"quantity": "price_per_kwh"}, "quantity"),
    ],
)
def test_what_is_of_another_kind_is_not_merged(fields, name):
    """The message names what differs."""
    with pytest.raises(SignalError, match=f"history of m has {name} .* not mixed"):
        measured([1.0]).merged(measured([1.0], **fields))


def test_finer_news_are_averaged_onto_the_grid_that_is_kept():
    """Half hours into hours; a coarser one is repeated."""
    halves = measured([2.0, 4.0], step_s=1800.0, start=START + HOUR)
    assert list(measured([1.0]).merged(halves).values) == [1.0, 3.0]
    hours = measured([7.0], start=START + HOUR)
    assert list(measured([1.0, 1.0], step_s=1800.0).merged(hours).values) == [1.0, 1.0, 7.0, 7.0]


@given(CELLS, st.sampled_from([1800.0, 900.0, 3600.0]))
def test_finer_steps_repeat_and_means_give_them_back(values, step_s):
    """There and back again is the same past, without its outer gaps."""
    one = measured(values)
    if one.known == 0:
        return
    back = one.in_steps_of(step_s).in_steps_of(3600.0)
    assert told(back) == pytest.approx(told(one))


def test_a_longer_step_is_the_mean_of_what_is_known_in_it():
    """A gap does not count as nothing."""
    got = measured([2.0, None, 6.0, 4.0]).in_steps_of(7200.0)
    assert list(got.values) == [2.0, 5.0]


def test_a_finer_step_that_does_not_fit_is_refused():
    """An hour has no whole number of 1000 seconds."""
    with pytest.raises(SignalError, match="do not divide"):
        measured([1.0]).in_steps_of(1000.0)


def test_a_longer_step_that_does_not_fit_is_refused():
    """The docstring says that it raises where none fits; an hour and a half of hours fits none."""
    with pytest.raises(SignalError):
        measured([1.0, 2.0, 3.0]).in_steps_of(5400.0)


@pytest.mark.parametrize("step_s", [0.0, -3600.0, math.nan])
def test_a_step_that_is_no_length_is_refused(step_s):
    """As in a series."""
    with pytest.raises(SignalError):
        measured([1.0], step_s=step_s)
