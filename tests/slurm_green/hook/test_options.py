# SPDX-License-Identifier: Apache-2.0
"""What users write for us, and what they write that is not for us."""

import re
from datetime import UTC, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from builders import NOW, at
from hypothesis import given
from hypothesis import strategies as st

from slurm_green.errors import BadInputError
from slurm_green.hook.options import Options, parse_options, parse_when

NEW_YORK = ZoneInfo("America/New_York")
LONDON = ZoneInfo("Europe/London")


def options(comment: str, *, now: datetime = NOW, prefix: str = "green:") -> Options:
    return parse_options(comment, prefix=prefix, now_utc=now)


@pytest.mark.parametrize(
    ("comment", "expected"),
    [
        ("", Options()),
        ("a comment of my own", Options()),
        ("evergreen:off", Options()),
        ("green:off", Options(off=True)),
        ("my project green:off", Options(off=True)),
        ("project=7,green:off", Options(off=True)),
        ("(green:off,)", None),
        ("green:max-delay=8h green:off", Options(off=True, max_delay_s=28800.0)),
        ("green:max-delay=8h,runtime=90m", Options(max_delay_s=28800.0, runtime_s=5400.0)),
        ("green:deadline=now+6hours", Options(deadline_utc=at(6))),
        ("green:deadline=12:30", Options(deadline_utc=at(6.5))),
        ("green:deadline=05:00", Options(deadline_utc=at(23))),
        ("green:deadline=2026-11-23T09:00", Options(deadline_utc=at(3))),
        ("green:deadline=2026-11-23T09:00+02:00", Options(deadline_utc=at(1))),
        (
            "green:workers=1-4,checkpoint=/tmp/x,signal=USR1,move",
            Options(workers=(1, 4), checkpoint="/tmp/x"),
        ),
        ("green:workers=4", Options(workers=(4, 4))),
    ],
)
def test_each_option(comment: str, expected: Options | None) -> None:
    found = options(comment)
    if expected is None:
        assert found.off
    else:
        assert found == expected


@pytest.mark.parametrize("comment", ["green:", "green:max-delay=8h, runtime=3h", "green:off,,,"])
def test_a_blank_or_a_comma_too_many_is_named(comment: str) -> None:
    """With "'' is not an option" alone nobody sees what to change."""
    (said,) = options(comment).errors
    assert said == "an option is missing; write green:max-delay=8h,runtime=3h without blanks"


@pytest.mark.parametrize(
    "comment",
    [
        "green:",
        "green:OFF",
        "green:max-delay",
        "green:max-delay=soon",
        "green:max-delay=99999999999d",
        "green:workers=4-1",
        "green:workers=0-2",
        "green:workers=some",
        "green:workers=\u0662",
        "green:profile=../../etc",
        "green:deadline=tomorrow",
        "green:deadline=25:00",
        "green:deadline=now+" + "9" * 5000 + "hours",
        "green:deadline=now+" + "9" * 4000,
        "green:deadline=9999-12-31T23:59:59-23:00",
        "green:deadline=0001-01-01T00:00+23:00",
        "green:deadline=\u0662\u0665:\u0660\u0660",
        "green:max-delay=8h,colour=blue",
        "green:off;reason=hurry",
    ],
)
def test_nonsense_is_told_and_asks_for_nothing(comment: str) -> None:
    found = options(comment)
    assert found.errors
    assert all(len(error) < 300 for error in found.errors)
    assert not found.off


def test_the_page_for_users_has_every_option() -> None:
    page = (Path(__file__).resolve().parents[3] / "docs/users.md").read_text()
    written = re.findall(r"^\| `([a-z-]+)", page.split("## What")[1], flags=re.MULTILINE)
    (error,) = parse_options("green:?", prefix="green:", now_utc=NOW).errors
    assert sorted(written) == sorted(error.split("known are ")[1].split(", "))


@given(st.text(max_size=200), st.sampled_from(["green:", "green:deadline=", "green:max-delay="]))
def test_no_text_raises(text: str, prefix: str) -> None:
    options(prefix + text)


