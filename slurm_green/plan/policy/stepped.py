# SPDX-License-Identifier: Apache-2.0
"""What policies share that pause jobs: rigid ones queue, the others are asked slot by slot. Pure.

A job that could not be in time if it rested any longer runs in its fastest shape, before others.
"""

import heapq
from collections.abc import Iterable, Sequence
from dataclasses import replace

from slurm_green.plan.policy.backfill import Option, backfill
from slurm_green.plan.policy.protocol import Decision, Job, Outlook, Run, Setup, Start, View
from slurm_green.plan.policy.queued import Queued

__all__ = ["Stepped"]

_SOON_S = 1e-3


class Stepped(Queued):
    """Policies say with `wanted` in which shapes a job that may be paused should run now."""

    def __init__(self, setup: Setup) -> None:
        super().__init__(setup)
        self._flexible: dict[str, Job] = {}  # eligible and not done
        self._fresh: list[Job] = []  # eligible since the policy was last asked
        self._urgent: list[Job] = []  # should run and do not, the most urgent ones
        self._others: list[Job] = []
        self._wanted: dict[str, Sequence[Option]] = {}
        self._latest: list[tuple[float, str]] = []  # when each becomes urgent, soonest first
        self._asked_of: Outlook | None = None

    def wanted(self, view: View, job: Job, work_left: float) -> Sequence[Option]:
        """The shapes it should run in during this slot; none: it rests."""
        raise NotImplementedError

    def join(self, job: Job) -> None:
        """A job is eligible."""
        if job.preemptible:
            self._flexible[job.job_id] = job
            self._fresh.append(job)
        else:
            super().join(job)

    def release(self, view: View, arrived: Iterable[Job]) -> None:
        """Jobs that may be paused are asked about from their earliest start on."""
        rigid = []
        for job in arrived:
            if job.preemptible:
                self.put(job, job.earliest_s)
            else:
                rigid.append(job)
        super().release(view, rigid)

    def decide(self, view: View) -> Decision:
        """Pause who should rest, start who should run and fits."""
        for done in view.done:
            self._flexible.pop(done.job.job_id, None)
        self.release(view, view.arrived)
        turn = _Turn(view)
        for job in self._to_ask(view):
            self._ask(view, turn, job)
        self._fresh = []
        now_s, wanted = view.now_s, self._wanted
        starts = backfill(
            turn.view_without_resting(self.setup),
            self.setup,
            [*self._urgent, *self.queue, *self._others],
            lambda job: wanted[job.job_id] if job.preemptible else self.options(job, now_s),
            cap_w=self.cap_w,
        )
        self.leave(starts)
        wakes = [*(due[0] for due in self.later[:1]), *(due[0] for due in self._latest[:1])]
        site = view.outlook.site
        if self._flexible and site.start_s + site.step_s > now_s:
            wakes.append(site.start_s + site.step_s)
        return Decision(
            starts=starts,
            pauses=[*turn.resting, *turn.changing],
            wake_s=min(wakes, default=None),
        )

    def leave(self, starts: Sequence[Start]) -> None:
        """Who starts leaves the queues."""
        super().leave(starts)
        if starts:
            gone = {start.job_id for start in starts}
            self._urgent = [job for job in self._urgent if job.job_id not in gone]
            self._others = [job for job in self._others if job.job_id not in gone]

    def _to_ask(self, view: View) -> list[Job]:
        """All in a new slot; in between only who is new, and whose time has come."""
        if self._asked_of is not view.outlook:
            self._asked_of = view.outlook
            self._urgent, self._others, self._latest = [], [], []
            return list(self._flexible.values())
        ask = self._fresh
        while self._latest and self._latest[0][0] <= view.now_s + _SOON_S:
            job = self._flexible.get(heapq.heappop(self._latest)[1])
            if job is not None:
                self._others = [one for one in self._others if one is not job]
                ask.append(job)
        return ask

    def _ask(self, view: View, turn: "_Turn", job: Job) -> None:
        own, run = self.own[job.class_index], turn.runs.get(job.job_id)
        left = view.work_left[job.job_id] if run is None else run.work_left(view.now_s)
        latest_s = job.deadline_s - left / own[-1].rate - self.setup.pause_cost_s
        urgent = latest_s <= view.now_s + _SOON_S
        if urgent:
            if run is not None and (
                run.shape == own[-1].shape or view.now_s + left / run.rate <= job.deadline_s
            ):
                return
            options: Sequence[Option] = own if run is None else own[-1:]
        else:
            heapq.heappush(self._latest, (latest_s, job.job_id))
            options = self.wanted(view, job, left)
            if run is not None and any(option.shape == run.shape for option in options):
                return
        if run is not None and not options:
            turn.resting.append(job.job_id)
        elif options:
            if run is not None:
                turn.changing[job.job_id] = left
            self._wanted[job.job_id] = options
            (self._urgent if urgent else self._others).append(job)


class _Turn:
    """Who runs, and who should rest or change, at one moment."""

    def __init__(self, view: View) -> None:
        self._view = view
        self.runs: dict[str, Run] = {
            run.job.job_id: run for run in view.running if run.job.preemptible
        }
        self.resting: list[str] = []
        self.changing: dict[str, float] = {}  # running jobs that should change -> work left

    def view_without_resting(self, setup: Setup) -> View:
        """As if who rests or changes had stopped."""
        view = self._view
        if not self.resting and not self.changing:
            return view
        gone = {*self.resting, *self.changing}
        return replace(
            view,
            running=[run for run in view.running if run.job.job_id not in gone],
            free_gpus=view.free_gpus
            + sum(int(setup.shapes.gpus[self.runs[job_id].shape]) for job_id in gone),
            work_left={**view.work_left, **self.changing},
        )
