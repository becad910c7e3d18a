# SPDX-License-Identifier: Apache-2.0
"""The series type: coverage, means and what it refuses."""

from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from slurm_green.errors import SignalError
from slurm_green.signals.series import Series

START = datetime(2026, 3, 29, tzinfo=UTC)


def series(values, step_s=1800.0):
    return Series(
        start_utc=START, step_s=step_s, values=np.array(values), issued_utc=START, provider="t"
    )


def test_mean_weighs_parts_of_steps():
    """Half of the first step and a whole second one."""
    got = series([100.0, 400.0]).mean(START + timedelta(minutes=15), START + timedelta(hours=1))
    assert got == pytest.approx((100 * 900 + 400 * 1800) / 2700)


def test_mean_of_an_instant_is_its_value():
    """No division by zero for an empty interval."""
    assert series([100.0, 400.0]).mean(START, START) == 100.0


@pytest.mark.parametrize("minutes", [(-1, 10), (10, 61), (70, 80)])
def test_outside_is_refused(minutes):
    """Nothing is extrapolated at either end."""
    begin, end = (START + timedelta(minutes=m) for m in minutes)
    with pytest.raises(SignalError, match="covers"):
        series([100.0, 400.0]).mean(begin, end)


@pytest.mark.parametrize("bad", [[], [float("nan")], [-1.0], [1.0, float("inf")]])
def test_bad_values_are_refused(bad):
    """Empty, NaN, negative and infinite are no signal."""
    with pytest.raises(SignalError):
        series(bad)


@given(
    st.lists(st.floats(0, 1000), min_size=2, max_size=20),
    st.floats(0, 1),
)
def test_means_add_up(values, cut):
    """The mean over a whole is the weighted mean of its two parts, wherever it is cut."""
    one = series(values)
    middle = START + (one.end_utc - START) * cut
    left = one.mean(START, middle) * (middle - START).total_seconds()
    right = one.mean(middle, one.end_utc) * (one.end_utc - middle).total_seconds()
    assert left + right == pytest.approx(one.cumulative[-1], abs=1e-3)