@pytest.mark.parametrize("letter", ["9", "a", ",", "green:", "=", "green:off ", "1h", "\x00"])
def test_a_hundred_kilobytes_do_not_raise(letter: str) -> None:
    for start in ("green:", "green:deadline=now+", "green:max-delay=", "green:deadline="):
        options(start + letter * (100_000 // len(letter)))


def test_another_prefix_and_its_letters() -> None:
    assert options("eco+:off", prefix="eco+:").off
    assert not options("green:off", prefix="eco+:").off


def local(zone: ZoneInfo, *parts: int, fold: int = 0) -> datetime:
    return datetime(*parts, tzinfo=zone, fold=fold).astimezone(UTC)


@pytest.mark.parametrize(
    ("now", "text", "expected"),
    [
        # Before, in and after the hour that comes twice (New York, 2026-11-01, 02:00 -> 01:00).
        (local(NEW_YORK, 2026, 11, 1, 0, 30), "01:30", local(NEW_YORK, 2026, 11, 1, 1, 30)),
        (local(NEW_YORK, 2026, 11, 1, 1, 40), "01:30", local(NEW_YORK, 2026, 11, 1, 1, 30, fold=1)),
        (
            local(NEW_YORK, 2026, 11, 1, 1, 20, fold=1),
            "01:30",
            local(NEW_YORK, 2026, 11, 1, 1, 30, fold=1),
        ),
        (local(NEW_YORK, 2026, 11, 1, 1, 40, fold=1), "01:30", local(NEW_YORK, 2026, 11, 2, 1, 30)),
        (local(NEW_YORK, 2026, 11, 1, 0, 30), "08:00", local(NEW_YORK, 2026, 11, 1, 8, 0)),
        (local(NEW_YORK, 2026, 10, 31, 9, 0), "08:00", local(NEW_YORK, 2026, 11, 1, 8, 0)),
        # The hour that is skipped (2026-03-08, 02:00 -> 03:00): 02:30 is what would have been.
        (local(NEW_YORK, 2026, 3, 8, 1, 0), "02:30", datetime(2026, 3, 8, 7, 30, tzinfo=UTC)),
        (local(NEW_YORK, 2026, 3, 7, 9, 0), "08:00", local(NEW_YORK, 2026, 3, 8, 8, 0)),
        (local(LONDON, 2026, 10, 25, 1, 40), "01:30", local(LONDON, 2026, 10, 25, 1, 30, fold=1)),
        (local(LONDON, 2026, 3, 29, 0, 30), "01:30", datetime(2026, 3, 29, 1, 30, tzinfo=UTC)),
        (local(LONDON, 2026, 7, 1, 12, 0), "12:00", local(LONDON, 2026, 7, 2, 12, 0)),
    ],
)
def test_a_clock_time_is_the_next_one(now: datetime, text: str, expected: datetime) -> None:
    zone = LONDON if (now.month, now.day) in {(10, 25), (3, 29), (7, 1)} else NEW_YORK
    assert parse_when(text, now_utc=now, zone=zone) == expected


@given(
    st.integers(0, 366 * 86400),
    st.sampled_from(
        [NEW_YORK, LONDON, ZoneInfo("Asia/Kathmandu"), ZoneInfo("Australia/Lord_Howe")]
    ),
    st.integers(0, 23),
    st.integers(0, 59),
)
def test_a_clock_time_is_ahead_and_within_a_long_day(
    second: int, zone: ZoneInfo, hour: int, minute: int
) -> None:
    here = datetime(2026, 1, 1, tzinfo=UTC) + timedelta(seconds=second)
    when = parse_when(f"{hour:02d}:{minute:02d}", now_utc=here, zone=zone)
    assert timedelta(0) < when - here <= timedelta(hours=25)


def test_times_without_a_zone_are_the_sites() -> None:
    when = parse_when("2026-07-01T08:00", now_utc=NOW, zone=NEW_YORK)
    assert when == datetime(2026, 7, 1, 12, 0, tzinfo=UTC)
    assert parse_when("2026-07-01T08:00Z", now_utc=NOW, zone=NEW_YORK).hour == 8
    found = parse_options("green:deadline=08:00", prefix="green:", now_utc=NOW, zone=NEW_YORK)
    assert found.deadline_utc == parse_when("08:00", now_utc=NOW, zone=NEW_YORK)


def test_a_clock_time_has_seconds_of_its_own() -> None:
    now = NOW.replace(second=7, microsecond=9)
    assert parse_when("23:59:30", now_utc=now) == now.replace(
        hour=23, minute=59, second=30, microsecond=0
    )


@pytest.mark.parametrize(
    ("text", "hours"),
    [
        ("now", 0),
        ("now+3600", 1),
        ("now+90minutes", 1.5),
        ("now+1day", 24),
        ("now+2h", 2),
        ("now+1 week", 168),
        (" now+1hour ", 1),
    ],
)
def test_times_from_now(text: str, hours: float) -> None:
    assert parse_when(text, now_utc=NOW) == at(hours)


@pytest.mark.parametrize(
    "text",
    [
        *("", "noon", "now-1h", "now+", "24:00", "08:60", "08:00:60", "8", "08:00Z"),
        *("\u0660\u0668:\u0660\u0660", "now+\u0666"),
    ],
)
def test_what_is_no_time_is_refused(text: str) -> None:
    with pytest.raises(BadInputError):
        parse_when(text, now_utc=NOW)
