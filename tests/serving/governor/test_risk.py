# SPDX-License-Identifier: Apache-2.0
"""Chances of being late: they are chances, and rise with what makes late."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from serving.governor.engine import Batch, EngineModel
from serving.governor.protocol import Moment, Slo
from serving.governor.risk import Answers, Bursts, Risk
from tests.serving.made import profile

ENGINE = EngineModel(profile())
SLO = Slo(ttft_s=1.0, tpot_s=0.02)
DURATIONS_S = np.array([0.3, 0.1, 0.02, 0.005])


@settings(max_examples=80, deadline=None)
@given(
    st.lists(st.integers(1, 9000), max_size=60),
    st.integers(0, 9000),
    st.lists(st.floats(0, 9000), min_size=2, max_size=6),
)
def test_chances_of_an_end_rise_from_nothing_to_certainty(
    lengths: list[int], made: int, further: list[float]
) -> None:
    answers = Answers()
    for one in lengths:
        answers.add(one)
    found = answers.end_within(np.full(len(further), float(made)), np.sort(further))
    assert (found >= -1e-9).all() and (found <= 1 + 1e-9).all()
    assert (np.diff(found) >= -1e-9).all()


def test_lengths_that_were_seen_are_expected_again() -> None:
    answers = Answers()
    for _ in range(400):
        answers.add(10)
    soon, at_ten = answers.end_within(np.array([2.0, 2.0]), np.array([6.0, 9.0]))
    assert soon < 0.05
    assert at_ten > 0.95


def test_bursts_are_expected_after_an_arrival_and_not_later() -> None:
    bursts = Bursts(ENGINE, 0.5)
    for minute in range(20):
        for k in range(4):
            bursts.see([(60.0 * minute + 0.05 * k, 1000)])
    soon_s, per_s = bursts.to_come(60.0 * 19 + 0.16)
    assert soon_s[-1] > 2 * ENGINE.prompt_s(1000, len(ENGINE.clocks_mhz) - 1)
    assert per_s > 1
    later_s, per_s = bursts.to_come(60.0 * 19 + 5)
    assert later_s.max() == 0
    assert per_s == 0


def test_arrivals_are_noted_once_in_whatever_order_they_are_served() -> None:
    in_order, other = Bursts(ENGINE, 0.5), Bursts(ENGINE, 0.5)
    queue: list[tuple[float, int]] = []
    for k in range(40):
        one = (0.3 * k, 100 + 10 * (k % 7))
        in_order.see([one])
        queue = [one, *queue[-3:]] if k % 2 else [*queue[-3:], one]
        other.see(queue)
        for age_s in (0.0, 0.3, 2.0):
            mine, theirs = (which.to_come(0.3 * k + age_s) for which in (other, in_order))
            assert (mine[0] == theirs[0]).all()
            assert mine[1] == theirs[1]


@settings(max_examples=80, deadline=None)
@given(
    st.lists(st.tuples(st.floats(-0.2, 0.5), st.integers(1, 200)), max_size=16),
    st.lists(st.integers(1, 3000), max_size=6),
)
def test_slower_makes_more_late(banks: list[tuple[float, int]], prompts: list[int]) -> None:
    risk = Risk(ENGINE, SLO)
    for k in range(200):
        risk.ended(5 + k % 40)
    banks.sort()
    moment = Moment(
        10.0,
        Batch(len(banks), 300.0 if banks else 0.0, [(0, one) for one in prompts[:1]]),
        0,
        0.0,
        [(10.0, one) for one in prompts],
        max(len(prompts) - 1, 0),
        [bank_s for bank_s, _ in banks],
        [made for _, made in banks],
    )
    risk.look(moment)
    found = risk.late(moment, DURATIONS_S, 1.0)
    if found is not None:
        assert (np.diff(found) <= 1e-9).all()
        assert (found >= 0).all()


def test_a_request_that_can_wait_is_not_late_and_one_that_cannot_is() -> None:
    risk = Risk(ENGINE, SLO)
    for _ in range(300):
        risk.ended(8)
    rich = Moment(0.0, Batch(1, 100.0), 0, 0.0, banks_s=[5.0], made=[4])
    assert risk.late(rich, DURATIONS_S, 1.0) is None
    poor = Moment(0.0, Batch(1, 100.0), 0, 0.0, banks_s=[-0.01], made=[7])
    found = risk.late(poor, DURATIONS_S, 1.0)
    assert found is not None
    assert found[0] == pytest.approx(1.0, abs=0.05)
    assert found[-1] == 0


def test_prompts_that_come_all_the_time_slow_the_winning_back() -> None:
    idle, busy = Risk(ENGINE, SLO), Risk(ENGINE, SLO)
    batch = Batch(1, 100.0, [(0, 400)])
    lasted_s = 1.25 * ENGINE.time_s(batch, len(ENGINE.clocks_mhz) - 1)
    for risk in (idle, busy):
        for k in range(300):
            risk.ended(5 + k % 60)
    for _ in range(2000):
        busy.ran(batch, lasted_s)
    moment = Moment(0.0, Batch(1, 100.0), 0, 0.0, banks_s=[-0.1], made=[4])
    quiet, loaded = (one.late(moment, DURATIONS_S, 1.0) for one in (idle, busy))
    assert quiet is not None and loaded is not None
    assert loaded[-1] > quiet[-1] + 0.05
