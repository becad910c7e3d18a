# SPDX-License-Identifier: Apache-2.0
"""Times of signals: UTC from whatever a provider writes, and days of 23 and 25 hours."""

from datetime import UTC, date, datetime, time, timedelta, timezone
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from slurm_green.errors import SignalError
from slurm_green.signals.times import (
    already_shown,
    from_local,
    from_posix,
    parse_utc,
    rounded_down,
    start_of_local_day,
)

# Zone, a day on which its clocks change, and how many hours that day has.
CHANGES = [
    ("Europe/Berlin", date(2026, 3, 29), 23),
    ("Europe/Berlin", date(2026, 10, 25), 25),
    ("America/New_York", date(2026, 3, 8), 23),
    ("America/New_York", date(2026, 11, 1), 25),
    ("Australia/Lord_Howe", date(2026, 10, 4), 23.5),
    ("Australia/Lord_Howe", date(2026, 4, 5), 24.5),
    ("America/Sao_Paulo", date(2018, 11, 4), 23),  # no midnight
    ("America/Sao_Paulo", date(2018, 2, 17), 25),  # 23:00 twice
    ("America/Havana", date(2026, 11, 1), 25),  # midnight twice
    ("Asia/Beirut", date(2026, 3, 29), 23),
    ("Pacific/Auckland", date(2026, 4, 5), 25),
    ("Europe/London", date(2026, 3, 29), 23),
    ("Asia/Kathmandu", date(2026, 3, 29), 24),
    ("UTC", date(2026, 3, 29), 24),
]
ZONES = sorted({name for name, _, _ in CHANGES})


def instants(zone, day, minutes):
    """Every so many minutes of a local day, as UTC."""
    noon = datetime.combine(day, time(12), zone)
    at = start_of_local_day(noon.astimezone(UTC), zone)
    end = start_of_local_day((noon + timedelta(days=1)).astimezone(UTC), zone)
    found = []
    while at < end:
        found.append(at)
        at += timedelta(minutes=minutes)
    return found


@pytest.mark.parametrize(("name", "day", "hours"), CHANGES)
def test_a_local_day_has_the_hours_it_has(name, day, hours):
    """23 in spring, 25 in autumn, and half of one on Lord Howe Island."""
    found = instants(ZoneInfo(name), day, 30)
    assert len(found) == 2 * hours
    local = [at.astimezone(ZoneInfo(name)).date() for at in found]
    assert set(local) == {day}


@pytest.mark.parametrize("minutes", [15, 30])
@pytest.mark.parametrize(("name", "day", "hours"), CHANGES)
def test_each_instant_of_a_day_round_trips_in_order(name, day, hours, minutes):
    """As in a meter's file: wall-clock times in order, of which one hour may come twice."""
    zone = ZoneInfo(name)
    wanted = instants(zone, day, minutes)
    got, after = [], None
    for at in wanted:
        wall = at.astimezone(zone).replace(tzinfo=None, fold=0)
        after = from_local(wall, zone, after=after)
        got.append(after)
    assert got == wanted


@pytest.mark.parametrize(
    ("name", "wall"),
    [
        ("Europe/Berlin", datetime(2026, 3, 29, 2, 0)),  # noqa: DTZ001
        ("Europe/Berlin", datetime(2026, 3, 29, 2, 59)),  # noqa: DTZ001
        ("America/New_York", datetime(2026, 3, 8, 2, 30)),  # noqa: DTZ001
        ("America/Sao_Paulo", datetime(2018, 11, 4, 0, 30)),  # noqa: DTZ001
        ("Australia/Lord_Howe", datetime(2026, 10, 4, 2, 15)),  # noqa: DTZ001
    ],
)
@pytest.mark.parametrize("fold", [0, 1])
def test_an_hour_the_clock_never_showed_is_refused(name, wall, fold):
    """It is a mistake of the file, and which hour is meant nobody knows."""
    with pytest.raises(SignalError, match=f"did not exist in {name}: clocks went forward"):
        from_local(wall.replace(fold=fold), ZoneInfo(name))


def test_an_hour_shown_twice_is_the_first_until_the_first_is_past():
    """Which one it is the row before tells; without one, the first."""
    zone = ZoneInfo("Europe/Berlin")
    wall = datetime(2026, 10, 25, 2, 30)  # noqa: DTZ001
    first = datetime(2026, 10, 25, 0, 30, tzinfo=UTC)
    assert from_local(wall, zone) == first
    assert from_local(wall.replace(fold=1), zone) == first
    assert from_local(wall, zone, after=first - timedelta(hours=1)) == first
    assert from_local(wall, zone, after=first) == first + timedelta(hours=1)


