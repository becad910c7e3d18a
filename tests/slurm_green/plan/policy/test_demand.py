# SPDX-License-Identifier: Apache-2.0
"""What must be done by when, and what is left to others."""

import numpy as np
import pytest
from problems import HOUR, make

from slurm_green.plan.policy.demand import demand_of, elastic_share, spared_gpus
from slurm_green.plan.policy.protocol import Job, Setup

TWO = ((2, 1.0, 800.0),)
ELASTIC = ((1, 1.0, 400.0), (2, 2.0, 900.0))


def demand(work_h, due_h, *, gpus=4, free=4.0, shapes=TWO):
    """Of one job on some free GPUs over two days."""
    site = make([shapes], [], [100.0] * 48, gpus=gpus).site
    job = Job(
        job_id="a",
        class_index=0,
        work=work_h,
        submit_s=0.0,
        earliest_s=0.0,
        deadline_s=due_h * HOUR,
    )
    setup = Setup(shapes=make([shapes], [], [100.0]).shapes, gpus=gpus, step_s=HOUR)
    return demand_of([job], {"a": work_h}, site, setup, 0.0, np.full(48, free))


def test_all_of_it_must_be_done_by_the_deadline():
    """Ten hours on two of four GPUs within twelve: 4 of 6 hours by the sixth, all by the last."""
    found = demand(10.0, 12.0)

    assert found.must[0, [1, 5, 11]] == pytest.approx([0.0, 8.0 * HOUR, 20.0 * HOUR])
    assert found.able[[0, 11]] == pytest.approx([4.0 * HOUR, 48.0 * HOUR])
    assert found.wait_s == pytest.approx([2.0 * HOUR])
    assert found.tightness == pytest.approx(20 / 48)


def test_the_next_hours_do_not_count():
    """A job that needs all that is free at once does not make a site tight."""
    assert demand(2.0, 2.0, free=2.0).tightness == pytest.approx(4 / 12)


def test_the_fastest_shape_that_fits_counts():
    """Twice as fast on two GPUs, where there are two."""
    assert demand(8.0, 8.0, free=1.0, shapes=ELASTIC).must.max() == pytest.approx(8 * HOUR)
    assert demand(8.0, 8.0, gpus=1, free=1.0, shapes=ELASTIC).tightness == pytest.approx(1.0)


def test_who_fits_nowhere_takes_nothing():
    assert demand(8.0, 8.0, gpus=1, free=1.0).tightness == 0.0


def test_gpus_are_left_to_others_only_where_it_is_tight():
    """In the hours of the next day but this one, and not more than 0.3 of all."""
    site = make([TWO], [], [100.0] * 48, gpus=10).site

    assert not spared_gpus(site, 0.5, 2.0).any()
    assert spared_gpus(site, 0.51, 2.0).tolist() == [0.0] + [2.0] * 23 + [0.0] * 24
    assert spared_gpus(site, 0.51, 8.0).max() == pytest.approx(3.0)


@pytest.mark.parametrize(
    ("jobs", "share"),
    [
        ([], 0.0),
        ([(0, 4.0, False)], 0.0),
        ([(1, 4.0, False)], 1.0),
        ([(1, 4.0, True)], 0.0),
        ([(0, 6.0, False), (1, 4.0, False), (1, 100.0, True)], 0.25),
    ],
)
def test_elastic_jobs_have_a_choice_and_may_not_pause(jobs, share):
    """By GPU-hours at full speed, 12 and 4 in the last; who may pause gives way instead."""
    some = [
        Job(
            job_id=str(at),
            class_index=number,
            work=work_h,
            submit_s=0.0,
            earliest_s=0.0,
            deadline_s=9.0,
            preemptible=pauses,
        )
        for at, (number, work_h, pauses) in enumerate(jobs)
    ]
    setup = Setup(shapes=make([TWO, ELASTIC], [], [100.0]).shapes, gpus=4, step_s=HOUR)

    assert elastic_share(some, {job.job_id: job.work for job in some}, setup) == share
