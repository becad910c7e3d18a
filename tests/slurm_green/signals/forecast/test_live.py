# SPDX-License-Identifier: Apache-2.0
"""One forecast from now on: its times, and what becomes of a past that is short, late or patchy."""

from datetime import UTC, datetime, timedelta

import numpy as np
import pytest

from slurm_green.errors import SignalError
from slurm_green.signals.forecast import forecast
from slurm_green.signals.forecast.live import hourly_of
from slurm_green.signals.measured import Measured

NOW = datetime(2026, 11, 24, 12, 40, tzinfo=UTC)
NOON = NOW.replace(minute=0)


def past(days=40, end=NOON, **fields):
    """A past with a day that ends at a time."""
    step_s = fields.pop("step_s", 3600.0)
    count = round(days * 86_400 / step_s)
    start = end - timedelta(seconds=count * step_s)
    hour = (start.timestamp() + step_s * np.arange(count)) / 3600
    noise = np.random.default_rng(0).normal(size=count)
    values = fields.pop("values", 200 + 100 * np.cos(2 * np.pi * hour / 24) + 5 * noise)
    return Measured(
        start_utc=start,
        step_s=step_s,
        values=values,
        provider="uk",
        region="GB",
        scope="direct",
        **fields,
    )


def test_it_begins_with_the_hour_of_now_and_says_what_it_is():
    """From 12:00, four days, issued when the past ended, under the past's own labels."""
    got = forecast(past(), NOW)

    assert (got.start_utc, got.step_s, len(got.values)) == (NOON, 3600.0, 96)
    assert got.issued_utc == NOON
    assert (got.provider, got.region, got.scope, got.basis) == (
        "forecast(uk)", "GB", "direct", "average",
    )  # fmt: skip
    assert set(got.quantiles) == {0.1, 0.5, 0.9}
    assert [one.kind for one in got.stretches] == ["forecast"]


def test_what_is_asked_for_is_covered():
    """One hour ahead of 12:40 ends at 13:40."""
    got = forecast(past(), NOW, 3600.0)

    assert got.end_utc >= NOW + timedelta(hours=1)


@pytest.mark.parametrize("late_h", [1, 30, 90])
def test_a_past_that_ended_earlier_is_no_younger(late_h):
    """The hours since then are forecast too: 96 in all, and the issue is the past's end."""
    end = NOON - timedelta(hours=late_h)
    got = forecast(past(end=end), NOW)

    assert (got.start_utc, got.issued_utc) == (NOON, end)
    assert got.end_utc == end + timedelta(hours=96)


def test_a_past_that_ended_too_long_ago_is_refused():
    """Climatology is next, and says that it is."""
    with pytest.raises(SignalError, match="ends 97 h ago"):
        forecast(past(end=NOON - timedelta(hours=97)), NOW)


@pytest.mark.parametrize(
    ("days", "kind"), [(2, "naive"), (7, "naive"), (20, "naive"), (28, "forecast")]
)
def test_less_past_plainer_means(days, kind):
    """Even with two days the day is seen; from four weeks on it is the model's."""
    got = forecast(past(days), NOW, 86_400.0)

    assert [one.kind for one in got.stretches] == [kind]
    hour = 12 + np.arange(len(got.values))
    assert np.abs(got.values - (200 + 100 * np.cos(2 * np.pi * hour / 24))).max() < 30
    assert (got.quantiles[0.1] < got.quantiles[0.9]).all()


def test_less_than_a_day_is_refused():
    """Who has not seen a whole day does not know which of its hours are clean."""
    with pytest.raises(SignalError, match="23 hours of the past, a forecast needs 24"):
        forecast(past(23 / 24), NOW)

    assert len(forecast(past(1), NOW).values) == 96


def test_a_past_that_is_mostly_gaps_is_refused():
    """Filled values would be forecast from filled values."""
    one = past(60)
    one.values[-20 * 24 : -24] = np.nan

    with pytest.raises(SignalError, match="of the last four weeks are gaps"):
        forecast(one, NOW)


