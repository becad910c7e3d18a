# SPDX-License-Identifier: Apache-2.0
"""Where every job of the batch stands, from one look at Slurm's queue. Pure."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime

from slurm_green.controller.state import Stage, tracked
from slurm_green.demo.batch import Submitted
from slurm_green.hook.record import LOOK
from slurm_green.slurm.records import Job

__all__ = ["Row", "rows_of"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One job, an array's tasks together. `runs` are (start, end), end None while it runs.

    `state` is gone, looked at, waiting, queued, running, done, or Slurm's own word for a bad end.
    """

    submitted: Submitted
    state: str
    submit_utc: datetime
    gpus: int = 0
    tasks: int = 0
    planned_utc: datetime | None = None
    latest_utc: datetime | None = None
    runs: tuple[tuple[datetime, datetime | None], ...] = ()

    @property
    def over(self) -> bool:
        """Whether nothing more will happen to it."""
        return self.state not in {"looked at", "waiting", "queued", "running"}

    @property
    def deferred(self) -> bool:
        """Whether it was deferred, not only looked at."""
        return self.planned_utc is not None

    @property
    def started_utc(self) -> datetime | None:
        """When its first task started."""
        return min((start for start, _ in self.runs), default=None)


def rows_of(
    batch: Sequence[Submitted], jobs: Iterable[Job], *, hold_s: float, before: Sequence[Row] = ()
) -> list[Row]:
    """One row for each submitted job; what a row of `before` knew of the plan is kept."""
    known = {row.submitted.job_id: row for row in before}
    by_id: dict[int, list[Job]] = {}
    for job in jobs:
        by_id.setdefault(job.array_job_id or job.job_id, []).append(job)
    return [_row(one, by_id.get(one.job_id, []), known.get(one.job_id), hold_s) for one in batch]


def _row(one: Submitted, records: list[Job], before: Row | None, hold_s: float) -> Row:
    if not records:
        return before or Row(submitted=one, state="gone", submit_utc=one.at_utc)
    ours = [
        found
        for job in records
        if (found := tracked(job, record_text=job.admin_comment, hold_s=hold_s)) is not None
        and found.record.policy != LOOK
    ]
    runs = tuple(
        (job.start_utc, None if job.active else job.end_utc)
        for job in records
        if not job.pending and job.start_utc is not None and _ran(job)
    )
    confirmed = [found for found in ours if found.stage is Stage.CONFIRMED]
    planned = confirmed[0].record.start_utc if confirmed else None
    latest = ours[0].record.latest_utc if ours else None
    return Row(
        submitted=one,
        state=_state(records, [found.stage for found in ours if found.job.pending]),
        submit_utc=min((job.submit_utc for job in records if job.submit_utc), default=one.at_utc),
        gpus=sum(job.gpus * (job.tasks if job.pending else 1) for job in records),
        tasks=sum(job.tasks if job.pending else 1 for job in records),
        planned_utc=planned or (before.planned_utc if before else None),
        latest_utc=latest or (before.latest_utc if before else None),
        runs=runs,
    )


def _ran(job: Job) -> bool:
    # Slurm gives a job that it cancelled before it ran a start all the same.
    return job.active or bool(job.node_names)


def _state(records: list[Job], stages: list[Stage]) -> str:
    if any(job.active for job in records):
        return "running"
    if any(job.pending for job in records):
        if Stage.CONFIRMED in stages:
            return "waiting"
        return "looked at" if Stage.HOLDING in stages else "queued"
    bad = [job.state for job in records if job.state != "COMPLETED"]
    return bad[0].lower() if bad else "done"
