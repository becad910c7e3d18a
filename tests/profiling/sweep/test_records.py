# SPDX-License-Identifier: Apache-2.0
"""What windows say together: means, intervals, drift, and that bad ones say nothing."""

import math
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from profiling.sweep.records import Mean, Window, left_out, points


def window(order=0, clock=1500, power=300.0, step=0.01, **more):
    values = {
        "round": 0, "load": "a", "order": order, "attempt": 1, "clock_mhz": clock,
        "reference": clock == 1200, "faults": (), "step_s": step, "rate": 1 / step,
        "power_w": power, "observed_mhz": float(clock),
    }  # fmt: skip
    return Window(**{**values, **more})


windows = st.lists(
    st.builds(
        window,
        order=st.integers(0, 50),
        clock=st.sampled_from([900, 1200, 1500]),
        power=st.floats(100, 400),
        step=st.floats(0.001, 1),
        load=st.sampled_from(["a", "b"]),
    ),
    max_size=20,
)


@given(windows, st.data())
def test_rejected_windows_never_enter(good, data):
    bad = [replace(one, faults=("bad",), power_w=1e9, step_s=1e9, rate=1e-9) for one in good]
    mixed = data.draw(st.permutations([*good, *bad]))
    order = {id(one): at for at, one in enumerate(mixed)}
    kept = sorted(good, key=lambda one: order[id(one)])
    assert points(mixed) == points(kept)


def test_the_interval_is_students():
    found = Mean.of([1.0, 2.0, 3.0])
    assert found.value == 2
    assert found.ci95 == pytest.approx(4.302652729696142 / math.sqrt(3))
    assert Mean.of([5.0]) == Mean(5.0, None)


@given(drift=st.floats(-0.08, 0.08))
def test_drift_of_the_reference_is_taken_out(drift):
    clocks = [1200, 900, 1500, 1200, 1500, 900, 1200]
    true = {900: 200.0, 1200: 250.0, 1500: 320.0}
    rows = [
        window(at, clock, true[clock] * (1 + drift * at / 6)) for at, clock in enumerate(clocks)
    ]
    for one in points(rows):
        error = abs(one.power_w.value / true[one.clock_mhz] - 1)
        assert error < (1e-9 if abs(drift) > 0.011 else 0.01)


def test_what_tells_the_drift_has_no_interval_of_power():
    """Less the drift all windows of the reference are alike; an interval of 0 would be no truth."""
    powers = {1200: [250.0, 256.0, 253.0], 900: [200.0, 203.0]}
    rows = [window(2 * at, 1200, power) for at, power in enumerate(powers[1200])]
    rows += [window(2 * at + 1, 900, power) for at, power in enumerate(powers[900])]
    low, reference = points(rows)
    assert (reference.power_w, reference.n) == (Mean(250.0, None), 3)
    assert low.power_w.ci95 is not None
    assert low.power_w.ci95 > 0
    assert reference.rate.ci95 is not None


def test_repeats_at_the_only_clock_are_noise_and_no_drift():
    """As where no clock can be set: their mean counts, not the first of them."""
    (found,) = points([window(at, 1200, power) for at, power in enumerate((250.0, 256.0, 253.0))])
    assert found.power_w == Mean.of([250.0, 256.0, 253.0])


def test_settings_given_up_are_those_with_the_last_attempt():
    rows = [window(attempt=at, faults=("x",)) for at in (1, 2, 3)]
    assert set(left_out(rows, 3)) == {("a", 1500)}
    assert left_out(rows[:2], 3) == {}
