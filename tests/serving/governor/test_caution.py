# SPDX-License-Identifier: Apache-2.0
"""The price of a late request answers to how many are late."""

import random
from collections import deque

import pytest

from serving.governor.caution import Caution


def test_it_rises_with_who_is_late_and_falls_with_who_is_not() -> None:
    caution = Caution(500.0, 0.01)
    caution.hear(0.0)
    assert caution.price < 500
    before = caution.price
    caution.hear(1.0)
    assert caution.price > before


def test_it_stays_where_as_many_are_late_as_may_be() -> None:
    caution = Caution(500.0, 0.02)
    for number in range(5000):
        caution.hear(1.0 if number % 50 == 0 else 0.0)
    assert 300 < caution.price < 700


@pytest.mark.parametrize(("lost", "floor"), [(0.5, 1.0), (0.0, 0.0), (-0.5, 0.0)])
def test_at_the_ends_it_is_the_highest_clock_or_a_low_price(lost: float, floor: float) -> None:
    caution = Caution(500.0, 0.001)
    for _ in range(40_000):
        caution.hear(lost)
    assert caution.floor == pytest.approx(floor)
    assert 1.9 < caution.price < 1e5


@pytest.mark.parametrize("behind", [0, 300, 6000])
def test_it_finds_the_price_at_which_that_share_is_lost(behind: int) -> None:
    """Of a replica in which the share that is late falls as one over the price."""
    dice, caution, late = random.Random(1), Caution(500.0, 0.002), 0
    known: deque[bool] = deque()
    for number in range(60_000):
        known.append(dice.random() < 2.0 / caution.price)
        late += known[-1] and number >= 10_000
        if len(known) > behind:
            caution.hear(float(known.popleft()), behind)
    assert 0.0015 < late / 50_000 < 0.0025
