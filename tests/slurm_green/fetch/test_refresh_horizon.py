# SPDX-License-Identifier: Apache-2.0
"""How a series is put together: what follows what, until the horizon, and never the last value."""

import tempfile
from datetime import timedelta
from pathlib import Path

import numpy as np
import pytest
from fetch_fakes import (
    DAY_S,
    FORECAST_G,
    HOUR,
    NOW,
    Desk,
    Forecaster,
    Historian,
    forecast,
    kinds,
    past,
)
from hypothesis import given, settings
from hypothesis import strategies as st

from slurm_green.errors import SignalError
from slurm_green.signals.bundle import read_bundle, write_bundle
from slurm_green.signals.provider import RateLimitedError


def test_each_part_follows_where_the_one_before_it_ends(desk):
    """Two days of the provider, two of the built-in forecast, then what is usual."""
    series = desk.refresh({"a": Historian(forecast(), measured=past())}).series

    assert [(one.provider, one.kind, one.steps) for one in series.stretches] == [
        ("a", "forecast", 96),
        ("built-in", "forecast", 96),
        ("climatology(a)", "climatology", 480),
    ]
    assert series.end_utc == NOW + timedelta(days=14)
    assert series.at(NOW + 47 * HOUR) == 123.0
    assert series.at(NOW + 49 * HOUR) == FORECAST_G
    assert desk.status("forecast", "built-in forecast") == (
        "used",
        "from 2026-11-26 12:00 UTC on, learned from 30 days of a",
    )


def test_beyond_every_forecast_the_values_are_those_of_the_usual_week(desk):
    """The rule at the horizon's end: never the last value forever."""
    bundle = desk.refresh({"a": Historian(forecast(), measured=past())})
    series, begin = bundle.series, NOW + timedelta(days=4)
    usual = bundle.climatology.series(begin, series.end_utc)

    beyond = [begin + (0.25 + hour) * HOUR for hour in range(240)]

    assert [series.at(at) for at in beyond] == [usual.at(at) for at in beyond]
    assert len({series.at(at) for at in beyond}) > 100
    assert {series.origin_at(at).kind for at in beyond} == {"climatology"}


def test_beyond_every_forecast_the_band_is_no_narrower(desk):
    """Knowing less must not look like knowing more: 16 g in the forecast, at least that after."""
    series = desk.refresh({"a": Historian(forecast(), measured=past())}).series

    width = series.quantiles[0.9] - series.quantiles[0.1]

    assert np.isnan(width[:96]).all(), "the provider has no quantiles"
    assert width[96:192] == pytest.approx(16.0)
    assert width[192:].mean() >= 16.0 - 1e-9


def test_a_forecast_of_long_reach_makes_the_built_in_one_unneeded(desk):
    """Five days of the provider are more than the built-in forecast is asked for."""
    series = desk.refresh({"a": Historian(forecast(120), measured=past())}).series

    assert desk.forecaster.seen == []
    assert desk.status("forecast", "built-in forecast")[0] == "spare"
    assert [one.provider for one in series.stretches] == ["a", "climatology(a)"]


def test_a_forecast_of_long_reach_and_another_kind_is_told_once(desk):
    """Two lines about one link are two samples of one metric."""
    bundle = desk.refresh({"a": Historian(forecast(120, basis="marginal"), measured=past())})

    told = [one for one in bundle.links if one.kind == "forecast"]
    assert len(told) == 1


@pytest.mark.parametrize("days", [1, 3, 14, 60])
def test_the_horizon_is_respected(desk, days):
    """Neither shorter nor longer than signal.horizon says."""
    bundle = desk.refresh({"a": Historian(forecast(), measured=past())}, horizon_s=days * DAY_S)

    assert bundle.series.end_utc == NOW + timedelta(days=days)


def test_a_forecast_beyond_the_horizon_is_cut(desk):
    """Twenty days of the provider are fourteen of the signal, and the usual is spare."""
    series = desk.refresh({"a": Historian(forecast(480), measured=past())}).series

    assert series.end_utc == NOW + timedelta(days=14)
    assert [one.provider for one in series.stretches] == ["a"]
    assert desk.status("climatology", "climatology")[0] == "spare"


