# SPDX-License-Identifier: Apache-2.0
"""A table that somebody copies in: what of it is past, what is to come, and how old it is."""

import os
from datetime import UTC, datetime, timedelta

import pytest

from slurm_green.errors import SignalError
from slurm_green.signals.providers.table_file import TableFile

NOW = datetime(2026, 12, 31, 23, 20, tzinfo=UTC)
HOUR = timedelta(hours=1)
PLAIN = (
    "start_utc,carbon_g_per_kwh\n2026-12-31T22:00Z,100\n2026-12-31T23:00Z,110\n"
    "2027-01-01T00:00Z,0\n2027-01-01T01:00Z,\n2027-01-01T02:00Z,140\n"
)
ISSUED = "issued_utc,start_utc,carbon_g_per_kwh\n" + "".join(
    f"2026-12-31T{issue}Z,2026-12-31T{start}:00Z,{value}\n"
    for issue, value in (("21:30", 1), ("22:30", 2), ("23:30", 3))
    for start in (22, 23)
)


@pytest.fixture
def table(tmp_path):
    def table(text):
        path = tmp_path / "t.csv"
        path.write_text(text)
        os.utime(path, ((NOW - HOUR).timestamp(), (NOW - HOUR).timestamp()))
        return TableFile(path, region="X", basis="marginal", scope="direct")

    return table


def test_the_rows_to_come_end_at_the_first_gap(table):
    """From the step that holds now; nothing says when they were made but the file's time."""
    got = table(PLAIN).fetch(NOW)
    assert (got.start_utc, list(got.values)) == (NOW - HOUR / 3, [110.0, 0.0])
    assert (got.issued_utc, got.provider, got.region) == (NOW - HOUR, "file", "X")
    assert (got.quantity, got.basis, got.scope) == ("carbon_g_per_kwh", "marginal", "direct")


def test_a_file_of_a_clock_ahead_of_ours_is_of_now(table):
    """Its forecast would never grow old once it is the last good one."""
    one = table(PLAIN)
    assert one.fetch(NOW - HOUR).age_s(NOW - HOUR) == 0
    assert one.fetch(NOW - HOUR * 7 / 6).age_s(NOW) == 4200


@pytest.mark.parametrize("hours", [-2, 2, 4, 400])
def test_without_a_row_at_now_there_is_nothing_to_come(table, hours):
    """Before it, in a gap, after it."""
    with pytest.raises(SignalError, match="nothing at now"):
        table(PLAIN).fetch(NOW + hours * HOUR)


def test_the_past_is_what_has_ended(table):
    got = table(PLAIN).history(NOW - 9 * HOUR, NOW)
    assert (got.start_utc, list(got.values)) == (NOW - HOUR * 4 / 3, [100.0])
    got = table(PLAIN).history(NOW, NOW + HOUR)
    assert list(got.values) == [110.0]
    for hours in (-1, 99):
        with pytest.raises(SignalError, match="no rows before now in the time asked for"):
            table(PLAIN).history(NOW + hours * HOUR, NOW + hours * HOUR + HOUR / 2)


def test_of_forecasts_the_newest_that_was_issued_holds(table):
    """The one of 23:30 is not known at 23:20."""
    got = table(ISSUED).fetch(NOW)
    assert (list(got.values), got.issued_utc) == ([2.0, 2.0], NOW - HOUR * 5 / 6)
    with pytest.raises(SignalError, match="no forecast issued by now covers now"):
        table(ISSUED).fetch(NOW - 2 * HOUR)
    with pytest.raises(SignalError, match="holds forecasts, nothing measured"):
        table(ISSUED).history(NOW - HOUR, NOW)
