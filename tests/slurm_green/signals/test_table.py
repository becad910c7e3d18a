# SPDX-License-Identifier: Apache-2.0
"""Tables of pasts and forecasts: what they mean, and one sentence for every bad one."""

import gzip
import lzma
import math
import os
import time
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from slurm_green.errors import SignalError
from slurm_green.signals import column_files
from slurm_green.signals.measured import Measured
from slurm_green.signals.quantity import QUANTITIES
from slurm_green.signals.table import read_history, write_history_csv

START = datetime(2026, 10, 24, 22, tzinfo=UTC)  # midnight in Berlin before clocks go back
BERLIN = ZoneInfo("Europe/Berlin")
HEADER = "start_utc,carbon_g_per_kwh\n"
NAN = math.nan


@pytest.fixture
def table(tmp_path):
    def write(text, name="past.csv"):
        path = tmp_path / name
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return path

    return write


@pytest.fixture
def in_tokyo(monkeypatch):
    """The machine's own zone is far from UTC."""
    monkeypatch.setenv("TZ", "Asia/Tokyo")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


def failure(act):
    with pytest.raises(SignalError) as caught:
        act()
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize(
    "text",
    [
        HEADER + "2026-10-24T22:00Z,1\n2026-10-25T01:00+02:00,2\n2026-10-25 01:00,4\n",
        "start_s,carbon_g_per_kwh\n1792879200,1\n1792882800,2.0\n1792886400,\n1792890000,4e0\n",
        "\ufeffstart_utc,note , carbon_g_per_kwh,start_local\r\n"
        "2026-10-24T22:00,x,1,?\r\n\r\n,,,\r\n"
        " 2026-10-24T23:00 ,x, 2,?\r\n2026-10-25T00:00,'',nan,?\r\n2026-10-25T01:00,y,4,?\r\n",
    ],
)
def test_past(table, text, in_tokyo):
    """Three ways to write the same past with a gap, whatever the machine's own zone is."""
    got = read_history(table(text), region="DE", scope="direct", provider="meter")
    assert (got.start_utc, got.step_s) == (START, 3600.0)
    np.testing.assert_array_equal([1, 2, NAN, 4], got.values)
    about = (got.quantity, got.region, got.basis, got.scope, got.provider)
    assert about == ("carbon_g_per_kwh", "DE", "average", "direct", "meter")


def test_wall_clocks(table):
    """A local day of 25 hours: the hour shown twice is two hours, the file's order says which."""
    shown = [START + timedelta(hours=n) for n in range(25)]
    rows = [f"{at.astimezone(BERLIN):%Y-%m-%d %H:%M},{n}\n" for n, at in enumerate(shown)]
    assert rows[2].startswith("2026-10-25 02:00")
    assert rows[3].startswith("2026-10-25 02:00")
    path = table("start_local,price_per_kwh\n" + "".join(rows))
    got = read_history(path, "price_per_kwh", time_zone=BERLIN)
    assert got.start_utc == START
    assert list(got.values) == list(range(25))
    assert "needs a time_zone" in failure(lambda: read_history(path, "price_per_kwh"))


@pytest.mark.parametrize(
    ("rows", "words"),
    [("2026-03-29 01:00,1\n2026-03-29 02:00,2\n", "line 3: column start_local: 2026-03-29 02:00"),
     ("2026-10-25T02:00+01:00,1\n", "is not a local time like"),
     ("2026-10-25 02:00,1\n" * 3, "line 4: column start_local: not after")],
)  # fmt: skip
def test_bad_wall_clocks(table, rows, words):
    """Hours that never were, are no local ones, or were shown twice only."""
    path = table("start_local,carbon_g_per_kwh\n" + rows)
    assert words in failure(lambda: read_history(path, time_zone=BERLIN))


def test_steps(table):
    """The smallest distance, what is asked, an hour for a lone row; 15 minutes beside hours."""
    path = table("start_s,renewable_w\n0,5\n7200,6\n8100,7\n")
    got = read_history(path, "renewable_w")
    assert (got.step_s, list(got.values[[0, 8, 9]])) == (900.0, [5.0, 6.0, 7.0])
    assert (got.known, len(got.values)) == (3, 10)
    assert read_history(path, "renewable_w", 450).step_s == 450.0
    text = failure(lambda: read_history(path, "renewable_w", 3600))
    assert "line 4: column start_s: lies between two steps of 3600 s" in text
    assert read_history(table("start_s,renewable_w\n0,5\n"), "renewable_w").step_s == 3600.0


