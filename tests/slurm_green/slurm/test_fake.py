# SPDX-License-Identifier: Apache-2.0
"""The in-memory Slurm others test with."""

from datetime import UTC, datetime

import pytest

from slurm_green.errors import SlurmError
from slurm_green.slurm.client import SlurmClient
from slurm_green.slurm.fake import FakeSlurm
from slurm_green.slurm.records import Job, JobChange

WHEN = datetime(2027, 3, 28, 1, 30, tzinfo=UTC)


def test_it_is_a_client() -> None:
    client: SlurmClient = FakeSlurm()
    assert client.jobs() == [] and client.nodes() and client.partitions()
    assert client.reservations() == [] and client.info().name == "fake"


def test_changes_are_recorded_and_applied() -> None:
    fake = FakeSlurm(jobs=[Job(job_id=1)])
    change = JobChange(begin_utc=WHEN, admin_comment="x", site_factor=5, extra="e")
    assert fake.update({1: change}) == {}
    (job,) = fake.jobs()
    assert (job.eligible_utc, job.admin_comment, job.site_factor, job.extra) == (WHEN, "x", 5, "e")
    assert fake.updates == [{1: change}]


def test_it_refuses_as_slurm_does() -> None:
    jobs = [Job(job_id=1, state="RUNNING"), Job(job_id=2, state="COMPLETED"), Job(job_id=3)]
    fake = FakeSlurm(jobs=jobs)
    fake.refuse[3] = "Access/permission denied"
    refused = fake.update(dict.fromkeys((1, 2, 3, 4), JobChange(begin_utc=WHEN)))
    assert set(refused) == {1, 2, 3, 4}
    assert refused[1] == "Job is no longer pending execution for job 1"
    assert fake.jobs() == jobs


def test_a_broken_one_raises_everywhere() -> None:
    fake = FakeSlurm()
    fake.broken = "slurmctld is down"
    for call in (fake.jobs, fake.nodes, fake.info, fake.partitions, fake.reservations):
        with pytest.raises(SlurmError, match="down"):
            call()
    with pytest.raises(SlurmError):
        fake.update({})


def test_ended_jobs() -> None:
    fake = FakeSlurm(jobs=[Job(job_id=1), Job(job_id=2, state="COMPLETED", end_utc=WHEN)])
    assert [job.job_id for job in fake.finished(WHEN) or []] == [2]
    assert fake.finished(WHEN, job_id=1) == []
    fake.accounting = [Job(job_id=8, array_job_id=7), Job(job_id=9)]
    assert [job.job_id for job in fake.finished(WHEN, job_id=7) or []] == [8]
    fake.accounting = None
    assert fake.finished(WHEN) is None
