# SPDX-License-Identifier: Apache-2.0
"""What is known ahead: on which hour it stands, and from when on an origin is shown it."""

from datetime import UTC, datetime, timedelta

import numpy as np
import pytest

from slurm_green.errors import SignalError
from slurm_green.signals.regressors import read_regressors

START = datetime(2026, 12, 31, 22, tzinfo=UTC)
HOUR = timedelta(hours=1)


@pytest.fixture
def read(tmp_path):
    def read(text):
        path = tmp_path / "ahead.csv"
        path.write_text(text)
        return read_regressors(path)

    return read


def test_rows_stand_on_their_hours_and_wait_for_their_issue(read):
    """Rows in any order, gaps, and an issue within an hour, known at the next; over a new year."""
    found = read(
        "start_utc,issued_utc,wind,sun\n"
        "2027-01-01T01:00Z,2026-12-31T23:00Z,7,0\n"
        "2026-12-31T23:00Z,2026-12-31T20:30Z,-5,\n"
    )
    assert (found.names, found.start_utc) == (("wind", "sun"), START + HOUR)
    values, known_at = found.aligned(START, 5)
    np.testing.assert_array_equal([np.nan, -5, np.nan, 7, np.nan], values[0])
    np.testing.assert_array_equal([np.nan, np.nan, np.nan, 0, np.nan], values[1])
    np.testing.assert_array_equal([np.inf, -1, np.inf, 1, np.inf], known_at[0])


def test_without_times_of_issue_all_is_always_known(read):
    """Calendars and astronomy."""
    found = read("start_s,day\n0,1\n3600,2\n")
    values, known_at = found.aligned(datetime.fromtimestamp(3600, UTC), 2)
    np.testing.assert_array_equal([[2, np.nan]], values)
    np.testing.assert_array_equal([[-np.inf, np.inf]], known_at)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("start_utc,issued_utc\n2026-12-31T23:00Z,2026-12-31T20:00Z\n", "wanted start_utc or"),
        ("wind\n1\n", "wanted start_utc or start_s and regressors"),
        ("start_utc,wind\n", "no rows"),
        ("start_s,wind\n0,1\n1800,2\n", "two rows for one hour"),
        ("start_s,wind\n0,1e16\n", "is not between"),
    ],
)
def test_what_is_no_table_of_regressors(read, text, words):
    with pytest.raises(SignalError, match=words):
        read(text)
