# SPDX-License-Identifier: Apache-2.0
"""CSV traces: placing in time, and one clear sentence for every bad file."""

import os
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from slurm_green.errors import SignalError
from slurm_green.signals.csv_trace import MAX_BYTES, CsvTrace, parse_trace

NOW = datetime(2026, 3, 29, 0, 30, tzinfo=UTC)
DAY = "start_s,carbon_g_per_kwh\n" + "".join(f"{h * 3600},{100 + h}\n" for h in range(24))


@pytest.fixture
def trace_file(tmp_path):
    def write(text):
        path = tmp_path / "trace.csv"
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return path

    return write


def test_dated_rows_keep_their_times(trace_file):
    """start_utc with Z, with an offset and without either is the same instant."""
    path = trace_file(
        "start_utc,note,carbon_g_per_kwh\n"
        "2026-03-29T00:00:00Z,a,200\n2026-03-29T02:00:00+01:00,b,300\n2026-03-29 02:00,c,400\n"
    )
    got = CsvTrace(path=path).fetch(NOW)
    assert (NOW - timedelta(minutes=30), 3600.0) == (got.start_utc, got.step_s)
    assert list(got.values) == [200.0, 300.0, 400.0]
    assert got.issued_utc.timestamp() == pytest.approx(path.stat().st_mtime, abs=1e-3)


def test_bom_and_windows_line_ends(trace_file):
    """Files from a spreadsheet are read."""
    path = trace_file(b"\xef\xbb\xbf" + DAY.replace("\n", "\r\n").encode())
    assert CsvTrace(path=path, anchor_utc=NOW).fetch(NOW).values[23] == 123.0


def test_undated_needs_an_anchor(trace_file):
    """A trace without dates is not silently placed somewhere."""
    with pytest.raises(SignalError, match="anchor_utc"):
        CsvTrace(path=trace_file(DAY)).fetch(NOW)


def test_anchor_places_second_zero(trace_file):
    """start_s counts from the anchor, even when the first row does not begin at 0."""
    path = trace_file("start_s,carbon_g_per_kwh\n3600,5\n7200,6\n")
    got = CsvTrace(path=path, anchor_utc=NOW).fetch(NOW + timedelta(hours=1))
    assert NOW + timedelta(hours=1) == got.start_utc


def test_not_covering_now_is_an_error(trace_file):
    """A trace that ended is no signal."""
    with pytest.raises(SignalError, match="not now"):
        CsvTrace(path=trace_file(DAY), anchor_utc=NOW).fetch(NOW + timedelta(days=1, seconds=1))


def test_time_scale_compresses_real_time(trace_file):
    """At 720 a day takes two minutes, and the series says how it was scaled."""
    got = CsvTrace(path=trace_file(DAY), anchor_utc=NOW, time_scale=720).fetch(NOW)
    assert (got.step_s, got.time_scale) == (5.0, 720.0)
    assert NOW + timedelta(minutes=2) == got.end_utc
    assert got.at(NOW + timedelta(seconds=119)) == 123.0


@given(st.floats(-3e6, 3e6), st.sampled_from([1.0, 7.0, 720.0]))
def test_repeat_plays_the_same_day(tmp_path_factory, seconds, scale):
    """At any instant, before the anchor too, the value is that of the trace's own time of day."""
    path = tmp_path_factory.getbasetemp() / "repeat.csv"
    if not path.exists():
        path.write_text(DAY)
    now = NOW + timedelta(seconds=seconds)
    got = CsvTrace(path=path, anchor_utc=NOW, repeat=True, time_scale=scale).fetch(now)
    at = now + timedelta(seconds=0.25 * 3600 / scale)
    phase_h = (at - NOW).total_seconds() * scale / 3600 % 24
    if abs(phase_h - round(phase_h)) > 1e-3:  # not on an edge, where rounding may decide
        assert got.at(at) == 100 + int(phase_h)
    assert got.covers(now - timedelta(days=1) / scale, now + timedelta(days=6) / scale)


def test_repeat_is_the_same_series_in_overlapping_fetches(trace_file):
    """Two fetches agree wherever both cover, so that a plan does not jump."""
    trace = CsvTrace(path=trace_file(DAY), anchor_utc=NOW, repeat=True, time_scale=720)
    one, two = trace.fetch(NOW), trace.fetch(NOW + timedelta(seconds=37.3))
    for second in range(0, 120, 3):
        at = NOW + timedelta(seconds=second + 0.5)
        assert one.at(at) == two.at(at)


