# SPDX-License-Identifier: Apache-2.0
"""`sbatch --deadline` is hidden from submit hooks, and Slurm cancels a job that gets there late.

So a job is held for seconds only until the queue has shown its deadline.
"""

import os
import signal
from collections.abc import Callable, Iterator
from datetime import timedelta

import pytest

from slurm_green.cluster.cluster import Cluster
from slurm_green.slurm.records import Job
from tests.slurm.site import HOLD_S, LATE_S, SHAPE, LiveSite, now_utc


@pytest.fixture(scope="module")
def shared(make_module_cluster: Callable[..., Cluster]) -> Iterator[LiveSite]:
    """A partition that may delay every job by ten minutes."""
    site = LiveSite(make_module_cluster(stem="sl", **SHAPE), policy={"default_delay": "10m"})
    yield site
    site.close()


def _in_time(job: Job) -> None:
    assert job.state == "COMPLETED"
    assert job.start_utc + timedelta(seconds=60) <= job.deadline_utc


def test_a_deadline_on_the_command_line(site: LiveSite) -> None:
    """The promise at submission is ten minutes; the job runs before its deadline all the same."""
    job_id, told = site.told("--deadline=now+90")
    assert told.latest_utc > now_utc() + timedelta(seconds=500)
    job = site.await_done(job_id, 40)
    _in_time(job)
    # 90 s less a minute of run time less the margin of ten: it used its slack.
    assert job.start_utc - job.submit_utc >= timedelta(seconds=HOLD_S)


def test_the_same_with_the_daemon_killed_after_submission(site: LiveSite) -> None:
    """Slurm itself starts it when the hold ends."""
    os.kill(site.worker_pid, signal.SIGSTOP)
    job_id = site.sbatch("--deadline=now+90")
    site.kill()
    job = site.await_done(job_id)
    _in_time(job)
    assert job.start_utc - job.submit_utc <= timedelta(seconds=HOLD_S + LATE_S)


def test_a_deadline_too_near_for_any_wait(site: LiveSite) -> None:
    """No slack at all: it starts as soon as its hold has shown that."""
    job_id = site.sbatch("--deadline=now+76")
    job = site.await_done(job_id)
    _in_time(job)
    assert job.start_utc - job.submit_utc <= timedelta(seconds=HOLD_S + LATE_S)


def test_a_deadline_in_the_script(site: LiveSite) -> None:
    """Read from the script at submission; the promise is right at once."""
    job_id = site.sbatch(script="#!/bin/sh\n#SBATCH --deadline=now+3minutes\ntrue\n")
    told = site.record(job_id)
    assert told is not None
    assert told.latest_utc <= now_utc() + timedelta(seconds=180 - 60 - 10)
    job = site.await_confirmed(job_id)
    assert job.eligible_utc + timedelta(seconds=60 + 10) <= job.deadline_utc


def test_a_deadline_set_while_the_job_waits(site: LiveSite) -> None:
    """scontrol gives a confirmed job a deadline: it is pulled in front of it."""
    job_id = site.deferred()
    site.scontrol("update", f"jobid={job_id}", "deadline=now+3minutes")
    job = site.await_job(
        job_id,
        lambda job: job.eligible_utc + timedelta(seconds=60 + 10) <= job.deadline_utc,
        "in front of its deadline",
    )
    assert site.record(job_id).latest_utc == job.eligible_utc


def test_without_any_other_slack_the_queue_is_looked_at(site: LiveSite) -> None:
    """No default delay: held for a look, deferred by the deadline that shows, else let go."""
    site.restart(policy={"default_delay": "0s"})
    with_deadline = site.sbatch("--deadline=now+5minutes")
    without = site.sbatch()
    job = site.await_confirmed(with_deadline)
    assert job.eligible_utc + timedelta(seconds=60 + 10) <= job.deadline_utc
    assert job.eligible_utc > job.submit_utc + timedelta(seconds=120)
    job = site.await_done(without)
    assert job.admin_comment == ""
    assert job.start_utc - job.submit_utc <= timedelta(seconds=HOLD_S + LATE_S)


def test_an_impossible_deadline_is_slurms_to_refuse(site: LiveSite) -> None:
    """Slurm's own words, not ours."""
    done = site.submit("--deadline=now+20", check=False)
    assert done.returncode != 0 or site.job(int(done.stdout)).state in {"PENDING", "DEADLINE"}
