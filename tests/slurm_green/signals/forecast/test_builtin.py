# SPDX-License-Identifier: Apache-2.0
"""The built-in model: it learns what there is to learn, and its bands hold what they promise."""

import numpy as np
import pytest

from slurm_green.errors import SignalError
from slurm_green.signals.forecast.bands import Hourly
from slurm_green.signals.forecast.builtin import LEAST_H, BuiltIn
from slurm_green.signals.forecast.calibration import recalibrated
from slurm_green.signals.forecast.features import Features, calendar
from slurm_green.signals.forecast.gaps import filled
from slurm_green.signals.forecast.naive import LAST_WEEK, YESTERDAY
from slurm_green.signals.forecast.regression import rolling_fit
from slurm_green.signals.forecast.scores import actual_after, coverage, pinball

pytestmark = pytest.mark.slow

HOURS = np.arange(24 * 70)


def weather(seed=0, days=70, fades_h=18.0):
    """An autoregressive disturbance: what the last hours tell, and what they cannot."""
    rng = np.random.default_rng(seed)
    steps = rng.normal(size=24 * days)
    keep = np.exp(-1 / fades_h)
    out = np.zeros(24 * days)
    for hour in range(1, 24 * days):
        out[hour] = keep * out[hour - 1] + np.sqrt(1 - keep**2) * steps[hour]
    return out


