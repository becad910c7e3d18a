# SPDX-License-Identifier: Apache-2.0
"""One cycle's orders for the nodes: a clock for each job that may be slowed. Pure.

A job's clock is chosen when it starts and then stays: it is in its record, from which a restarted
sgreend takes it again. It ends early when the job runs longer than was to be expected.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

from slurm_green.controller.nodes.site import NodeOrders, Planned
from slurm_green.controller.nodes.verdict import Case, NoClockError, wish_of
from slurm_green.controller.observed import Observed
from slurm_green.controller.outcome import Event
from slurm_green.controller.rules import Rules
from slurm_green.hook.record import CLOCK, LOOK, Record, append, parse, replace_record
from slurm_green.hook.view import View
from slurm_green.slurm.records import Job, JobChange

__all__ = ["Clocked", "clock_jobs"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Clocked:
    """What comes of one cycle; `planned` is for the next."""

    orders: NodeOrders = field(default_factory=NodeOrders)
    changes: Mapping[int, JobChange] = field(default_factory=dict)
    events: tuple[Event, ...] = ()
    planned: Mapping[int, Planned] = field(default_factory=dict)


def clock_jobs(
    observed: Observed, before: Mapping[int, Planned], rules: Rules, view: View
) -> Clocked:
    """Orders for jobs that run or may start now, records for those that run, events for both."""
    site, now = observed.nodes_site, observed.now_utc
    if site is None:
        return Clocked()
    orders: dict[int, Mapping[str, object]] = {}
    changes: dict[int, JobChange] = {}
    events: list[Event] = []
    planned: dict[int, Planned] = {}
    for job in observed.jobs:
        if not job.gpus or not (job.active or _may_start(job, now, rules)):
            continue
        if "gpu" in (job.gpu_freq or ""):
            orders[job.job_id] = {"own": True}
            continue
        policy = rules.policy_for(job.partition, job.qos)
        wish = wish_of(job, policy, rules)
        if wish is None:
            continue
        text = job.extra if rules.record_field == "extra" else job.admin_comment
        record, was = parse(text), before.get(job.job_id, Planned())
        recorded = record is not None and record.clock_mhz is not None
        told = was.told or ("clock" if recorded else "")
        enforced = policy.mode == "enforce"
        try:
            clock, words = Case(
                observed=observed,
                site=site,
                rules=rules,
                view=view,
                job=job,
                wish=wish,
                record=record,
                was=was,
            ).verdict()
            kind, clock_mhz = "clock" if enforced else "clock-shadow", clock.clock_mhz
            if enforced:
                orders[job.job_id] = {"clock_mhz": clock_mhz, "floor_mhz": clock.floor_mhz}
                if job.active and not recorded and len(changes) < rules.releases_per_cycle:
                    changed = _recorded(job, text, record, clock_mhz, now)
                    changes[job.job_id] = (
                        JobChange(extra=changed)
                        if rules.record_field == "extra"
                        else JobChange(admin_comment=changed)
                    )
        except NoClockError as why:
            kind, clock_mhz, words = "clock-none", None, str(why)
        if job.active and kind != told:
            events.append(Event(job_id=job.job_id, kind=kind, detail=words, at_utc=now))
            told = kind
        planned[job.job_id] = Planned(clock_mhz=clock_mhz, told=told)
    known = frozenset(job.job_id for job in observed.jobs)
    return Clocked(
        orders=NodeOrders(jobs=orders, cap=site.cap, known=known),
        changes=changes,
        events=tuple(events),
        planned=planned,
    )


def _may_start(job: Job, now: datetime, rules: Rules) -> bool:
    soon = now + timedelta(seconds=rules.interval_s)
    eligible = job.eligible_utc is not None and job.eligible_utc <= soon
    return job.pending and not job.held and not job.sibling and eligible


def _recorded(job: Job, text: str, record: Record | None, clock_mhz: int, now: datetime) -> str:
    """The record field with the clock in it."""
    if record is None or record.policy == LOOK:
        start = job.start_utc or now
        new = Record(
            token="-" if record is None else record.token,
            decided_utc=now,
            start_utc=start,
            latest_utc=start,
            policy=CLOCK,
            clock_mhz=clock_mhz,
        )
        return append(text, new) if record is None else replace_record(text, new)
    return replace_record(text, replace(record, clock_mhz=clock_mhz))
