# SPDX-License-Identifier: Apache-2.0
"""Samples for the history from jobs that started or ended. Pure."""

import math
from collections.abc import Iterable

from slurm_green.plan.history import History, RunSample, WaitSample
from slurm_green.slurm.records import Job

__all__ = ["learn"]


def learn(
    history: History, jobs: Iterable[Job], *, started: frozenset[int], ended: frozenset[int]
) -> tuple[History, frozenset[int], frozenset[int]]:
    """The history with new jobs counted once each, and the ids counted so far among `jobs`.

    Of an array the first start tells how long it queued: its other tasks waited for one another, or
    for its own %N. It is counted under the array's id.
    """
    jobs = tuple(jobs)
    waited: dict[int, Job] = {}
    runs: list[RunSample] = []
    now_started = {job.array_job_id for job in jobs if job.array_job_id is not None} & started
    now_ended: set[int] = set()
    for job in jobs:
        if job.start_utc is None or job.pending or _never_ran(job):
            continue
        known_as = job.array_job_id or job.job_id
        now_started.add(known_as)
        if known_as not in started and _waited_s(job) < _waited_s(waited.get(known_as)):
            waited[known_as] = job
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
        history.with_samples(waits=map(_sample, waited.values()), runs=runs),
        frozenset(now_started),
        frozenset(now_ended),
    )


def _waited_s(job: Job | None) -> float:
    """From when Slurm might have started it; without end where nobody knows."""
    if job is None or job.start_utc is None or job.eligible_utc is None:
        return math.inf
    if job.state == "COMPLETING" and job.start_utc < job.eligible_utc:
        return math.inf  # a requeue ends it: Slurm shows times of its next run
    return max((job.start_utc - job.eligible_utc).total_seconds(), 0.0)


def _sample(job: Job) -> WaitSample:
    return WaitSample(partition=job.partition, qos=job.qos, gpus=job.gpus, wait_s=_waited_s(job))


def _never_ran(job: Job) -> bool:
    """Cancelled while it waited: Slurm then sets its start to its end."""
    if job.active or job.start_utc is None or job.end_utc is None:
        return False
    return job.state != "COMPLETED" and job.end_utc <= job.start_utc
