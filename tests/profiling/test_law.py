# SPDX-License-Identifier: Apache-2.0
"""The law: what must hold for any GPU and load."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from profile_cases import SHAPE, load

from profiling.law import Load, at_cap, at_clock, delivered_clock, voltage

GRID = np.linspace(0.15, 1.0, 60)[None, :]


@st.composite
def shapes(draw):
    return replace(
        SHAPE,
        knee=draw(st.floats(0.3, 0.9)),
        rise=draw(st.floats(0.05, 1.0)),
        bend=draw(st.floats(0.7, 2.5)),
        idle_w=draw(st.floats(5, 100)),
        overlap=draw(st.floats(1.1, 20)),
        floor=draw(st.floats(0.05, 0.3)),
    )


@st.composite
def loads(draw):
    spans = {
        "compute_s": (1e-4, 10.0),
        "memory_s": (1e-4, 10.0),
        "host_s": (1e-6, 1.0),
        "switching_w": (20.0, 600.0),
        "memory_w": (1.0, 150.0),
        "base_w": (5.0, 100.0),
        "cap_sharpness": (3.0, 60.0),
    }
    return Load(**{name: np.array([[draw(st.floats(*ends))]]) for name, ends in spans.items()})


@pytest.mark.parametrize("clock", [0.4, 0.75, 1.0])
def test_time_and_power_are_those_of_the_documents(clock):
    """Half compute, a third memory, the host: written out for one load, in joules."""
    shape = replace(SHAPE, ceiling=1e3, knee=0.5, rise=0.4, bend=2.0, overlap=3.0)
    parts = {
        "compute_s": 0.05, "memory_s": 0.03, "host_s": 0.02, "switching_w": 300.0,
        "memory_w": 80.0, "base_w": 60.0, "cap_sharpness": 10.0,
    }  # fmt: skip
    one = Load(**{name: np.array([[value]]) for name, value in parts.items()})
    volts = 1 + 0.4 * max((clock - 0.5) / 0.5, 0) ** 2
    busy_s = ((0.05 / clock) ** 3 + 0.03**3) ** (1 / 3)
    switching_w = 300 * clock * volts**2
    energy_j = 60 * (busy_s + 0.02) + switching_w * busy_s + 0.15 * switching_w * 0.02 + 80 * 0.03

    time_s, power_w = at_clock(np.array([[clock]]), one, shape)

    assert time_s.item() == pytest.approx(busy_s + 0.02)
    assert power_w.item() == pytest.approx(energy_j / (busy_s + 0.02), rel=1e-6)


@given(shapes(), loads())
def test_a_higher_clock_is_never_slower(shape, load):
    time_s, power_w = at_clock(GRID, load, shape)
    assert (np.diff(time_s) <= 1e-12 * time_s[:, 1:]).all()
    assert np.isfinite(time_s).all()
    assert (power_w >= load.base_w).all()


@given(shapes(), loads())
def test_a_higher_cap_is_never_slower_and_the_active_power_keeps_to_it(shape, load):
    load = replace(load, host_s=load.host_s * 0 + 1e-12)
    caps = np.linspace(60, 900, 40)[None, :]
    time_s, power_w = at_cap(caps, load, shape)
    assert (np.diff(time_s) <= 1e-9 * time_s[:, 1:]).all()
    _, forced_w = at_clock(np.array([[shape.floor]]), load, shape)
    free = caps > 1.1 * forced_w
    assert (power_w[free] <= caps[free] * 1.02).all()


@given(shapes(), loads())
def test_a_cap_implies_a_clock(shape, load):
    time_s, power_w = at_cap(np.array([[250.0]]), load, shape)
    clocks = np.linspace(0.02, 1, 4000)[None, :]
    same_s, same_w = at_clock(clocks, load, replace(shape, ceiling=1e3))
    at = np.abs(same_s - time_s).argmin()
    # Where time hardly depends on the clock, a clock of that time may have another power.
    if np.ptp(same_s) > 0.2 * same_s.min():
        near = np.abs(same_s[0] - same_s[0, at]) < 1e-4 * same_s[0, at]
        assert same_w[0][near].min() * 0.98 <= power_w <= same_w[0][near].max() * 1.02


def test_the_voltage_is_flat_up_to_the_knee_and_rises_to_the_top():
    clocks = np.array([0.3, SHAPE.knee, 0.9, 1.0])
    assert voltage(clocks, SHAPE) == pytest.approx(
        [1, 1, voltage(0.9, SHAPE).item(), 1.3], rel=1e-6
    )
    assert 1 < voltage(0.9, SHAPE) < 1.3


def test_a_board_sustains_no_more_than_its_ceiling():
    shape = replace(SHAPE, ceiling=0.9, ceiling_sharpness=80.0)
    run = delivered_clock(np.array([0.5, 0.8, 1.0]), shape)
    assert run[0] == pytest.approx(0.5)
    assert run[1] == pytest.approx(0.8, rel=1e-3)
    assert run[2] == pytest.approx(0.9, rel=1e-2)


def test_waiting_for_the_host_draws_little():
    busy = load()
    waiting = replace(busy, host_s=busy.host_s + 0.1)
    assert at_clock(np.ones((1, 1)), waiting, SHAPE)[1] < at_clock(np.ones((1, 1)), busy, SHAPE)[1]
