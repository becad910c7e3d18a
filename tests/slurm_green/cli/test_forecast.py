# SPDX-License-Identifier: Apache-2.0
"""`sgreen forecast`: chart, picture, JSON, CSV; and what of `sgreen fetch` needs no network."""

import re
from dataclasses import replace
from datetime import timedelta
from zoneinfo import ZoneInfo

import matplotlib
import numpy as np
import pytest
import signal_cases as cases

from slurm_green.cli.chart import chart
from slurm_green.cli.signal_steps import averages, steps
from slurm_green.signals.quantity import PRICE, RENEWABLE
from slurm_green.signals.series import Series


def _bars(lines):
    return [line for line in lines if re.match(r"\d\d:\d\d(:\d\d)? |\w{3} [ \d]\d \w{3} ", line)]


def _shown(signal, hours):
    return steps(signal, cases.NOW, cases.NOW + timedelta(hours=hours))


def test_the_chart_marks_the_cleanest_hour(sgreen):
    """A bar per step, and where the signal comes from."""
    sgreen.signal()

    lines = sgreen("forecast", "--hours", "6").stdout.splitlines()

    assert lines[0] == "Carbon intensity of GB in gCO2e/kWh (average), times in UTC"
    assert lines[1].startswith("── Sun 22 Nov ──")
    assert lines[2] == "   ─ forecast by neso"
    assert lines[7].startswith("16:00      100 █")
    assert [line for line in lines if line.endswith(" cleanest")] == [lines[7]]
    assert lines[-1] == "neso, 5 min old, ends in 2 d 0 h"


def test_the_band_is_drawn_where_it_is_known(sgreen):
    """Dark up to what is expected, light up to p90, and a line that explains it."""
    cases.leave(sgreen, cases.series())

    lines = sgreen("forecast", "--hours", "5").stdout.splitlines()

    assert re.search(r" 300 █+▓+░+$", lines[3])
    assert lines[-2].startswith("█▓ up to what is expected")
    sgreen.signal()
    assert "░" not in sgreen("forecast", "--hours", "5").stdout


def test_days_and_changes_of_origin_have_a_line(sgreen):
    """Provider, then the built-in forecast, then what is usual."""
    cases.leave(sgreen, cases.whole())

    lines = sgreen("forecast", "--hours", "72").stdout.splitlines()

    assert [line.strip(" ─") for line in lines if line.startswith(("──", "   ─"))] == [
        "Sun 22 Nov",
        "forecast by neso",
        "Mon 23 Nov",
        "from here on: built-in forecast",
        "Tue 24 Nov",
        "from here on: what is usual",
        "Wed 25 Nov",
    ]
    assert max(map(len, lines)) <= 80


@pytest.mark.parametrize("hours", [1, 24, 48, 72, 300, 336, 1440])
def test_any_span_fits_a_screen(sgreen, hours):
    """80 columns, some forty lines of bars."""
    cases.leave(sgreen, cases.whole())

    lines = sgreen("forecast", "--hours", hours).stdout.splitlines()

    assert 1 <= len(_bars(lines)) <= 40
    assert max(map(len, lines)) <= 80


def test_bars_follow_the_local_day():
    """Hours of a day whose clock is turned back are all there, and days begin at midnight."""
    night = cases.NOW.replace(month=10, day=24, hour=22)
    signal = cases.series(start=night, hours=12, values=np.arange(100.0, 112.0))
    shown = steps(signal, night, night + timedelta(hours=12))

    lines = chart(shown, signal.kind, ZoneInfo("Europe/London"), fine=True)

    assert [line[:5] for line in _bars(lines)][:5] == ["23:00", "00:00", "01:00", "01:00", "02:00"]
    assert "Sun 25 Oct" in lines[3]


def test_an_old_terminal_gets_plain_characters():
    """What cannot be shown is not sent."""
    lines = chart(_shown(cases.whole(), 48), cases.whole().kind, ZoneInfo("UTC"), fine=False)

    assert "".join(lines).replace("\x1b", "").isascii()


def test_negative_prices_hang_below_an_axis():
    """Zero is a column of its own then."""
    price = Series(
        start_utc=cases.NOW,
        step_s=3600,
        values=np.array([0.2, 0.05, -0.1, 0.1]),
        issued_utc=cases.NOW,
        provider="em",
        quantity=PRICE.name,
    )

    lines = _bars(chart(_shown(price, 4), PRICE, ZoneInfo("UTC"), fine=True))

    assert lines[2].endswith("cheapest\x1b[0m")
    assert "-0.1000" in lines[2]
    assert lines[0].index("█") > lines[2].index("█")


def test_the_best_of_supply_is_the_most_of_it():
    """Everything else is best where it is least; where all is alike nothing is marked."""
    supply = cases.series(quantity=RENEWABLE.name)
    flat = replace(supply, values=np.full(24, 5.0), quantiles={})

    marked = chart(_shown(supply, 24), RENEWABLE, ZoneInfo("UTC"), fine=True)

    assert next(line for line in marked if "most" in line).startswith("17:00")
    assert not any(
        "most" in line for line in chart(_shown(flat, 24), RENEWABLE, ZoneInfo("UTC"), fine=True)
    )


