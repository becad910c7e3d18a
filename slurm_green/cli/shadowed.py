# SPDX-License-Identifier: Apache-2.0
"""What shadow mode thought of a job, where the ledger may be read; None for everybody else."""

import os
from datetime import tzinfo
from typing import TYPE_CHECKING

from slurm_green.cli.reasons import SENTENCES
from slurm_green.config.settings import Config
from slurm_green.errors import LedgerError
from slurm_green.slurm.records import Job
from slurm_green.words import clean, grams, when

if TYPE_CHECKING:
    from slurm_green.ledger.entries import Decision

__all__ = ["shadowed", "thought_of"]

_PASSED = SENTENCES | {
    "no-time-limit": "it has no time limit (--time)",
    "no-slack": "nothing gives it time to wait",
    "no-slack-left": "its deadline leaves no time to wait",
    "short": "it is shorter than the site finds worth deferring",
    "no-signal": "there was no carbon forecast",
    "signal-too-short": "the carbon forecast ended too soon",
    "cluster-full": "other jobs were before it",
    "no-room": "there was no room for it later",
    "clean-now": "power was not cleaner within its time",
}


def thought_of(config: Config, job: Job) -> "Decision | None":
    """The decision of shadow mode about this submission; Slurm uses job ids again."""
    path = config.paths.ledger
    if job.submit_utc is None or not os.access(path, os.R_OK):
        return None
    from slurm_green.ledger.entries import Query
    from slurm_green.ledger.store import Store

    query = Query(job_id=job.array_job_id or job.job_id, cluster=job.cluster)
    try:
        with Store(path, readonly=True) as store:
            made = store.decisions(query)
    except LedgerError:
        return None
    same = [one for one in made if one.submit_utc == job.submit_utc]
    return same[-1] if same and same[-1].mode == "shadow" else None


def shadowed(one: "Decision", zone: tzinfo) -> str:
    """A clause for people."""
    words = f"partition {clean(one.partition) or '(none)'} was in shadow mode; enforced, it would "
    if one.action != "defer":
        return words + f"have started at once as well: {_PASSED.get(one.reason, one.reason)}"
    words += f"have waited until {when(one.start_utc, zone)}, {when(one.latest_utc, zone)} at the "
    return words + f"latest, and saved about {grams(one.save_g)} of CO2e"
