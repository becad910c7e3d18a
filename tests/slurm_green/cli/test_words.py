# SPDX-License-Identifier: Apache-2.0
"""Times, lengths and amounts as people write and read them."""

from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import pytest

from slurm_green.cli.params import past_time
from slurm_green.cli.report import command as report
from slurm_green.errors import BadInputError
from slurm_green.words import clean, grams, length, saved, saving

NOW = datetime(2026, 11, 22, 12, 0, 0, tzinfo=UTC)
PARIS = ZoneInfo("Europe/Paris")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("now", "2026-11-22T12:00:00+00:00"),
        ("now-7days", "2026-11-15T12:00:00+00:00"),
        ("now-1hour", "2026-11-22T11:00:00+00:00"),
        ("today", "2026-11-21T23:00:00+00:00"),
        ("yesterday", "2026-11-20T23:00:00+00:00"),
        ("2026-07-01", "2026-06-30T22:00:00+00:00"),
        ("2026-07-01T08:00", "2026-07-01T06:00:00+00:00"),
        ("2026-07-01T08:00Z", "2026-07-01T08:00:00+00:00"),
    ],
)
def test_times_are_read_as_sacct_reads_them(text, expected):
    """Without an offset they are the site's."""
    assert past_time(text, now_utc=NOW, zone=PARIS).isoformat() == expected


@pytest.mark.parametrize(
    "bad",
    ["", "now-", "now+1day", "noon", "1101", "11/29", "2026-13-01", "now-9999999days"],
)
def test_other_times_are_refused_with_examples(bad):
    """No guess."""
    with pytest.raises(BadInputError, match="write 2026-01-31"):
        past_time(bad, now_utc=NOW, zone=UTC)


def test_a_time_that_utc_does_not_have_is_refused():
    """Midnight of the first day of the first year, east of Greenwich."""
    with pytest.raises(BadInputError, match="write 2026-01-31"):
        past_time("0001-01-01", now_utc=NOW, zone=PARIS)


def test_every_time_that_is_offered_is_taken_and_in_the_help():
    """By the error and by `sgreen report --help`."""
    with pytest.raises(BadInputError) as told:
        past_time("noon", now_utc=NOW, zone=UTC)
    offered = str(told.value).split(": write ")[1].replace(" or ", ", ").split(", ")
    assert len(offered) == 7
    for one in offered:
        assert past_time(one, now_utc=NOW, zone=UTC) <= NOW
        assert one in (report.help or "").split("Times are as")[1]


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(None, "-"), (0, "0 s"), (89, "89 s"), (90, "2 min"), (3600, "60 min"), (7500, "2 h 05 min"),
     (90_000, "25 h 00 min"), (262_800, "3 d 1 h")],
)  # fmt: skip
def test_lengths_have_two_units_at_most(seconds, words):
    """Unknown is not zero."""
    assert length(seconds) == words


@pytest.mark.parametrize(
    ("amount", "words"),
    [(None, "-"), (0, "0 g"), (-3, "-3 g"), (0.314, "0.31 g"), (1e-7, "~0 g"),
     (9.96, "10 g"), (999.4, "999 g"), (999.6, "1.00 kg"), (7_585, "7.58 kg"), (9_999, "10.0 kg"),
     (12_345, "12.3 kg"), (-123_456, "-123 kg"), (999_600, "1.00 t"), (2_500_000, "2.50 t"),
     (1.5e10, "15000 t")],
)  # fmt: skip
def test_grams_change_their_unit(amount, words):
    """Unknown is not zero."""
    assert grams(amount) == words


def test_what_does_not_save_emits_more():
    """No saving is less than nothing."""
    assert [saving(g) for g in (2500, 0, -2500)] == [
        "saves 2.50 kg",
        "saves 0 g",
        "emits 2.50 kg more",
    ]
    assert [saved(g) for g in (2500, 0, -2500)] == [
        "saved 2.50 kg",
        "saved 0 g",
        "emitted 2.50 kg more",
    ]


def test_text_of_users_is_made_harmless():
    """Control and bidirectional characters do not reach a terminal."""
    assert clean("a\x1b[31m\n\u202eb\u00e9") == "a?[31m??b\u00e9"
