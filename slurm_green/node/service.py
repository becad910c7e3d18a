# SPDX-License-Identifier: Apache-2.0
"""One node: feeds the core, lets the actuator do what it says, and answers requests.

Everything here runs in one thread. The trap: a job starts or ends while we answer, so nothing a
GPU does wrong may become an exception.
"""

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from profiling.device.apply import Observed, Setting
from profiling.device.gpu import Gpu, RefusedError
from profiling.device.journal import Journal
from slurm_green.errors import BadInputError
from slurm_green.node.actuator import Actuator
from slurm_green.node.core import GRACE_S, step, users_of, with_shared
from slurm_green.node.events import (
    Action,
    Asked,
    Begin,
    End,
    Event,
    Free,
    Hold,
    Kept,
    Look,
    Outcome,
    Refused,
    Stop,
    Tick,
    Withdrawn,
)
from slurm_green.node.rights import Allowed, clock_refusal, user_refusal
from slurm_green.node.sight import Sight
from slurm_green.node.state import Ask, Device, Job, Orders, Plan, Reading, State

__all__ = ["Node"]

_LOG = logging.getLogger(__name__)
_LATE_S = 4.0  # the hooks give up before: whatever says more was read from a long queue
_ROUNDS = 4  # set, refused, restored, and one to spare; a tick does what is left


