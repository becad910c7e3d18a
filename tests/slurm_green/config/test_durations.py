# SPDX-License-Identifier: Apache-2.0
"""Durations as people write them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from slurm_green.config.durations import duration_text, parse_duration_s


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        (90, 90),
        (1.5, 1.5),
        ("0", 0),
        ("90s", 90),
        ("30m", 1800),
        ("1h30m", 5400),
        ("7d", 604_800),
        ("0.5h", 1800),
        (" 2H ", 7200),
        ("1-12:00:00", 129_600),
        ("00:10:00", 600),
    ],
)
def test_durations_are_read_as_seconds(text, seconds):
    """A plain number is seconds, unlike in Slurm."""
    assert parse_duration_s(text) == seconds


@pytest.mark.parametrize("bad", ["", "h", "30m1", "-5", "5 weeks", "1e3", "1_0", -1, True, None])
def test_anything_else_is_refused(bad):
    """No guess, no zero by accident."""
    with pytest.raises(ValueError, match="is"):
        parse_duration_s(bad)


@pytest.mark.parametrize(
    "huge", [float("nan"), float("inf"), 10**400, 400 * "9", "9" * 400 + ":00:00"]
)
def test_what_no_float_holds_is_out_of_range(huge):
    with pytest.raises(ValueError, match="is out of range"):
        parse_duration_s(huge)


@pytest.mark.parametrize("other", ["\u0661h", "\u0661", "\u0661:00:00"])
def test_other_scripts_digits_are_none(other):
    with pytest.raises(ValueError, match="is not a duration"):
        parse_duration_s(other)


@given(st.integers(0, 10**9))
def test_what_is_written_reads_back(seconds):
    """The example file and `config show` do not change a value."""
    assert parse_duration_s(duration_text(seconds)) == seconds