def test_colour_is_left_out_where_it_is_not_wanted(sgreen):
    """A pipe, or NO_COLOR."""
    cases.leave(sgreen, cases.whole())
    sgreen.environ["NO_COLOR"] = "1"

    assert "\x1b" not in sgreen("forecast", "--hours", "72").output


def test_json(sgreen):
    """All that is known of each step, and where each stretch comes from."""
    cases.leave(sgreen, cases.whole())

    found = sgreen.json("forecast", "--hours", "26")

    assert found["now_g_per_kwh"] == 300
    assert found["quantity"] == "carbon_g_per_kwh"
    assert found["age_s"] == 720
    assert [found[key] for key in ("unit", "basis", "scope", "region", "provider")] == [
        "gCO2e/kWh",
        "average",
        "direct",
        "GB",
        "neso",
    ]
    assert found["values"][0] == {
        "start_utc": "2026-11-22T12:00:00Z",
        "carbon_g_per_kwh": 300.0,
        "p10": 240.0,
        "p90": 360.0,
        "kind": "forecast",
    }
    assert len(found["values"]) == 26
    assert [(one["provider"], one["kind"]) for one in found["origins"]] == [
        ("neso", "forecast"),
        ("forecast(neso)", "forecast"),
        ("climatology(neso)", "climatology"),
    ]
    assert found["origins"][0]["end_utc"] == found["origins"][1]["start_utc"]
    assert found["origins"][-1]["end_utc"] == found["end_utc"]


def test_json_says_null_where_nobody_knows(sgreen):
    """Unknown is not 0."""
    sgreen.signal()

    values = sgreen.json("forecast", "--hours", "2")["values"]

    assert values == [
        {
            "start_utc": f"2026-11-22T{hour}:00:00Z",
            "carbon_g_per_kwh": value,
            "p10": None,
            "p90": None,
            "kind": "forecast",
        }
        for hour, value in ((12, 300.0), (13, 250.0))
    ]


def test_csv_is_what_replay_reads(sgreen):
    """POSIX seconds; issued when the newest part was: nobody knew all of it before."""
    cases.leave(sgreen, cases.whole())

    rows = sgreen("forecast", "--hours", "25", "--csv").stdout.splitlines()

    assert rows[0] == "issued_s,start_s,carbon_g_per_kwh,p10,p90,issued_utc,start_utc"
    assert rows[1] == (
        "1795348740,1795348800,300,240,360,2026-11-22T11:59:00Z,2026-11-22T12:00:00Z"
    )
    assert len(rows) == 26
    assert {row.split(",")[0] for row in rows[1:]} == {"1795348740"}


def test_csv_leaves_cells_empty_where_nobody_knows(sgreen):
    """Never 0."""
    sgreen.signal()

    row = sgreen("forecast", "--hours", "1", "--csv").stdout.splitlines()[1]

    assert row.split(",")[2:5] == ["300", "", ""]


def test_csv_round_trips_through_the_reader_of_forecasts(sgreen, tmp_path):
    """Its first columns are the contract; the last two are for people."""
    from slurm_green.signals.table import read_forecasts

    cases.leave(sgreen, cases.whole())
    rows = sgreen("forecast", "--hours", "48", "--csv").stdout.splitlines()
    path = tmp_path / "forecast.csv"
    path.write_text("".join(f"{','.join(row.split(',')[:5])}\n" for row in rows))

    (found,) = read_forecasts(path)

    assert found.start_utc == cases.NOW
    np.testing.assert_allclose(found.values, cases.whole().values[:48])
    np.testing.assert_allclose(found.quantiles[0.9], cases.whole().quantiles[0.9][:48])


def test_csv_carries_the_renewable_supply_on_the_same_steps(sgreen):
    """Averaged over longer ones; empty where it is not covered."""
    supply = Series(
        start_utc=cases.NOW,
        step_s=1800,
        values=np.array([100.0, 300, 50, 50]),
        issued_utc=cases.NOW,
        provider="roof",
        quantity=RENEWABLE.name,
        quantiles={0.1: np.array([80.0, 100, 20, 20]), 0.9: np.array([200.0, 400, 90, np.nan])},
    )
    sgreen.signal()
    cases.leave(sgreen, supply, quantity=RENEWABLE.name)

    rows = sgreen("forecast", "--hours", "3", "--csv").stdout.splitlines()

    assert rows[0] == (
        "issued_s,start_s,carbon_g_per_kwh,p10,p90,renewable_w,renewable_p10,renewable_p90,"
        "issued_utc,start_utc"
    )
    assert [row.split(",")[5:8] for row in rows[1:]] == [
        ["200", "90", "300"],
        ["50", "20", ""],
        ["", "", ""],
    ]


def test_a_damaged_renewable_signal_costs_its_columns_only(sgreen):
    """And is said on stderr."""
    sgreen.signal()
    (sgreen.config.paths.signal.parent / "signal-renewable.json").write_text("{")

    done = sgreen("forecast", "--hours", "1", "--csv")

    assert done.exit_code == 0
    assert "renewable" not in done.stdout
    assert "renewable supply left out" in done.stderr


