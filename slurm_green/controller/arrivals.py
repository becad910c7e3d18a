# SPDX-License-Identifier: Apache-2.0
"""How much of each partition newly submitted jobs usually take, and how much that varies. Pure.

What deferred jobs are moved into is needed by others too: those that arrive then and start at
once. Their load is measured where it is submitted, so that it does not depend on when jobs run:
GPU-seconds submitted, weighted by exp(-age / over_s), per second weighted alike. For arrivals
without memory the variance of what is occupied is that of an M/G/infinity queue: the same sum
with the square of each job's size.
"""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime

from slurm_green.hook.extent import Extent
from slurm_green.hook.options import Options
from slurm_green.hook.request import request_of
from slurm_green.hook.view import PartitionView
from slurm_green.slurm.records import Job

__all__ = ["Arrivals", "Load"]

# GPU- and CPU-seconds of a partition that is gone, below which it is forgotten.
_FADED = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """Mean and variance of (GPUs, CPUs) occupied by jobs that start as they arrive."""

    mean: tuple[float, float] = (0.0, 0.0)
    variance: tuple[float, float] = (0.0, 0.0)

    def reserve(self, deviations: float) -> tuple[float, float]:
        """What to keep free for them: the mean and so many standard deviations."""
        gpus, cpus = self.mean
        return (
            gpus + deviations * math.sqrt(self.variance[0]),
            cpus + deviations * math.sqrt(self.variance[1]),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Arrivals:
    """What was submitted since `since_utc`, up to `until_utc`, weighted by age.

    `sums` are per partition (GPU-s, CPU-s, GPU^2-s, CPU^2-s).
    """

    over_s: float
    since_utc: datetime | None = None
    until_utc: datetime | None = None
    sums: Mapping[str, tuple[float, float, float, float]] = field(default_factory=dict)
    # Jobs Slurm still shows that are in the sums.
    counted: frozenset[int] = frozenset()

    def load(self, partition: str, *, least_s: float) -> Load:
        """The usual load; what was seen for less than `least_s` counts as if for as long.

        So a burst just after the start is not taken for the rule.
        """
        if self.since_utc is None or self.until_utc is None:
            return Load()
        seen_s = max((self.until_utc - self.since_utc).total_seconds(), least_s)
        weight_s = self.over_s * -math.expm1(-seen_s / self.over_s)
        gpus, cpus, gpus2, cpus2 = self.sums.get(partition, (0.0, 0.0, 0.0, 0.0))
        return Load(
            mean=(gpus / weight_s, cpus / weight_s),
            variance=(gpus2 / weight_s, cpus2 / weight_s),
        )

    def with_jobs(
        self,
        jobs: Iterable[Job],
        partitions: Mapping[str, PartitionView],
        *,
        waiting: frozenset[int],
        now_utc: datetime,
    ) -> "Arrivals":
        """With the jobs counted that are new; `waiting` ones count once they are let go.

        Those are booked already: they must not be kept free for a second time.
        """
        known = [job for job in jobs if job.submit_utc is not None and job.job_id not in waiting]
        passed_s = 0.0 if self.until_utc is None else (now_utc - self.until_utc).total_seconds()
        keep = math.exp(-max(passed_s, 0.0) / self.over_s)
        # Those of a partition that is down wait for its return, and fade meanwhile.
        sums = {
            name: [keep * part for part in parts]
            for name, parts in self.sums.items()
            if name in partitions or max(parts) >= _FADED
        }
        sums |= {name: [0.0] * 4 for name in partitions if name not in sums}
        first = now_utc
        for job in known:
            if job.job_id in self.counted or job.array_job_id in self.counted:
                continue
            began = _eligible(job)
            first = min(first, began)
            age_s = max((now_utc - began).total_seconds(), 0.0)
            for name, parts in _work(job, partitions, math.exp(-age_s / self.over_s)):
                sums[name] = [one + more for one, more in zip(sums[name], parts, strict=True)]
        ids = {job.job_id for job in known} | {job.array_job_id for job in known}
        return Arrivals(
            over_s=self.over_s,
            since_utc=self.since_utc or first,
            until_utc=now_utc,
            sums={name: (p[0], p[1], p[2], p[3]) for name, p in sums.items()},
            counted=frozenset(i for i in ids if i is not None),
        )


def _eligible(job: Job) -> datetime:
    """When it came to the queue: at submission, or when its begin time let it."""
    assert job.submit_utc is not None
    return max(job.submit_utc, job.eligible_utc or job.submit_utc)


def _task_s(job: Job, here: PartitionView, extent: Extent) -> float:
    """How long a task ran; for one that has not ended, how long such tasks run on average."""
    if job.start_utc is not None and job.end_utc is not None and not (job.pending or job.active):
        return max((job.end_utc - job.start_utc).total_seconds(), 0.0)
    share = here.history.mean_run_fraction(partition=here.name, user=job.user, name=job.name)
    return share * extent.limit_s


def _work(
    job: Job, partitions: Mapping[str, PartitionView], weight: float
) -> Iterable[tuple[str, tuple[float, float, float, float]]]:
    """Weighted need x seconds and need squared x seconds, for every partition it takes from."""
    asked = job.partition.split(",")
    here = next((partitions[name] for name in asked if name in partitions), None)
    request = request_of(job, begin_set=False)
    if here is None or request is None:
        return
    extent = here.extent(request, Options())
    if extent is None:
        return
    gpus, cpus = extent.need
    run_s = extent.rounds * _task_s(job, here, extent) * weight
    part = (gpus * run_s, cpus * run_s, gpus * gpus * run_s, cpus * cpus * run_s)
    for name in here.shares_with | {here.name}:
        if name in partitions:
            yield name, part
