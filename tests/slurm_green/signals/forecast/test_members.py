# SPDX-License-Identifier: Apache-2.0
"""What the members of the model are made of: means over past hours by hand, the kernel's solver."""

import numpy as np
import pytest

from slurm_green.signals.forecast import kernel
from slurm_green.signals.forecast.kernel import kernel_means
from slurm_green.signals.forecast.rolling import at, guesses, same_hours, surprises, trailing


def test_before_the_beginning_there_is_the_first_hour_and_after_the_end_the_last():
    assert at(np.array([3.0, 4.0]), np.array([-2, 0, 1, 5])).tolist() == [3, 3, 4, 4]


def test_means_over_the_hours_before_an_origin():
    assert trailing(np.array([1.0, 2, 3, 4]), 2).tolist() == [0, 1, 1.5, 2.5, 3.5]


def test_means_over_the_same_hours_of_days():
    hours = np.arange(72.0)
    assert same_hours(hours, 2)[[5, 30, 60]].tolist() == [5, 18, 48]
    assert same_hours(hours, 7)[[5, 30, 60]].tolist() == [5, 18, 36]


def test_a_surprise_is_what_differs_from_the_usual_of_the_day_before():
    values = np.arange(72.0)
    values[30] += 5
    found = surprises(values, same_hours(values, 7))
    assert found[:24].tolist() == [0] * 24
    assert found[[29, 30, 31, 53]].tolist() == [24, 29, 24, 36]
    assert found[54] == 54 - (6 + 35) / 2


@pytest.mark.parametrize(("ahead", "same"), [(0, 26), (3, 29), (23, 49), (24, 26), (47, 49)])
def test_a_guess_is_the_last_same_hour_s_usual_and_a_surprise_that_fades(ahead, same):
    usual, surprise = np.arange(60.0), np.zeros(60)
    surprise[49] = 7.0
    found = guesses(usual, surprise, np.array([50]), ahead)
    assert found == pytest.approx([same + 7 * np.exp(-(ahead + 1) / 12)])


@pytest.mark.slow
def test_the_growing_factor_agrees_with_scikit_learn():
    """All rows at once by other people's; of hours that were hardly measured none is a row."""
    from sklearn.kernel_ridge import KernelRidge

    rng = np.random.default_rng(0)
    count, hours, times = 24 * 60, 12, [24 * 40, 24 * 47, 24 * 54]
    values = np.cumsum(rng.normal(size=count)) / 10 + np.cos(np.arange(count) * np.pi / 12)
    known = np.ones(count, dtype=bool)
    known[900:904] = False  # 4 of 12: too few are left of rows 893 to 903
    means = kernel_means(values, known, times, hours, 5)

    usual = same_hours(values, 7)
    surprise = surprises(values, usual)
    origins = np.arange(count + 1)
    guess = np.stack([guesses(usual, surprise, origins, one) for one in range(hours)], axis=1)
    followed = at(values, origins[:, None] + np.arange(hours)) - guess
    likeness = kernel._Likeness(values, 5)
    for time, end in zip(times, [*times[1:], count + 1], strict=True):
        rows = np.arange(168, time - hours + 1, 5)
        rows = np.array([row for row in rows if known[row : row + hours].mean() >= 0.75])
        theirs = KernelRidge(alpha=10.0, kernel="precomputed")
        theirs.fit(likeness.between(rows, rows), followed[rows])
        asked = origins[time:end]
        wanted = guess[asked] + theirs.predict(likeness.between(asked, rows))
        assert means[asked] == pytest.approx(wanted, rel=1e-6, abs=1e-9)
    assert np.isnan(means[: times[0]]).all()
