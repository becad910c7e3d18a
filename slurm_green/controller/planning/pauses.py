# SPDX-License-Identifier: Apache-2.0
"""Which running jobs may be requeued in a dirty hour, and which of them the plan would pause. Pure.

A pause is the owner's and the site's wish, both: green:checkpoint=DIR, --requeue and a deadline on
the one side, plan.pause on the other. Slurm gives a requeued job its whole time limit again, so its
latest start leaves room for all of it before the deadline.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta

from slurm_green.controller.observed import Observed
from slurm_green.controller.outcome import Event
from slurm_green.controller.rules import Rules
from slurm_green.hook.decide import exclusion
from slurm_green.hook.extent import Extent
from slurm_green.hook.options import parse_options
from slurm_green.hook.record import PAUSE, Record, new_token, parse, replace_record
from slurm_green.hook.request import request_of
from slurm_green.hook.view import PartitionView, View
from slurm_green.slurm.records import Job, JobChange

__all__ = ["Pausable", "Paused", "pausable", "pause_jobs"]

_MOST_RESTARTS = 3
_MOST_PER_CYCLE = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Pausable:
    """A job that may be paused: when it must start again at the latest (POSIX s)."""

    partition: PartitionView
    extent: Extent
    power_w: float
    latest_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Paused:
    """Jobs to requeue, each with what its record and begin time are to be then."""

    changes: Mapping[int, JobChange] = field(default_factory=dict)
    events: tuple[Event, ...] = ()


def pausable(job: Job, view: View, rules: Rules, now: datetime) -> Pausable | None:
    """What a pause of this job would have to keep; None where it may not be paused."""
    if not rules.pause or job.state != "RUNNING" or not job.requeue or job.start_utc is None:
        return None
    if job.array_job_id is not None or job.sibling or job.restarts >= _MOST_RESTARTS:
        return None
    request, partition = request_of(job, begin_set=False), view.partition(job.partition)
    if request is None or partition is None or "checkpoint=" not in job.comment:
        return None
    options = parse_options(
        job.comment, prefix=rules.comment_prefix, now_utc=request.submit_utc, zone=rules.zone
    )
    policy = rules.policy_for(job.partition, job.qos)
    anew = replace(request, restarted=False, dependent=False)
    deadlines = [one for one in (job.deadline_utc, options.deadline_utc) if one is not None]
    extent = partition.extent(request, options)
    if not options.checkpoint or not deadlines or extent is None:
        return None
    if exclusion(anew, options, policy, view) is not None:
        return None
    # What it did since it started is at stake once more.
    if (now - job.start_utc).total_seconds() < rules.pause_cost_s:
        return None
    margin_s = partition.margin_s(request, policy)
    latest_s = min(deadlines).timestamp() - extent.run_s - margin_s
    if latest_s <= now.timestamp() + rules.pause_cost_s:
        return None
    power_w = view.power_w(request, extent)
    return Pausable(partition=partition, extent=extent, power_w=power_w, latest_s=latest_s)


def pause_jobs(observed: Observed, view: View, rules: Rules) -> Paused:
    """The plan's pauses that may be made now, booked into the view as any job that waits."""
    advice, signal, now = observed.advice, view.signal, observed.now_utc
    now_s = now.timestamp()
    if not rules.pause or advice is None or not advice.pauses or signal is None:
        return Paused()
    # It was said of one slot of the signal, and holds for no other.
    slots = {
        math.floor((at_s - float(signal.edges_s[0])) / signal.step_s)
        for at_s in (now_s, advice.at_s)
    }
    if not advice.fresh(now_s) or len(slots) > 1:
        return Paused()
    changes: dict[int, JobChange] = {}
    events: list[Event] = []
    for job in observed.jobs:
        if job.job_id not in advice.pauses or len(changes) >= _MOST_PER_CYCLE:
            continue
        terms = pausable(job, view, rules, now)
        if terms is None:
            continue
        need, run_s = terms.extent.need, terms.extent.run_s
        fit_s = terms.partition.room.latest_fit(need, now_s, terms.latest_s, run_s)
        if fit_s is None or fit_s <= now_s + rules.pause_cost_s:
            continue
        latest = datetime.fromtimestamp(int(fit_s), UTC)
        enforced = rules.policy_for(job.partition, job.qos).mode == "enforce"
        kind = "paused" if enforced else "pause-shadow"
        detail = f"until cleaner hours, until {latest:%Y-%m-%dT%H:%M:%SZ} at the latest"
        events.append(Event(job_id=job.job_id, kind=kind, detail=detail, at_utc=now))
        if enforced:
            view.book(
                terms.partition,
                terms.extent,
                power_w=terms.power_w,
                start_s=fit_s,
                latest_s=fit_s,
            )
            changes[job.job_id] = _change(job, rules, now, latest)
    return Paused(changes=changes, events=tuple(events))


def _change(job: Job, rules: Rules, now: datetime, latest: datetime) -> JobChange:
    """Its record from now on, and its latest start as begin time."""
    extra = rules.record_field == "extra"
    text = job.extra if extra else job.admin_comment
    old = parse(text)
    record = Record(
        token=new_token() if old is None else old.token,
        decided_utc=now.replace(microsecond=0),
        start_utc=latest - timedelta(seconds=1),
        latest_utc=latest,
        policy=PAUSE,
        workers=None if old is None else old.workers,
        clock_mhz=None if old is None else old.clock_mhz,
    )
    text = replace_record(text, record)
    if extra:
        return JobChange(begin_utc=latest, extra=text)
    return JobChange(begin_utc=latest, admin_comment=text)
