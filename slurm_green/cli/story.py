# SPDX-License-Identifier: Apache-2.0
"""The story of one job in one sentence and its numbers. Pure."""

from dataclasses import dataclass, field
from datetime import datetime, tzinfo
from typing import Any

from slurm_green.cli.jobs import expected_g, requeued
from slurm_green.controller.state import Stage, Tracked
from slurm_green.hook.record import LOOK
from slurm_green.slurm.records import Job
from slurm_green.words import clean, grams, length, when

__all__ = ["Story", "tell", "untouched"]

_REQUEUED = "it was requeued, and a requeued job is never deferred again"
# Of the tasks that an array's own %N keeps waiting (seen on 22.05).
_ARRAY_LIMIT = "JobArrayTaskLimit"


@dataclass(frozen=True, slots=True, kw_only=True)
class Story:
    """`state` is a stable word for programs, `sentence` is for people, `numbers` for both."""

    state: str
    sentence: str
    numbers: dict[str, Any] = field(default_factory=dict)


def tell(
    one: Tracked,
    *,
    name: str,
    now_utc: datetime,
    zone: tzinfo,
    let_go: str = "",
    silent_s: float | None = None,
) -> Story:
    """What happens to a job that carries our record.

    `let_go` says why it was not deferred, `silent_s` for how long sgreend has been away.
    """
    job, record = one.job, one.record
    begin, stage = job.eligible_utc, one.stage
    numbers = _numbers(one, now_utc)
    if not job.pending:
        return _started(one, name, zone, numbers, let_go)
    coming = begin is not None and begin > now_utc
    held = f"; it is held, too (Slurm's reason: {clean(job.reason)})" if job.held else ""
    rest = f"begins at {when(begin, zone)}{held}" if coming else f"is eligible{_queueing(job)}"
    if requeued(one):
        words = f"{_REQUEUED}; it {rest}"
        return Story(state="released", sentence=f"Job {name}: {words}.", numbers=numbers)
    limited = not job.dependency and (
        job.max_running_tasks is not None or job.reason == _ARRAY_LIMIT
    )
    others = "other tasks of its array" if limited else "the jobs it depends on"
    if begin is None and (job.dependency or limited):
        # Slurm shows none while it waits for others, and sets a new one once they have ended.
        words = f"no longer waits for cleaner power, but for {others}{held}"
        return Story(state="released", sentence=f"Job {name} {words}.", numbers=numbers)
    if stage is Stage.FOREIGN:
        by = "by hand"
        if begin is not None and record.start_utc < begin <= now_utc:
            by += f", or by Slurm once {others} had ended"
        words = f"its begin time was changed {by}, so slurm-green leaves it alone; it {rest}"
        return Story(state="changed", sentence=f"Job {name}: {words}.", numbers=numbers)
    if not coming:
        words = f"{let_go or 'no longer waits for cleaner power'}; "
        words += f"since {when(begin, zone)} it is eligible"
        return Story(
            state="released", sentence=f"Job {name} {words}{_queueing(job)}.", numbers=numbers
        )
    if record.policy == LOOK or stage is Stage.HOLDING:
        words = f"is being looked at until {when(begin, zone)}: it then starts or gets its slot"
        return Story(state="looking", sentence=f"Job {name} {words}.", numbers=numbers)
    planned, in_time = when(record.start_utc, zone), ""
    if job.deadline_utc is not None:
        in_time = f" in time for its deadline at {when(job.deadline_utc, zone)}"
    if silent_s is not None:
        words = (
            f"waits until {when(begin, zone)}{in_time}: sgreend's last cycle was "
            f"{length(silent_s)} ago, and without it nobody starts the job at {planned} as planned"
        )
    else:
        past = ", which has passed" if record.start_utc < now_utc else ""
        words = (
            f"waits for cleaner power: start planned at {planned}{past}, "
            f"eligible by {when(record.latest_utc, zone)}{in_time}"
        )
        if record.save_g is not None:
            words += f", {_doing('saving', 'losing', record.save_g, job)} against starting at once"
    return Story(state="deferred", sentence=f"Job {name} {words}{held}.", numbers=numbers)


