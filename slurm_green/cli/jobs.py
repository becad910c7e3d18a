# SPDX-License-Identifier: Apache-2.0
"""Finding jobs and what we wrote into them, in Slurm alone: no ledger, no daemon."""

from collections.abc import Iterable
from datetime import datetime, timedelta

from slurm_green.cli.params import JobRef
from slurm_green.config.settings import Config
from slurm_green.controller.state import Stage, Tracked, requeued_since, tracked
from slurm_green.hook.record import CLOCK, parse
from slurm_green.slurm.client import SlurmClient
from slurm_green.slurm.records import Job

__all__ = ["clock_mhz_of", "deferred", "expected_g", "field_of", "find", "of_ours", "requeued"]

# Further back a number may be another job's: Slurm begins anew after MaxJobId.
_LOOK_BACK = timedelta(days=366)
# A start this much before the planned one was not the planned one.
_PROMPT = timedelta(minutes=1)


def field_of(job: Job, config: Config) -> str:
    """The field that holds our record: the site's choice, or the other one if it is there only."""
    chosen = config.general.record_field
    other = "admin_comment" if chosen == "extra" else "extra"
    lies_there = parse(getattr(job, chosen)) is None and parse(getattr(job, other)) is not None
    return other if lies_there else chosen


def of_ours(job: Job, config: Config, *, anywhere: bool = False) -> Tracked | None:
    """The job with the record of its deferral, or None when it carries none.

    `anywhere` looks into both fields, for a site that has changed its choice. Not for figures:
    users can write one of the two.
    """
    field = field_of(job, config) if anywhere else config.general.record_field
    one = tracked(job, record_text=getattr(job, field), hold_s=config.hook.hold_s)
    return None if one is not None and one.record.policy == CLOCK else one


def clock_mhz_of(job: Job, config: Config) -> int | None:
    """The highest clock that its GPUs were ordered to have, as its record says."""
    record = parse(getattr(job, config.general.record_field))
    return None if record is None else record.clock_mhz


def deferred(one: Tracked, now_utc: datetime) -> bool:
    """Whether it still waits because of us: a begin time of ours that is yet to come."""
    begin = one.job.eligible_utc
    ours = one.stage in {Stage.HOLDING, Stage.CONFIRMED}
    return one.job.pending and ours and begin is not None and begin > now_utc


def requeued(one: Tracked) -> bool:
    """Whether somebody else requeued it since it was decided on."""
    return requeued_since(one.job, one.record)


def expected_g(one: Tracked) -> int | None:
    """The saving expected when it was decided; None once it is known not to have come about."""
    job, record = one.job, one.record
    began_utc = job.began_utc
    if not job.pending and (began_utc is None or began_utc < record.start_utc - _PROMPT):
        return None
    return None if requeued(one) else record.save_g


def find(slurm: SlurmClient, wanted: JobRef, now_utc: datetime) -> Job | None:
    """A job in the queue or, once slurmctld has forgotten it, in accounting."""
    found = _best(slurm.jobs(), wanted)
    if found is not None:
        return found
    return _best(slurm.finished(now_utc - _LOOK_BACK, job_id=wanted.job_id) or [], wanted)


def _best(jobs: Iterable[Job], wanted: JobRef) -> Job | None:
    """The record that says most about a job: the task itself, else what of its array waits."""
    mine = [job for job in jobs if wanted.job_id in (job.job_id, job.array_job_id)]
    if wanted.task is not None:
        exact = [job for job in mine if job.array_task == str(wanted.task)]
        rest = [job for job in mine if job.pending and _holds(job.array_task, wanted.task)]
        return next(iter(exact or rest), None)
    mine.sort(key=lambda job: (not job.pending, not job.active, job.job_id != wanted.job_id))
    return next(iter(mine), None)


def _holds(tasks: str, task: int) -> bool:
    """Whether a pending array's rest, such as `[1-3,7,20-40:5%2]`, holds a task."""
    for part in tasks.strip("[]").partition("%")[0].split(","):
        span, _, step = part.partition(":")
        first, _, last = span.partition("-")
        try:
            low, high, stride = int(first), int(last or first), int(step or 1)
        except ValueError:
            # Slurm cuts long lists short ("1,3,5,..."): what cannot be read may well hold it.
            return bool(tasks)
        if low <= task <= high and (task - low) % max(stride, 1) == 0:
            return True
    return False
