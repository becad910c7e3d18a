# SPDX-License-Identifier: Apache-2.0
"""Cap and ramp, against sums made slot by slot."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from problems import make

from slurm_green.plan.limits import Limits

SLOTS = 5
STEP_S = 8.0

watts = st.integers(0, 12).map(float)
load = st.lists(watts, min_size=SLOTS, max_size=SLOTS)
limit = st.just(math.inf) | st.integers(0, 16).map(float)
moment = st.integers(0, int(4 * STEP_S) * SLOTS).map(lambda quarter: quarter / 4)
stretch = st.tuples(moment, moment).filter(lambda ends: ends[0] != ends[1]).map(sorted)


def energy_j(power_w, start_s, end_s):
    """Joules of a run in each slot."""
    border = np.arange(SLOTS) * STEP_S
    seconds = np.minimum(border + STEP_S, end_s) - np.maximum(border, start_s)
    return power_w * np.maximum(seconds, 0.0)


def kept(site, slot_j):
    rise = np.diff(slot_j)
    cap_j, ramp_j = site.power_cap_w * site.step_s, site.ramp_w_per_slot * site.step_s
    return bool((slot_j <= cap_j + 1e-9).all() and (rise <= ramp_j + 1e-9).all())


def at(base, cap_w, ramp_w):
    return make(
        [], [], [1.0] * SLOTS, base_w=base, step_s=STEP_S, power_cap_w=cap_w, ramp_w_per_slot=ramp_w
    ).site


@settings(max_examples=400, deadline=None)
@given(load, limit, limit, st.lists(stretch, min_size=1, max_size=6), watts)
def test_a_run_is_allowed_where_the_sums_stay_within(base, cap_w, ramp_w, runs, power_w):
    """All starts at once; what is placed so far keeps cap and ramp."""
    site = at(base, cap_w, ramp_w)
    limits = Limits(site)
    slot_j = site.base_power_w * STEP_S
    assert limits.hold() == kept(site, slot_j)
    if not limits.hold():
        return
    starts, ends = np.array(runs).T
    allowed = limits.allow(power_w, starts, ends)
    wanted = [kept(site, slot_j + energy_j(power_w, *one)) for one in runs]
    assert allowed.tolist() == wanted


@settings(max_examples=100, deadline=None)
@given(load, limit, limit, stretch, watts)
def test_what_is_booked_counts(base, cap_w, ramp_w, run, power_w):
    """In and out again; `hold` also sees the hole that a run leaves before the next one."""
    site = at(base, cap_w, ramp_w)
    limits = Limits(site)
    before = limits.energy_j.copy()
    added = energy_j(power_w, *run)
    limits.book(0, SLOTS, added)
    assert limits.hold() == kept(site, before + added)
    assert limits.room_j() == pytest.approx(cap_w * STEP_S - before - added)
    limits.book(0, SLOTS, -added)
    assert limits.energy_j == pytest.approx(before)


def test_only_what_rises_is_steep():
    """Two kilowatts go down at once, and up in two steps only."""
    limits = Limits(at([0.0] * SLOTS, math.inf, 1.0))
    starts = np.array([0.0, STEP_S, STEP_S / 2, 0.0])
    ends = np.array([STEP_S * SLOTS, STEP_S * 2, STEP_S * 3, STEP_S])
    assert limits.allow(2.0, starts, ends).tolist() == [True, False, True, True]
    assert limits.allow(2.01, starts, ends).tolist() == [True, False, False, True]


def test_a_site_without_limits_has_none():
    assert not Limits.any(at([1.0] * SLOTS, math.inf, math.inf))
    assert Limits.any(at([1.0] * SLOTS, 5.0, math.inf))
    assert Limits.any(at([1.0] * SLOTS, math.inf, 5.0))


@settings(max_examples=100, deadline=None)
@given(load, st.integers(8, 24), st.integers(4, 16), st.integers(0, SLOTS - 1), st.floats(4, 20))
def test_where_a_run_meets_a_limit_is_a_turning_point(base, cap_w, ramp_w, slot, power_w):
    """As much of the run's first slot as is allowed is one of the points."""
    site = at(base, float(cap_w), float(ramp_w))
    limits = Limits(site)
    if not limits.hold() or power_w == 0:
        return
    border, end_s = (slot + 1) * STEP_S, (slot + 1) * STEP_S
    lengths = np.arange(1, 33) / 32 * STEP_S
    allowed = limits.allow(power_w, border - lengths, np.full(32, end_s))
    points = np.concatenate(limits.turning(slot, slot + 1))
    room_s = points[points >= 0] / power_w
    if allowed.all() or not allowed.any():
        return
    most = float(lengths[allowed].max())
    # Between the longest that is allowed and the next one.
    assert ((room_s >= most - 1e-6) & (room_s <= most + STEP_S / 32 + 1e-6)).any()
