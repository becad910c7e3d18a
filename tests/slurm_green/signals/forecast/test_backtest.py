# SPDX-License-Identifier: Apache-2.0
"""The rolling backtest: when forecasts are made, what they are shown, and how they are judged."""

import csv
import json
import re
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
from click.testing import CliRunner

from slurm_green.cli.root import root
from slurm_green.errors import SignalError
from slurm_green.signals.forecast.backtest import backtest
from slurm_green.signals.forecast.bands import Bands
from slurm_green.signals.forecast.scores import actual_after
from slurm_green.signals.measured import Measured
from slurm_green.signals.regressors import Regressors

START = datetime(2026, 1, 5, tzinfo=UTC)  # a Monday
HOUR = timedelta(hours=1)


class Model:
    """Says what came, less a tenth, and remembers what it was shown."""

    name = "tenth"

    def bands(self, past, origins, hours):
        self.past, self.origins, self.hours = past, origins, hours
        mean = 0.9 * actual_after(past.values, origins, hours)
        return Bands(mean=mean, p10=mean, p50=mean, p90=mean / 0.9 + 1)


def history(days, start=START, step_s=3600.0):
    hour = np.arange(round(24 * days * 3600 / step_s)) * step_s / 3600
    values = 300 + 100 * np.cos(2 * np.pi * hour / 24) + 20 * np.cos(2 * np.pi * hour / 100)
    return Measured(start_utc=start, step_s=step_s, values=values, provider="m", region="XX")


def test_forecasts_follow_one_another_and_the_last_one_is_known_to_its_end():
    """40 days: 30 to learn from, and 72 h behind the last origin for the longest job."""
    model = Model()
    found = backtest(history(40), [model], every_h=5, warm_up_days=30)
    assert model.origins.tolist() == list(range(720, 889, 5))
    assert (found.first_utc, found.last_utc) == (START + 720 * HOUR, START + 885 * HOUR)
    assert (found.origins, found.every_h, found.horizon_h, model.hours) == (34, 5, 24, 72)
    assert (found.provider, found.region, found.quantity) == ("m", "XX", "carbon_g_per_kwh")
    assert len(model.past.values) == 960
    assert backtest(history(40), [model], warm_up_days=37).origins == 1


def test_each_model_is_judged_by_what_came():
    told = []
    (one,) = backtest(history(40), [Model()], horizon_h=48, progress=told.append).verdicts
    assert (one.model, told) == ("tenth", ["tenth"])
    assert one.mape_by_day == [pytest.approx(10), pytest.approx(10)]
    assert one.coverage_80 == 1.0
    came = actual_after(history(40).values, np.arange(28 * 24, 889, 3), 48)
    assert one.pinball == pytest.approx((0.1 * came * (0.1 + 0.5) + 0.1).mean() / 3)
    assert [(two.job_h, two.slack_h, two.share_of_perfect) for two in one.worths] == [
        (6, 24, 1.0), (1, 12, 1.0), (24, 48, 1.0),
    ]  # fmt: skip


def test_the_most_supply_is_looked_for():
    """A site's own, of which the forecast is right: by its own measure it has all of the gain."""
    supply = replace(history(40), quantity="renewable_w")
    (one,) = backtest(supply, [Model()], every_h=5).verdicts
    six, short, _ = one.worths
    assert (six.share_of_perfect, short.share_of_perfect) == (1.0, 1.0)
    assert (six.best > six.now, short.best > short.now) == (True, True)


def test_a_longer_horizon_needs_more_behind_the_last_origin():
    model = Model()
    found = backtest(history(40), [model], horizon_h=96, every_h=24)
    assert (model.hours, model.origins[-1]) == (96, 960 - 96)
    assert len(found.verdicts[0].mape_by_day) == 4


@pytest.mark.parametrize(("days", "first_h"), [(40, 28 * 24), (90, 30 * 24), (300, 59 * 24)])
def test_a_third_of_the_history_is_learned_from_at_first(days, first_h):
    """Four weeks at the least, two months at the most."""
    model = Model()
    backtest(history(days), [model], every_h=168)
    assert model.origins[0] == first_h


def test_a_history_that_is_too_short_is_refused():
    with pytest.raises(
        SignalError,
        match=r"m has 30\.0 days; a backtest needs 31: 28 to learn from, 72 h to judge by",
    ):
        backtest(history(30), [Model()])
    assert backtest(history(31), [Model()]).origins == 1


