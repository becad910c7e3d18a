# SPDX-License-Identifier: Apache-2.0
"""What may arrive is learned from what arrived."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from problems import HOUR, make

from slurm_green.plan.policy.arrivals import Arrivals
from slurm_green.plan.policy.protocol import Job

SHAPES = make([((1, 1.0, 400.0),), ((4, 1.0, 1600.0),)], [], [100] * 24).shapes
DAY = 24 * HOUR


def job(number, at_s, work=HOUR, kind=0):
    """A job that may start when it is submitted, and wait for six hours."""
    return Job(
        job_id=f"j{number}",
        class_index=kind,
        work=work,
        submit_s=at_s,
        earliest_s=at_s,
        deadline_s=at_s + work + 6 * HOUR,
    )


def gpu_s(likely):
    """GPU-seconds that are expected."""
    gpus = np.array([1, 4])[likely.class_index]
    return float((likely.weight * likely.work * gpus).sum())


def test_nothing_is_expected_before_anything_came():
    """No arrivals, no guess."""
    arrivals = Arrivals(SHAPES)
    arrivals.add([], 0.0)

    assert len(arrivals.likely(5 * HOUR, 48)) == 0


def test_what_was_before_the_first_job_was_not_quiet():
    """A replay knows four weeks of the signal, and no job of them."""
    known, new = Arrivals(SHAPES), Arrivals(SHAPES)
    for hour in range(4 * 7 * 24):
        known.add([], (hour - 4 * 7 * 24) * HOUR)
    for hour in range(12):
        for one in (known, new):
            one.add([job(hour, hour * HOUR)], hour * HOUR)

    assert gpu_s(known.likely(12 * HOUR, 24)) == pytest.approx(24 * HOUR)
    assert gpu_s(new.likely(12 * HOUR, 24)) == gpu_s(known.likely(12 * HOUR, 24))
    assert known.usual_gpus(12 * HOUR, DAY) == new.usual_gpus(12 * HOUR, DAY) > 0
    assert not known.known(12 * HOUR)


@pytest.mark.filterwarnings("error")
def test_nothing_is_expected_after_a_week_without_arrivals():
    """What came before it says nothing of today."""
    arrivals = Arrivals(SHAPES)
    arrivals.add([job(0, 0.0)], 0.0)

    assert len(arrivals.likely(6 * DAY, 24)) > 0
    assert len(arrivals.likely(8 * DAY, 24)) == 0


@given(st.lists(st.tuples(st.floats(60, 40 * HOUR), st.integers(0, 1)), min_size=1, max_size=60))
def test_gpu_hours_are_kept(jobs):
    """Two days of arrivals: the next 24 h bring half of their GPU-hours, whatever was drawn."""
    arrivals = Arrivals(SHAPES)
    arrivals.add([], 0.0)
    for number, (work, kind) in enumerate(jobs):
        at = number / len(jobs) * 2 * DAY
        arrivals.add([job(number, at, work, kind)], at)

    came = sum(work * (1, 4)[kind] for work, kind in jobs)
    assert gpu_s(arrivals.likely(2 * DAY, 24)) == pytest.approx(came / 2, rel=0.02)


def test_busy_hours_are_expected_again():
    """All arrivals of two weeks came at 9 h: more is expected then, at the jobs' own slack."""
    arrivals = Arrivals(SHAPES)
    arrivals.add([], 0.0)
    for day in range(14):
        arrivals.add([job(f"{day}-{at}", day * DAY + 9.5 * HOUR) for at in range(20)], day * DAY)

    likely = arrivals.likely(14 * DAY, 24)

    hour = ((likely.earliest_s - 14 * DAY) // HOUR).astype(int)
    expected = np.bincount(hour, likely.weight, 24)
    assert expected.argmax() == 9
    assert likely.earliest_s.min() >= 14 * DAY
    assert likely.deadline_s - likely.earliest_s == pytest.approx(np.full(len(likely), 7 * HOUR))


def test_a_day_must_be_seen_to_know_who_comes():
    arrivals = Arrivals(SHAPES)
    assert not arrivals.known(9 * DAY)
    arrivals.add([job(0, HOUR)], HOUR)
    assert not arrivals.known(24.9 * HOUR)
    assert arrivals.known(25 * HOUR)


def test_gpus_that_jobs_with_little_time_take():
    """For two days, with each hour an hour's job on one GPU and one on four; they can wait 5 h."""
    arrivals = Arrivals(SHAPES)
    arrivals.add([], 0.0)
    for hour in range(48):
        arrivals.add(
            [job(f"{hour}-{kind}", hour * HOUR, work=1.0, kind=kind) for kind in (0, 1)], 0.0
        )

    assert arrivals.usual_gpus(48 * HOUR, 5.1 * HOUR) == pytest.approx(5.0)
    assert arrivals.usual_gpus(48 * HOUR, 5 * HOUR) == 0.0
    assert arrivals.usual_gpus(9 * DAY, 5.1 * HOUR) == pytest.approx(0.0)
