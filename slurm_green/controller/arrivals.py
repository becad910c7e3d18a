# SPDX-License-Identifier: Apache-2.0
"""How much of each partition newly submitted jobs usually take, and how much that varies. Pure.

What deferred jobs are moved into is needed by others too: those that arrive then and start at
once. Their offered load is measured where they arrive, so that it does not depend on when jobs
run: GPU-seconds submitted per second, weighted by exp(-age / over_s). For arrivals without memory
the variance of what is occupied is that of an M/G/infinity queue: the same sum with the square of
each job's size.
"""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from slurm_green.hook.options import Options
from slurm_green.hook.request import request_of
from slurm_green.hook.view import PartitionView
from slurm_green.slurm.records import Job

__all__ = ["Load", "offered_load"]

# Slurm's submit times are whole seconds; a job of the last cycle's second must not be missed.
_TICK = timedelta(seconds=1)


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


def offered_load(
    old: Mapping[str, Load],
    jobs: Iterable[Job],
    partitions: Mapping[str, PartitionView],
    *,
    seen: frozenset[int],
    last_utc: datetime | None,
    now_utc: datetime,
    over_s: float,
) -> dict[str, Load]:
    """The load with the jobs submitted since `last_utc` counted; without one, with all of them."""
    sums = {name: [0.0, 0.0, 0.0, 0.0] for name in partitions}
    for job in jobs:
        if job.job_id in seen or job.array_job_id in seen or job.submit_utc is None:
            continue
        if last_utc is not None and job.submit_utc < last_utc - _TICK:
            continue
        age_s = max((now_utc - job.submit_utc).total_seconds(), 0.0)
        for name, part in _work(job, partitions, math.exp(-age_s / over_s) / over_s):
            sums[name] = [one + more for one, more in zip(sums[name], part, strict=True)]
    passed_s = over_s if last_utc is None else (now_utc - last_utc).total_seconds()
    keep = math.exp(-max(passed_s, 0.0) / over_s)
    result: dict[str, Load] = {}
    for name, (gpus, cpus, gpus2, cpus2) in sums.items():
        before = old.get(name, Load())
        result[name] = Load(
            mean=(keep * before.mean[0] + gpus, keep * before.mean[1] + cpus),
            variance=(keep * before.variance[0] + gpus2, keep * before.variance[1] + cpus2),
        )
    return result


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
    run_s = extent.expected_s * weight
    part = (gpus * run_s, cpus * run_s, gpus * gpus * run_s, cpus * cpus * run_s)
    for name in here.shares_with | {here.name}:
        if name in partitions:
            yield name, part
