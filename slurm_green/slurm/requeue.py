# SPDX-License-Identifier: Apache-2.0
"""What Slurm makes of a job that is requeued: a new submission, with the same number."""

from collections.abc import Iterable
from datetime import datetime, timedelta

from slurm_green.slurm.records import Job

__all__ = ["REQUEUED", "last_runs", "submitted_anew"]

REQUEUED = "REQUEUED"  # the state of a run that a requeue ended: its job lives on
# A job is decided on seconds after its submission, by a clock that may be seconds behind.
_SOON = timedelta(seconds=60)


def submitted_anew(submit_utc: datetime, decided_utc: datetime) -> bool:
    """Whether it was submitted again since: what was decided is about its run before."""
    return submit_utc > decided_utc + _SOON


def last_runs(runs: Iterable[Job]) -> list[Job]:
    """Of each job the last of its runs that ended, but for those that a requeue ended."""
    last: dict[int, Job] = {}
    for run in runs:
        if run.state != REQUEUED and _submit_s(run) >= _submit_s(last.get(run.job_id)):
            last[run.job_id] = run
    return list(last.values())


def _submit_s(run: Job | None) -> float:
    return 0.0 if run is None or run.submit_utc is None else run.submit_utc.timestamp()
