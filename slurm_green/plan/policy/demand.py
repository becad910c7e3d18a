# SPDX-License-Identifier: Apache-2.0
"""What must be done by when, what GPUs can do until then, and what is left to others. Pure.

Until some moment a job must have done what does not fit between it and the deadline. The sum over
all jobs is the demand bound of real-time scheduling (Baruah, Rosier and Howell 1990). Where it
comes near what GPUs can do, everybody waits to the last moment, and who comes meanwhile with
little time would find no room.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from slurm_green.plan.policy.protocol import Job, Setup, View
from slurm_green.plan.problem import SECONDS_PER_HOUR, Floats, Site

__all__ = [
    "LITTLE_TIME_S",
    "TIGHT",
    "Demand",
    "demand_of",
    "elastic_share",
    "fastest_shape",
    "movable",
    "spared_gpus",
    "tightness",
]

LITTLE_TIME_S = 12 * SECONDS_PER_HOUR
_FROM_H = 6.0  # in the next hours a single job may need all that is free
TIGHT = 0.5  # beyond that not everybody can choose when
_SPARED_FROM_H, _SPARED_UNTIL_H, _MOST_SPARED = 1.0, 24.0, 0.3  # of all GPUs


@dataclass(frozen=True, kw_only=True)
class Demand:
    """Of some jobs, in their fastest shapes; `moments_s` are the ends of the slots ahead.

    `must` are GPU-seconds of each job until each moment, shape (jobs, moments), `able` those that
    GPUs can do until then. `wait_s` is how long each job can still wait.
    """

    now_s: float
    moments_s: Floats
    must: Floats
    able: Floats
    wait_s: Floats

    @property
    def tightness(self) -> float:
        """The largest share of what GPUs can do until some moment that must be done by then."""
        later = self.moments_s >= self.now_s + _FROM_H * SECONDS_PER_HOUR
        share = self.must.sum(axis=0)[later] / np.maximum(self.able[later], 1.0)
        return float(share.max(initial=0.0))


def movable(view: View) -> tuple[list[Job], dict[str, float]]:
    """Jobs that wait or may be paused, and the work that is left of each."""
    moving = [run for run in view.running if run.job.preemptible]
    left = {run.job.job_id: run.work_left(view.now_s) for run in moving}
    return [*view.waiting, *(run.job for run in moving)], view.work_left | left


def demand_of(
    jobs: Sequence[Job],
    work_left: Mapping[str, float],
    site: Site,
    setup: Setup,
    now_s: float,
    free_gpus: Floats,
) -> Demand:
    """What these jobs need of `free_gpus`, which is what they have in each slot from now on."""
    number = np.array([job.class_index for job in jobs], dtype=np.int64)
    work = np.array([work_left[job.job_id] for job in jobs])
    shapes = setup.shapes
    best = [fastest_shape(one, setup) for one in number.tolist()]
    rest_s, gpus = work / shapes.rate[best], shapes.gpus[best]
    needs = np.where(gpus <= setup.gpus, gpus, 0.0)  # who fits nowhere takes nothing from others
    deadline_s = np.array([job.deadline_s for job in jobs])
    moments_s = site.start_s + site.edges_s[1:]
    seconds = np.minimum(moments_s - now_s, site.step_s)
    spare_s = np.maximum(deadline_s[:, None] - moments_s, 0.0)
    return Demand(
        now_s=now_s,
        moments_s=moments_s,
        must=needs[:, None] * np.maximum(rest_s[:, None] - spare_s, 0.0),
        able=np.cumsum(np.maximum(seconds, 0.0) * free_gpus),
        wait_s=deadline_s - now_s - rest_s,
    )


def tightness(view: View, site: Site, setup: Setup, free_gpus: Floats) -> float:
    """That of all jobs that wait or may be paused; they have `free_gpus` in each slot."""
    return demand_of(*movable(view), site, setup, view.now_s, free_gpus).tightness


def spared_gpus(site: Site, tightness: float, usual: float) -> Floats:
    """GPUs of each slot left to who comes with little time and, on average, takes `usual` ones."""
    if tightness <= TIGHT:
        return np.zeros(site.slots)
    ahead_h = np.arange(site.slots) * (site.step_s / SECONDS_PER_HOUR)
    some = (ahead_h >= _SPARED_FROM_H) & (ahead_h < _SPARED_UNTIL_H)
    return np.where(some, min(usual, _MOST_SPARED * site.gpus), 0.0)


def elastic_share(jobs: Sequence[Job], work_left: Mapping[str, float], setup: Setup) -> float:
    """Of the GPU-hours of jobs that may not pause, in their fastest shapes: who has a choice."""
    shapes, total, chosen = setup.shapes, 0.0, 0.0
    for job in jobs:
        if not job.preemptible:
            best = fastest_shape(job.class_index, setup)
            gpu_s = work_left[job.job_id] / float(shapes.rate[best]) * float(shapes.gpus[best])
            total += gpu_s
            chosen += gpu_s * (len(shapes.of(job.class_index)) > 1)
    return chosen / total if total else 0.0


def fastest_shape(number: int, setup: Setup) -> int:
    """The fastest shape of a class that fits the site, or of all where none does."""
    every = setup.shapes.of(number)
    fits = [k for k in every if setup.shapes.gpus[k] <= setup.gpus]
    return max(fits or every, key=setup.shapes.rate.__getitem__)
