# SPDX-License-Identifier: Apache-2.0
"""What a job's own record says about where its deferral stands. Pure.

HOLDING   -> CONFIRMED  the cycle saw it in time and moved its begin time to the latest start
HOLDING   -> RELEASED   nothing to defer it for, or too late to confirm
CONFIRMED -> RELEASED   its window came, or its room shrank
any       -> FOREIGN    somebody else changed the begin time: from then on it is left alone
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import Enum

from slurm_green.hook.record import CLOCK, LOOK, PAUSE, Record, parse
from slurm_green.slurm.records import Job
from slurm_green.slurm.requeue import submitted_anew

__all__ = ["Stage", "Tracked", "requeued_since", "tracked", "was_deferred"]


# Slurm rounds submit and eligible time on their own.
_ROUNDED = timedelta(seconds=2)
# A release takes at most this long from our clock to slurmctld's.
_ARRIVAL = timedelta(seconds=60)


class Stage(Enum):
    """Where a deferral stands."""

    HOLDING = "holding"
    CONFIRMED = "confirmed"
    RELEASED = "released"
    FOREIGN = "foreign"


@dataclass(frozen=True, slots=True, kw_only=True)
class Tracked:
    """A pending job that carries our record."""

    job: Job
    record: Record
    stage: Stage


def tracked(job: Job, *, record_text: str, hold_s: float) -> Tracked | None:
    """The job's record and stage, or None when it carries none of ours."""
    record = parse(record_text)
    if record is None:
        return None
    return Tracked(job=job, record=record, stage=_stage(job.eligible_utc, record, hold_s))


def was_deferred(job: Job, record: Record, hold_s: float) -> bool:
    """Whether it was made to wait beyond the seconds of its hold: else nothing can be claimed."""
    if record.policy in (LOOK, CLOCK):
        return False
    hold_end = record.decided_utc + timedelta(seconds=hold_s)
    return job.eligible_utc is None or job.eligible_utc > hold_end + _ROUNDED


def requeued_since(job: Job, record: Record) -> bool:
    """Whether somebody else requeued it since: when it runs is Slurm's choice from then on."""
    submit = job.submit_utc
    if record.policy == PAUSE:
        # Our own requeue came before its next start.
        return submit is not None and submit > record.start_utc + _ROUNDED
    # Accounting counts no restarts, but a requeued job is a new submission there.
    again = submit is not None and submitted_anew(submit, record.decided_utc)
    return job.restarts > 0 or again


def _stage(begin: datetime | None, record: Record, hold_s: float) -> Stage:
    # The order matters: a confirmed job's latest start may by chance equal the end of its hold.
    if begin is None:
        return Stage.FOREIGN
    # Only a released job's planned start can be as late as its latest one.
    if record.policy != LOOK and begin == record.latest_utc and record.start_utc < begin:
        return Stage.CONFIRMED
    # Nobody is held to start within the hold: such a one was let go just when its hold ended.
    held = record.policy == LOOK or record.start_utc > begin
    if held and begin == record.decided_utc + timedelta(seconds=hold_s):
        return Stage.HOLDING
    # Slurm moves a begin time that has passed when the change arrives to its own "now".
    if record.start_utc <= begin <= record.start_utc + _ARRIVAL:
        return Stage.RELEASED
    return Stage.FOREIGN
