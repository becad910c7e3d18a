# SPDX-License-Identifier: Apache-2.0
"""A tiny Slurm in memory, and the daemon beside it: enough of both to play days in seconds.

It does what the facts say Slurm does: a begin time that has passed becomes Slurm's now, a job that
becomes eligible too late for its deadline is cancelled, a held one waits. The scheduler is first
come, first served by priority, without backfill.
"""

from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any

from builders import DAY, NOW, days, fresh, info, job, nodes, rules

from slurm_green.controller.cycle import cycle
from slurm_green.controller.observed import Memory, Observed
from slurm_green.controller.outcome import Outcome
from slurm_green.controller.rules import Rules
from slurm_green.hook.decide import decide
from slurm_green.hook.record import LOOK, Record, append
from slurm_green.hook.request import request_of
from slurm_green.hook.view import View
from slurm_green.signals.series import Series
from slurm_green.slurm.gres import gpu_count
from slurm_green.slurm.records import ClusterInfo, Job, JobChange, Node, Partition, Reservation

_ENDED = {"COMPLETED", "DEADLINE", "CANCELLED"}


@dataclass(kw_only=True)
class Slurm:
    """The cluster. `runs_s` is how long each job really takes; else its limit."""

    now: datetime = NOW
    nodes: tuple[Node, ...] = field(default_factory=nodes)
    info: ClusterInfo = field(default_factory=info)
    reservations: tuple[Reservation, ...] = ()
    jobs: dict[int, Job] = field(default_factory=dict)
    runs_s: dict[int, float] = field(default_factory=dict)
    # slurmctld handles a change this long after our cycle looked at the clock.
    lag_s: float = 1.0

    def submit(self, **fields: Any) -> Job:
        """A new job, eligible at once unless told otherwise."""
        given = {"submit_utc": self.now, "eligible_utc": self.now} | fields
        new = job(max(self.jobs, default=0) + 1, **given)
        self.jobs[new.job_id] = new
        return new

    def change(self, job_id: int, **fields: Any) -> None:
        """What a user or an admin does by scontrol."""
        self.jobs[job_id] = replace(self.jobs[job_id], **fields)

    def update(self, changes: dict[int, JobChange]) -> None:
        """What the daemon does; jobs that no longer wait refuse a begin time."""
        arrives = self.now + timedelta(seconds=self.lag_s)
        for job_id, change in changes.items():
            fields: dict[str, Any] = {}
            if change.begin_utc is not None:
                if not self.jobs[job_id].pending:
                    continue
                fields["eligible_utc"] = max(change.begin_utc, arrives)
            for name in ("admin_comment", "extra", "site_factor"):
                if getattr(change, name) is not None:
                    fields[name] = getattr(change, name)
            if change.reshapes:
                fields |= _reshaped(self.jobs[job_id], change)
            self.change(job_id, **fields)

    def run_until(self, when: datetime, *, step_s: float = 60.0) -> None:
        """Let time pass: end jobs, cancel those too late, start what fits, in steps."""
        while self.now < when:
            self.now = min(self.now + timedelta(seconds=step_s), when)
            self._end()
            self._start()

    def observed(self, signal: Series | None, **fields: Any) -> Observed:
        """What the daemon's queries show now."""
        names = tuple(node.name for node in self.nodes)
        return Observed(
            now_utc=self.now,
            jobs=tuple(self.jobs.values()),
            nodes=self.nodes,
            partitions=(Partition(name="gpu", node_names=names, default=True),),
            reservations=self.reservations,
            info=self.info,
            signal=signal,
            **fields,
        )

    def _end(self) -> None:
        for one in list(self.jobs.values()):
            if one.active and one.start_utc is not None:
                end = one.start_utc + timedelta(seconds=self._run_s(one))
                if end <= self.now:
                    self.change(one.job_id, state="COMPLETED", end_utc=end)

    def _start(self) -> None:
        free = [
            sum(node.gpus for node in self.nodes if node.available),
            sum(node.cpus for node in self.nodes if node.available),
        ]
        for one in self.jobs.values():
            if one.active:
                free = [free[0] - one.gpus * one.tasks, free[1] - one.cpus * one.tasks]
        for one in sorted(self.jobs.values(), key=self._place):
            if not self._eligible(one):
                continue
            limit = timedelta(seconds=one.time_limit_s or 0)
            if one.deadline_utc is not None and self.now + limit > one.deadline_utc:
                self.change(one.job_id, state="DEADLINE", end_utc=self.now)
                continue
            need = (one.gpus * one.tasks, one.cpus * one.tasks)
            if need[0] > free[0] or need[1] > free[1] or self._reserved(self.now + limit):
                break
            free = [free[0] - need[0], free[1] - need[1]]
            self.change(
                one.job_id,
                state="RUNNING",
                start_utc=self.now,
                end_utc=self.now + limit,
                node_names=tuple(node.name for node in self.nodes),
            )

    def _eligible(self, one: Job) -> bool:
        if not one.pending or one.held or one.eligible_utc is None or one.eligible_utc > self.now:
            return False
        parents = [int(word) for word in one.dependency.removeprefix("afterok:").split() if word]
        return all(self.jobs[parent].state in _ENDED for parent in parents)

    def _place(self, one: Job) -> tuple[float, int]:
        aged_s = (self.now - (one.eligible_utc or self.now)).total_seconds()
        points = self.info.priority_weight_age * max(aged_s, 0.0) / self.info.priority_max_age_s
        return -(points + one.site_factor), one.job_id

    def _reserved(self, end: datetime) -> bool:
        return any(r.start_utc < end and self.now < r.end_utc for r in self.reservations)

    def _run_s(self, one: Job) -> float:
        return self.runs_s.get(one.job_id, float(one.time_limit_s or DAY))


