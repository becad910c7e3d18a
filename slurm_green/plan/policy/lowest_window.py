# SPDX-License-Identifier: Apache-2.0
"""Lowest-Window of GAIA: on arrival, the start whose window has the least carbon. Pure.

Source: Hanafy and others, Going Green for Less Green (ASPLOS 2024). As there, a window is as long
as jobs like it were on average, for nobody knows how long this one will be: here jobs of the same
class that ended, its limit before any did. Our reading: the latest start that still meets the
deadline by the limit stands for their longest wait, and released jobs queue as in `fifo`.
"""

from slurm_green.plan.policy.protocol import Decision, Job, Outlook, Policy, Setup, View
from slurm_green.plan.policy.queued import Queued
from slurm_green.plan.policy.windows import Ahead, carbon_ahead

__all__ = ["Windowed", "make"]


class Windowed(Queued):
    """Knows the carbon ahead and how long jobs of each class run on average."""

    urgent_first = True

    def __init__(self, setup: Setup) -> None:
        super().__init__(setup)
        classes = len(setup.shapes.class_names)
        self._done_work = [0.0] * classes
        self._done_jobs = [0] * classes
        self._outlook: Outlook | None = None
        self._ahead: Ahead | None = None

    def decide(self, view: View) -> Decision:
        """Learn how long jobs were, then as every queue."""
        for done in view.done:
            self._done_work[done.job.class_index] += done.work
            self._done_jobs[done.job.class_index] += 1
        return super().decide(view)

    def ahead(self, view: View) -> Ahead:
        """The carbon ahead, made once for each outlook."""
        if self._ahead is None or self._outlook is not view.outlook:
            self._outlook, self._ahead = view.outlook, carbon_ahead(view.outlook, self.setup)
        return self._ahead

    def bounds(self, view: View, job: Job) -> tuple[float, float, float]:
        """The first and the latest start, and the length that is expected."""
        rate = self.own[job.class_index][-1].rate
        begin_s = max(view.now_s, job.earliest_s)
        latest_s = max(self.latest_s(job), begin_s)
        ended = self._done_jobs[job.class_index]
        work = self._done_work[job.class_index] / ended if ended else job.work
        return begin_s, latest_s, min(work, job.work) / rate

    def release_s(self, view: View, job: Job) -> float:
        """The first of the cheapest windows."""
        begin_s, latest_s, length_s = self.bounds(view, job)
        return self.ahead(view).cheapest(begin_s, latest_s, length_s)[0]


def make(setup: Setup) -> Policy:
    """The policy for one run."""
    return Windowed(setup)
