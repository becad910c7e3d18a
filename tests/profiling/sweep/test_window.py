# SPDX-License-Identifier: Apache-2.0
"""What a window shows, and every reason not to count it."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from profiling.device.gpu import Events
from profiling.sweep.window import Sample, faults, seen, steady
from profiling.workload.protocol import Steps

STEPS = Steps(count=100, units=100.0, begin_s=0.0, end_s=5.0)


def samples(watts=300.0, *, begin_s=-0.5, end_s=5.5, offset_s=0.0, tick_s=0.1, period_s=0.01):
    """A GPU at constant power, whose counter shows only whole ticks."""
    count = round((end_s - begin_s) / period_s)
    times = [begin_s + period_s * at for at in range(count)]
    return [
        Sample(
            at_s=at,
            energy_j=1000 + watts * (((at + 10 + offset_s) // tick_s) * tick_s),
            power_w=watts,
            clock_mhz=1500,
            events=Events.SETTING,
        )
        for at in times
    ]


def judged(rows, *, asked_mhz=1500, steps=STEPS, least_s=5.0):
    return faults(
        [seen(rows, steps.begin_s, steps.end_s)], steps, asked_mhz=asked_mhz, least_s=least_s
    )


@given(
    watts=st.floats(20, 1000),
    offset_s=st.floats(0, 0.2),
    tick_s=st.floats(0.015, 0.15),
    end_s=st.floats(2, 8),
)
def test_power_is_energy_between_ticks_whatever_their_place(watts, offset_s, tick_s, end_s):
    rows = samples(watts, offset_s=offset_s, tick_s=tick_s, end_s=end_s + 0.5)
    found = seen(rows, 0.0, end_s)
    # Half a look at each end.
    assert found.power_w == pytest.approx(watts, rel=0.012 / (end_s - 2 * tick_s))
    steps = Steps(count=1, units=1.0, begin_s=0.0, end_s=end_s)
    assert judged(rows, steps=steps, least_s=end_s) == ()


def test_what_is_outside_of_the_steps_does_not_count():
    rows = [
        replace(one, power_w=5.0, clock_mhz=210, events=Events.HW_THERMAL)
        if not 0 <= one.at_s <= 5
        else one
        for one in samples()
    ]
    assert judged(rows) == ()


@given(at=st.integers(60, 540), event=st.sampled_from(list(Events)))
def test_one_look_at_a_bad_event_is_enough(at, event):
    rows = samples()
    rows[at] = replace(rows[at], events=event)
    bad = int(event) & 0xEC != 0
    assert bool(judged(rows)) == bad
    if bad:
        assert event.words in judged(rows)[0]


def test_a_power_cap_is_no_fault_where_nobody_asked_for_a_clock():
    rows = [replace(one, events=Events.POWER_CAP) for one in samples()]
    assert judged(rows, asked_mhz=None) == ()
    assert judged([replace(one, events=Events.SW_THERMAL) for one in rows], asked_mhz=None)


@given(at=st.integers(60, 540), clock=st.integers(200, 2000))
def test_the_clock_stays_within_a_step(at, clock):
    rows = samples()
    rows[at] = replace(rows[at], clock_mhz=clock)
    assert bool(judged(rows)) == (abs(clock - 1500) > 15)


def test_an_unknown_clock_is_a_fault_only_where_one_was_asked_for():
    rows = [replace(one, clock_mhz=None) for one in samples()]
    assert judged(rows) == ("clock not known, asked 1500 MHz",)
    assert judged(rows, asked_mhz=None) == ()


def test_a_counter_that_stands_still_or_goes_back():
    rows = samples()
    still = [replace(one, energy_j=7.0) for one in rows]
    back = [replace(one, energy_j=(one.energy_j or 0) % 1000) for one in rows]
    for one in (still, back):
        assert judged(one) == ("the energy counter did not advance",)


@given(factor=st.floats(0.5, 1.5))
def test_counter_and_readings_agree(factor):
    rows = [replace(one, power_w=300 * factor) for one in samples()]
    off = abs(1 / factor - 1)
    if abs(off - 0.05) > 0.005:
        assert bool(judged(rows)) == (off > 0.05)


def test_without_a_counter_the_readings_are_what_there_is():
    rows = [replace(one, energy_j=None) for one in samples()]
    assert seen(rows, 0, 5).power_w == pytest.approx(300)
    assert judged(rows) == ()
    assert judged([replace(one, power_w=None) for one in rows]) == ("its power is not known",)


def test_too_short_is_a_fault_and_each_gpu_is_named():
    assert judged(samples(), least_s=6.0) == ("it ran 5 s, wanted 6",)
    good = seen(samples(), 0, 5)
    bad = replace(good, events=Events.HW_SLOWDOWN)
    assert faults([good, bad], STEPS, asked_mhz=1500, least_s=5) == (
        "GPU 1: held back: hw slowdown",
    )


def test_steady():
    assert steady(100.0, 100.9)
    assert not steady(100.0, 101.5)
    assert not steady(None, 100.0)
    assert not steady(100.0, None)
