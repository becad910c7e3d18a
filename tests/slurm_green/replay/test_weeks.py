# SPDX-License-Identifier: Apache-2.0
"""Carbon by week and how sure a saving is."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from slurm_green.replay.weeks import LEAST_WEEKS, by_week, saving

HOUR = 3600.0
GRAMS = st.floats(0, 1e6)


@settings(max_examples=60, deadline=None)
@given(st.lists(GRAMS, min_size=1, max_size=900), st.sampled_from([900.0, 3600.0, 86_400.0]))
def test_weeks_hold_all_carbon(slots, step_s):
    """Nothing is lost at the end, and no week is shorter than half of one but for a short trace."""
    weeks = by_week(np.array(slots), step_s)

    assert weeks.sum() == pytest.approx(sum(slots))
    assert len(weeks) == max(1, round(len(slots) * step_s / (7 * 86_400)))


def test_a_short_rest_belongs_to_the_last_week():
    """Sixteen days are two weeks, eighteen are three."""
    assert by_week(np.ones(16 * 24), HOUR).tolist() == [168, 216]
    assert by_week(np.ones(18 * 24), HOUR).tolist() == [168, 168, 96]


def test_the_interval_holds_the_truth_as_often_as_it_says():
    """On 300 made-up years of noisy weeks whose true saving is known."""
    random = np.random.default_rng(5)
    hits = 0
    for _ in range(300):
        baseline = random.uniform(80, 120, 52)
        found = saving(baseline * (0.8 + random.normal(0, 0.1, 52)), baseline)
        hits += found.low <= 0.2 <= found.high
    assert 0.90 <= hits / 300 <= 0.99


@given(st.lists(st.floats(1, 1e6), min_size=LEAST_WEEKS, max_size=60))
@settings(max_examples=50, deadline=None)
def test_a_policy_saves_nothing_against_itself(grams):
    """And a constant share has no spread."""
    weeks = np.array(grams)
    same, less = saving(weeks, weeks), saving(0.75 * weeks, weeks)

    assert (same.share, same.low, same.high) == (0, 0, 0)
    assert [less.share, less.low, less.high] == pytest.approx([0.25] * 3)


def test_too_little_is_not_known():
    """Too few weeks have no interval, no carbon has no saving; unknown is None."""
    few = saving(np.array([1.0, 2, 3]), np.array([2.0, 4, 6]))
    none = saving(np.ones(9), np.zeros(9))

    assert (few.share, few.low, few.high) == (0.5, None, None)
    assert (none.share, none.low, none.high) == (None, None, None)


def test_weeks_without_carbon_do_not_break_it():
    """A baseline that emits in one week of many: draws without it say nothing."""
    baseline = np.zeros(12)
    baseline[3] = 10
    found = saving(baseline / 2, baseline)
    assert (found.share, found.low, found.high) == (0.5, 0.5, 0.5)
