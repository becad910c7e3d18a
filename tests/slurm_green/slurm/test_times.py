# SPDX-License-Identifier: Apache-2.0
"""Durations and times, Slurm's and people's."""

from datetime import UTC, datetime, timedelta, timezone

import pytest

from slurm_green.errors import BadInputError
from slurm_green.slurm import times


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("45s", 45), ("90m", 5400), ("12h", 43200), ("2d", 172800), ("1h30m", 5400), ("1.5h", 5400),
     (" 2W ", 1209600), ("0s", 0)],
)  # fmt: skip
def test_people_write_a_number_and_a_unit(text: str, seconds: float) -> None:
    assert times.parse_duration_s(text) == seconds


@pytest.mark.parametrize("text", ["", "12", "h", "-3h", "3 h", "1h30", "1e9d", "٣h", "9999999d"])
def test_anything_else_is_bad_input(text: str) -> None:
    with pytest.raises(BadInputError, match="duration"):
        times.parse_duration_s(text)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0s"), (45, "45s"), (5400, "1h30m"), (183600, "2d3h"), (86405, "1d"), (-90, "-1m30s"),
     (93784, "1d2h"), (-0.5, "0s"), (-0.6, "-1s")],
)  # fmt: skip
def test_two_units_are_enough_for_people(seconds: float, text: str) -> None:
    assert times.format_duration(seconds) == text


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("10", 600), ("10:30", 630), ("01:02:03", 3723), ("1-00", 86400), ("2-03:04", 183840),
     ("7-00:00:00", 604800), ("60 sec", 60), ("5 min", 300), ("UNLIMITED", None),
     ("INFINITE", None), ("NONE", None), ("Partition_Limit", None), ("(null)", None)],
)  # fmt: skip
def test_slurm_durations(text: str, seconds: int | None) -> None:
    assert times.parse_slurm_duration_s(text) == seconds


def test_a_duration_slurm_never_writes_is_refused() -> None:
    with pytest.raises(BadInputError):
        times.parse_slurm_duration_s("soon")


def test_slurm_words_for_no_time_are_none() -> None:
    for text in ("Unknown", "None", "N/A", "0", "(null)", ""):
        assert times.parse_slurm_time(text) is None
    for seconds in (0, 0xFFFFFFFE, 0xFFFFFFFF, None, 1e30):
        assert times.from_epoch(seconds) is None


def test_times_are_utc_whatever_form() -> None:
    when = datetime(2027, 3, 28, 1, 30, tzinfo=UTC)
    assert times.parse_slurm_time("1806197400") == when
    assert times.parse_slurm_time("2027-03-28T01:30:00") == when
    shifted = when.astimezone(timezone(timedelta(hours=-4)))
    assert times.to_slurm_time(shifted) == "uts1806197400"


def test_a_time_without_a_zone_is_refused() -> None:
    with pytest.raises(BadInputError, match="zone"):
        times.to_slurm_time(datetime(2027, 3, 28))  # noqa: DTZ001
