# SPDX-License-Identifier: Apache-2.0
"""The usual load: unbiased in the mean, no burst taken for the rule, nothing counted twice."""

import random
from dataclasses import replace
from datetime import timedelta

import pytest
from builders import HOUR, NOW, job, partition_view

from slurm_green.controller.arrivals import Arrivals
from slurm_green.plan.history import RunSample

PARTITIONS = {"gpu": partition_view()}
HOURS = timedelta(hours=1)


def ended(number, *, hours_ago, run_h, gpus=2, **fields):
    """A job that was submitted, ran at once and ended."""
    submit = NOW - hours_ago * HOURS
    return job(
        job_id=number,
        state="COMPLETED",
        submit_utc=submit,
        eligible_utc=submit,
        start_utc=submit,
        end_utc=submit + run_h * HOURS,
        gpus=gpus,
        cpus=4,
        **fields,
    )


def seen(jobs, arrivals=None, *, waiting=frozenset(), now=NOW, over_s=72 * HOUR):
    """What is known once these jobs were looked at."""
    return (arrivals or Arrivals(over_s=over_s)).with_jobs(
        jobs, PARTITIONS, waiting=waiting, now_utc=now
    )


def test_the_mean_of_a_steady_stream_is_its_offered_load():
    """Two GPUs for three hours, one an hour on average: six GPUs; variance six times two."""
    dice = random.Random(1)
    jobs = [ended(i, hours_ago=dice.uniform(0, 700), run_h=dice.choice((2, 4))) for i in range(700)]
    load = seen(jobs).load("gpu", least_s=24 * HOUR)
    assert load.mean[0] == pytest.approx(6.0, rel=0.2)
    assert load.variance[0] == pytest.approx(2 * load.mean[0])
    assert load.reserve(1.0)[0] == pytest.approx(load.mean[0] + load.variance[0] ** 0.5)


def test_the_same_jobs_seen_one_by_one_or_all_at_once_weigh_the_same():
    jobs = [ended(i, hours_ago=20 - i, run_h=1) for i in range(20)]
    step = Arrivals(over_s=72 * HOUR)
    for i in range(20):
        step = seen(jobs[: i + 1], step, now=NOW - (20 - i) * HOURS)
    step = seen(jobs, step)
    at_once = seen(jobs)
    assert step.sums["gpu"] == pytest.approx(at_once.sums["gpu"])


def test_a_burst_just_after_the_start_is_not_the_rule():
    jobs = [ended(i, hours_ago=0.1, run_h=1, gpus=8) for i in range(3)]
    # 24 GPU-hours in six minutes, spread over the day they are taken to stand for.
    assert seen(jobs).load("gpu", least_s=24 * HOUR).mean[0] == pytest.approx(1.0, rel=0.2)


def test_a_job_counts_once_and_a_waiting_one_when_it_is_let_go():
    one = job(job_id=1, submit_utc=NOW, eligible_utc=NOW + 9 * HOURS)
    first = seen([one], waiting=frozenset({1}))
    assert first.sums["gpu"] == (0.0, 0.0, 0.0, 0.0)
    gone = replace(one, eligible_utc=NOW)
    second = seen([gone], first)
    assert second.sums["gpu"][0] > 0
    assert seen([gone], second).sums["gpu"] == second.sums["gpu"]


def test_a_running_job_counts_with_the_mean_of_its_kind_and_not_a_cautious_share():
    history = partition_view().history.with_samples(
        runs=[
            RunSample(partition="gpu", user="ada", name="train", fraction=share)
            for share in (0.2, 0.4) * 10
        ]
    )
    partitions = {"gpu": partition_view(history=history)}
    running = job(
        job_id=1, state="RUNNING", submit_utc=NOW, start_utc=NOW, time_limit_s=int(10 * HOUR)
    )
    found = Arrivals(over_s=72 * HOUR).with_jobs(
        [running], partitions, waiting=frozenset(), now_utc=NOW
    )
    assert found.sums["gpu"][0] == pytest.approx(running.gpus * 3 * HOUR)


def test_nothing_seen_is_no_load():
    assert Arrivals(over_s=HOUR).load("gpu", least_s=HOUR).mean == (0.0, 0.0)


def test_a_partition_that_is_down_for_a_while_keeps_its_usual_load():
    """It faded meanwhile as it would have, and one that never comes back is forgotten."""
    known = seen([ended(1, hours_ago=30, run_h=3)])
    down = known.with_jobs([], {}, waiting=frozenset(), now_utc=NOW + HOURS)
    back = seen([], down, now=NOW + 2 * HOURS)
    always = seen([], known, now=NOW + 2 * HOURS)
    assert known.load("gpu", least_s=HOUR).mean[0] > 0
    assert back.load("gpu", least_s=HOUR).mean == pytest.approx(
        always.load("gpu", least_s=HOUR).mean
    )
    for weeks in range(1, 20):
        later = NOW + weeks * 168 * HOURS
        down = down.with_jobs([], {}, waiting=frozenset(), now_utc=later)
    assert down.sums == {}
