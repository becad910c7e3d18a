# SPDX-License-Identifier: Apache-2.0
"""The usual week: it repeats, it knows no future, and its band never feigns knowledge."""

from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from slurm_green.errors import SignalError
from slurm_green.signals.climatology import Climatology, climatology_of
from slurm_green.signals.measured import Measured
from slurm_green.signals.series import Series

MONDAY = datetime(2026, 11, 23, tzinfo=UTC)
WEEK = timedelta(days=7)
HOUR = timedelta(hours=1)


def amounts(days=56, *, end=MONDAY, step_s=3600.0, level=300.0, noise=20.0, seed=1):
    """Nights and week-ends, with some weather."""
    count = round(days * 86_400 / step_s)
    hours = (end - timedelta(days=days)).timestamp() / 3600 + np.arange(count) * step_s / 3600
    daily = 100 * np.sin(hours * 2 * np.pi / 24)
    weekend = -50 * ((hours // 24 + 3) % 7 >= 5)
    weather = np.random.default_rng(seed).normal(0, noise, count) if noise else 0
    return level + daily + weekend + weather


def past(days=56, *, end=MONDAY, step_s=3600.0, values=None, quantity=None, **fields):
    """A past of such amounts, or of others."""
    shape = {name: fields.pop(name) for name in ("level", "noise", "seed") if name in fields}
    if values is None:
        values = amounts(days, end=end, step_s=step_s, **shape)
    return Measured(
        start_utc=end - timedelta(days=days),
        step_s=step_s,
        values=values,
        provider="m",
        quantity=quantity or "carbon_g_per_kwh",
        **fields,
    )


def series(low, high, *, hours=48, **fields):
    """A forecast with a band."""
    shares = {0.1: np.full(hours, low), 0.9: np.full(hours, high)}
    given = {
        "start_utc": MONDAY,
        "step_s": 3600.0,
        "values": np.full(hours, (low + high) / 2),
        "issued_utc": MONDAY,
        "provider": "f",
        "quantiles": shares,
    }
    return Series(**(given | fields))


def width(one):
    """The mean band of the week."""
    return float((one.quantiles[0.9] - one.quantiles[0.1]).mean())


def test_it_finds_the_usual_week():
    """Nights, days and week-ends where they are, to within the weather."""
    usual = climatology_of(past(noise=5))
    truth = past(7, end=MONDAY + WEEK, noise=0)

    got = usual.series(MONDAY, MONDAY + WEEK)

    assert np.abs(got.values - truth.values).mean() < 15
    saturday = got.at(MONDAY + timedelta(days=5, hours=12))
    assert saturday < got.at(MONDAY + timedelta(days=2, hours=12)) - 20
    assert (usual.days, usual.made_utc) == (56, MONDAY)


def test_half_hours_teach_what_their_hours_do():
    """Finer measurements are averaged."""
    fine = climatology_of(past(step_s=1800.0, noise=0))
    coarse = climatology_of(past(step_s=3600.0, noise=0))

    assert fine.values == pytest.approx(coarse.values, abs=15)
    assert fine.values.shape == (168,)


def test_it_says_whose_it_is_and_what_it_is():
    """Kind, basis, scope, region and quantity; it never passes for a forecast."""
    usual = climatology_of(past(region="DE", basis="marginal", scope="direct"))

    got = usual.series(MONDAY, MONDAY + WEEK)

    assert (got.provider, got.region, got.basis, got.scope) == (
        "climatology(m)",
        "DE",
        "marginal",
        "direct",
    )
    assert [(one.kind, one.provider) for one in got.stretches] == [
        ("climatology", "climatology(m)")
    ]
    assert got.issued_utc == MONDAY


@given(
    st.integers(-5000, 5000),
    st.integers(0, 59),
    st.floats(0.01, 400),
)
def test_it_repeats_every_week_and_covers_what_is_asked(hours, minutes, length):
    """Whole hours that touch the span; the same hour of another week has the same amounts."""
    usual = climatology_of(past(14))
    start = MONDAY + timedelta(hours=hours, minutes=minutes)
    end = start + timedelta(hours=length)

    got = usual.series(start, end)
    later = usual.series(start + 5 * WEEK, end + 5 * WEEK)

    assert got.covers(start, end)
    assert start - got.start_utc < HOUR
    assert got.end_utc - end < HOUR
    assert list(got.values) == list(later.values)
    for share in usual.quantiles:
        assert list(got.quantiles[share]) == list(later.quantiles[share])
    slot = int((start - MONDAY) // HOUR) % 168
    assert got.values[0] == usual.values[slot]


def test_an_instant_has_an_hour():
    """An empty span is not an empty series."""
    usual = climatology_of(past(14))

    assert len(usual.series(MONDAY, MONDAY).values) == 1


@settings(max_examples=40, deadline=None)
@given(st.integers(8 * 24, 60 * 24), st.integers(0, 2**32 - 1))
def test_it_knows_no_future(hours, seed):
    """Whatever is measured after `until` changes nothing."""
    now = MONDAY - timedelta(days=60) + timedelta(hours=hours)
    one = past(60)
    other = past(60)
    after = round((now - other.start_utc) / HOUR)
    other.values[after:] = np.random.default_rng(seed).uniform(0, 900, len(other.values) - after)

    ours, theirs = climatology_of(one.until(now)), climatology_of(other.until(now))

    assert list(ours.values) == list(theirs.values)
    assert all(list(ours.quantiles[s]) == list(theirs.quantiles[s]) for s in ours.quantiles)
    assert ours.made_utc == theirs.made_utc == now


def test_the_season_before_last_is_forgotten():
    """Only the newest eight weeks make the profile."""
    summer, autumn = past(60, end=MONDAY - timedelta(days=56), level=900), past(56)

    got = climatology_of(summer.merged(autumn))

    assert got.values == pytest.approx(climatology_of(autumn).values)


@pytest.mark.parametrize(("days", "gaps"), [(6.5, 0), (1, 0), (30, 24), (3 * 366, 3 * 366 - 6)])
def test_less_than_a_week_is_refused(days, gaps):
    """Counted in known hours of the last eight weeks, not in the length of the file."""
    one = past(days)
    one.values[: round(gaps * 24)] = np.nan

    with pytest.raises(SignalError, match=r"the past of m holds .* what is usual needs 7"):
        climatology_of(one)


def test_a_week_is_enough():
    """Seven days, and a band although nothing could be tried on them."""
    usual = climatology_of(past(7))

    assert usual.days == 7
    assert width(usual) > 0


def test_gaps_are_not_zeros():
    """Every second day is missing; the usual is that of the others."""
    one = past(56, noise=0)
    days = np.arange(len(one.values)) // 24
    one.values[days % 2 == 0] = np.nan

    assert climatology_of(one).values == pytest.approx(
        climatology_of(past(56, noise=0)).values, abs=35
    )


def test_prices_may_be_negative_and_carbon_may_not():
    """A band is cut at nothing only where nothing is the least."""
    around_nothing = amounts(level=0)
    price = climatology_of(past(values=around_nothing, quantity="price_per_kwh"))
    carbon = climatology_of(past(values=np.abs(around_nothing)))

    assert price.values.min() < 0
    assert price.quantiles[0.1].min() < price.values.min()
    assert carbon.quantiles[0.1].min() >= 0
    for one in (price, carbon):
        assert one.series(MONDAY, MONDAY + WEEK).covers(MONDAY, MONDAY + WEEK)


@pytest.mark.parametrize("days", [7, 20, 56, 300])
@pytest.mark.parametrize("noise", [0.0, 1.0, 30.0])
def test_the_band_holds_the_middle_and_never_crosses(days, noise):
    """p10 at most p50 at most p90, in every hour of the week."""
    usual = climatology_of(past(days, noise=noise))

    low, middle, high = (usual.quantiles[share] for share in (0.1, 0.5, 0.9))

    assert (low <= middle + 1e-9).all()
    assert (middle <= high + 1e-9).all()


def test_the_band_is_honest_about_weeks_to_come():
    """Over a dozen other weathers about four of five hours fall into it."""
    inside = []
    for seed in range(12):
        whole = past(300, noise=40, seed=seed)
        usual = climatology_of(whole.until(MONDAY - 2 * WEEK))
        got = usual.series(MONDAY - 2 * WEEK, MONDAY)
        truth = whole.values[-336:]
        inside.append(((got.quantiles[0.1] <= truth) & (truth <= got.quantiles[0.9])).mean())

    assert 0.75 <= np.mean(inside) <= 0.92


@given(st.floats(0, 400), st.floats(0, 1500), st.integers(24, 100))
def test_it_is_at_least_as_wide_as_the_forecast_before_it(low, extra, hours):
    """Knowing less must not look like knowing more; and it never becomes narrower."""
    usual = climatology_of(past(56, level=3000.0))
    forecast = series(low, low + extra, hours=hours)

    got = usual.at_least_as_wide_as(forecast)

    assert width(got) >= max(extra, width(usual)) - 1e-6
    assert list(got.values) == list(usual.values)
    assert list(got.quantiles[0.5]) == pytest.approx(list(usual.quantiles[0.5]))


def test_only_the_forecasts_last_day_counts():
    """A forecast is sure of its first hours; the climatology goes on after its last."""
    usual = climatology_of(past(56))
    forecast = series(0.0, 0.0, hours=72)
    forecast.quantiles[0.9][-24:] = 500.0

    assert width(usual.at_least_as_wide_as(forecast)) == pytest.approx(500, rel=0.2)


@pytest.mark.parametrize("shares", [{}, {0.5: np.full(48, 5.0)}, {0.1: np.full(48, 5.0)}])
def test_a_forecast_without_a_band_widens_nothing(shares):
    """Nothing is known of it."""
    usual = climatology_of(past(56))

    assert usual.at_least_as_wide_as(series(0, 9, quantiles=shares)) is usual


def test_a_forecast_whose_band_is_not_known_at_its_end_widens_nothing():
    """Its last day has no quantiles, as where a file of the provider's ends in nulls."""
    usual = climatology_of(past(56))
    forecast = series(0.0, 900.0)
    for amounts in forecast.quantiles.values():
        amounts[-24:] = np.nan

    assert usual.at_least_as_wide_as(forecast) is usual


def test_a_past_without_weather_is_widened_too():
    """A week that never changed is no reason to be sure of the next ones."""
    flat = past(values=np.full(56 * 24, 300.0))

    got = climatology_of(flat).at_least_as_wide_as(series(0.0, 200.0))

    assert width(got) >= 200


def test_near_nothing_it_is_as_wide_too():
    """A clean grid: the lower half of the band ends at 0, so the upper one must be wider."""
    clean = past(values=np.abs(amounts(level=0, noise=5)) / 10)

    got = climatology_of(clean).at_least_as_wide_as(series(0.0, 200.0))

    assert width(got) >= 200 - 1e-6


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"values": np.ones(167)}, "climatology of m is malformed"),
        ({"values": np.full(168, np.nan)}, "is malformed"),
        ({"quantiles": {0.1: np.ones(24)}}, "is malformed"),
        ({"quantiles": {0.1: np.full(168, np.inf)}}, "is malformed"),
        ({"made_utc": datetime(2026, 1, 1)}, "must carry a time zone"),  # noqa: DTZ001
    ],
)
def test_what_is_no_week_is_refused(fields, words):
    """A damaged file must not become a plan."""
    given = {"values": np.ones(168), "quantiles": {}, "made_utc": MONDAY, "days": 9}
    with pytest.raises(SignalError) as caught:
        Climatology(provider="m", **(given | fields))
    assert words in str(caught.value)
