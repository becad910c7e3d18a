# SPDX-License-Identifier: Apache-2.0
"""The simulated cluster: who waits, who runs, and what is allowed. Pure.

It knows the real work of jobs; what it hands to policies (`waiting`, `work_left`, runs) is by
their limits.
"""

from dataclasses import dataclass

import numpy as np

from slurm_green.plan.policy.protocol import Done, Job, Run
from slurm_green.plan.schedule import Schedule
from slurm_green.replay.inputs import Inputs
from slurm_green.replay.power import PowerBook

__all__ = ["Cluster"]

_TOLERANCE_S = 1e-3


@dataclass(slots=True)
class _Real:
    """The truth about a run."""

    number: int
    token: int
    end_s: float
    overhead_s: float  # at its begin, without work
    left: float  # real work left at its begin


class Cluster:
    """Jobs by number from known to done. Whoever starts, ends and pauses says when."""

    def __init__(self, inputs: Inputs) -> None:
        problem = inputs.problem
        jobs, shapes = problem.jobs, problem.shapes
        columns = (
            jobs.ids,
            jobs.class_index.tolist(),
            inputs.limit_work.tolist(),
            inputs.known_s.tolist(),
            jobs.earliest_s.tolist(),
            jobs.deadline_s.tolist(),
            jobs.preemptible.tolist(),
        )
        self.jobs = [
            Job(
                job_id=job_id,
                class_index=index,
                work=work,
                submit_s=submit_s,
                earliest_s=earliest_s,
                deadline_s=deadline_s,
                preemptible=preemptible,
            )
            for job_id, index, work, submit_s, earliest_s, deadline_s, preemptible in zip(
                *columns, strict=True
            )
        ]
        self._gpus: list[int] = shapes.gpus.tolist()
        self._rate: list[float] = shapes.rate.tolist()
        self._power_w: list[float] = shapes.power_w.tolist()
        self._own = [shapes.of(one) for one in range(len(shapes.class_names))]
        self._pause_cost_s = inputs.pause_cost_s
        self._horizon_s = problem.site.horizon_s
        self._power = PowerBook(problem.site)
        self._numbers = {job_id: at for at, job_id in enumerate(jobs.ids)}
        self._work: list[float] = jobs.work.tolist()
        self._left: list[float] = jobs.work.tolist()
        self._fails: list[bool] = inputs.fails.tolist()
        self._real: dict[str, _Real] = {}
        self._run_of: dict[int, str] = {}  # token -> job
        self._tokens = 0
        self._begun: set[int] = set()
        self._rows: list[tuple[int, int, float, float]] = []
        self.free_gpus = problem.site.gpus
        self.waiting: dict[str, Job] = {}
        self.work_left: dict[str, float] = {}
        self.running: dict[str, Run] = {}
        self.done_s = np.full(len(jobs), np.nan)
        self.pauses = 0

    def submit(self, number: int) -> Job:
        """A job becomes known."""
        job = self.jobs[number]
        self.waiting[job.job_id] = job
        self.work_left[job.job_id] = job.work
        return job

    def start(self, job_id: str, shape: int, now_s: float) -> tuple[float, int] | str:
        """When the run really ends and its token, or why it may not start."""
        run = self.running.get(job_id)
        job = self.waiting.get(job_id) if run is None else run.job
        if job is None:
            return "no such job waits"
        if shape not in self._own[job.class_index]:
            return "not a shape of its class"
        if now_s < job.earliest_s - _TOLERANCE_S:
            return "before its earliest start"
        if run is not None:
            return self._reshape(run, shape, now_s)
        gpus, rate = self._gpus[shape], self._rate[shape]
        if gpus > self.free_gpus:
            return "not enough free GPUs"
        number = self._numbers[job_id]
        left, left_by_limit = self._left[number], self.work_left[job_id]
        overhead_s = self._pause_cost_s if number in self._begun else 0.0
        end_s = now_s + overhead_s + left / rate
        until_s = min(end_s, self._horizon_s)
        if not self._power.keeps(now_s, until_s, self._power_w[shape]):
            return "power cap or ramp"
        self._power.add(now_s, until_s, self._power_w[shape])
        self.free_gpus -= gpus
        del self.waiting[job_id], self.work_left[job_id]
        self._tokens += 1
        self._real[job_id] = _Real(number, self._tokens, end_s, overhead_s, left)
        self._run_of[self._tokens] = job_id
        self._begun.add(number)
        self.running[job_id] = Run(
            job=job,
            shape=shape,
            since_s=now_s,
            ends_by_s=now_s + overhead_s + left_by_limit / rate,
            rate=rate,
            work=left_by_limit,
        )
        return end_s, self._tokens

    def _reshape(self, run: Run, shape: int, now_s: float) -> tuple[float, int] | str:
        """A running job goes on in another shape, or as it was."""
        if not run.job.preemptible:
            return "a change of a job that may not be paused"
        if shape == run.shape:
            return "it runs in that shape"
        if self._gpus[shape] > self.free_gpus + self._gpus[run.shape]:
            return "not enough free GPUs"
        job_id = run.job.job_id
        self.pause(job_id, now_s)
        return self.start(job_id, shape, now_s)

    def pause(self, job_id: str, now_s: float) -> str | None:
        """A run stops with what it has done; why it may not, if so."""
        run = self.running.get(job_id)
        if run is None:
            return "no such job runs"
        if not run.job.preemptible:
            return "a pause of a job that may not be paused"
        real = self._real[job_id]
        self._power.add(now_s, min(real.end_s, self._horizon_s), -self._power_w[run.shape])
        did = max(now_s - run.since_s - real.overhead_s, 0.0) * run.rate
        # Never nothing: who ends within a hair of a pause still has to end.
        self._left[real.number] = max(real.left - did, 1e-9 * self._work[real.number])
        self._stop(job_id, now_s)
        self.waiting[job_id] = run.job
        self.work_left[job_id] = max(run.work - did, 1e-9 * run.job.work)
        self.pauses += 1
        return None

    def end(self, token: int, at_s: float) -> Done | None:
        """A run ends on its own; None if it was paused before."""
        job_id = self._run_of.get(token)
        if job_id is None:
            return None
        number = self._real[job_id].number
        job = self._stop(job_id, at_s).job
        self.done_s[number] = at_s
        return Done(job=job, work=self._work[number], end_s=at_s, failed=self._fails[number])

    def schedule(self) -> Schedule:
        """All runs; those that still go on are cut at the end of the last slot."""
        for job_id in tuple(self.running):
            self._stop(job_id, self._horizon_s)
        job, shape, start_s, end_s = zip(*self._rows, strict=True) if self._rows else ((),) * 4
        return Schedule(
            job=np.array(job, dtype=np.int64),
            shape=np.array(shape, dtype=np.int64),
            start_s=np.array(start_s, dtype=np.float64),
            end_s=np.array(end_s, dtype=np.float64),
        )

    def _stop(self, job_id: str, at_s: float) -> Run:
        run, real = self.running.pop(job_id), self._real.pop(job_id)
        del self._run_of[real.token]
        self.free_gpus += self._gpus[run.shape]
        if at_s > run.since_s:
            self._rows.append((real.number, run.shape, run.since_s, at_s))
        return run
