# SPDX-License-Identifier: Apache-2.0
"""What the law leaves over: carried where repeats show that it is no noise."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from profiling.fit import Sweep, fit_sweeps
from profiling.leftover import carried, relative_error

SETTING = np.array([900.0, 600.0, 1200.0, 1500.0])
LEFT = np.array([0.02, -0.01, 0.03, 0.0])


def test_a_standard_error_is_an_interval_over_students_t():
    """Three repeats: half an interval is 4.303 standard errors."""
    assert relative_error(100.0, 4.303, 3) == pytest.approx(0.01, rel=1e-3)
    for missing in ((None, 1.0, 3), (100.0, None, 3), (100.0, 1.0, None), (100.0, 1.0, 1)):
        assert math.isnan(relative_error(*missing))


def test_two_repeats_tell_of_noise_and_a_value_of_nothing_does_not():
    assert relative_error(100.0, 12.706, 2) == pytest.approx(0.01, rel=1e-3)
    assert math.isnan(relative_error(0.0, 1.0, 3))


def test_three_settings_with_repeats_are_needed_and_enough():
    """What has no repeats, or was not seen, counts for nothing and is no point of the line."""
    error = np.array([0.0, 0.0, 0.0, np.nan])
    found = carried(SETTING, LEFT, error, np.array([900.0, 1500.0]))
    assert found.tolist() == pytest.approx([0.02, 0.03])
    unseen = np.array([0.02, np.nan, 0.03, 0.0])
    found = carried(SETTING, unseen, np.zeros(4), np.array([600.0, 900.0]))
    assert found.tolist() == pytest.approx([0.02, 0.02])
    assert not carried(SETTING, LEFT, np.array([0.0, 0.0, np.nan, np.nan]), SETTING).any()
    assert not carried(SETTING, np.zeros(4), np.zeros(4), SETTING).any()


def test_what_is_carried_is_less_by_the_share_of_noise():
    """Mean squares: of 4 seen, 1 is noise."""
    left, noise = np.array([0.02, -0.02, 0.02]), np.full(3, 0.01)
    assert carried(SETTING[:3], left, noise, SETTING[:3]) == pytest.approx(0.75 * left)


def test_without_noise_measured_settings_come_back_and_lines_join_them():
    """In any order of the settings; beyond the ends it stays."""
    found = carried(SETTING, LEFT, np.zeros(4), np.array([300.0, 600.0, 750.0, 900.0, 1500.0]))

    assert found.tolist() == pytest.approx([-0.01, -0.01, 0.005, 0.02, 0.0])


@pytest.mark.parametrize("error", [np.full(4, np.nan), np.full(4, 0.05)])
def test_what_may_be_noise_is_not_carried(error):
    """Nobody knows, or the noise is larger than what is left over."""
    assert not carried(SETTING, LEFT, error, SETTING).any()


@given(st.floats(0.0, 0.1))
def test_more_noise_carries_less(noise):
    """Never more than what was seen, and never its opposite."""
    found = carried(SETTING, LEFT, np.full(4, noise), SETTING)

    assert (np.abs(found) <= np.abs(LEFT) + 1e-12).all()
    assert (found * LEFT >= 0).all()


def test_a_fit_finds_a_kink_that_its_law_has_not():
    """Memory slows down below 1,200 MHz; with repeats the fit says so, without it smooths."""
    setting = np.array([600.0, 900.0, 1100.0, 1200.0, 1300.0, 1600.0, 1900.0])
    time_s = 0.01 * np.maximum(1.0, 1200 / setting) ** 0.7
    power_w = 150 + 0.15 * setting

    def off(error):
        sweep = Sweep(name="decode", setting=setting, time_s=time_s, power_w=power_w, error=error)
        said = fit_sweeps([sweep], "clock_mhz").predict("decode", np.array([1200.0]))
        return abs(said[0][0] / 0.01 - 1), abs(said[1][0] / 330 - 1)

    assert max(off(np.zeros((7, 2)))) < 1e-6
    assert off(None)[0] > 0.003
    assert off(None)[1] > 1e-4
