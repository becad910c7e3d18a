# SPDX-License-Identifier: Apache-2.0
"""What is expected when: the newest forecast, then what is usual; nothing of the future."""

from dataclasses import replace

import numpy as np
import pytest
from problems import HOUR, make
from replay_cases import NO_FORECAST

from slurm_green.replay.builtin import built_in
from slurm_green.replay.forecasts import Forecasts
from slurm_green.replay.outlook import Outlooks, usual

SHAPE = ((1, 1.0, 1000.0),)


def site_of(carbon, renewable_w=0.0):
    """A site with that signal."""
    return make([SHAPE], [(0, 1, 0, 4, False)], carbon, renewable_w=renewable_w).site


def forecasts(*issues, **more):
    """(issued_h, first hour, values) each."""
    rows = [len(values) for _, _, values in issues]
    return Forecasts(
        issued_s=np.array([issued for issued, _, _ in issues]) * HOUR,
        first=np.cumsum([0, *rows]),
        start_s=np.concatenate([first + np.arange(len(v)) for _, first, v in issues]) * HOUR,
        step_s=HOUR,
        columns={
            "carbon_g_per_kwh": np.concatenate([np.array(v, float) for *_, v in issues]),
            **more,
        },
    )


def test_the_newest_issue_counts_from_its_time_on():
    """And the current slot is known."""
    outlooks = Outlooks(
        site_of(np.arange(8.0)), forecasts((0, 0, [10, 11, 12, 13]), (2.5, 2, [22, 23, 24]))
    )

    assert outlooks.issues_s.tolist() == [2.5 * HOUR]
    assert outlooks.at(0.0).site.carbon_g_per_kwh[:4].tolist() == [0, 11, 12, 13]
    early = outlooks.at(2.4 * HOUR)
    assert early.site.carbon_g_per_kwh[:2].tolist() == [2, 13]
    assert early is outlooks.at(2.49 * HOUR)
    late = outlooks.at(2.5 * HOUR)
    assert late.site.carbon_g_per_kwh[:3].tolist() == [2, 23, 24]
    assert late.issued_s == 2.5 * HOUR
    assert late.site.start_s == 2 * HOUR


def test_an_issue_before_the_first_slot_is_known_at_once():
    """It is no news while the replay runs."""
    outlooks = Outlooks(site_of(np.arange(4.0)), forecasts((-5, -5, [*range(100, 110)])))

    assert outlooks.issues_s.tolist() == []
    assert outlooks.at(0.0).site.carbon_g_per_kwh.tolist() == [0, 106, 107, 108]


def test_beyond_the_forecast_it_is_as_usual_at_that_hour():
    """Bands go on as wide as on the forecast's last day."""
    day = 100 + np.arange(24.0)
    said = np.full(3, 50.0)
    outlooks = Outlooks(
        site_of(np.tile(day, 4)),
        forecasts((48, 48, said), p10=said - 5, p90=said + 5),
    )
    outlook = outlooks.at(48 * HOUR)

    assert outlook.site.carbon_g_per_kwh[:6].tolist() == [100, 50, 50, 103, 104, 105]
    assert outlook.carbon_p10[:6].tolist() == [100, 45, 45, 98, 99, 100]
    assert outlook.carbon_p90[:6].tolist() == [100, 55, 55, 108, 109, 110]
    assert outlook.renewable_p10_w is None


def test_what_is_usual():
    """By hour of the week with weeks, by hour with days, else the mean."""
    week = np.concatenate([np.full(120, 10.0), np.full(48, 3.0)])

    assert usual(np.array([1.0, 3.0]), 24, 2).tolist() == [2, 2]
    assert usual(np.tile(np.arange(24.0), 2), 24, 25).tolist() == [*range(24), 0]
    eight = usual(np.tile(week, 8), 24, 168)
    assert eight[:120].tolist() == pytest.approx([(8 * 10 + 6 * 8) / 14] * 120)
    assert eight[120:].tolist() == pytest.approx([(8 * 3 + 6 * 8) / 14] * 48)


def test_without_a_forecast_a_short_past_says_what_to_expect():
    """With each slot anew, the current one included: a surprise moves the next hours, too."""
    day = 300 - 100 * np.cos(2 * np.pi * np.arange(24) / 24)
    carbon = np.tile(day, 6)
    carbon[54:] += 80
    outlooks = Outlooks(site_of(carbon), NO_FORECAST)

    before, now = outlooks.at(53 * HOUR), outlooks.at(54 * HOUR)
    assert (before.issued_s, now.issued_s) == (53 * HOUR, 54 * HOUR)
    assert before.site.carbon_g_per_kwh[:24] == pytest.approx(np.roll(day, -5), abs=12)
    assert now.site.carbon_g_per_kwh[0] == carbon[54]
    assert now.site.carbon_g_per_kwh[1:5] == pytest.approx(carbon[55:59], abs=30)
    assert now.carbon_p10 is None


