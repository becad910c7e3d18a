# SPDX-License-Identifier: Apache-2.0
"""No forecast sees the future: whatever comes after an origin, its forecast is the same."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from slurm_green.signals.forecast import forecast
from slurm_green.signals.forecast.bands import Hourly
from slurm_green.signals.forecast.builtin import BuiltIn
from slurm_green.signals.forecast.cold import Cold
from slurm_green.signals.forecast.naive import LAST_WEEK, YESTERDAY
from slurm_green.signals.measured import Measured
from slurm_green.signals.regressors import Regressors

pytestmark = pytest.mark.slow

MODELS = [BuiltIn(), Cold(), YESTERDAY, LAST_WEEK]
START = datetime(2026, 1, 5, tzinfo=UTC)  # a Monday


def year(days=60, seed=0):
    """A grid with a day, a weekend and weather."""
    rng = np.random.default_rng(seed)
    hour = np.arange(24 * days)
    weather = np.convolve(rng.normal(size=24 * days), np.exp(-np.arange(72) / 18), "same")
    weekend = (hour // 24) % 7 >= 5
    return 300 + 80 * np.cos(2 * np.pi * hour / 24) - 30 * weekend + 15 * weather


def same(one, two):
    """Whether all four arrays are equal to the last bit."""
    return all(
        np.array_equal(getattr(one, name), getattr(two, name))
        for name in ("mean", "p10", "p50", "p90")
    )


@pytest.mark.parametrize("model", MODELS, ids=lambda one: one.name)
@pytest.mark.parametrize("future", ["noise", "zeros", "gaps", "nothing"])
def test_changing_the_future_changes_no_forecast(model, future):
    """The backtest hands in the whole history: its origins must not look beyond themselves."""
    values = year()
    origins = np.array([40 * 24, 40 * 24 + 5, 45 * 24, 50 * 24 + 13])
    changed = values.copy()
    after = slice(int(origins[-1]), None)
    changed[after] = {
        "noise": np.random.default_rng(1).uniform(0, 5000, len(changed[after])),
        "zeros": 0.0,
        "gaps": np.nan,
        "nothing": changed[after],
    }[future]
    if future == "nothing":
        changed = changed[: int(origins[-1])]

    before = model.bands(Hourly(values=values), origins, 30)

    assert same(before, model.bands(Hourly(values=changed), origins, 30))


@pytest.mark.parametrize("model", MODELS, ids=lambda one: one.name)
def test_each_origin_is_forecast_as_if_it_were_the_last(model):
    """A rolling backtest gives each origin what a forecast made then gives it."""
    values = year()
    origins = np.array([40 * 24, 41 * 24 + 7, 52 * 24])

    rolled = model.bands(Hourly(values=values), origins[:1], 30)

    for late in origins[1:]:
        together = model.bands(Hourly(values=values), np.array([origins[0], late]), 30)
        # To the last bits: sums of other lengths round otherwise.
        np.testing.assert_allclose(together.mean[0], rolled.mean[0], rtol=1e-12)
        np.testing.assert_allclose(together.p90[0], rolled.p90[0], rtol=1e-12)


def test_the_future_has_an_effect_where_it_is_past():
    """The test above can fail: what lies before the origin does change its forecast."""
    values = year()
    changed = values.copy()
    changed[39 * 24 : 40 * 24] += 100.0
    origins = np.array([40 * 24])

    before = BuiltIn().bands(Hourly(values=values), origins, 24)

    assert not same(before, BuiltIn().bands(Hourly(values=changed), origins, 24))


def test_what_was_measured_after_now_is_not_looked_at():
    """A table that goes on into the future teaches nothing of it."""
    past = Measured(start_utc=START, step_s=3600.0, values=year(), provider="m")
    now = START + timedelta(days=45, minutes=20)
    rest = past.values.copy()
    rest[45 * 24 :] = 7.0

    ours, theirs = (forecast(one, now, 86_400.0) for one in (past, replace(past, values=rest)))

    assert list(ours.values) == list(theirs.values)
    assert ours.start_utc == START + timedelta(days=45)


def test_a_regressor_issued_later_was_not_known():
    """Tomorrow's forecast of tonight changes nothing this morning, and something at midnight."""
    values = year()
    past = Measured(start_utc=START, step_s=3600.0, values=values, provider="m")
    hours = 60 * 24 + 96
    at = START.timestamp() + 3600.0 * np.arange(hours)
    # Issued every evening at 18:00 for the whole next day.
    issued = (np.floor((at - START.timestamp()) / 86_400) * 86_400) - 6 * 3600 + START.timestamp()
    row = np.concatenate((values, np.full(96, 300.0)))
    known = Regressors(names=("oracle",), start_utc=START, values=row[None], issued_s=issued[None])
    tomorrow = slice(46 * 24, 47 * 24)
    other = row.copy()
    other[tomorrow] += 500.0
    changed = replace(known, values=other[None])
    morning, night = START + timedelta(days=45, hours=9), START + timedelta(days=45, hours=19)

    def both(now):
        return [forecast(past, now, 86_400.0, one).values for one in (known, changed)]

    np.testing.assert_array_equal(*both(morning))
    assert not np.array_equal(*both(night))


@pytest.mark.parametrize(
    ("begins", "earlier", "later", "origins"),
    [
        pytest.param(30, 38, 42, [40], id="late: ten days are known, not how far it will swing"),
        pytest.param(42, 50, 57, [40, 56], id="between two origins: none and two weeks"),
    ],
)
def test_a_regressor_that_begins_tells_nothing_of_what_comes(begins, earlier, later, origins):
    """Days; the values from `earlier` on are known at the last origin, those from `later` not."""
    values = year()
    row = values + np.random.default_rng(2).normal(size=len(values))
    row[: begins * 24] = np.nan
    # Issued every evening at 18:00 for the whole next day.
    known_at = np.arange(len(row)) // 24 * 24.0 - 6
    to_come, known = row.copy(), row.copy()
    to_come[later * 24 :] *= 50
    known[earlier * 24 :] += 20

    one, *others = (
        BuiltIn().bands(
            Hourly(values=values, regressors=one[None], known_at=known_at[None]),
            24 * np.array(origins),
            24,
        )
        for one in (row, to_come, known)
    )

    assert [same(one, other) for other in others] == [True, False]


@settings(max_examples=10, deadline=None)
@given(
    st.integers(0, 5),
    st.lists(st.integers(0, 60 * 24 - 1), max_size=30),
    st.integers(29 * 24, 58 * 24),
)
def test_whatever_is_missing_a_forecast_has_no_future_and_no_holes(seed, missing, origin):
    """Gaps anywhere: bands stay in order, finite, and independent of what comes."""
    values = year(seed=seed)
    values[missing] = np.nan
    cut = values.copy()
    cut[origin:] = np.nan
    origins = np.array([origin])

    bands = BuiltIn().bands(Hourly(values=values), origins, 26)

    assert same(bands, BuiltIn().bands(Hourly(values=cut), origins, 26))
    assert np.isfinite(bands.mean).all()
    assert (bands.p10 <= bands.p50 + 1e-9).all()
    assert (bands.p50 <= bands.p90 + 1e-9).all()
    assert (bands.p10 >= 0).all()