@pytest.mark.parametrize("minutes", [15, 30])
@pytest.mark.parametrize(("name", "day", "hours"), CHANGES)
def test_rows_may_begin_at_any_instant_of_a_day(name, day, hours, minutes):
    """Also in the hour that comes again; only rows that do not leave it could be of either."""
    zone = ZoneInfo(name)
    wanted = instants(zone, day, minutes) + instants(zone, day + timedelta(days=1), 30)
    walls = [at.astimezone(zone).replace(tzinfo=None, fold=0) for at in wanted]
    for begin in range(len(walls) - 48):
        after = already_shown(walls[begin:], zone)
        assert from_local(walls[begin], zone, after=after) == wanted[begin]
        again = wanted[begin].astimezone(zone).fold == 1
        assert (after is not None) == again
    assert already_shown([], zone) is None


@given(
    st.datetimes(datetime(1990, 1, 1), datetime(2035, 1, 1)),  # noqa: DTZ001
    st.sampled_from(ZONES),
)
def test_a_local_day_begins_at_or_before_each_of_its_instants(naive, name):
    """At the first instant of that date, and less than 25 h 30 min before."""
    at, zone = naive.replace(tzinfo=UTC), ZoneInfo(name)
    begin = start_of_local_day(at, zone)
    assert timedelta(0) <= at - begin < timedelta(hours=25)
    assert begin.astimezone(zone).date() == at.astimezone(zone).date()
    before = (begin - timedelta(seconds=1)).astimezone(zone).date()
    assert before < begin.astimezone(zone).date()


@pytest.mark.parametrize(
    "text",
    [
        "2026-03-29T01:30:00Z",
        "2026-03-29T01:30Z",
        "2026-03-29T03:30:00+02:00",
        "2026-03-28 21:30:00-04:00",
        " 2026-03-29T01:30:00.000Z\n",
        "20260329T013000Z",
    ],
)
def test_iso_times_with_a_zone_are_one_instant(text):
    """However the provider writes it."""
    got = parse_utc(text, "x")
    assert got == datetime(2026, 3, 29, 1, 30, tzinfo=UTC)
    assert got.utcoffset() == timedelta(0)


def test_a_time_without_zone_is_utc_only_where_it_is_documented_to_be():
    """Else it names no instant."""
    text = "2026-03-29T01:30:00"
    assert parse_utc(text, "x", naive_is_utc=True) == datetime(2026, 3, 29, 1, 30, tzinfo=UTC)
    with pytest.raises(SignalError, match="row 3: '2026-03-29T01:30:00' is not a time like"):
        parse_utc(text, "row 3")


@pytest.mark.parametrize(
    "bad",
    ["", "yesterday", "2026-13-01T00:00Z", None, 5, [], "0001-01-01T00:00+14:00", "x" * 9999],
)
def test_what_is_no_time_is_named_and_cut(bad):
    """Whatever the answer holds, the message is short and begins with where it was."""
    for call in (parse_utc, from_posix):
        if call is from_posix and bad == 5:
            continue
        with pytest.raises(SignalError, match=r"^row 3: ") as caught:
            call(bad, "row 3")
        assert len(str(caught.value)) < 140


@pytest.mark.parametrize("bad", [True, "1", None, float("nan"), float("inf"), 1e30, 10**400])
def test_what_is_no_number_of_seconds_is_refused(bad):
    """NaN, a text, a flag, and milliseconds of another universe."""
    with pytest.raises(SignalError, match=r"^row 3: .* is no time in POSIX seconds"):
        from_posix(bad, "row 3")


def test_posix_seconds():
    """Whole or with a fraction."""
    assert from_posix(0, "x") == datetime(1970, 1, 1, tzinfo=UTC)
    assert from_posix(1774747800.5, "x") == datetime(2026, 3, 29, 1, 30, 0, 500_000, tzinfo=UTC)


@given(
    st.datetimes(datetime(1990, 1, 1), datetime(2035, 1, 1)),  # noqa: DTZ001
    st.sampled_from([60.0, 300.0, 900.0, 1800.0, 3600.0, 86_400.0]),
    st.sampled_from([UTC, timezone(timedelta(hours=5, minutes=45))]),
)
def test_rounding_down_finds_the_step_that_holds_the_instant(naive, step_s, zone):
    """On the grid of POSIX time, in any zone."""
    at = naive.replace(tzinfo=UTC).astimezone(zone)
    got = rounded_down(at, step_s)
    assert timedelta(0) <= at - got < timedelta(seconds=step_s)
    assert round(got.timestamp(), 3) % step_s == 0
    assert got.microsecond == 0
