# SPDX-License-Identifier: Apache-2.0
"""The receipt of one finished job, where the ledger may be read; None for everybody else."""

import os
from typing import Any

from slurm_green.config.settings import Config
from slurm_green.errors import LedgerError
from slurm_green.slurm.records import Job

__all__ = ["receipt_of"]


def receipt_of(config: Config, job: Job) -> dict[str, Any] | None:
    """Energy and carbon of the job's last run as the ledger has them, once it has."""
    path = config.paths.ledger
    # One that never ran has none: of it "started at once it had been 0 g" would be untrue.
    if job.active or job.began_utc is None or not os.access(path, os.R_OK):
        return None
    from slurm_green.ledger.entries import Query
    from slurm_green.ledger.store import Store

    try:
        with Store(path, readonly=True) as store:
            rows = store.jobs(Query(job_id=job.job_id, cluster=job.cluster))
    except LedgerError:
        return None
    # Of a requeued job each run has a row, the last one's comes with the next cycle.
    rows = [row for row in rows if (row.job_id, row.submit_utc) == (job.job_id, job.submit_utc)]
    if not rows or rows[-1].energy_j is None:
        return None
    row = rows[-1]
    return {
        "job": row.label,
        "energy_kwh": None if row.energy_j is None else row.energy_j / 3.6e6,
        "carbon_g": row.carbon_g,
        "carbon_now_g": row.carbon_now_g,
        "saved_g": row.saved_g if row.ours else None,
        "source": row.energy_source,
        "basis": row.basis,
        "counterfactual": "started at once",
    }
