# SPDX-License-Identifier: Apache-2.0
"""Samples for the history from jobs that started or ended. Pure."""

from collections.abc import Iterable

from slurm_green.plan.history import History, RunSample, WaitSample
from slurm_green.slurm.records import Job

__all__ = ["learn"]


def learn(
    history: History, jobs: Iterable[Job], *, started: frozenset[int], ended: frozenset[int]
) -> tuple[History, frozenset[int], frozenset[int]]:
    """The history with new jobs counted once each, and the ids counted so far among `jobs`."""
    waits: list[WaitSample] = []
    runs: list[RunSample] = []
    now_started: set[int] = set()
    now_ended: set[int] = set()
    for job in jobs:
        if job.start_utc is None or job.pending:
            continue
        now_started.add(job.job_id)
        if _never_ran(job):
            continue
        if job.job_id not in started and job.eligible_utc is not None:
            wait_s = (job.start_utc - job.eligible_utc).total_seconds()
            waits.append(
                WaitSample(
                    partition=job.partition, qos=job.qos, gpus=job.gpus, wait_s=max(wait_s, 0.0)
                )
            )
        if job.active or job.end_utc is None:
            continue
        now_ended.add(job.job_id)
        if job.job_id not in ended and job.state == "COMPLETED" and job.time_limit_s:
            ran_s = (job.end_utc - job.start_utc).total_seconds()
            runs.append(
                RunSample(
                    partition=job.partition,
                    user=job.user,
                    name=job.name,
                    fraction=min(max(ran_s / job.time_limit_s, 0.0), 1.0),
                )
            )
    return (
        history.with_samples(waits=waits, runs=runs),
        frozenset(now_started),
        frozenset(now_ended),
    )


def _never_ran(job: Job) -> bool:
    """Cancelled while it waited: Slurm then sets its start to its end."""
    if job.active or job.start_utc is None or job.end_utc is None:
        return False
    return job.state != "COMPLETED" and job.end_utc <= job.start_utc
