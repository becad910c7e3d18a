# SPDX-License-Identifier: Apache-2.0
"""A job's runs and their energy: modelled watts until something measures them."""

from collections.abc import Iterable
from datetime import datetime

from slurm_green.ledger.entries import JobFacts

__all__ = ["MODELLED", "modelled_energy_j", "runs_of"]

MODELLED = "modelled"


def runs_of(job: JobFacts) -> tuple[tuple[datetime, datetime], ...] | None:
    """All known stretches in which it ran; None while it runs, empty if it never did."""
    if job.start_utc is None:
        return job.earlier_runs
    if job.end_utc is None:
        return None
    return (*job.earlier_runs, (job.start_utc, max(job.start_utc, job.end_utc)))


def modelled_energy_j(power_w: float, runs: Iterable[tuple[datetime, datetime]]) -> float:
    """Energy over all runs: what a preempted run used was used."""
    return power_w * sum((end - start).total_seconds() for start, end in runs)