def test_averages_need_a_series_that_covers():
    """Weighted by time."""
    signal = cases.series()
    span = (cases.NOW + timedelta(minutes=30), cases.NOW + timedelta(minutes=90))

    assert averages(signal, [span]) == [(275.0, 220.0, pytest.approx(330.0))]
    assert averages(None, [span]) == [(None, None, None)]
    assert averages(signal, [(cases.NOW - timedelta(hours=1), cases.NOW)]) == [(None, None, None)]


@pytest.mark.parametrize(
    ("word", "name", "key"),
    [
        ("price", "price_per_kwh", "now_per_kwh"),
        ("renewable", "renewable_w", "now_w"),
        ("base-power", "base_power_w", "now_w"),
    ],
)
def test_every_quantity_has_its_own_file(sgreen, word, name, key):
    """Text, JSON and CSV name it and its unit."""
    assert sgreen("forecast", "--quantity", word).exit_code == 1
    cases.leave(sgreen, cases.series(quantity=name), quantity=name)

    found = sgreen.json("forecast", "--quantity", word)

    assert found["quantity"] == name
    assert found[key] == 300
    assert found["values"][0][name] == 300
    assert found["unit"] in sgreen("forecast", "--quantity", word).stdout
    header = sgreen("forecast", "--quantity", word, "--csv").stdout.splitlines()[0]
    quantiles = ("renewable_p10", "renewable_p90") if word == "renewable" else ("p10", "p90")
    assert header.split(",") == ["issued_s", "start_s", name, *quantiles, "issued_utc", "start_utc"]


def test_a_file_of_another_quantity_is_refused(sgreen):
    """A copy to the wrong name must not become a price."""
    cases.leave(sgreen, cases.series(), quantity="price_per_kwh")

    done = sgreen("forecast", "--quantity", "price")

    assert done.exit_code == 1
    assert "holds carbon_g_per_kwh" in done.stderr


def test_no_signal_is_status_1(sgreen):
    """One line, no chart."""
    done = sgreen("forecast")

    assert done.exit_code == 1
    assert done.stdout == ""
    assert done.stderr.startswith("sgreen: no usable signal")


@pytest.mark.parametrize("ending", ["png", "svg", "pdf"])
@pytest.mark.parametrize("signal", [cases.whole(), cases.series(band=False)], ids=["band", "line"])
def test_the_picture_appears_whole(sgreen, tmp_path, signal, ending):
    """With and without a band, and no temporary file beside it."""
    cases.leave(sgreen, signal)
    folder = tmp_path / "out"
    folder.mkdir()

    done = sgreen("forecast", "--hours", "72", "--plot", folder / f"day.{ending}")

    assert done.exit_code == 0, done.output
    assert [path.name for path in folder.iterdir()] == [f"day.{ending}"]
    start = (folder / f"day.{ending}").read_bytes()[:5]
    assert start == {"png": b"\x89PNG\r", "svg": b"<?xml", "pdf": b"%PDF-"}[ending]


def test_the_picture_says_what_it_shows(sgreen, tmp_path):
    """Legend by origin, zone and now, as text in the SVG."""
    cases.leave(sgreen, cases.whole())
    sgreen.config = replace(
        sgreen.config, general=replace(sgreen.config.general, time_zone="Europe/Paris")
    )

    with matplotlib.rc_context({"svg.fonttype": "none"}):
        assert sgreen("forecast", "--hours", "72", "--plot", tmp_path / "d.svg").exit_code == 0

    text = (tmp_path / "d.svg").read_text()
    for words in (
        "Carbon intensity, GB",
        "forecast by neso, p10 to p90",
        "built-in forecast, p10 to p90",
        "what is usual, p10 to p90",
        "Europe/Paris",
        "now",
        "Mon 23 Nov",
    ):
        assert words in text


def test_a_picture_that_cannot_be_written_is_bad_input(sgreen):
    """As every output of every verb: one line that names the option, before anything is read."""
    done = sgreen("forecast", "--plot", "/nowhere/day.png")

    assert done.exit_code == 2
    assert done.stdout == ""
    assert done.stderr == (
        "sgreen: --plot /nowhere/day.png: cannot be written: No such file or directory\n"
    )


@pytest.mark.parametrize(
    "words",
    [
        ["--csv", "--json"],
        ["--hours", "0"],
        ["--hours", "1441"],
        ["--hours", "nan"],
        ["--quantity", "wind"],
        ["--plot", "/nowhere/day.gif"],
        ["--plot", "/nowhere/day"],
    ],
)
def test_bad_input_is_status_2(sgreen, words):
    """One line, and nothing on stdout."""
    sgreen.signal()

    done = sgreen("forecast", *words)

    assert done.exit_code == 2
    assert done.stdout == ""
    assert done.stderr.count("\n") == 1


def test_fetch_every_prints_no_json(sgreen):
    """It does not end."""
    assert sgreen("fetch", "--every", "600", "--json").exit_code == 2