def test_of_the_first_slot_it_is_expected_to_go_on():
    """Nobody waits for what nothing speaks for."""
    for hour_s in (HOUR, HOUR / 2):
        site = replace(site_of(np.arange(100.0, 300.0)), step_s=hour_s)
        seen = Outlooks(site, NO_FORECAST).at(0.0).site.carbon_g_per_kwh
        assert (seen == 100).all()


@pytest.mark.parametrize("step_s", [HOUR / 4, HOUR / 2, 2 * HOUR])
def test_a_short_past_in_other_steps(step_s):
    """It is told by the hour, or by steps that are longer."""
    at = np.arange(round(6 * 86_400 / step_s)) * step_s / HOUR
    carbon = 300 - 100 * np.cos(2 * np.pi * at / 24)
    site = replace(site_of(carbon), step_s=step_s)
    now = round(3.3 * 86_400 / step_s)

    seen = Outlooks(site, NO_FORECAST).at(now * step_s).site.carbon_g_per_kwh

    day = round(86_400 / step_s)
    assert seen[:day] == pytest.approx(carbon[now : now + day], abs=22)
    assert len(seen) == len(carbon) - now


def test_nothing_is_extrapolated_from_the_future():
    """With another future every outlook before it is the same, forecasts or none."""
    random = np.random.default_rng(1)
    carbon = random.uniform(100, 500, 24 * 9)
    other = carbon.copy()
    other[24 * 5 :] = 7.0
    for one in (NO_FORECAST, forecasts((24, 24, [5.0] * 24), (100, 100, [6.0] * 24))):
        ours, theirs = Outlooks(site_of(carbon), one), Outlooks(site_of(other), one)
        for hour in range(24 * 5):
            assert (
                ours.at(hour * HOUR).site.carbon_g_per_kwh
                == theirs.at(hour * HOUR).site.carbon_g_per_kwh
            ).all()


@pytest.mark.slow
def test_the_built_in_forecaster_sees_the_past_only():
    """Every issue up to the change is the same to the last bit; there is one every six hours."""
    random = np.random.default_rng(2)
    hours = np.arange(24 * 34)
    carbon = 300 + 100 * np.sin(hours * 2 * np.pi / 24) + random.normal(0, 10, len(hours))
    other = carbon.copy()
    other[24 * 31 :] = random.uniform(10, 20, 24 * 3)
    wind = np.maximum(random.normal(0, 500, len(hours)), 0.0)
    ours = built_in(site_of(carbon, wind))
    theirs = built_in(site_of(other, wind))
    same = int(np.searchsorted(ours.issued_s, 24 * 31 * HOUR, "right"))

    assert np.diff(ours.issued_s).tolist() == [6 * HOUR] * (len(ours.issued_s) - 1)
    assert ours.first[112] == 0
    assert ours.first[113] == 96
    for name, column in ours.columns.items():
        rows = int(ours.first[same])
        assert (column[:rows] == theirs.columns[name][:rows]).all()
    assert not (ours.columns["carbon_g_per_kwh"] == theirs.columns["carbon_g_per_kwh"]).all()
    seen = Outlooks(site_of(carbon, wind), ours).at(30 * 24 * HOUR)
    error = np.abs(seen.site.carbon_g_per_kwh[:24] - carbon[720:744]).mean()
    assert error < 20
    assert seen.renewable_p90_w is not None


def test_a_signal_with_steps_of_its_own_gets_hourly_forecasts():
    """Half-hours are averaged into hours, and read at their middle."""
    step_s = HOUR / 2
    values = np.tile(np.repeat(np.arange(24.0) + 100, 2), 30)
    site = replace(
        make([SHAPE], [(0, 1, 0, 4, False)], [1.0]).site,
        step_s=step_s,
        carbon_g_per_kwh=values,
        renewable_w=np.zeros(len(values)),
        base_power_w=np.zeros(len(values)),
    )
    seen = Outlooks(site, built_in(site)).at(29 * 24 * HOUR)

    assert seen.site.carbon_g_per_kwh[:48] == pytest.approx(values[:48], abs=2)