def untouched(job: Job, *, name: str, why: str) -> Story:
    """What happens to a job that carries none."""
    state = "untouched" if job.pending else _state(job)
    start_utc = job.start_utc if job.pending else job.began_utc
    numbers = {"slurm_state": job.state, "submit_utc": job.submit_utc, "start_utc": start_utc}
    return Story(
        state=state,
        sentence=f"Job {name} was not deferred: {clean(why).rstrip('.')}.",
        numbers=numbers,
    )


def _started(one: Tracked, name: str, zone: tzinfo, numbers: dict[str, Any], let_go: str) -> Story:
    job, record = one.job, one.record
    state = _state(job)
    words = f"runs since {when(job.start_utc, zone)}"
    if state == "finished":
        words = f"{clean(job.state).lower()} at {when(job.end_utc, zone)}"
    if state == "finished" and job.began_utc is None:
        words += "; it never ran"
        return Story(state=state, sentence=f"Job {name} {words}.", numbers=numbers)
    if record.policy == LOOK:
        return Story(
            state=state,
            sentence=f"Job {name} {words}; it was looked at and not deferred.",
            numbers=numbers,
        )
    if let_go or requeued(one):
        words += f"; it {let_go}" if let_go else f"; {_REQUEUED}"
        return Story(state=state, sentence=f"Job {name} {words}.", numbers=numbers)
    delay_s = numbers["delay_s"]
    words += f"; it started {length(delay_s)} after it was decided on" if delay_s else ""
    save_g = expected_g(one)
    if save_g is not None:
        words += f", which was expected to {_doing('save', 'lose', save_g, job)}"
    elif record.save_g is not None:
        words += f", before its planned start at {when(record.start_utc, zone)}: nothing is claimed"
    return Story(state=state, sentence=f"Job {name} {words}.", numbers=numbers)


def _numbers(one: Tracked, now_utc: datetime) -> dict[str, Any]:
    """Everything the sentence rests on; unknown is None."""
    job, record = one.job, one.record
    started = job.began_utc
    delay_s = None
    if started is not None:
        delay_s = max(0.0, (started - record.decided_utc).total_seconds())
    look = record.policy == LOOK
    save_g = expected_g(one)
    return {
        "slurm_state": job.state,
        "submit_utc": job.submit_utc,
        "decided_utc": record.decided_utc,
        "begin_utc": job.eligible_utc,
        "planned_start_utc": None if look else record.start_utc,
        "latest_start_utc": None if look else record.latest_utc,
        "start_utc": started,
        "end_utc": None if job.pending or job.active else job.end_utc,
        "delay_s": delay_s,
        "save_g": save_g,
        "save_scope": None if save_g is None else ("job" if job.array_job_id is None else "array"),
        "save_source": None if save_g is None else "modelled, expected when decided",
        "policy": record.policy,
        "signal": record.signal,
        "signal_age_s": record.signal_age_s,
        "decided_ago_s": (now_utc - record.decided_utc).total_seconds(),
    }


def _doing(save: str, lose: str, save_g: int, job: Job) -> str:
    # The record holds whole grams, and an array's one record is about all of its tasks.
    amount = f"about {grams(abs(save_g))}" if save_g else "less than a gram"
    return f"{lose if save_g < 0 else save} {amount} of CO2e" + (
        "" if job.array_job_id is None else " for the whole array"
    )


def _state(job: Job) -> str:
    return "running" if job.active else "finished"


def _queueing(job: Job) -> str:
    reason = clean(job.reason)
    if reason in {"", "None", "BeginTime"}:
        return " and queues"
    return f" and queues (Slurm's reason: {reason})"