def test_nothing_before_now_is_refused():
    """A past that begins tomorrow."""
    with pytest.raises(SignalError, match="nothing was measured before now"):
        forecast(past(end=NOW + timedelta(days=50)), NOW - timedelta(days=3))


@pytest.mark.parametrize(
    ("known", "said"), [(0, "nothing was measured before now"), (1, "1 hours of the past")]
)
def test_a_past_of_gaps_is_refused(known, said):
    one = past(40)
    one.values[known:] = np.nan

    with pytest.raises(SignalError, match=said):
        forecast(one, NOW)


@pytest.mark.parametrize("step_s", [300.0, 900.0, 1800.0])
def test_finer_steps_become_hours(step_s):
    """Half hours of the half-finished hour do not make it whole in a wrong way."""
    got = forecast(past(30, end=NOW.replace(minute=30), step_s=step_s), NOW)

    assert (got.step_s, got.start_utc) == (3600.0, NOON)


def test_gaps_at_both_ends_are_cut():
    """Leading ones say nothing, and after the last value nothing was known."""
    one = past(50)
    one.values[: 24 * 5] = np.nan
    one.values[-3:] = np.nan

    assert forecast(one, NOW).issued_utc == NOON - timedelta(hours=3)


def test_what_was_not_measured_yet_makes_no_past_longer():
    """A table that begins with 15 days of gaps, and 25 days: too few for the model."""
    one = past(40)
    one.values[: 24 * 15] = np.nan

    assert [one.kind for one in forecast(one, NOW).stretches] == ["naive"]


def weekly(start, days, first):
    """A past that is lower on two days of the week, counted from its own beginning."""
    day = np.arange(24 * days) // 24 % 7
    values = 300 + 50 * np.cos(2 * np.pi * np.arange(24 * days) / 24)
    values[(day == first) | (day == (first + 1) % 7)] -= 80
    return Measured(start_utc=start, step_s=3600.0, values=values, provider="x")


EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@pytest.mark.parametrize("first", [1, 2, 6])
def test_a_past_without_weekdays_finds_its_weekend(first):
    """Seconds from somebody's own zero: a weekly pattern is seen wherever its days lie."""
    got = forecast(weekly(EPOCH, 56, first), datetime(1970, 2, 26, tzinfo=UTC))

    days = got.values[:96].reshape(4, 24).mean(axis=1)
    low = np.isin(np.arange(4), (first, (first + 1) % 7))
    assert days == pytest.approx(300 - 80 * low, abs=12)


@pytest.mark.parametrize("first", range(7))
def test_the_two_days_that_differ_most_pass_for_saturday_and_sunday(first):
    clock = hourly_of(weekly(EPOCH, 21, first), 504, None).clock

    assert (clock + 24 * first) // 24 % 7 == 5
    assert (0 <= clock < 168, clock % 24) == (True, 0)


@pytest.mark.parametrize(
    "start", [datetime(1990, 1, 1, tzinfo=UTC), datetime(2026, 2, 2, tzinfo=UTC)]
)
def test_a_dated_past_has_the_weekdays_of_the_calendar(start):
    """Also where people rest on other days; both begin on a Monday."""
    assert hourly_of(weekly(start, 56, 2), 1344, None).clock == 0
    assert hourly_of(weekly(start + timedelta(hours=50), 56, 2), 1344, None).clock == 50


def test_less_than_three_weeks_do_not_tell_a_weekend():
    """POSIX time began on a Thursday."""
    assert hourly_of(weekly(EPOCH, 20, 5), 480, None).clock == 3 * 24
    assert hourly_of(weekly(EPOCH, 60, 5), 1440, None, weekdays_until=500).clock == 3 * 24
    assert hourly_of(weekly(EPOCH, 60, 5), 1440, None, weekdays_until=504).clock == 0