def test_hours_that_begin_at_half_past(table):
    """India's hours become half hours, as pasts have UTC's grid; oddities do not become seconds."""
    path = table("start_s,carbon_g_per_kwh\n1800,5\n5400,6\n")
    got = read_history(path)
    assert (got.start_utc.timestamp(), got.step_s) == (1800.0, 1800.0)
    assert list(got.values) == [5.0, 5.0, 6.0, 6.0]
    assert "this one 1800 s after" in failure(lambda: read_history(path, step_s=3600))
    odd = table("start_s,carbon_g_per_kwh\n7,5\n3607,6\n")
    assert "line 2: column start_s: steps of 3600 s" in failure(lambda: read_history(odd))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "is empty"),
        (HEADER, "has a header but no rows"),
        (HEADER + "2026-01-01,1", "line 2: does not end in a newline"),
        (HEADER + "2026-01-01,\n", "column carbon_g_per_kwh holds no value"),
        ("start_utc,gCO2\n2026-01-01,1\n", "header 'start_utc,gCO2'; wanted start_utc or start_s"),
        ("start_s,carbon_g_per_kwh,carbon_g_per_kwh\n0,1,1\n", "carbon_g_per_kwh, once"),
        (HEADER + "2026-01-01,1\n2026-01-02,1,5\n", "line 3: 3 columns where the header has 2"),
        (HEADER + "2026-01-01\n", "line 2: 1 columns"),
        (HEADER + "\n2026-01-01,1\n2026-01-01,2\n", "line 4: column start_utc: not after the row"),
        (HEADER + "2026-01-02,1\n2026-01-01,2\n", "line 3: column start_utc: not after the row"),
        (HEADER + "2026-13-01,1\n", "line 2: column start_utc: '2026-13-01' is not a time like"),
        (HEADER + ",1\n", "line 2: column start_utc: '' is not a time like"),
        (HEADER + "9999-12-31,1\n", "line 2: column start_utc: 2.53402e+11 is no time"),
        ("start_s,carbon_g_per_kwh\n1792879200000,1\n", "column start_s: 1.79288e+12 is no time"),
        ("start_s,carbon_g_per_kwh\nnan,1\n", "line 2: column start_s: nan is no time"),
        ("start_s,carbon_g_per_kwh\n0,1\n3600,1\n5000,1\n", "line 3: column start_s: lies between"),
        ("start_s,carbon_g_per_kwh\n0,1\n1,1\n9000000,1\n", "spans more than"),
        (HEADER + "2026-01-01,twelve\n", "line 2: column carbon_g_per_kwh: 'twelve' is no number"),
        (HEADER + "2026-01-01,1_2\n", "line 2: column carbon_g_per_kwh: '1_2' is no number"),
        ("start_s,carbon_g_per_kwh\n3_600,1\n", "column start_s: '3_600' is not a number of"),
        (HEADER + "2026-01-01,-1\n", "line 2: column carbon_g_per_kwh: -1 is not between 0 and"),
        (HEADER + "2026-01-01,inf\n", "line 2: column carbon_g_per_kwh: inf is not between"),
        (HEADER + '2026-01-01,"1\n', "line 2: unexpected end of data"),
        (HEADER.encode() + b"2026-01-01,\xff\n", "line 2: not UTF-8"),
    ],
)
def test_bad_tables(table, text, words):
    """Each names the file, and where it can the line and the column."""
    path = table(text)
    said = failure(lambda: read_history(path))
    assert said.startswith(f"{path}: ")
    assert words in said


@pytest.mark.parametrize(("ending", "pack"), [("csv.gz", gzip.compress), ("csv.xz", lzma.compress)])
def test_compressed(table, ending, pack, monkeypatch):
    """Unpacked on the way; cut, damaged and exploding ones are refused."""
    whole = pack((HEADER + "2026-10-24T22:00,7\n").encode())
    assert list(read_history(table(whole, f"a.{ending}")).values) == [7.0]
    for bad in (whole[:-9], b"PK", whole[:30] + b"\0\0\0\0" + whole[34:]):
        path = table(bad, f"b.{ending}")
        assert "cut or damaged" in failure(lambda path=path: read_history(path))
    monkeypatch.setattr(column_files, "MAX_BYTES", 2**20)
    bomb = table(pack(b" " * 2**22), f"c.{ending}")
    assert "larger than 1 MiB" in failure(lambda: read_history(bomb))


def test_what_is_no_file(tmp_path):
    """A pipe must not block, and a name must say what is in the file."""
    os.mkfifo(tmp_path / "pipe.csv")
    (tmp_path / "folder.csv").mkdir()
    began = time.monotonic()
    for name, words in (("pipe.csv", "not a plain file"), ("folder.csv", "not a plain file"),
                        ("none.csv", "No such file"), ("past.xlsx", ".csv.gz")):  # fmt: skip
        assert words in failure(lambda name=name: read_history(tmp_path / name))
    assert time.monotonic() - began < 60


AMOUNTS = st.one_of(st.just(NAN), st.floats(0, 900), st.floats(-900, 900))


@given(
    st.lists(AMOUNTS, min_size=1, max_size=40).filter(lambda one: not all(map(math.isnan, one))),
    st.sampled_from([0.5, 60.0, 900.0, 3600.0, 86_400.0]),
    st.integers(-30_000, 60_000),
    st.sampled_from(sorted(QUANTITIES)),
)
def test_round_trip(tmp_path_factory, values, step_s, day, quantity):
    """What was written is read again to the last bit, gaps and the length of a lone step too."""
    if not QUANTITIES[quantity].may_be_negative:
        values = [abs(one) for one in values]
    start = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(days=day)
    past = Measured(start_utc=start, step_s=step_s, values=values, provider="x", quantity=quantity)
    path = tmp_path_factory.getbasetemp() / "round.csv"
    write_history_csv(path, past)
    got = read_history(path, quantity)
    assert (start, step_s) == (got.start_utc, got.step_s)
    np.testing.assert_array_equal(values, got.values[: len(values)])
    assert np.isnan(got.values[len(values) :]).all()
    assert len(got.values) <= max(len(values), 2)


def test_writing(tmp_path):
    """Plain text that people and other tools read, in place of the old file or not at all."""
    past = Measured(start_utc=START, step_s=1800.0, values=[1.5, NAN, 3.0], provider="x")
    path = tmp_path / "past.csv"
    path.write_text("old")
    write_history_csv(path, past)
    assert path.read_text() == HEADER + (
        "2026-10-24T22:00:00Z,1.5\n2026-10-24T22:30:00Z,\n2026-10-24T23:00:00Z,3.0\n"
    )
    assert list(tmp_path.iterdir()) == [path]
    assert "cannot write" in failure(lambda: write_history_csv(tmp_path / "no" / "a.csv", past))
    assert "as .csv" in failure(lambda: write_history_csv(tmp_path / "a.csv.xz", past))
