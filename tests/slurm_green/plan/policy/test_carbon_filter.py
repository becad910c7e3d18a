# SPDX-License-Identifier: Apache-2.0
"""A carbon forecast, weighed against what the past lets expect."""

import numpy as np
import pytest

from slurm_green.plan.policy.carbon_filter import CarbonFilter

HOUR = 3600.0


def grid(hours, *, day=0.2):
    """A daily curve with a slow drift."""
    at = np.arange(hours)
    return 300 * np.exp(day * np.sin(at / 24 * 2 * np.pi) + 0.1 * np.sin(at / 31))


def autoregressive(random, size, share=0.1):
    """Errors that last some hours."""
    noise = random.normal(0, share, size)
    for at in range(1, size):
        noise[at] = 0.9 * noise[at - 1] + np.sqrt(0.19) * noise[at]
    return noise


def errors(truth, error_of, *, every=24, ahead=24, per_hour=1):
    """Mean error of the forecast and of the corrected one, in the second half."""
    carbon = CarbonFilter(HOUR / per_hour)
    raw, better = [], []
    error, issued = np.zeros(len(truth)), 0
    for now in range(len(truth) - 48 * per_hour):
        if now % every == 0:
            error, issued = error_of(len(truth)), now
        forecast = truth * np.exp(error)
        forecast[now] = truth[now]
        step_s = HOUR / per_hour
        found = carbon.corrected(now * step_s, issued * step_s, forecast[now:])
        assert found[0] == truth[now]
        assert len(found) == len(truth) - now
        if now > len(truth) // 2:
            of = slice(now + 1, now + 1 + ahead)
            raw.append(np.abs(forecast[of] - truth[of]).mean())
            better.append(np.abs(found[1 : 1 + ahead] - truth[of]).mean())
    return float(np.mean(raw)), float(np.mean(better))


@pytest.mark.parametrize("kind", ["white", "level", "autoregressive"])
def test_a_noisy_forecast_gets_better(kind):
    """Errors of single hours, of a whole day, and those that last some hours."""
    random = np.random.default_rng(2)

    def error_of(size):
        if kind == "autoregressive":
            return autoregressive(random, size)
        return random.normal(0, 0.1, size if kind == "white" else 1) * np.ones(size)

    raw, better = errors(grid(24 * 12), error_of)
    assert better < 0.5 * raw


def test_a_forecast_that_is_right_is_hardly_changed():
    _, better = errors(grid(24 * 14), np.zeros)
    assert better < 0.01 * 300


