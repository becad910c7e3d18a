# SPDX-License-Identifier: Apache-2.0
"""Which job is the one whose end is p95, and who is seen how often."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from slurm_green.migration.tail import among_all, p95_density, ranks


def test_ranks_are_shares_and_those_alike_are_in_the_middle():
    times_s = np.array([10.0, 20.0, 30.0, 40.0])
    assert ranks(times_s, times_s).tolist() == [0.125, 0.375, 0.625, 0.875]
    assert ranks(np.array([5.0, 10.0]), np.full(9, 10.0)).tolist() == [0.0, 0.5]
    assert ranks(np.array([11.0]), np.full(9, 10.0)).tolist() == [1.0]


@given(st.integers(1, 10**6))
def test_p95_is_looked_for_at_its_rank_the_narrower_the_more_is_known(count):
    at = np.array([0.90, 0.95, 1.0])
    few, many = p95_density(at, count), p95_density(at, 4 * count)
    assert few.argmax() == 1
    assert many[1] == pytest.approx(2 * few[1])
    assert many[0] / many[1] <= few[0] / few[1]


def test_over_all_ranks_it_is_one_on_average():
    rank = (np.arange(100_000) + 0.5) / 100_000
    assert p95_density(rank, 1000).mean() == pytest.approx(1.0, rel=1e-3)


def test_of_those_that_are_there_the_long_ones_are_seen_too_often():
    found = among_all(np.array([10.0] * 50 + [1000.0] * 50))
    assert (found == 1000.0).sum() == 1  # of a hundred that end
    assert among_all(np.array([])).tolist() == []


@given(st.integers(0, 2**16))
@settings(deadline=None, max_examples=10)
def test_what_is_seen_tells_what_ends(seed):
    random = np.random.default_rng(seed)
    ends_s = random.lognormal(np.log(21_600.0), 1.0, 20_000)
    there_s = random.choice(ends_s, 20_000, p=ends_s / ends_s.sum())
    for q in (0.5, 0.95):
        assert np.quantile(among_all(there_s), q) == pytest.approx(np.quantile(ends_s, q), rel=0.15)


@given(st.lists(st.floats(0.0, 1e7), max_size=30))
def test_everything_has_a_rank(times_s):
    some = np.array(times_s)
    found = ranks(some, among_all(some))
    assert len(found) == len(some)
    assert np.all((found >= 0) & (found <= 1))