def test_half_hours_become_hours_and_regressors_reach_beyond():
    """The last origin's horizon is known ahead, too."""
    model, row = Model(), np.arange(2000.0)[None]
    known = Regressors(names=("x",), start_utc=START - HOUR, values=row, issued_s=0 * row)
    backtest(history(35, step_s=1800.0), [model], regressors=known)
    assert len(model.past.values) == 840
    assert model.past.clock == 0
    assert model.past.regressors[0].tolist() == list(range(1, 840 + 72 + 1))
    assert (model.past.known_at < 0).all()


def test_weekdays_without_a_date_are_told_from_before_the_first_origin():
    """What comes later would be the future."""
    past = history(60, start=datetime(1970, 1, 1, tzinfo=UTC))
    weekend, later = past.values.copy(), past.values.copy()
    day = np.arange(len(weekend)) // 24 % 7
    weekend[(day == 3) | (day == 4)] -= 150
    later[:] = weekend
    later[35 * 24 :][(day[35 * 24 :] == 0) | (day[35 * 24 :] == 1)] += 5000
    clocks = []
    for values in (weekend, later):
        model = Model()
        one = Measured(start_utc=past.start_utc, step_s=3600.0, values=values, provider="m")
        backtest(one, [model], warm_up_days=35)
        clocks.append(model.past.clock)
    assert clocks == [2 * 24, 2 * 24]


@pytest.fixture
def table(tmp_path):
    """A history of five weeks as a file."""
    past = history(35)
    path = tmp_path / "past.csv"
    with path.open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["start_utc", "carbon_g_per_kwh"])
        for at, value in enumerate(past.values):
            rows.writerow([f"{past.start_utc + at * HOUR:%Y-%m-%dT%H:%MZ}", value])
    return path


def run(*words):
    return CliRunner().invoke(root, ["signal", "backtest", *map(str, words)])


@pytest.mark.slow
def test_the_verb_prints_the_model_beside_its_references(table):
    """A day that repeats: nearly all that a perfect forecast saves, by all three."""
    done = run("--history", table, "--every-h", 24, "--json")
    assert done.exit_code == 0, done.output
    found = json.loads(done.stdout)
    assert (found["model"], list(found["references"])) == (
        "built-in", ["yesterday-again", "last-week-mean"],
    )  # fmt: skip
    assert (found["origins"], found["every_h"], found["horizon_h"]) == (5, 24, 24)
    assert (
        found["mape_percent_by_day"][0]
        < found["references"]["yesterday-again"]["mape_percent_by_day"][0]
    )
    for one in found["decisions"]:
        assert one["regret"] == pytest.approx(1 - one["share_of_perfect_saving"])
    assert found["decisions"][1]["share_of_perfect_saving"] > 0.95
    text = run("--history", table, "--every-h", 24)
    assert "5 forecasts from 2026-02-02 to 2026-02-06, every 24 h, judged 24 h ahead" in text.stdout
    assert "last-week-mean" in text.stdout


@pytest.mark.slow
@pytest.mark.parametrize(
    ("quantity", "column", "gain", "words"),
    [
        ("price", "price_per_kwh", "saving", r"saves \d+\.\d % of 6 h jobs', .* jobs' cost$"),
        ("renewable", "renewable_w", "gain", r"adds \d+\.\d % to 6 h jobs', .* jobs' supply$"),
    ],
)
def test_the_verb_says_what_of(table, quantity, column, gain, words):
    """Only of carbon it is carbon."""
    table.write_text(table.read_text().replace("carbon_g_per_kwh", column))
    done = run("--history", table, "--every-h", 48, "--quantity", quantity)
    *_, columns, last = done.stdout.splitlines()
    assert columns.startswith(f"last columns: share of the perfect-forecast {gain}, ")
    assert re.match(f"a perfect forecast {words}", last)


def test_the_verb_refuses_what_it_cannot_judge(table):
    text = table.read_text().splitlines()
    table.write_text("\n".join(text[: 24 * 20]) + "\n")
    done = run("--history", table)
    assert (done.exit_code, done.stdout) == (2, "")
    assert "past.csv has 20.0 days; a backtest needs 31" in done.stderr
