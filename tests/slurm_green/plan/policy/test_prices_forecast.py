# SPDX-License-Identifier: Apache-2.0
"""Corrections of a forecast by its own past."""

import numpy as np
import pytest

from slurm_green.plan.policy.prices_forecast import Corrections

HOUR = 3600.0


def week(hours):
    """A daily curve with a slow drift."""
    at = np.arange(hours)
    return 300 + 100 * np.sin(at / 24 * 2 * np.pi) + 30 * np.sin(at / 31)


def errors(truth, error_of, *, every=24, ahead=24):
    """Mean error of the forecast and of the corrected one, in the second half."""
    corrections = Corrections(HOUR, 48)
    raw, better = [], []
    error, issued = np.zeros(len(truth)), 0
    for now in range(len(truth) - 48):
        if now % every == 0:
            error, issued = error_of(len(truth)), now
        forecast = truth * (1 + error)
        forecast[now] = truth[now]
        found = corrections.corrected(now * HOUR, issued * HOUR, forecast[now:])
        assert found[0] == truth[now]
        if now > len(truth) // 2:
            ahead_of = slice(now + 1, now + 1 + ahead)
            raw.append(np.abs(forecast[ahead_of] - truth[ahead_of]).mean())
            better.append(np.abs(found[1 : 1 + ahead] - truth[ahead_of]).mean())
    return float(np.mean(raw)), float(np.mean(better))


@pytest.mark.parametrize("kind", ["white", "level"])
def test_a_noisy_forecast_gets_better(kind):
    """Errors of single hours, and errors of a whole day."""
    random = np.random.default_rng(2)

    def error_of(size):
        return random.normal(0, 0.1, size if kind == "white" else 1) * np.ones(size)

    raw, better = errors(week(24 * 16), error_of)
    assert better < 0.8 * raw


def test_a_forecast_that_is_right_is_hardly_changed():
    """What was believed at first is soon forgotten."""
    _, better = errors(week(24 * 30), np.zeros)
    assert better < 0.02 * 300


@pytest.mark.parametrize(("hours", "share"), [(24, 0.4), (6, 0.1), (1, 0.4 / 24)])
def test_an_earlier_forecast_counts_by_how_much_earlier_it_was(hours, share):
    """Those of two days err each in its own way; of two hours, the newer one knows more."""
    corrections = Corrections(HOUR, 48)
    corrections.corrected(0.0, 0.0, np.full(96, 200.0))
    for now in range(1, hours):
        corrections.corrected(now * HOUR, 0.0, np.full(96, 200.0))

    newer = np.append(200.0, np.full(95, 300.0))
    found = corrections.corrected(hours * HOUR, hours * HOUR, newer)

    # Ten hours ahead only the earlier forecast, and at 24 h what is usual (a tenth), say less.
    usual = 0.1 if hours == 24 else 0.0
    assert found[10] == pytest.approx(300 - 100 * (share + usual), abs=1)


def test_a_newer_forecast_of_the_same_slot_counts():
    """Asked twice for one slot, it answers for the newer one."""
    corrections = Corrections(HOUR, 24)
    truth = week(96)
    for now in range(24):
        corrections.corrected(now * HOUR, 0.0, truth[now:])
    before = corrections.corrected(24 * HOUR, 0.0, truth[24:])
    after = corrections.corrected(24 * HOUR, 24 * HOUR, 2 * truth[24:])
    assert after[5] > 1.3 * before[5]


@pytest.mark.parametrize("hours", [1, 2, 5])
def test_a_forecast_that_says_other_things_is_a_newer_one(hours):
    """Of the site's own supply there may be a new one while the carbon's time of issue stays."""
    corrections = Corrections(HOUR, 48)
    for now in range(6):
        corrections.corrected(now * HOUR, 0.0, np.full(96, 100.0))

    for now in range(6, 6 + hours):
        found = corrections.corrected(now * HOUR, 0.0, np.full(96, 300.0))

    assert found[1:] == pytest.approx(300.0, rel=0.02)


@pytest.mark.parametrize("hours", [2, 30])
def test_a_clock_may_be_set_back(hours):
    """Earlier forecasts then begin in the future, and say nothing of what is now."""
    corrections = Corrections(HOUR, 48)
    for now in (38, 39, 40, 40 - hours):
        found = corrections.corrected(now * HOUR, now * HOUR, np.append(200.0, np.full(95, now)))

    assert found[1:] == pytest.approx(40 - hours)


def test_a_day_that_is_like_others_is_soon_believed_more_than_noise():
    """Errors of a tenth of the level, that last some hours, where the day differs by 3 %."""
    random = np.random.default_rng(3)
    truth = 300 + 9 * np.sin(np.arange(24 * 8) / 24 * 2 * np.pi)

    def error_of(size):
        noise = random.normal(0, 0.1, size)
        for at in range(1, size):
            noise[at] = 0.9 * noise[at - 1] + np.sqrt(0.19) * noise[at]
        return noise

    raw, better = errors(truth, error_of)
    assert better < 0.2 * raw


def test_what_an_earlier_forecast_is_wrong_by_now_is_known():
    """A new one cannot be compared yet; yesterday's is 60 too high, and half of that tomorrow."""
    corrections = Corrections(HOUR, 48)
    for now in range(24):
        corrections.corrected(now * HOUR, 0.0, np.append(300.0, np.full(95, 360.0)))

    found = corrections.corrected(24 * HOUR, 24 * HOUR, np.full(96, 300.0))

    assert found[1] == pytest.approx(300.0, abs=6)
    assert found[20] == pytest.approx(300 + 0.4 * 60, abs=4)


def test_the_sun_does_not_shine_at_night():
    """However wrong the forecast was at noon."""
    corrections = Corrections(HOUR, 48)
    sun = np.maximum(np.sin((np.arange(24 * 8) - 6) / 24 * 2 * np.pi), 0.0).round(9)
    for now in range(24 * 4 + 15):
        forecast = 2 * sun[now:]
        forecast[0] = sun[now]
        found = corrections.corrected(now * HOUR, now // 24 * 24 * HOUR, forecast)
        night = sun[now:][: len(found)] == 0
        assert (found[night] == 0).all()
