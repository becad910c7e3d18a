# SPDX-License-Identifier: Apache-2.0
"""Shadow mode: judge new jobs as if we could defer them, and change nothing. Pure.

The deferrals only thought of follow each new plan as real ones do; what is told in the end is when
each would have been let go (event `shadow-start`).
"""

import math
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta

from slurm_green.controller.observed import Memory, Observed, ShadowBooking
from slurm_green.controller.occupancy import Occupancy, Placement
from slurm_green.controller.outcome import Event, Judged
from slurm_green.controller.planning.advice import Advice
from slurm_green.controller.rules import Rules
from slurm_green.controller.views import copy_view
from slurm_green.hook.decide import decide
from slurm_green.hook.request import request_of
from slurm_green.hook.view import View
from slurm_green.slurm.records import Job

__all__ = ["judge_new_jobs"]

_KEEP = 5000


def judge_new_jobs(
    observed: Observed,
    memory: Memory,
    rules: Rules,
    view: View,
    occupied: Mapping[str, Occupancy],
) -> tuple[list[Judged], tuple[ShadowBooking, ...], list[Event]]:
    """Decisions about jobs of shadow partitions not seen before, and what they would have booked.

    A job that came and went between two cycles is not judged; in the first cycle none is, since
    what was there before is not new.
    """
    now_s = observed.now_utc.timestamp()
    kept = tuple(
        _planned(b, observed.advice, now_s)
        for b in memory.shadow
        if b.latest_s + b.extent.run_s > now_s
    )[-_KEEP:]
    before = {b.job_id for b in memory.shadow if b.started}
    events = [_start(b) for b in kept if b.started and b.job_id not in before]
    if memory.last_utc is None:
        return [], kept, events
    thought = copy_view(view)
    for booking in kept:
        _book(thought, booking)
    judged: list[Judged] = []
    booked = list(kept)
    for job in observed.jobs:
        if job.job_id in memory.seen or rules.policy_for(job.partition, job.qos).mode != "shadow":
            continue
        request = request_of(job, begin_set=_begin_set(job))
        if request is None or request.submit_utc < memory.last_utc - timedelta(seconds=1):
            continue
        policy = rules.policy_for(job.partition, job.qos)
        without = _without(job, thought, occupied)
        decision = decide(request, policy, without, observed.now_utc)
        judged.append(Judged(job=job, decision=decision, mode="shadow"))
        if decision.defer and decision.extent and decision.start_utc and decision.latest_utc:
            booking = ShadowBooking(
                job_id=job.job_id,
                partition=job.partition,
                extent=decision.extent,
                power_w=decision.power_w or 0.0,
                start_s=decision.start_utc.timestamp(),
                latest_s=decision.latest_utc.timestamp(),
            )
            _book(thought, booking)
            booked.append(booking)
    return judged, tuple(booked), events


def _planned(one: ShadowBooking, advice: Advice | None, now_s: float) -> ShadowBooking:
    """The booking by the newest plan; what has started stays."""
    if one.started:
        return one
    place = None if advice is None else advice.places.get(one.job_id)
    start_s = one.start_s
    if place is not None and math.isfinite(place.start_s):
        start_s = min(max(place.start_s, now_s), one.latest_s)
    return replace(one, start_s=start_s, started=start_s <= now_s)


def _start(one: ShadowBooking) -> Event:
    at_utc = datetime.fromtimestamp(one.start_s, UTC)
    return Event(
        job_id=one.job_id, kind="shadow-start", detail="would have been released", at_utc=at_utc
    )


def _begin_set(job: Job) -> bool:
    if job.submit_utc is None or job.eligible_utc is None:
        return False
    return job.eligible_utc - job.submit_utc > timedelta(seconds=2)


def _without(job: Job, view: View, occupied: Mapping[str, Occupancy]) -> View:
    """The view with the job itself taken out: it must not be in its own way."""
    partition = view.partition(job.partition)
    if partition is None or (one := occupied.get(partition.name)) is None:
        return view
    placed: Placement | None = one.placed.get(job.job_id)
    if placed is None:
        return view
    back = tuple(-amount for amount in placed.need)
    freed = replace(
        partition,
        queue=partition.queue.copy(),
        room=partition.room.copy(),
        planned=partition.planned.copy(),
    )
    for room in (freed.queue, freed.room, freed.planned):
        room.take(back, placed.begin_s, placed.end_s)
    return replace(view, partitions={**view.partitions, partition.name: freed})


def _book(view: View, booking: ShadowBooking) -> None:
    partition = view.partition(booking.partition)
    if partition is not None:
        view.book(
            partition,
            booking.extent,
            power_w=booking.power_w,
            start_s=booking.start_s,
            latest_s=booking.latest_s,
        )
