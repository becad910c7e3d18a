# SPDX-License-Identifier: Apache-2.0
"""`sgreen forecast` and `sgreen fetch`."""

import pytest


def test_the_chart_marks_the_cleanest_hour(sgreen):
    """A bar per step, and where the signal comes from."""
    sgreen.signal()

    lines = sgreen("forecast", "--hours", "6").stdout.splitlines()

    assert len(lines) == 7
    assert lines[4].startswith("Sun 16:00    100 █")
    assert lines[4].endswith("cleanest")
    assert lines[6] == "gCO2e/kWh (average) from neso GB, 5 min old, ends in 2 d 0 h"


def test_long_spans_are_grouped(sgreen):
    """It fits a screen."""
    sgreen.signal()

    assert len(sgreen("forecast", "--hours", "48").stdout.splitlines()) == 49
    sgreen.signal(hours=47)
    assert len(sgreen("forecast", "--hours", "300").stdout.splitlines()) <= 49


def test_json_and_csv(sgreen):
    """The same numbers."""
    sgreen.signal()

    found = sgreen.json("forecast", "--hours", "2")

    assert found["now_g_per_kwh"] == 300
    assert found["values"] == [
        {"start_utc": "2026-11-22T12:00:00Z", "carbon_g_per_kwh": 300.0},
        {"start_utc": "2026-11-22T13:00:00Z", "carbon_g_per_kwh": 250.0},
    ]
    assert sgreen("forecast", "--hours", "2", "--csv").stdout.splitlines() == [
        "start_utc,carbon_g_per_kwh",
        "2026-11-22T12:00:00Z,300",
        "2026-11-22T13:00:00Z,250",
    ]


def test_no_signal_is_status_1(sgreen):
    """One line, no chart."""
    done = sgreen("forecast")

    assert done.exit_code == 1
    assert done.stderr.startswith("sgreen: no usable signal")


def test_the_picture_appears_whole(sgreen, tmp_path):
    """A PNG, and no temporary file beside it."""
    pytest.importorskip("matplotlib", reason="needs the extra slurm-green[plot]")
    sgreen.signal()
    folder = tmp_path / "out"
    folder.mkdir()

    done = sgreen("forecast", "--plot", folder / "day.png")

    assert done.exit_code == 0, done.output
    assert [path.name for path in folder.iterdir()] == ["day.png"]
    assert (folder / "day.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    "words", [["--csv", "--json"], ["--hours", "0"], ["--plot", "/nowhere/day.gif"]]
)
def test_bad_input_is_status_2(sgreen, words):
    """And writes nothing to stdout."""
    sgreen.signal()

    done = sgreen("forecast", *words)

    assert done.exit_code == 2
    assert done.stdout == ""


def test_fetch_every_prints_no_json(sgreen):
    """It does not end."""
    assert sgreen("fetch", "--every", "600", "--json").exit_code == 2