def test_changed_file_is_read_again(trace_file):
    """The parsed trace is kept only as long as the file is the same."""
    path = trace_file(DAY)
    trace = CsvTrace(path=path, anchor_utc=NOW)
    assert trace.fetch(NOW).at(NOW) == 100.0
    trace_file(DAY.replace("0,100", "0,555"))
    os.utime(path, ns=(1, 1))
    assert trace.fetch(NOW).at(NOW) == 555.0


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (b"", "is empty"),
        (b"\n\n", "is empty"),
        (b"start_s,carbon_g_per_kwh\n", "no rows"),
        (b"0,100\n3600,100\n", "line 1: header"),
        (b"start_s,carbon_g_per_kwh\n0,100\n3600,25", "line 3: does not end in a newline"),
        (b"start_s,carbon_g_per_kwh\n0,100\n3600\n", "line 3: 1 columns"),
        (b"start_s,carbon_g_per_kwh\n0,nan\n", "line 2: column carbon_g_per_kwh: 'nan'"),
        (b"start_s,carbon_g_per_kwh\n0,inf\n", "finite"),
        (b"start_s,carbon_g_per_kwh\n0,\n", "line 2: column carbon_g_per_kwh: ''"),
        (b"start_s,carbon_g_per_kwh\n0,-3\n", "-3 is not between 0 and"),
        (b"start_s,carbon_g_per_kwh\n0,1e300\n", "not between 0 and"),
        (b"start_s,carbon_g_per_kwh\n0,12 g\n", "'12 g' is not a number"),
        (b"start_s,carbon_g_per_kwh\n0,1_2\n", "'1_2' is not a number"),
        (b"start_s,carbon_g_per_kwh\nx,1\n", "line 2: column start_s"),
        (b"start_s,carbon_g_per_kwh\n1e99,1\n", "too large"),
        (b"start_s,carbon_g_per_kwh\n0,1\n0,1\n", "line 3: column start_s: not after"),
        (b"start_s,carbon_g_per_kwh\n0,1\n60,1\n180,1\n", "line 4: column start_s: a step of"),
        (b"start_utc,carbon_g_per_kwh\nyesterday,1\n", "column start_utc: 'yesterday'"),
        (b"start_s,carbon_g_per_kwh\n0,1\n\xff\xfe,1\n", "line 3: not UTF-8"),
        (b'start_s,carbon_g_per_kwh\n0,"1\n', "line"),
    ],
)
def test_bad_files_say_where(text, words):
    """Every defect names its file, line and column."""
    with pytest.raises(SignalError) as caught:
        parse_trace(text, "a/trace.csv")
    assert str(caught.value).startswith("a/trace.csv")
    assert words in str(caught.value)


@given(st.binary(max_size=200))
def test_any_bytes_give_a_trace_or_one_kind_of_error(data):
    """Rubbish never raises anything but SignalError."""
    try:
        parse_trace(b"start_s,carbon_g_per_kwh\n" + data, "x")
    except SignalError:
        pass


def test_missing_directory_and_huge_file(tmp_path, trace_file):
    """What cannot be read is said in one sentence, and a huge file is not loaded."""
    with pytest.raises(SignalError, match="No such file"):
        CsvTrace(path=tmp_path / "none.csv").fetch(NOW)
    with pytest.raises(SignalError, match="not a plain file"):
        CsvTrace(path=tmp_path).fetch(NOW)
    path = trace_file(DAY)
    os.truncate(path, MAX_BYTES + 5)
    with pytest.raises(SignalError, match="larger than 16 MiB"):
        CsvTrace(path=path, anchor_utc=NOW).fetch(NOW)


@pytest.mark.parametrize("scale", [0.0, -1.0, float("nan")])
def test_settings_are_checked(tmp_path, scale):
    """A time scale must be positive, and repeating needs an anchor."""
    with pytest.raises(SignalError, match="time_scale"):
        CsvTrace(path=tmp_path, anchor_utc=NOW, time_scale=scale)
    with pytest.raises(SignalError, match="anchor_utc"):
        CsvTrace(path=tmp_path, repeat=True)


def test_beyond_the_calendar(trace_file):
    """A scale that leads beyond year 9999 is an error, not a crash."""
    with pytest.raises(SignalError, match="calendar"):
        CsvTrace(path=trace_file(DAY), anchor_utc=NOW, time_scale=1e-9).fetch(NOW)
