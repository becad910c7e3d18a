# SPDX-License-Identifier: Apache-2.0
"""Deadlines reach back along dependencies: who waits for a deferred job must still make its own.

Pure. A job that depends on others must start early enough for its own deadline, so each job it
waits for must have ended by then, at its time limit.
"""

import math
import re
from collections import Counter
from collections.abc import Iterable, Mapping

from slurm_green.slurm.records import Job

__all__ = ["latest_by_dependents"]

# Not a task, as in 100_7, and no minutes, as in after:100+5.
_JOB = re.compile(r"(?<![\d_+])(\d+)")


def latest_by_dependents(
    jobs: Iterable[Job], *, margins_s: Mapping[int, float], runs_s: Mapping[int, float]
) -> dict[int, float]:
    """Latest start (POSIX s) per job id that its dependents' deadlines allow; absent: any.

    `runs_s` is the longest each pending job may run (all waves of an array), `margins_s` what it
    may queue; each step of a chain queues anew.
    """
    pending = {job.job_id: job for job in jobs if job.pending}
    parents = {
        job.job_id: {int(text) for text in _JOB.findall(job.dependency)}
        & pending.keys() - {job.job_id}
        for job in pending.values()
    }
    waiting = Counter(parent for mine in parents.values() for parent in mine)
    # From the last of each chain to its first; jobs of a circle, which Slurm refuses, are left out.
    # No recursion: people do chain thousands of jobs.
    ready = [job_id for job_id in pending if not waiting[job_id]]
    result: dict[int, float] = {}
    while ready:
        child = ready.pop()
        bound = result.get(child, math.inf)
        deadline = pending[child].deadline_utc
        if deadline is not None:
            bound = min(bound, deadline.timestamp() - _taken_s(child, margins_s, runs_s))
        for parent in parents[child]:
            if bound < math.inf:
                latest_s = bound - _taken_s(parent, margins_s, runs_s)
                result[parent] = min(result.get(parent, math.inf), latest_s)
            waiting[parent] -= 1
            if not waiting[parent]:
                ready.append(parent)
    return result


def _taken_s(job_id: int, margins_s: Mapping[int, float], runs_s: Mapping[int, float]) -> float:
    return margins_s.get(job_id, 0.0) + runs_s.get(job_id, 0.0)
