# SPDX-License-Identifier: Apache-2.0
"""Fits of sweeps: of a GPU that obeys the law, and of what is missing."""

from dataclasses import replace

import numpy as np
import pytest
from profile_cases import CLOCKS, SHAPE, load, run, sweep

from profiling.errors import ProfileError
from profiling.fit import Sweep, bootstrap, fit_sweeps
from profiling.fit_values import LOAD_SPREAD, shape_prior
from profiling.law import at_cap

FIVE = (510, 735, 960, 1185, 1410)
KINDS = ({"phase": "decode", "batch": 8}, {"phase": "prefill", "batch": 2, "context": 512})


def off(fit, name, settings, **asked):
    """Largest relative errors of time and power."""
    said = np.stack(fit.predict(name, np.array(settings, dtype=float)))
    return np.abs(said / np.stack(run(settings, **asked)) - 1).max(axis=1)


@pytest.fixture(scope="module")
def known():
    return fit_sweeps(
        [sweep(one["phase"], FIVE, noise=0.003, seed=at, **one) for at, one in enumerate(KINDS)],
        "clock_mhz",
    )


def test_five_clocks_tell_the_others(known):
    for one in KINDS:
        time, power = off(known, one["phase"], CLOCKS, **one)
        assert time < 0.01
        assert power < 0.02


def test_the_constants_of_the_gpu_come_back():
    fit = fit_sweeps(
        [sweep(one["phase"], CLOCKS, **one) for one in KINDS], "clock_mhz", idle_w=SHAPE.idle_w
    )
    assert fit.shape.knee == pytest.approx(SHAPE.knee, abs=0.03)
    assert fit.shape.rise == pytest.approx(SHAPE.rise, rel=0.15)
    assert fit.shape.idle_w == pytest.approx(SHAPE.idle_w, rel=0.15)
    assert (fit.noise < 0.01).all()


def test_a_known_gpu_needs_three_clocks_of_a_new_load(known):
    asked = {"phase": "decode", "batch": 64, "context": 4096}
    fit = fit_sweeps([sweep("new", (510, 960, 1410), **asked)], "clock_mhz", known=known)
    assert fit.shape.knee == pytest.approx(known.shape.knee, rel=1e-3)
    time, power = off(fit, "new", CLOCKS, **asked)
    assert time < 0.01
    assert power < 0.03


def test_caps_are_fitted_too():
    caps = np.array([100.0, 130, 170, 220, 400])
    made = at_cap(caps[None, :], load(2, 512, "prefill"), SHAPE)
    fit = fit_sweeps(
        [Sweep(name="a", setting=caps, time_s=made[0][0], power_w=made[1][0])], "power_cap_w"
    )
    unseen = np.array([115.0, 150, 190, 260, 320])
    said = np.stack(fit.predict("a", unseen))
    true = np.stack(at_cap(unseen[None, :], load(2, 512, "prefill"), SHAPE))[:, 0]
    assert np.abs(said / true - 1).max() < 0.03


def test_unknown_power_stays_unknown(known):
    one = replace(sweep("blind", FIVE, **KINDS[0]), power_w=np.full(5, np.nan))
    fit = fit_sweeps([sweep("seen", FIVE, **KINDS[1]), one], "clock_mhz")
    time_s, power_w = fit.predict("blind", np.array([600.0]))
    assert np.isfinite(time_s).all()
    assert np.isnan(power_w).all()
    alone = fit_sweeps([one], "clock_mhz")
    assert np.isnan(alone.predict("blind", np.array([600.0]))[1]).all()


def test_some_unknown_powers_do_not_matter():
    one = sweep("a", CLOCKS, **KINDS[0])
    holes = np.where(np.arange(len(CLOCKS)) % 3 == 1, np.nan, one.power_w)
    fit = fit_sweeps([replace(one, power_w=holes)], "clock_mhz")
    assert off(fit, "a", CLOCKS, **KINDS[0])[1] < 0.02


def test_a_few_loads_change_little_of_what_is_known_of_loads():
    """The assumed spread counts for six of them, so six alike can at most halve it."""
    alike = [sweep(f"{at}", CLOCKS, noise=0.003, seed=at, **KINDS[0]) for at in range(6)]
    fit = fit_sweeps(alike, "clock_mhz")
    share = np.diag(np.linalg.inv(fit.load_prior.precision)) / LOAD_SPREAD**2
    assert ((share > 0.49) & (share < 1.5)).all()


def test_noise_is_learned_from_what_is_left():
    """Six loads at eleven clocks each; it began from 0.8 and 1 %."""
    loads = [sweep(f"{at}", CLOCKS, noise=0.03, seed=at, batch=at + 1) for at in range(6)]
    assert fit_sweeps(loads, "clock_mhz").noise == pytest.approx([0.03, 0.03], rel=0.3)


def test_replicas_are_drawn_around_the_law_and_not_around_the_data():
    """One point is a fifth too slow: the law passes it by, and so do all redrawn data."""
    one = sweep("a", CLOCKS, **KINDS[0])
    odd = np.where(np.array(CLOCKS) == 960, 1.2, 1.0)
    fit = fit_sweeps([replace(one, time_s=one.time_s * odd)], "clock_mhz")
    drawn = bootstrap(fit, 40, np.random.default_rng(0))
    at = CLOCKS.index(960)
    redrawn = np.array([replica.data.target[0, at, 0] for replica in drawn])
    law = np.log(fit.predict("a", np.array([960.0]))[0][0])
    assert np.log(one.time_s[at] * 1.2) - law > 0.1
    assert redrawn.mean() == pytest.approx(law, abs=4 * fit.noise[0] / 40**0.5)
    assert redrawn.std() == pytest.approx(fit.noise[0], rel=0.4)


def test_an_idle_power_of_nothing_tells_nothing():
    told, untold = shape_prior(400.0, 0.0), shape_prior(400.0)
    assert (told.mean == untold.mean).all() and (told.precision == untold.precision).all()


def test_two_clocks_are_too_few():
    with pytest.raises(ProfileError, match="no load has 3 settings of clock_mhz or more"):
        fit_sweeps([sweep("a", (510, 1410))], "clock_mhz")


def test_a_load_that_was_not_fitted_is_refused(known):
    with pytest.raises(ProfileError, match="no load 'x' in this fit; it has decode, prefill"):
        known.predict("x", np.array([600.0]))


def test_the_bootstrap_is_repeatable_and_covers_the_truth(known):
    drawn = [bootstrap(known, 30, np.random.default_rng(3)) for _ in range(2)]
    grid = np.array([600.0, 1000, 1300])
    runs = np.array([[one.predict("prefill", grid) for one in fits] for fits in drawn])
    assert (runs[0] == runs[1]).all()
    low, high = np.quantile(runs[0], (0.02, 0.98), axis=0)
    true = np.stack(run(grid, **KINDS[1]))
    assert ((low <= true * 1.01) & (true * 0.99 <= high)).all()
    assert (runs[0].std(axis=0) > 0).all()