class Node:
    """The GPUs of one node and what they are set to; `clock` gives monotonic seconds."""

    def __init__(
        self,
        actuator: Actuator,
        journal: Journal,
        *,
        allowed: Mapping[str, Allowed],
        sight: Sight,
        clock: Callable[[], float],
    ) -> None:
        self.gpus: Mapping[str, Gpu] = actuator.gpus
        self.state = State(devices={uuid: Device() for uuid in self.gpus})
        self.readings: Mapping[str, Reading] = {}  # the last tick's
        self.readings_s = clock()
        self._by_index = {gpu.identity.index: uuid for uuid, gpu in self.gpus.items()}
        self._actuator = actuator
        self._journal = journal
        self._allowed = allowed
        self._sight = sight
        self._clock = clock

    def resume(self) -> None:
        """Remember the jobs of an earlier life; the first tick tells which of them still run."""
        unseen_s = self._clock() - GRACE_S - 1
        jobs = {
            one.job_id: Job(
                job_id=one.job_id, uid=one.uid, gpus=tuple(one.energy_j), seen_s=unseen_s
            )
            for one in self._actuator.begun()
        }
        # As if they all lived: rather no figure than one of two jobs' joules.
        self.state = with_shared(replace(self.state, jobs=jobs), unseen_s)

    def begin(
        self, job_id: int, uid: int, gpus: Iterable[int], plan: Plan | None, at_s: float
    ) -> dict[str, Any]:
        """A prolog's job: account its energy from now on, and set what is planned for it.

        BadInputError when the prolog asked long ago: the job's first joules are lost.
        """
        if self._late(at_s):
            raise BadInputError(f"job {job_id}: too late, its prolog has gone")
        uuids = tuple(self._uuid(index) for index in gpus)
        plan = self._allowed_plan(job_id, uuids, plan)
        job = Job(job_id=job_id, uid=uid, gpus=uuids, seen_s=self._clock(), plan=plan)
        self.feed(Begin(job, self._strangers(job, uuids)))
        return self._shown(uuids)

    def end(self, job_id: int, at_s: float) -> None:
        """An epilog's job: restore, then account, unless others may have used its GPUs since."""
        self.feed(End(job_id, "its epilog was heard too late" if self._late(at_s) else ""))

    def ask(
        self,
        job_id: int,
        gpus: Iterable[int],
        setting: Setting,
        ttl_s: float,
        *,
        uid: int,
        pid: int,
    ) -> dict[str, Any]:
        """A user's wish for GPUs of their job, to be repeated within `ttl_s` to last.

        Never faster than what the job's plan and the site's cap say. BadInputError says why not.
        """
        uuids = [self._uuid(index) for index in gpus]
        self._check_user(job_id, uuids, uid=uid, pid=pid)
        for uuid in uuids:
            if why := clock_refusal(self._allowed[uuid], setting):
                raise BadInputError(why)
        ask = Ask(job_id=job_id, setting=setting, until_s=self._clock() + ttl_s)
        self.feed(Asked(tuple(uuids), ask))
        return self._shown(uuids)

    def withdraw(self, job_id: int, *, uid: int, pid: int) -> None:
        """A user gives up all leases of their job."""
        self._check_user(job_id, (), uid=uid, pid=pid)
        self.feed(Withdrawn(job_id))

    def tick(self, orders: Orders | None = None) -> None:
        """Look at everything; `orders` are sgreend's, None when it could not be asked."""
        owed = self._journal.take_over()
        for one in owed:
            here = "" if one.uuid in self.gpus else ", and it is not in this machine now"
            _LOG.warning("%s was left set by %s%s", one.uuid, one.holder, here)
        self.readings_s = self._clock()
        self.readings = {uuid: _reading(gpu) for uuid, gpu in self.gpus.items()}
        foreign: dict[str, str] = {}
        for uuid in self.gpus:
            users = users_of(self.state, uuid, self._clock())
            foreign |= self._strangers(users[0], [uuid]) if len(users) == 1 else {}
        self.feed(
            Tick(
                live=self._sight.live_jobs(),
                foreign=foreign,
                clocks_mhz={uuid: one.clock_mhz for uuid, one in self.readings.items()},
                owed=tuple(one.uuid for one in owed if one.uuid in self.gpus),
                orders=None if orders is None else self._allowed_orders(orders),
            )
        )

    def look(self) -> None:
        """Let leases run out."""
        self.feed(Look())

    def stop(self) -> tuple[str, ...]:
        """Restore everything; the GPUs that could not be."""
        self.feed(Stop())
        return tuple(uuid for uuid, device in self.state.devices.items() if device.owed)

    def feed(self, event: Event) -> None:
        """One event, and all that follows from it."""
        self.state, actions = step(self.state, event, self._clock())
        for _ in range(_ROUNDS):
            outcomes = [one for one in map(self._run, actions) if one is not None]
            if not outcomes:
                return
            for outcome in outcomes:
                self.state, _nothing = step(self.state, outcome, self._clock())
            self.state, actions = step(self.state, Look(), self._clock())

    def _run(self, action: Action) -> Outcome | None:
        try:
            return self._actuator.run(action)
        except Exception:  # a bug must cost this GPU only
            _LOG.exception("%s", action)
            match action:
                case Hold(uuid):
                    return Refused(uuid, "a bug; the log has it", True)
                case Free(uuid):
                    return Kept(uuid)
            return None

    def _late(self, at_s: float) -> bool:
        return not -1.0 <= self._clock() - at_s <= _LATE_S

    def _uuid(self, index: int) -> str:
        if index not in self._by_index:
            there = ", ".join(map(str, sorted(self._by_index))) or "none"
            raise BadInputError(f"GPU {index}: the GPUs here are {there}")
        return self._by_index[index]

    def _check_user(self, job_id: int, uuids: Sequence[str], *, uid: int, pid: int) -> None:
        why = user_refusal(
            self.state,
            uid=uid,
            peer_job=self._sight.job_of(pid),
            job_id=job_id,
            uuids=uuids,
            now_s=self._clock(),
        )
        if why:
            raise BadInputError(why)

    def _allowed_orders(self, orders: Orders) -> Orders:
        if orders.cap != self.state.cap:
            _LOG.info("the site's cap is %s", orders.cap)
        jobs = self.state.jobs
        plans = {
            job_id: self._allowed_plan(job_id, jobs[job_id].gpus, plan)
            for job_id, plan in orders.plans.items()
            if job_id in jobs
        }
        return Orders(plans, orders.cap)

    def _allowed_plan(self, job_id: int, uuids: Sequence[str], plan: Plan | None) -> Plan | None:
        if plan is None:
            return None
        setting = Setting(clock_mhz=plan.clock_mhz, power_limit_w=plan.power_limit_w)
        for uuid in uuids:
            if why := uuid in self.gpus and clock_refusal(self._allowed[uuid], setting):
                refused, job = Plan(own=plan.own), self.state.jobs.get(job_id)
                if job is None or job.plan != refused:  # said once, not at every look
                    _LOG.warning("job %d stays as it is: the plan's %s", job_id, why)
                return refused
        return plan

    def _strangers(self, job: Job, uuids: Iterable[str]) -> dict[str, str]:
        """Of a job's GPUs those on which somebody else computes, and a sentence about it."""
        ours, found = self._sight.ours(job), {}
        for uuid in uuids:
            try:
                strangers = [pid for pid in self.gpus[uuid].processes() or () if not ours(pid)]
            except RefusedError:
                continue
            if strangers:
                found[uuid] = f"process {strangers[0]} of somebody else computes on it"
        return found

    def _shown(self, uuids: Iterable[str]) -> dict[str, Any]:
        """What holds for GPUs now, by index, for an answer."""
        return {str(self.gpus[uuid].identity.index): self._shown_of(uuid) for uuid in uuids}

    def _shown_of(self, uuid: str) -> dict[str, Any]:
        device, applied = self.state.devices[uuid], self._actuator.applied.get(uuid)
        held = device.held or Setting()
        observed = Observed() if applied is None else applied.observed
        reasons = list(applied.reasons) if applied is not None and device.held else []
        only = device.barred or self.state.foreign.get(uuid)
        return {
            "clock_mhz": held.clock_mhz,
            "power_limit_w": held.power_limit_w,
            "observed_mhz": observed.clock_mhz,
            "observed_limit_w": observed.power_limit_w,
            "reasons": [*reasons, f"only observed: {only}"] if only else reasons,
        }


def _reading(gpu: Gpu) -> Reading:
    try:
        return Reading(power_w=gpu.power_w(), clock_mhz=gpu.clock_mhz(), energy_j=gpu.energy_j())
    except RefusedError:
        return Reading()
