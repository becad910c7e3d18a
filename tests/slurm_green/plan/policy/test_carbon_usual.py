# SPDX-License-Identifier: Apache-2.0
"""What the past lets expect, and how far off that is."""

import numpy as np

from slurm_green.plan.policy.carbon_usual import Usual

STEPS = 48


def waves(now):
    """The last five days before an hour."""
    return 0.3 * np.sin(np.arange(now - 119, now + 1) / 24 * 2 * np.pi)


def test_an_expectation_is_held_against_the_slot_that_it_was_made_for():
    """After a gap of nine hours the one of three hours before is not what was said of now."""
    usual, gap = Usual(1, 1.0), 9
    for now in range(200, 300):
        usual.expected(now, waves(now), STEPS, 0.1)
    last = waves(299 + gap)
    _, before = usual.expected(None, last, STEPS, 0.1)
    usual.expected(299 + gap, last, STEPS, 0.1)
    _, after = usual.expected(None, last, STEPS, 0.1)

    assert (np.diag(after) < 1.05 * np.diag(before)).all()


def test_what_was_further_off_than_thought_is_expected_to_be_so_again():
    random, usual = np.random.default_rng(1), Usual(1, 1.0)
    level = np.cumsum(random.normal(0, 0.05, 500))
    _, first = usual.expected(None, level[:120], STEPS, 0.1)
    for now in range(120, 400):
        usual.expected(now, level[now - 119 : now + 1], STEPS, 0.1)
    _, found = usual.expected(None, level[:120], STEPS, 0.1)

    assert (np.diag(found) > 1.3 * np.diag(first))[12:].all()
