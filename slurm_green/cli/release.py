# SPDX-License-Identifier: Apache-2.0
"""Undoes every deferral from Slurm's own records alone."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime

from slurm_green.cli.jobs import deferred, field_of, of_ours
from slurm_green.config.settings import Config
from slurm_green.controller.credit import credit_for
from slurm_green.controller.state import Tracked
from slurm_green.errors import SlurmError
from slurm_green.hook.record import LOOK, remove, replace_record
from slurm_green.slurm.arrays import marked
from slurm_green.slurm.client import SlurmClient
from slurm_green.slurm.records import ClusterInfo, JobChange
from slurm_green.slurm.update import is_too_late

__all__ = ["Released", "changes_for", "release_all"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Released:
    """What was done: job ids made eligible, those whose priority was restored, refusals."""

    released: list[int] = field(default_factory=list)
    restored: list[int] = field(default_factory=list)
    refused: dict[int, str] = field(default_factory=dict)


def release_all(slurm: SlurmClient, config: Config, now_utc: datetime) -> Released:
    """Make every job that waits because of us eligible now; repeating it changes nothing more."""
    jobs = slurm.jobs()
    mine = [one for job in jobs if (one := of_ours(job, config, anywhere=True)) and job.pending]
    try:
        info = slurm.info()
    except SlurmError:
        info = None  # Jobs go first; without it nobody can tell whose a site factor is.
    changes = {}
    for one in mine:
        change = changes_for(one, config, info, now_utc)
        if change != JobChange():
            changes[one.job.job_id] = change
    changes = marked(changes, jobs)
    # Begin times first, all in one: a record takes a process of its own, and can wait.
    refused = _update(
        slurm, {j: replace(c, admin_comment=None, extra=None) for j, c in changes.items()}
    )
    # A job that has ended by now keeps its record; it started before its planned start, which
    # says the same.
    _update(
        slurm,
        {
            job_id: replace(change, begin_utc=None, site_factor=None)
            for job_id, change in changes.items()
            if job_id not in refused and (change.admin_comment, change.extra) != (None, None)
        },
    )
    done = {job_id: change for job_id, change in changes.items() if job_id not in refused}
    return Released(
        released=sorted(j for j, change in done.items() if change.begin_utc is not None),
        restored=sorted(j for j, change in done.items() if change.site_factor is not None),
        # Whoever has started by itself meanwhile needs no release.
        refused={j: words for j, words in sorted(refused.items()) if not is_too_late(words)},
    )


def _update(slurm: SlurmClient, changes: Mapping[int, JobChange]) -> dict[int, str]:
    return slurm.update(changes) if changes else {}


def changes_for(
    one: Tracked, config: Config, info: ClusterInfo | None, now_utc: datetime
) -> JobChange:
    """What undoes ours in one pending job; a begin time that somebody else set is left."""
    change = JobChange()
    if deferred(one, now_utc):
        record = one.record
        latest = max(now_utc, record.latest_utc)
        own = replace(record, start_utc=now_utc, latest_utc=latest, save_g=None)
        # It then says "released": the daemon does not take the job up again, nothing is claimed.
        field = field_of(one.job, config)
        text = getattr(one.job, field)
        text = remove(text) if record.policy == LOOK else replace_record(text, own)
        change = JobChange(
            begin_utc=now_utc,
            admin_comment=text if field == "admin_comment" else None,
            extra=text if field == "extra" else None,
        )
    if one.job.site_factor and info is not None:
        credit = credit_for(
            one.job, info, now_utc=now_utc, max_credit_s=config.priority.max_credit_s
        )
        # Where no credit of ours is possible, the factor is somebody else's.
        if credit is not None:
            change = replace(change, site_factor=0)
    return change
