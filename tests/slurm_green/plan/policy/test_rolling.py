# SPDX-License-Identifier: Apache-2.0
"""Lists, and jobs that have no room in time: each gets the first room there is."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from problems import HOUR, NOBODY, make

from slurm_green.plan.policy.protocol import Job
from slurm_green.plan.policy.rolling import Busy, first_rooms, list_of
from slurm_green.plan.policy.rolling_prices import look_ahead

GPUS, SLOTS = 4, 6
CLASSES = [((1, 1.0, 300.0),), ((2, 1.0, 600.0), (4, 2.5, 1500.0))]
NOTHING = Busy(start_s=np.zeros(0), end_s=np.zeros(0), gpus=np.zeros(0, int), power_w=np.zeros(0))


def waiting(seed: int, count: int) -> list[Job]:
    """Jobs of an hour or some: where many come, the last ones run past the last slot."""
    random = np.random.default_rng(seed)
    return [
        Job(
            job_id=str(number),
            class_index=int(random.integers(0, 2)),
            work=float(random.uniform(0.2, 3)),
            submit_s=0.0,
            earliest_s=float(random.uniform(0, 4)) * HOUR,
            deadline_s=0.0,
        )
        for number in range(count)
    ]


@settings(max_examples=50, deadline=None)
@given(seed=st.integers(0, 10_000), count=st.integers(1, 20))
def test_one_after_the_other_is_the_same_as_all_at_once(seed, count):
    """Each finds what it would find beside those before it, and all fit the site."""
    problem = make(CLASSES, [(0, 1.0, 0, SLOTS, False)], [100.0] * SLOTS, gpus=GPUS)
    site, shapes, jobs = problem.site, problem.shapes, waiting(seed, count)
    work = {job.job_id: job.work for job in jobs}

    rooms = first_rooms(jobs, work, site, shapes, 0.0, NOTHING)

    busy = NOTHING
    for job in jobs:
        alone = first_rooms([job], work, site, shapes, 0.0, busy)
        assert alone[job.job_id] == rooms[job.job_id]
        busy = busy.and_also(list(alone.values()), site, shapes)
    for moment in (busy.start_s + 1e-3).tolist():
        held = (busy.start_s <= moment) & (busy.end_s > moment)
        assert int(busy.gpus[held].sum()) <= GPUS


def test_a_job_takes_the_gap_that_is_long_enough():
    """One GPU of four is free from the second hour on, the others never: one job at a time."""
    problem = make(CLASSES, [(0, 1.0, 0, SLOTS, False)], [100.0] * SLOTS, gpus=GPUS)
    busy = Busy(
        start_s=np.array([0.0, 0.0]),
        end_s=np.array([HOUR, SLOTS * HOUR]),
        gpus=np.array([1, 3]),
        power_w=np.zeros(2),
    )
    jobs = [one for one in waiting(0, 40) if one.class_index == 0][:2]
    work = {job.job_id: 1.0 for job in jobs}

    rooms = first_rooms(jobs, work, problem.site, problem.shapes, 0.0, busy)

    first, second = (rooms[job.job_id] for job in jobs)
    assert first.start_s == max(HOUR, jobs[0].earliest_s)
    assert second.start_s >= first.end_s or second.end_s <= first.start_s


def test_gpus_are_held_as_far_as_they_are_free():
    """Two of four are asked for from the second hour on; three are busy until half past two."""
    site = make(CLASSES, [], [100.0] * SLOTS, gpus=GPUS).site
    busy = Busy(
        start_s=np.array([0.0]),
        end_s=np.array([2.5 * HOUR]),
        gpus=np.array([3]),
        power_w=np.array([900.0]),
    )

    held = busy.held(site, np.array([0.0, 2.0, 2.0, 2.0, 2.0, 0.4]))

    assert held.average(held.gpus, site) == pytest.approx([3.0, 4.0, 2.5, 2.0, 2.0, 0.0])
    assert held.average(held.power_w, site) == pytest.approx(busy.average(busy.power_w, site))
    assert busy.held(site, np.zeros(SLOTS)) is busy


@pytest.mark.parametrize("fast", [True, False])
@pytest.mark.parametrize(("clean", "hours"), [(100.0, [1, 1]), (190.0, [1, 13]), (300.0, [13, 13])])
def test_jobs_do_not_all_wait_for_the_same_wind(clean, hours, fast, monkeypatch):
    """Wind for both is forecast for hour 13; whether it is worth waiting for hangs on the other.

    Unsure by 1.5 of it, the first is expected to take a quarter of its energy from the grid, the
    second 5/12, of 500 g/kWh. Another hour costs less than both, something between, or more.
    """
    if not fast:
        monkeypatch.setattr("slurm_green.plan.kernel.board.library", lambda: None)
    carbon = [500.0, clean] + [500.0] * 22
    wind = [0.0] * 13 + [2000.0] + [0.0] * 10
    problem = make(
        [((1, 1.0, 1000.0),)], [(0, 1.0, 0, 14, False)] * 2, carbon, gpus=GPUS, renewable_w=wind
    )
    ahead = look_ahead(problem, 0.0, 0.0, np.full(24, float(GPUS)), NOBODY, None)

    found = list_of(problem, 0.0, NOTHING, ahead, rounds=2)

    assert sorted(place.start_s / HOUR for place in found.values()) == hours
