# SPDX-License-Identifier: Apache-2.0
"""Errors, losses, coverage and worth, on cases that can be reckoned by hand."""

import numpy as np
import pytest

from slurm_green.signals.forecast.bands import Bands
from slurm_green.signals.forecast.regret import worth
from slurm_green.signals.forecast.scores import actual_after, coverage, mape_by_day, pinball


def bands(mean, low=0.0, high=0.0):
    """Bands around a mean."""
    mean = np.asarray(mean, dtype=float)
    return Bands(mean=mean, p10=mean - low, p50=mean, p90=mean + high)


def test_what_came_ends_in_unknown():
    """Beyond the end nothing is known."""
    found = actual_after(np.array([1.0, 2.0, 3.0]), np.array([1, 2]), 2)

    np.testing.assert_array_equal([[2.0, 3.0], [3.0, np.nan]], found)


def test_percentages_leave_zero_and_gaps_out():
    """10 % and 30 % make 20 %; an hour of nothing has no percentage."""
    came = np.array([[100.0, 0.0, np.nan, 200.0]])

    assert mape_by_day(came, np.array([[110.0, 5.0, 5.0, 140.0]])) == [pytest.approx(20.0)]
    assert mape_by_day(np.zeros((1, 24)), np.ones((1, 24))) == [None]


def test_days_are_counted_apart():
    """Hour 24 is day two."""
    came = np.full((1, 48), 100.0)
    mean = came.copy()
    mean[:, 24:] = 150.0

    assert mape_by_day(came, mean) == [0.0, 50.0]


def test_pinball_by_hand():
    """10 above p10: 1.0; 10 above p50: 5.0; 10 above p90: 9.0; their mean is 5."""
    assert pinball(np.array([[20.0]]), bands([[10.0]])) == pytest.approx(5.0)
    assert pinball(np.array([[np.nan]]), bands([[10.0]])) is None


def test_coverage_by_hand():
    """Three of four known hours; edges count."""
    came = np.array([[9.0, 11.0, 12.0, 30.0, np.nan]])

    assert coverage(came, bands(np.full((1, 5), 10.0), 1.0, 2.0)) == 0.75


def test_worth_by_hand():
    """A 2 h job with 2 h slack: now 10, best 3; the forecast picks the start that costs 5."""
    values = np.array([10.0, 10.0, 2.0, 4.0, 0.0])
    mean = np.array([[9.0, 9.0, 1.0, 30.0]])

    one = worth(values, np.array([0]), mean, job_h=2, slack_h=2)

    assert (one.now, one.chosen, one.best, one.submissions) == (10.0, 6.0, 3.0, 1)
    assert one.share_of_perfect == pytest.approx(4 / 7)
    assert (one.perfect_saving, one.saving) == (pytest.approx(0.7), pytest.approx(0.4))


def test_of_supply_the_most_is_wanted():
    """The same job finds 10 at once and 13 at best; the forecast picks the start that has 12."""
    values = np.array([10.0, 10.0, 14.0, 12.0, 0.0])
    mean = np.array([[9.0, 11.0, 30.0, 1.0]])

    one = worth(values, np.array([0]), mean, job_h=2, slack_h=2, most=True)

    assert (one.now, one.chosen, one.best, one.submissions) == (10.0, 12.0, 13.0, 1)
    assert one.share_of_perfect == pytest.approx(2 / 3)
    assert (one.perfect_saving, one.saving) == (pytest.approx(0.3), pytest.approx(0.2))


@pytest.mark.parametrize("most", [False, True])
def test_of_equal_starts_the_first_is_taken(most):
    """A day that is told again and again: rounding must not choose among its repetitions."""
    rng = np.random.default_rng(0)
    day = rng.uniform(100, 200, (500, 24))
    values = rng.uniform(100, 200, 24 * 25)
    origins = np.arange(500)

    whole = worth(values, origins, np.tile(day, 3), job_h=24, slack_h=48, most=most)
    six = worth(values, origins, np.tile(day, 3), job_h=6, slack_h=24, most=most)
    short = worth(values, origins, np.tile(day, 3), job_h=6, slack_h=23, most=most)

    assert whole.chosen == whole.now
    assert six.chosen == short.chosen


def test_the_truth_is_worth_all_of_it_and_the_past_nothing_less():
    """A perfect forecast has the whole; where nothing can be saved the share is unknown."""
    rng = np.random.default_rng(0)
    values = rng.uniform(100, 200, 24 * 10)
    origins = np.arange(0, 24 * 8)
    perfect = worth(values, origins, actual_after(values, origins, 30), job_h=6, slack_h=24)
    flat = worth(np.ones(50), np.arange(10), np.ones((10, 30)), job_h=6, slack_h=24)

    assert perfect.share_of_perfect == 1.0
    assert (flat.share_of_perfect, flat.perfect_saving) == (None, 0.0)


def test_windows_with_gaps_are_left_out():
    """A job that ran through the unknown cannot be judged."""
    values = np.ones(60)
    values[40] = np.nan

    one = worth(values, np.arange(30), np.ones((30, 30)), job_h=6, slack_h=24)

    assert one.submissions == 11


def test_where_nothing_was_emitted_or_submitted_no_share_is_known():
    nothing = worth(np.zeros(50), np.arange(10), np.ones((10, 30)), job_h=6, slack_h=24)
    none = worth(np.full(50, np.nan), np.arange(10), np.ones((10, 30)), job_h=6, slack_h=24)

    for one in (nothing, none):
        assert (one.now, one.chosen, one.best) == (0, 0, 0)
        assert (one.perfect_saving, one.saving, one.share_of_perfect) == (None, None, None)
    assert (nothing.submissions, none.submissions) == (10, 0)