def _reshaped(one: Job, change: JobChange) -> dict[str, Any]:
    """The fields that another width changes."""
    nodes = change.nodes or one.nodes
    gpus = one.gpus // one.nodes * nodes
    if change.gres is not None:
        gpus = gpu_count(change.gres) * nodes
    return {
        "nodes": nodes,
        "gpus": gpus,
        "cpus": change.cpus or one.cpus,
        "ntasks": change.ntasks or one.ntasks,
        "gres_per_node": change.gres or one.gres_per_node,
    }


@dataclass(kw_only=True)
class Site:
    """A Slurm with our daemon: the submit hook and the cycles."""

    slurm: Slurm = field(default_factory=Slurm)
    rules: Rules = field(default_factory=rules)
    signal: Series | None = field(default_factory=days)
    memory: Memory = field(default_factory=Memory)
    view: View | None = None
    events: list[tuple[int, str, str]] = field(default_factory=list)

    def submit(self, *, look: bool = False, **fields: Any) -> Job:
        """sbatch with the hook: it sees no --deadline, and holds for ten seconds."""
        if self.view is None:
            self.cycle()
        assert self.view is not None
        new = self.slurm.submit(**fields)
        asked = request_of(replace(new, deadline_utc=None), begin_set="eligible_utc" in fields)
        assert asked is not None
        policy = self.rules.policy_for(new.partition, new.qos)
        now, hold = self.slurm.now, timedelta(seconds=self.rules.hold_s)
        found = decide(asked, policy, self.view, now)
        if policy.mode != "enforce" or not (found.defer or look):
            return new
        record = Record(
            token=f"t{new.job_id}",
            decided_utc=now,
            start_utc=found.start_utc or now,
            latest_utc=found.latest_utc or now + hold,
            policy=found.policy if found.defer else LOOK,
            save_g=round(found.save_g) if found.defer and found.save_g else None,
        )
        text = append(new.admin_comment, record)
        self.slurm.change(new.job_id, eligible_utc=now + hold, admin_comment=text)
        return self.slurm.jobs[new.job_id]

    def cycle(self, **fields: Any) -> Outcome:
        """One cycle, its changes applied."""
        signal = None if self.signal is None else fresh(self.signal, self.slurm.now)
        outcome = cycle(self.slurm.observed(signal, **fields), self.memory, self.rules)
        self.memory, self.view = outcome.memory, outcome.view
        self.slurm.update(outcome.changes)
        self.events += [(one.job_id, one.kind, one.detail) for one in outcome.events]
        return outcome

    def restart(self) -> None:
        """The daemon forgets everything."""
        self.memory, self.view = Memory(), None

    def run(self, hours: float, *, every_s: float = 30.0) -> None:
        """Cycles and Slurm for this long."""
        end = self.slurm.now + timedelta(hours=hours)
        while self.slurm.now < end:
            later = self.slurm.now + timedelta(seconds=every_s)
            self.slurm.run_until(min(later, end))
            self.cycle()

    def deferred(self, **fields: Any) -> Job:
        """A job submitted, held and confirmed."""
        new = self.submit(**fields)
        self.slurm.run_until(self.slurm.now + timedelta(seconds=3))
        self.cycle()
        return self.slurm.jobs[new.job_id]

    def kinds(self, job_id: int) -> list[str]:
        """What happened to a job, in order."""
        return [kind for one, kind, _ in self.events if one == job_id]
