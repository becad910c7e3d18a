# SPDX-License-Identifier: Apache-2.0
"""What most policies share: a job is released at a time of the policy's choice, then queues. Pure.

Released jobs start with backfill: first come, first served, or by the latest start that meets their
deadline where a policy looks at deadlines. It is then late only where GPUs are short.
"""

import heapq
import math
from bisect import insort
from collections.abc import Iterable, Sequence

from slurm_green.plan.policy.backfill import Option, backfill, fitting, useful
from slurm_green.plan.policy.protocol import Decision, Job, Setup, Start, View

__all__ = ["Queued"]


class Queued:
    """First come, first served with backfill; what differs between policies overrides it."""

    cap_w = math.inf
    urgent_first = False

    def __init__(self, setup: Setup) -> None:
        self.setup = setup
        self.all_shapes = fitting(setup)
        self.own = [useful(own) for own in self.all_shapes]
        self.later: list[tuple[float, int, Job]] = []  # not released yet, soonest first
        self.queue: list[Job] = []
        self._seen = 0
        self._started: list[Job] = []

    def release_s(self, view: View, job: Job) -> float:
        """When a job that arrived joins the queue; not before its earliest start."""
        return job.earliest_s

    def options(self, job: Job, now_s: float) -> Sequence[Option]:
        """The shapes it may start in now, fewest GPUs first."""
        return self.own[job.class_index]

    def decide(self, view: View) -> Decision:
        """Release who is due, start who fits."""
        self.release(view, view.arrived)
        now_s = view.now_s
        starts = backfill(
            view,
            self.setup,
            self.queue,
            lambda job: self.options(job, now_s),
            cap_w=self.cap_w,
        )
        self.leave(starts)
        return Decision(starts=starts, wake_s=self.later[0][0] if self.later else None)

    def release(self, view: View, arrived: Iterable[Job]) -> None:
        """Who is due joins the queue; who was refused last time is the first in line again."""
        if self._started:
            self.queue[:0] = [job for job in self._started if job.job_id in view.work_left]
            self._started = []
        for job in arrived:
            self.put(job, self.release_s(view, job))
        while self.later and self.later[0][0] <= view.now_s:
            self.join(heapq.heappop(self.later)[2])

    def join(self, job: Job) -> None:
        """A job takes its place in the queue."""
        if self.urgent_first:
            insort(self.queue, job, key=self.latest_s)
        else:
            self.queue.append(job)

    def latest_s(self, job: Job) -> float:
        """The latest start that meets the deadline by the limit, in the fastest shape."""
        return job.deadline_s - job.work / self.own[job.class_index][-1].rate

    def put(self, job: Job, due_s: float) -> None:
        """A job waits for its release."""
        heapq.heappush(self.later, (max(due_s, job.earliest_s), self._seen, job))
        self._seen += 1

    def leave(self, starts: Sequence[Start]) -> None:
        """Who starts leaves the queue."""
        if starts:
            gone = {start.job_id for start in starts}
            self._started = [job for job in self.queue if job.job_id in gone]
            self.queue = [job for job in self.queue if job.job_id not in gone]