def grid(seed=0):
    """Sun, weekends and weather."""
    weekend = (HOURS // 24) % 7 >= 5
    return (300.0 + 80 * np.cos(2 * np.pi * HOURS / 24) - 60 * weekend + 40 * weather(seed)).clip(0)


def test_a_week_that_repeats_is_known():
    """Days and weekends without weather: four days ahead within a few grams of a step of 60."""
    values = 300.0 + 80 * np.cos(2 * np.pi * HOURS / 24) - 60 * ((HOURS // 24) % 7 >= 5)
    origins = np.array([60 * 24, 64 * 24 + 5])

    bands = BuiltIn().bands(Hourly(values=values), origins, 96)

    off = np.abs(bands.mean - actual_after(values, origins, 96))
    assert off.mean() < 4
    assert off.max() < 20


@pytest.mark.parametrize("values", [0.5 * HOURS, 200.0 + HOURS % 24, np.full(len(HOURS), 300.0)])
def test_histories_without_noise_are_forecast_too(values):
    """A line, a day that repeats, a constant: nothing is blown up until it is singular."""
    origins = np.array([60 * 24, 64 * 24 + 5])

    bands = BuiltIn().bands(Hourly(values=values), origins, 96)

    assert np.abs(bands.mean - actual_after(values, origins, 96)).max() < 2


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_it_beats_both_references_and_its_band_holds(seed):
    """On a grid with weather: less pinball loss, and about 8 of 10 hours in the band."""
    values = grid(seed)
    past, origins = Hourly(values=values), np.arange(40 * 24, 68 * 24, 3)
    came = actual_after(values, origins, 24)

    losses = [
        pinball(came, model.bands(past, origins, 24)) for model in (BuiltIn(), YESTERDAY, LAST_WEEK)
    ]

    assert losses[0] < min(losses[1:])
    assert 0.72 <= coverage(came, BuiltIn().bands(past, origins, 24)) <= 0.88


@pytest.mark.parametrize(("model", "days"), [(YESTERDAY, 1), (LAST_WEEK, 7)])
def test_the_references_are_the_same_hours_of_past_days(model, days):
    """Day after day the same; bands from what that was off by where something was measured."""
    values = grid()
    values[24 * 50 : 24 * 50 + 9] = np.nan
    whole, known = filled(values)
    origins, hours = np.array([60 * 24 + 5, 61 * 24]), np.arange(30)
    means = np.full((61 * 24 + 1, 30), np.nan)
    for at in range(24 * days, len(means)):
        means[at] = np.mean([whole[at - 24 * day + hours % 24] for day in range(1, days + 1)], 0)

    found = model.bands(Hourly(values=values, clock=3), origins, 30)

    wanted = recalibrated(
        means, np.where(known, whole, np.nan), origins, clock=3,
        least=np.nanmin(whole[: origins[0]]) / 2,
    )  # fmt: skip
    assert found.mean == pytest.approx(means[origins])
    assert found.p10 == pytest.approx(wanted.p10)
    assert found.p90 == pytest.approx(wanted.p90)


def test_the_further_the_wider():
    """Nobody knows day four as well as day one."""
    bands = BuiltIn().bands(Hourly(values=grid()), np.arange(50 * 24, 66 * 24, 11), 72)

    width = (bands.p90 - bands.p10).mean(axis=0)
    assert width[:12].mean() < width[24:48].mean() <= 1.1 * width[48:].mean()


@pytest.mark.parametrize("values", [np.zeros(24 * 40), np.full(24 * 40, 250.0)])
def test_what_never_changes_is_forecast_not_to_change(values):
    """No division by a spread of nothing."""
    bands = BuiltIn().bands(Hourly(values=values), np.array([24 * 40]), 96)

    np.testing.assert_allclose(bands.mean, values[0], atol=1e-3)


def test_prices_may_be_negative():
    """The floor is for amounts that cannot be."""
    values = 50 * np.cos(2 * np.pi * HOURS / 24) + 10 * weather()

    assert BuiltIn().bands(Hourly(values=values), np.array([60 * 24]), 24).mean.min() < -20


def test_less_than_four_weeks_are_refused():
    """The caller has plainer means."""
    with pytest.raises(SignalError, match="28 days"):
        BuiltIn().bands(Hourly(values=grid()), np.array([LEAST_H - 1]), 24)


@pytest.mark.parametrize("gap", [(0, 24 * 12), (24 * 20, 24 * 23)])
def test_a_gap_of_a_regressor_is_no_hour_of_nothing(gap):
    """One that repeats each day never differs from its usual, however little of it is known."""
    row = 5000.0 + 300 * (HOURS % 24)
    row[slice(*gap)] = np.nan
    features = Features(Hourly(values=grid(), regressors=row[None]))

    for ahead in (0, 30):
        rows, _ = features(ahead)
        np.testing.assert_allclose(rows[168:, -2:], 0.0, atol=1e-9)


def test_a_regressor_tells_how_far_an_hour_is_from_its_usual_and_from_the_day_before():
    """Over the days that are known of the last seven; nothing before it was issued."""
    row = np.full(len(HOURS), 5000.0)
    row[24 * 33 : 24 * 39] = np.nan
    row[24 * 39 + 5], row[24 * 40 + 5] = 5100.0, 5600.0
    known_at = np.full(len(HOURS), -np.inf)
    known_at[24 * 40 + 6] = 24 * 40 + 1
    row[24 * 40 + 6] = 5900.0
    features = Features(Hourly(values=grid(), regressors=row[None], known_at=known_at[None]))

    def told(origin, ahead):
        return pytest.approx(features(ahead)[0][origin, -2:], abs=1e-9)

    assert told(24 * 40, 5) == [500, 500]
    assert told(24 * 39, 5) == [100, 0]
    assert told(24 * 40, 6) == [0, 0]
    assert told(24 * 40 + 1, 5) == [900, 900]
    assert told(24 * 41, 5) == [-350, -600]
    assert told(24 * 70, 5) == [0, 0]


def test_the_calendar_has_a_column_for_each_hour_and_for_weekends():
    """Hours count from a Monday."""
    time = np.arange(336)
    found = calendar(time, weight=2.0)
    weekend = np.isin(time // 24, (5, 6, 12, 13))
    assert found.shape == (336, 49)
    assert (found[time, time % 24] == 2).all()
    assert (found[:, 24] == 2 * weekend).all()
    assert (found[time, 25 + time % 24] == weekend).all()
    assert found.sum() == 2 * 336 + 3 * weekend.sum()


@pytest.mark.parametrize("before", [0.1, 0.0])
def test_a_regressor_that_never_moved_may_step(before):
    """Rounding is no spread: a capacity of 0.1 that doubles must not outweigh all else."""
    values = grid()
    row = np.where(HOURS < 59 * 24, before, 0.2)

    bands = BuiltIn().bands(Hourly(values=values, regressors=row[None]), np.array([60 * 24]), 24)

    assert np.abs(bands.mean - values[60 * 24 : 61 * 24]).max() < 100


def told_in_the_evening(row):
    """A regressor that is known each evening at 18:00 for the whole next day."""
    return Hourly(values=grid(), regressors=row[None], known_at=(HOURS // 24 * 24.0 - 6)[None])


def test_hours_that_no_regressor_tells_of_are_forecast_as_without_any():
    """From noon on 12 hours are known ahead: those lean on it, the rest on all three members."""
    past = told_in_the_evening(grid())
    origins = np.array([60 * 24 + 12])

    bands, alone = (BuiltIn().bands(one, origins, 36) for one in (past, Hourly(values=grid())))

    np.testing.assert_array_equal(bands.mean[:, 12:], alone.mean[:, 12:])
    came = grid()[60 * 24 + 12 :][:12]
    assert np.abs(bands.mean[0, :12] - came).mean() < np.abs(alone.mean[0, :12] - came).mean() / 2


def test_days_without_a_regressor_do_not_dull_it():
    """That nothing was known of most hours says nothing about what it tells of the others."""
    row = grid()
    row[: 50 * 24] = np.nan
    origins = np.arange(60 * 24, 67 * 24, 7)
    came = actual_after(grid(), origins, 6)

    leaning, alone = (
        np.abs(BuiltIn().bands(one, origins, 6).mean - came).mean()
        for one in (Hourly(values=grid(), regressors=row[None]), Hourly(values=grid()))
    )

    assert leaning < 0.85 * alone  # 0.94 where all hours teach alike


@pytest.mark.parametrize("known_h", [0, 1, 30])
def test_the_unit_of_a_regressor_does_not_matter_whenever_it_begins(known_h):
    """It has no spread yet at the first origin, and what it says counts from the second on."""
    row = grid()
    row[: 40 * 24 - known_h] = np.nan
    origins = np.array([40 * 24, 66 * 24])
    alone = BuiltIn().bands(Hourly(values=grid()), origins, 12).mean

    small, large = (
        BuiltIn().bands(Hourly(values=grid(), regressors=unit * row[None]), origins, 12).mean
        for unit in (1e-5, 1e5)
    )

    np.testing.assert_allclose(small, large, rtol=1e-6)
    np.testing.assert_array_equal(small[0], alone[0])
    came = grid()[66 * 24 :][:12]
    assert np.abs(small[1] - came).mean() < np.abs(alone[1] - came).mean() / 2


def test_the_solver_agrees_with_scikit_learn():
    """An implementation of other people's, fitted to the same rows at once."""
    from sklearn import linear_model

    rng = np.random.default_rng(3)
    rows, targets = rng.normal(size=(900, 40)), rng.normal(size=900)
    usable = rng.uniform(size=900) > 0.1

    ours = rolling_fit(
        rows, targets, usable, known_until=lambda time: time, times=[300, 600, 900], penalty=100.0
    )

    for end, weights in zip((300, 600, 900), ours, strict=True):
        theirs = linear_model.Ridge(alpha=100.0, fit_intercept=False)
        chosen = usable[:end]
        theirs.fit(rows[:end][chosen], targets[:end][chosen])
        np.testing.assert_allclose(theirs.coef_, weights, rtol=1e-8, atol=1e-10)


def test_a_gap_is_filled_from_before():
    """The mean of the same hours, and the last surprise fading; never from after."""
    values = np.tile(np.arange(24.0), 10)
    values[200:210] += 12.0
    values[205:230] = np.nan

    found, known = filled(values)

    assert known.sum() == len(values) - 25
    assert found[205] == pytest.approx(205 % 24 + 12 * np.exp(-1 / 12))
    assert found[229] == pytest.approx(229 % 24 + 12 * np.exp(-25 / 12), abs=2)


def test_before_the_first_value_there_is_only_that_one():
    """And on the first day a gap goes on from the hour before, with its last step fading."""
    found, known = filled(np.array([np.nan, np.nan, 5.0, 6.0, np.nan, 9.0]))

    assert known.tolist() == [False, False, True, True, False, True]
    assert found == pytest.approx([5, 5, 5, 6, 6 + np.exp(-1 / 12), 9])


def test_a_past_of_gaps_alone_is_zero_and_unknown():
    """Its callers ask for known values first."""
    found, known = filled(np.full(5, np.nan))

    assert (list(found), known.any()) == ([0.0] * 5, False)
