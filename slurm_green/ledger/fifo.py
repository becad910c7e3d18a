# SPDX-License-Identifier: Apache-2.0
"""What the same jobs would have done without us: first come, first served, with EASY backfill.

A replay on GPU and CPU counts, without nodes, priorities, dependencies or preemption: a stated
simplification, the same for every site, and not Slurm's own scheduler.
"""

import heapq
from collections.abc import Hashable, Sequence
from dataclasses import dataclass

__all__ = ["Capacity", "ReplayJob", "replay_fifo"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Capacity:
    """What the site has to give."""

    gpus: int
    cpus: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplayJob:
    """A job as the replay sees it; `limit_s` is what the scheduler is told, `run_s` what happens.

    `submit_s` is when it may start at the earliest: submission, or the user's own --begin.
    """

    key: Hashable
    submit_s: float
    run_s: float
    limit_s: float
    gpus: int = 0
    cpus: int = 1


@dataclass(slots=True)
class _Site:
    gpus: int
    cpus: int

    def fits(self, job: ReplayJob) -> bool:
        return job.gpus <= self.gpus and job.cpus <= self.cpus

    def take(self, job: ReplayJob) -> None:
        self.gpus -= job.gpus
        self.cpus -= job.cpus

    def give(self, job: ReplayJob) -> None:
        self.gpus += job.gpus
        self.cpus += job.cpus


def replay_fifo(
    jobs: Sequence[ReplayJob], capacity: Capacity, *, depth: int = 500
) -> dict[Hashable, float | None]:
    """Start of each job in seconds; None for one that no empty site could hold.

    `depth` bounds how far down the queue backfill looks, as Slurm's bf_max_job_test does.
    """
    whole = _Site(capacity.gpus, capacity.cpus)
    starts: dict[Hashable, float | None] = {job.key: None for job in jobs}
    coming = sorted((job for job in jobs if whole.fits(job)), key=lambda job: job.submit_s)
    free = _Site(capacity.gpus, capacity.cpus)
    queue: list[ReplayJob] = []
    ending: list[tuple[float, int, ReplayJob]] = []  # a heap; the number breaks ties
    running: dict[int, tuple[float, ReplayJob]] = {}  # when each must end by its limit
    arrived = number = 0
    while arrived < len(coming) or ending:
        now_s = min(
            coming[arrived].submit_s if arrived < len(coming) else float("inf"),
            ending[0][0] if ending else float("inf"),
        )
        while ending and ending[0][0] <= now_s:
            _, ended, job = heapq.heappop(ending)
            del running[ended]
            free.give(job)
        while arrived < len(coming) and coming[arrived].submit_s <= now_s:
            queue.append(coming[arrived])
            arrived += 1
        chosen = _choose(queue, free, list(running.values()), now_s, depth)
        for index in reversed(chosen):
            job = queue.pop(index)
            starts[job.key] = now_s
            number += 1
            running[number] = (now_s + max(job.limit_s, job.run_s), job)
            heapq.heappush(ending, (now_s + job.run_s, number, job))
    return starts


def _choose(
    queue: list[ReplayJob],
    free: _Site,
    running: list[tuple[float, ReplayJob]],
    now_s: float,
    depth: int,
) -> list[int]:
    """Places in the queue of those that start now; takes their room out of `free`."""
    chosen = []
    head = 0
    while head < len(queue) and free.fits(queue[head]):
        free.take(queue[head])
        running.append((now_s + max(queue[head].limit_s, queue[head].run_s), queue[head]))
        chosen.append(head)
        head += 1
    if head >= len(queue) - 1 or free.cpus <= 0:
        return chosen
    shadow_s, spare = _reservation(queue[head], free, running)
    for index in range(head + 1, min(len(queue), head + 1 + depth)):
        job = queue[index]
        if not free.fits(job):
            continue
        ends_before = now_s + max(job.limit_s, job.run_s) <= shadow_s
        if not ends_before:
            if not spare.fits(job):
                continue
            spare.take(job)
        free.take(job)
        chosen.append(index)
    return chosen


def _reservation(
    head: ReplayJob, free: _Site, running: list[tuple[float, ReplayJob]]
) -> tuple[float, _Site]:
    """When the first in the queue can start by everybody's limits, and what is spare then."""
    room = _Site(free.gpus, free.cpus)
    at_s = 0.0
    for until_s, job in sorted(running, key=lambda one: one[0]):
        room.give(job)
        at_s = until_s
        if room.fits(head):
            break
    room.take(head)
    return at_s, room
