# SPDX-License-Identifier: Apache-2.0
"""COAST-like: the start that is best against what all others chose, congestion included. Pure.

Source: the idea of COAST (Feng and others, arXiv 2609.05443): each job weighs carbon, delay and a
congestion that grows with the square of the load, and answers the others' choices until nobody
gains. Its weights are not ours to know: here a full slot costs as much again as an empty one
(`--option congestion=1`), and the whole of a job's slack as much as 5 % of its carbon
(`--option delay=0.05`). Who waits chooses again, in turn, when a forecast is issued.
"""

import numpy as np

from slurm_green.plan.overlap import seconds_by_slot
from slurm_green.plan.policy.lowest_window import Windowed
from slurm_green.plan.policy.protocol import Decision, Job, Policy, Setup, View
from slurm_green.plan.policy.windows import Ahead
from slurm_green.plan.problem import Floats

__all__ = ["make"]


class _Coast(Windowed):
    def __init__(self, setup: Setup) -> None:
        super().__init__(setup)
        self._congestion = setup.options.get("congestion", 1.0)
        self._delay = setup.options.get("delay", 0.05)
        self._issued_s = -np.inf
        self._chosen: dict[str, tuple[float, float, int]] = {}
        self._load: Floats = np.zeros(0)  # share of the GPUs that is taken, by slot of the clock

    def decide(self, view: View) -> Decision:
        if view.outlook.issued_s != self._issued_s:
            self._issued_s = view.outlook.issued_s
            self._again(view)
        return super().decide(view)

    def release_s(self, view: View, job: Job) -> float:
        own = self.own[job.class_index][-1]
        begin_s, latest_s, length_s = self.bounds(view, job)
        length_s = max(length_s, 1e-3)
        ahead = self.ahead(view)
        first = round(ahead.start_s / ahead.step_s)
        self._reach(first + len(ahead.values))
        taken = self._load[first : first + len(ahead.values)] + own.gpus / self.setup.gpus / 2
        felt = ahead.values + self._congestion * ahead.mean * taken
        starts_s, costs = Ahead(ahead.start_s, ahead.step_s, felt).windows(
            begin_s, latest_s, length_s
        )
        if latest_s > begin_s:
            waited = (starts_s - begin_s) / (latest_s - begin_s)
            costs = costs + self._delay * ahead.mean * length_s * waited
        start_s = float(starts_s[int(np.argmin(costs))])
        self._chosen[job.job_id] = start_s, start_s + length_s, own.gpus
        self._book(*self._chosen[job.job_id])
        return start_s

    def _again(self, view: View) -> None:
        """Everybody who still waits answers everybody else, once, in the order of their turn."""
        self._load[:] = 0.0
        for run in view.running:
            gpus = int(self.setup.shapes.gpus[run.shape])
            self._book(view.now_s, run.ends_by_s, gpus)
        for job in self.queue:
            own = self.own[job.class_index][-1]
            self._book(view.now_s, view.now_s + job.work / own.rate, own.gpus)
        waiting, self.later = sorted(self.later, key=lambda one: one[1]), []
        for _, _, job in waiting:
            self._book(*self._chosen[job.job_id])
        for _, _, job in waiting:
            start_s, end_s, gpus = self._chosen[job.job_id]
            self._book(start_s, end_s, -gpus)
            self.put(job, self.release_s(view, job))

    def _book(self, start_s: float, end_s: float, gpus: int) -> None:
        step_s = self.setup.step_s
        self._reach(int(end_s / step_s) + 2)
        met, seconds = seconds_by_slot(
            start_s, max(end_s, start_s + 1e-3), step_s=step_s, slots=len(self._load)
        )
        self._load[met] += gpus / self.setup.gpus * seconds / step_s

    def _reach(self, slots: int) -> None:
        if slots > len(self._load):
            self._load = np.concatenate([self._load, np.zeros(slots)])


def make(setup: Setup) -> Policy:
    """The policy for one run."""
    return _Coast(setup)
