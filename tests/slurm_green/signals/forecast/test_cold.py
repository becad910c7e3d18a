# SPDX-License-Identifier: Apache-2.0
"""What hours or days of past let expect: little of hours, a day's shape of days, honest bands."""

import numpy as np
import pytest

from slurm_green.errors import SignalError
from slurm_green.signals.forecast.bands import Hourly
from slurm_green.signals.forecast.cold import Cold, expected


def day(hours, first=0):
    """A grid with sun: cleanest in the middle of the day, 100 about 300."""
    return 300 - 100 * np.cos(2 * np.pi * (first + np.arange(hours) - 12) / 24)


def weather(hours, seed, forget_h=72.0):
    """What is forgotten, variance 1."""
    keep = np.exp(-1 / forget_h)
    random = np.random.default_rng(seed)
    found = random.normal(size=hours)
    for hour in range(1, hours):
        found[hour] = keep * found[hour - 1] + np.sqrt(1 - keep**2) * found[hour]
    return found


def test_from_one_hour_all_goes_on():
    """There is nothing to wait for."""
    mean, spread = expected(np.array([250.0]), 24)

    assert mean == pytest.approx(np.full(24, 250.0))
    assert spread == pytest.approx(np.zeros(24))


def test_what_rises_for_hours_will_fall_within_the_day():
    """It goes on for a little; on the whole the level is what was seen."""
    mean, _ = expected(np.array([200.0, 220, 240, 260]), 48)

    assert 260 < mean[0] < 280
    assert mean[:6].max() == mean.max() < 290
    assert mean[6:24].min() < 200
    assert mean.mean() == pytest.approx(230, abs=10)


@pytest.mark.parametrize(("days", "within"), [(1, 12), (3, 6), (14, 3)])
def test_days_show_their_shape(days, within):
    """The more of them, the nearer; also at an hour of day that is no midnight."""
    mean, _ = expected(day(24 * days, first=5), 72)

    assert np.abs(mean - day(72, first=5)).max() < within


def test_the_moment_counts_and_fades():
    """Cleaner than usual now: so are the next hours, tomorrow less, and in a week hardly."""
    past = day(24 * 7)
    past[-6:] -= 60
    away = expected(past, 24 * 7)[0] - day(24 * 7)

    assert away[0] < -45
    assert away[:6].mean() < away[24:30].mean() - 5 < -20
    assert abs(away[-24:].mean()) < 20


@pytest.mark.parametrize("smooth", [True, False])
def test_it_is_kriging_with_an_unknown_level(smooth):
    """The weights, and how unsure they are, from the textbook's bordered system."""
    past = day(40, first=3) if smooth else np.random.default_rng(0).uniform(100, 300, 40)
    past[7:19] = np.nan
    known, ahead = np.flatnonzero(np.isfinite(past)), 40 + np.arange(30)
    hours = np.arange(24.0)
    one = np.exp(-2 * np.sin(np.pi * hours / 24) ** 2 / 1.4**2)

    def alike(apart):
        shape = (np.exp(-2 * np.sin(np.pi * apart / 24) ** 2 / 1.4**2) - one.mean()) / (
            1 - one.mean()
        )
        return 0.7 * shape + np.exp(-np.abs(apart) / 72)

    count = len(known)
    bordered = np.ones((count + 1, count + 1))
    bordered[:count, :count] = alike(known[:, None] - known) + 5e-4 * np.eye(count)
    bordered[count, count] = 0
    right = np.vstack([alike(ahead - known[:, None]), np.ones(len(ahead))])
    weights = np.linalg.solve(bordered, right)

    mean, spread = expected(past, len(ahead))

    assert mean == pytest.approx(weights[:count].T @ past[known], rel=1e-9)
    away = 1.7 + 5e-4 - (weights * right).sum(axis=0)
    within, seen = bordered[:count, :count], past[known]
    each = np.linalg.solve(within, np.ones(count))
    off = seen - each @ seen / each.sum()
    by_steps = off @ np.linalg.solve(within, off) / count
    by_all = seen.var() / (1.7 + 5e-4 - within.mean())
    assert (by_all > by_steps) == smooth
    assert spread**2 == pytest.approx(1.3 * max(by_steps, by_all) * away, rel=1e-6)


@pytest.mark.parametrize("step_h", [0.5, 1.0, 2.0])
def test_the_newest_fortnight_counts_and_nothing_before(step_h):
    steps = round(14 * 24 / step_h)
    past = np.tile(day(24)[:: max(1, round(step_h))], 60)[: steps + 20]
    older, oldest = past.copy(), past.copy()
    older[:20] += 50
    oldest[20] += 50

    now = expected(past, 5, step_h)

    assert all(map(np.array_equal, now, expected(older, 5, step_h)))
    assert not np.array_equal(now[0], expected(oldest, 5, step_h)[0])


def test_gaps_and_finer_steps_say_the_same():
    """A missing afternoon is none; half hours are counted as such."""
    past = day(24 * 5)
    past[60:66] = np.nan
    halves = np.repeat(day(24 * 5), 2)

    assert np.abs(expected(past, 24)[0] - day(24)).max() < 6
    assert np.abs(expected(halves, 48, 0.5)[0][::2] - day(24)).max() < 15


@pytest.mark.parametrize("days", [1, 3, 10])
def test_bands_hold_what_they_promise(days):
    """On weather as it is assumed, 80 % at least and not nearly all, and wider ahead."""
    held, hours = [], 24 * days
    for seed in range(60):
        truth = 200 + day(hours + 48) / 2 + 40 * weather(hours + 48, seed)
        bands = Cold().bands(Hourly(values=truth), np.array([hours]), 48)
        held.append((bands.p10[0] <= truth[hours:]) & (truth[hours:] <= bands.p90[0]))
        assert (bands.p90 - bands.p10)[0, 24] > (bands.p90 - bands.p10)[0, 0]

    assert 0.78 < np.mean(held) < 0.98


def test_the_sun_does_not_shine_at_night():
    """What is nothing at times stays within what was seen at that hour of day."""
    past = np.maximum((day(62) - 300).round(6), 0.0) * np.repeat([0.6, 1.0, 0.5], 24)[:62]

    (got,), (high,) = (
        getattr(Cold().bands(Hourly(values=past), np.array([62]), 48), name)
        for name in ("mean", "p90")
    )

    night = day(48, first=62) < 300 + 1e-6
    assert (got[night] == 0).all()
    assert (high[night] == 0).all()
    assert (got[~night] > 0).all()
    assert got.max() <= 100


def test_amounts_stay_in_their_bounds():
    """Half of the least ever seen; below nothing only where there was something."""
    prices = day(48) - 300

    (clean,) = Cold().bands(Hourly(values=day(48) - 195), np.array([48]), 96).p10
    (cheap,) = Cold().bands(Hourly(values=prices), np.array([48]), 96).p10
    assert clean.min() == pytest.approx(2.5)
    assert cheap.min() < -100


def test_less_than_a_day_is_refused():
    """Gaps are not known hours."""
    past = day(30)
    past[:7] = np.nan

    with pytest.raises(SignalError, match="23 hours of the past, a forecast needs 24"):
        Cold().bands(Hourly(values=past), np.array([30]), 24)


def test_hours_from_before_two_weeks_are_none():
    past = day(30 + 14 * 24)
    past[30:] = np.nan

    with pytest.raises(SignalError, match="0 hours of the past, a forecast needs 24"):
        Cold().bands(Hourly(values=past), np.array([len(past)]), 24)
