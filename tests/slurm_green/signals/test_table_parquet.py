# SPDX-License-Identifier: Apache-2.0
"""Pasts in Parquet, as other tools write it."""

import math
import sys
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import numpy as np
import pandas
import pyarrow as arrow
import pytest
from pyarrow import parquet

from slurm_green.errors import SignalError
from slurm_green.signals.table import read_history

START = datetime(2026, 10, 24, 22, tzinfo=UTC)  # midnight in Berlin before clocks go back
BERLIN = ZoneInfo("Europe/Berlin")
NAN = math.nan


def failure(path):
    with pytest.raises(SignalError) as caught:
        read_history(path)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("kind", ["utc", "naive", "text", "seconds", "local"])
def test_parquet(tmp_path, kind):
    """The same past in the types that tools write times in."""
    hours = [START + timedelta(hours=n) for n in (0, 1, 2, 4)]
    naive = [at.replace(tzinfo=None) for at in hours]
    column, times = {
        "utc": ("start_utc", arrow.array(hours, arrow.timestamp("ns", "Europe/Berlin"))),
        "naive": ("start_utc", arrow.array(naive, arrow.timestamp("ms"))),
        "text": ("start_utc", arrow.array([at.isoformat() for at in hours])),
        "seconds": ("start_s", arrow.array([int(at.timestamp()) for at in hours])),
        "local": ("start_local", arrow.array(
            [at.astimezone(BERLIN).replace(tzinfo=None) for at in hours], arrow.timestamp("us"))),
    }[kind]  # fmt: skip
    path = tmp_path / "past.parquet"
    values = arrow.array([1, 2, None, 5], arrow.int16())
    parquet.write_table(arrow.table({"x": ["?"] * 4, column: times, "renewable_w": values}), path)
    got = read_history(path, "renewable_w", time_zone=BERLIN)
    assert (got.start_utc, got.step_s) == (START, 3600.0)
    np.testing.assert_array_equal([1, 2, NAN, NAN, 5], got.values)


def test_parquet_of_pandas(tmp_path):
    """A frame whose index is the time."""
    index = pandas.date_range(START, periods=3, freq="15min", name="start_utc")
    pandas.DataFrame({"price_per_kwh": [0.1, NAN, -0.2]}, index).to_parquet(tmp_path / "p.parquet")
    got = read_history(tmp_path / "p.parquet", "price_per_kwh")
    assert (got.start_utc, got.step_s) == (START, 900.0)
    np.testing.assert_array_equal([0.1, NAN, -0.2], got.values)


def test_bad_parquet(tmp_path):
    """Rows are named as lines are in a CSV."""
    for start, value, words in (
        ([0, 3600], [1.0, -2.0], "row 1: column carbon_g_per_kwh: -2 is not"),
        ([3600, 0], [1.0, 2.0], "row 1: column start_s: not after"),
        ([0, None], [1.0, 2.0], "row 1: column start_s: 'None' is not a number of seconds"),
        ([0, 3600], ["a", "b"], "column carbon_g_per_kwh: Failed to parse"),
    ):
        path = tmp_path / "bad.parquet"
        parquet.write_table(arrow.table({"start_s": start, "carbon_g_per_kwh": value}), path)
        assert words in failure(path)
    times = arrow.array([START, None], arrow.timestamp("s", "UTC"))
    parquet.write_table(arrow.table({"start_utc": times, "carbon_g_per_kwh": [1, 2]}), path)
    assert "row 1: column start_utc: no time" in failure(path)
    path.write_bytes(b"PAR1?")
    assert "is no Parquet file" in failure(path)


def test_parquet_without_pyarrow(tmp_path, monkeypatch):
    """The sentence says what to install."""
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    path = tmp_path / "x.parquet"
    path.write_bytes(b"PAR1")
    assert "pip install 'slurm-green[parquet]'" in failure(path)
