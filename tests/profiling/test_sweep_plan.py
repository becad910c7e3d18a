# SPDX-License-Identifier: Apache-2.0
"""Which settings a sweep measures next."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from profile_cases import run, sweep

from profiling.curve import best_setting
from profiling.fit import fit_sweeps
from profiling.sweep_plan import first_caps, first_clocks, next_settings

pytestmark = pytest.mark.slow

GRID = list(range(210, 1411, 15))


def test_the_first_clocks_are_spread_evenly():
    assert first_clocks(GRID) == [210, 510, 810, 1110, 1410]
    assert first_clocks(GRID, 3) == [210, 810, 1410]


def test_the_first_caps_lie_where_a_cap_does_something():
    caps = list(range(100, 501, 10))
    assert first_caps(caps, 400.0) == [100, 140, 200, 280, 500]
    assert first_caps(caps, 50.0) == [100, 110, 120, 130, 500]


@given(st.sets(st.integers(100, 2000), min_size=1, max_size=30), st.integers(2, 6))
def test_first_settings_are_supported_and_differ(supported, count):
    for found in (first_clocks(list(supported), count), first_caps(list(supported), 300, count)):
        assert set(found) <= supported
        assert len(set(found)) == len(found) == min(count, len(supported))
        assert max(supported) in found


def test_an_adaptive_sweep_finds_the_best_clock_with_a_tenth_of_the_windows():
    asked = {"a": {"phase": "prefill", "batch": 2}, "b": {"phase": "decode", "batch": 32}}
    shown = {name: first_clocks(GRID, 3) for name in asked}
    for _ in range(8):
        fit = fit_sweeps(
            [
                sweep(name, sorted(shown[name]), noise=0.003, seed=at, **asked[name])
                for at, name in enumerate(asked)
            ],
            "clock_mhz",
        )
        wanted = next_settings(fit, GRID)
        for name, setting in wanted.items():
            assert setting not in shown[name]
            shown[name].append(setting)
        if not wanted:
            break
    assert wanted == {}
    assert sum(map(len, shown.values())) <= 2 * len(GRID) / 4
    grid = np.array(GRID, dtype=float)
    for name, kind in asked.items():
        time_s, power_w = run(grid, **kind)
        said_s, said_w = fit.predict(name, grid)
        energy_j = time_s * power_w
        regret = energy_j[best_setting(grid, said_s * said_w)] / energy_j.min() - 1
        assert regret < 0.01
        assert np.abs(said_s / time_s - 1).mean() < 0.015
        assert np.abs(said_w / power_w - 1).mean() < 0.015


def test_the_choice_is_repeatable_and_empty_where_all_is_measured():
    fit = fit_sweeps([sweep("a", (210, 810, 1410), noise=0.02)], "clock_mhz")
    assert next_settings(fit, GRID) == next_settings(fit, GRID) != {}
    assert next_settings(fit, (210, 810, 1410)) == {}


def test_unknown_power_leaves_time_to_be_learnt():
    one = sweep("a", (210, 810, 1410), noise=0.05)
    blind = type(one)(name="a", setting=one.setting, time_s=one.time_s, power_w=np.full(3, np.nan))
    assert set(next_settings(fit_sweeps([blind], "clock_mhz"), GRID)) <= {"a"}


@pytest.mark.parametrize("count", [2, 5])
def test_a_single_supported_setting_is_all_there_is(count):
    assert first_clocks([900], count) == [900]
