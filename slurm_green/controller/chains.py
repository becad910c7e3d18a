# SPDX-License-Identifier: Apache-2.0
"""Deadlines reach back along dependencies: who waits for a deferred job must still make its own.

Pure. A job that depends on others must start early enough for its own deadline, so each job it
waits for must have ended by then, at its time limit.
"""

import re
from collections.abc import Iterable, Mapping

from slurm_green.slurm.records import Job

__all__ = ["latest_by_dependents"]

_JOB = re.compile(r"(?<![\d_])(\d+)")


def latest_by_dependents(jobs: Iterable[Job], margins_s: Mapping[int, float]) -> dict[int, float]:
    """Latest start (POSIX s) per job id that its dependents' deadlines allow; absent: any."""
    pending = {job.job_id: job for job in jobs if job.pending}
    children: dict[int, list[Job]] = {}
    for job in pending.values():
        for parent in {int(text) for text in _JOB.findall(job.dependency)}:
            children.setdefault(parent, []).append(job)
    known: dict[int, float | None] = {}

    def own_bound(job: Job) -> float | None:
        """Latest start of `job` by its own deadline and its dependents'."""
        bounds = [] if (by := of_dependents(job)) is None else [by]
        if job.deadline_utc is not None:
            limit_s = job.time_limit_s or 0
            margin_s = margins_s.get(job.job_id, 0.0)
            bounds.append(job.deadline_utc.timestamp() - limit_s - margin_s)
        return min(bounds, default=None)

    def of_dependents(job: Job) -> float | None:
        if job.job_id in known:
            return known[job.job_id]
        known[job.job_id] = None  # Slurm refuses circles; a stale answer must not hang us.
        bounds = [
            bound - (job.time_limit_s or 0)
            for child in children.get(job.job_id, [])
            if (bound := own_bound(child)) is not None
        ]
        known[job.job_id] = min(bounds, default=None)
        return known[job.job_id]

    result = {job_id: of_dependents(pending[job_id]) for job_id in children if job_id in pending}
    return {job_id: bound for job_id, bound in result.items() if bound is not None}