@pytest.mark.parametrize("minutes", [1, 29, 44])
def test_between_full_hours_nothing_is_moved_and_nothing_is_missing(desk, minutes):
    """A refresh at 12:29 has the provider's half hours as they were given."""
    desk.now = NOW + timedelta(minutes=minutes)
    given_one = forecast(now=desk.now.replace(minute=minutes // 30 * 30))
    measured = past(end=NOW + HOUR)

    series = desk.refresh({"a": Historian(given_one, measured=measured)}).series

    assert series.start_utc == given_one.start_utc
    assert list(series.values[:96]) == list(given_one.values)
    assert 0 <= (series.end_utc - desk.now - timedelta(days=14)).total_seconds() <= 1800


def test_a_provider_in_hours_is_told_in_the_finer_steps_of_what_follows(desk):
    """Half hours of the forecaster make half hours of all; the provider's values stay."""
    quarter = Forecaster()

    def fine(measured, now_utc, ahead_s):
        return quarter(measured, now_utc, ahead_s).in_steps_of(900.0)

    desk.forecaster = fine
    hourly = forecast(step_s=3600.0)

    series = desk.refresh({"a": Historian(hourly, measured=past())}).series

    assert series.step_s == 900.0
    assert list(series.values[: 4 * 48 : 4]) == list(hourly.values)


def test_the_last_good_forecast_is_followed_in_the_same_way(desk):
    """The network cable is out: what the provider last said, then our own forecast."""
    desk.refresh({"a": Historian(forecast(), measured=past())})
    desk.now = NOW + 6 * HOUR

    series = desk.refresh({"a": Historian(SignalError("x"), measured=SignalError("x"))}).series

    assert [one.provider for one in series.stretches] == [
        "cache(a)",
        "built-in",
        "climatology(a)",
    ]
    assert series.end_utc == desk.now + timedelta(days=14)


OUTCOMES = st.sampled_from(
    [
        SignalError("down"),
        ValueError("bug"),
        RateLimitedError("slow down", retry_after_s=60.0),
        forecast(24, grams=11.0),
        forecast(120, grams=12.0, step_s=300.0),
        forecast(48, grams=13.0, scope="life-cycle"),
        forecast(400, grams=14.0, basis="marginal", step_s=3600.0),
        forecast(48, now=NOW - 47 * HOUR, grams=15.0),
        forecast(48, now=NOW + HOUR, grams=16.0),
        forecast(24, quantity="price_per_kwh", grams=0.3),
    ]
)
PASTS = st.sampled_from(
    [
        SignalError("no past"),
        KeyError("bug"),
        past(3),
        past(10, step_s=1800.0),
        past(40, scope="life-cycle"),
        past(20, basis="marginal"),
        past(20, end=NOW + 48 * HOUR),
        past(20, end=NOW + 400 * 24 * HOUR),
    ]
)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.tuples(OUTCOMES, PASTS, OUTCOMES), min_size=1, max_size=3),
    st.sampled_from([1, 11, 14, 23]),
    st.sampled_from([1, 14]),
    st.booleans(),
)
def test_whatever_happens_the_signal_is_one_of_its_kind_or_none(
    sources, hours, horizon_days, learns
):
    """Two refreshes of any providers: never an exception, a gap, a mixture, or a made-up value."""
    with tempfile.TemporaryDirectory() as place:
        desk = Desk(Path(place) / "signals")
        desk.forecaster.raises = None if learns else SignalError("cannot")
        desk.refresh({f"s{n}": Historian(a, measured=b) for n, (a, b, _) in enumerate(sources)})
        desk.now = NOW + hours * HOUR
        desk.forecaster.seen.clear()
        providers = {f"s{n}": Historian(c, measured=b) for n, (_, b, c) in enumerate(sources)}
        bundle = desk.refresh(providers, horizon_s=horizon_days * DAY_S)
        write_bundle(Path(place) / "signal.json", bundle)
        again = read_bundle(Path(place) / "signal.json")
    series = bundle.series
    used = [one for one in bundle.links if one.status == "used" and one.kind != "history"]
    assert (series is None) == (not used)
    assert bundle.links == again.links
    if series is None:
        return
    end = desk.now + timedelta(days=horizon_days)
    assert series.covers(desk.now, desk.now)
    assert series.end_utc <= end + timedelta(seconds=series.step_s)
    assert sum(one.steps for one in series.stretches) == len(series.values)
    assert "forecast" not in kinds(series)[1:], "what is usual comes last"
    assert list(again.series.values) == list(series.values)
    learned_from = {(one.basis, one.scope) for one in desk.forecaster.seen}
    assert learned_from <= {(series.basis, series.scope)}
    at = 0
    for one in series.stretches:
        part = set(series.values[at : at + one.steps])
        if one.provider == "built-in":
            assert part == {FORECAST_G}
        elif one.kind == "climatology":
            assert min(part) >= 80 and max(part) <= 320
        else:
            assert len(part) == 1 and part <= {11.0, 12.0, 13.0, 14.0, 15.0, 16.0}
        at += one.steps