def test_what_all_issues_are_wrong_by_is_expected_of_the_next_one():
    """Issued every six hours, all say 30 % too much: also the newest, which cannot be seen yet."""
    truth, carbon = np.full(24 * 8, 300.0), CarbonFilter(HOUR)
    for now in range(24 * 6 + 1):
        forecast = 1.3 * truth[now:]
        forecast[0] = truth[now]
        found = carbon.corrected(now * HOUR, now // 6 * 6 * HOUR, forecast)
    assert found[1:24] == pytest.approx(300.0, rel=0.05)


def test_slots_of_a_quarter_hour_are_corrected_as_hours_are():
    random = np.random.default_rng(5)
    truth = np.repeat(grid(24 * 6), 4)

    def error_of(size):
        return np.repeat(autoregressive(random, -(-size // 4)), 4)[:size]

    raw, better = errors(truth, error_of, every=96, ahead=96, per_hour=4)
    assert better < 0.7 * raw


def test_a_newer_forecast_of_the_same_slot_counts():
    """Asked twice for one slot, it answers for the newer one and learns once."""
    carbon, truth = CarbonFilter(HOUR), grid(120)
    for now in range(24):
        carbon.corrected(now * HOUR, 0.0, truth[now:])
    before = carbon.corrected(24 * HOUR, 0.0, truth[24:])
    newer = np.append(truth[24], 1.5 * truth[25:])
    after = carbon.corrected(24 * HOUR, 24 * HOUR, newer)
    assert after[12] > 1.1 * before[12]
    assert after == pytest.approx(carbon.corrected(24 * HOUR, 24 * HOUR, newer))


@pytest.mark.parametrize("hours", [1, 5])
def test_a_forecast_that_says_other_things_is_a_newer_one(hours):
    """Also with the same time of issue, as where it comes from elsewhere from now on."""
    carbon = CarbonFilter(HOUR)
    for now in range(6):
        carbon.corrected(now * HOUR, 0.0, np.full(96, 100.0))
    for now in range(6, 6 + hours):
        found = carbon.corrected(now * HOUR, 0.0, np.append(100.0, np.full(95, 200.0)))
    assert (found[24:] > 103.0).all()


@pytest.mark.parametrize("missed", [1, 30, 400])
def test_slots_may_be_missed(missed):
    carbon, truth = CarbonFilter(HOUR), grid(600)
    for now in (*range(30), 30 + missed):
        found = carbon.corrected(now * HOUR, now // 24 * 24 * HOUR, truth[now : now + 96])
    assert found == pytest.approx(truth[30 + missed :][: len(found)], rel=0.25)


@pytest.mark.parametrize(("hours", "issued"), [(2, 40), (2, 30), (30, 40)])
def test_a_clock_may_be_set_back(hours, issued):
    carbon = CarbonFilter(HOUR)
    for now in (38, 39, 40, 40 - hours):
        found = carbon.corrected(now * HOUR, issued * HOUR, np.full(96, 200.0))
    assert found == pytest.approx(200.0)


def test_what_was_seen_keeps_its_slots_when_the_clock_is_set_back():
    """To the tenth hour before: the hours since are not known any more."""
    carbon = CarbonFilter(HOUR)
    for now in (*range(41), 30):
        carbon.corrected(now * HOUR, 0.0, np.full(5, 100.0 + now))
    assert carbon.spread(np.zeros(1)) == pytest.approx(np.std(np.arange(31)))


@pytest.mark.parametrize("value", [0.0, 1.0])
def test_nothing_and_hours_of_nothing_do_no_harm(value):
    """A grid that emits nothing at times, or never."""
    carbon = CarbonFilter(HOUR)
    for now in range(60):
        forecast = value * np.maximum(np.sin((now + np.arange(96)) / 24 * 2 * np.pi), 0.0)
        found = carbon.corrected(now * HOUR, now // 24 * 24 * HOUR, forecast)
        assert np.isfinite(found).all()
        assert (found >= 0).all()
        assert found == pytest.approx(forecast, abs=0.5)


def test_negative_intensities_are_nothing():
    carbon = CarbonFilter(HOUR)
    for now in range(60):
        forecast = 100.0 * np.sin((now + np.arange(96)) / 24 * 2 * np.pi)
        found = carbon.corrected(now * HOUR, now // 24 * 24 * HOUR, forecast)
    assert found[:72] == pytest.approx(np.maximum(forecast[:72], 0.0), abs=5.0)
    assert (found >= 0).all()


@pytest.mark.parametrize("share", [0.1, 0.5])
def test_nothing_is_expected_that_was_neither_said_nor_seen(share):
    """Hours of nothing among others that err."""
    random, carbon = np.random.default_rng(4), CarbonFilter(HOUR)
    at = np.arange(24 * 16)
    truth = np.where(at % 24 < 8, 0.0, 300.0 + 50 * np.sin(at / 24 * 2 * np.pi))
    known = []
    for now in range(24 * 12):
        if now % 24 == 0:
            said = truth * np.exp(autoregressive(random, len(truth), share))
        forecast = said[now : now + 72].copy()
        forecast[0] = truth[now]
        known += [forecast.min(), forecast.max()]
        found = carbon.corrected(now * HOUR, now // 24 * 24 * HOUR, forecast)
        assert min(known) <= found.min() <= found.max() <= max(known)


def test_a_forecast_of_one_slot_and_of_few_is_taken():
    carbon = CarbonFilter(HOUR)
    for now, length in enumerate((1, 2, 5, 1, 200)):
        assert len(carbon.corrected(now * HOUR, now * HOUR, np.full(length, 100.0))) == length


def test_the_spread_is_the_last_weeks():
    carbon = CarbonFilter(HOUR)
    carbon.corrected(0.0, 0.0, np.array([100.0, 200.0]))
    assert carbon.spread(np.array([100.0, 200.0])) == 50.0
    for now in range(1, 60):
        carbon.corrected(now * HOUR, 0.0, np.full(5, 100.0))
    assert carbon.spread(np.array([100.0, 200.0])) == 0.0


@pytest.mark.parametrize("hours", [0, 1, 6, 30])
def test_a_forecast_of_deep_days_that_comes_is_believed_from_the_first_slot(hours):
    """From 450 g at night to 110 at noon: nothing was seen to be wrong with the next day."""
    at = np.arange(140)
    truth = 450.0 - 340 * np.exp(-(((at % 24) - 12) ** 2) / 8)
    carbon = CarbonFilter(HOUR)
    for now in range(hours + 1):
        found = carbon.corrected(now * HOUR, 0.0, truth[now : now + 96])
    near = 0.05 if hours else 1e-9
    assert found[:24] == pytest.approx(truth[hours : hours + 24], rel=near)


@pytest.mark.parametrize("swing", [0.01, 0.1, 0.5])
def test_a_smooth_forecast_is_believed_at_once_however_little_it_says(swing):
    """Errors would jump from hour to hour; one that hardly does holds hardly any."""
    at = np.arange(96)
    said = 300.0 * np.exp(swing * np.cos(at / 24 * 2 * np.pi))
    found = CarbonFilter(HOUR).corrected(0.0, 0.0, said)
    assert np.abs(found - said).max() < 0.25 * np.ptp(said)
    assert abs(int(found[:24].argmin()) - 12) <= 1


def test_what_lies_before_a_single_jump_is_not_smoothed_away():
    """It falls by a hundredth, and then doubles: the least is just before that."""
    said = np.append(500.0 - 0.4 * np.arange(16), np.full(24, 1000.0))
    found = CarbonFilter(HOUR).corrected(0.0, 0.0, said)
    assert found[:20].argmin() >= 11
