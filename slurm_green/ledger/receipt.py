# SPDX-License-Identifier: Apache-2.0
"""What one job emitted, and what the same run would have emitted if started at once.

A receipt compares a job with itself; what the jobs it made way for emitted is the site's figure
(`report.py`), to which receipts are reconciled. Unknown stays None with its reason in `notes`.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from slurm_green.ledger.energy import COUNTED, MODELLED, modelled_energy_j, runs_of
from slurm_green.ledger.entries import JobFacts, Lookup
from slurm_green.plan.power import PowerModel
from slurm_green.signals.series import Series

__all__ = ["COUNTERFACTUAL", "J_PER_KWH", "Receipt", "make_receipt", "with_receipt"]

J_PER_KWH = 3.6e6
COUNTERFACTUAL = "the same run, started when it was submitted (or at the user's own --begin)"


@dataclass(frozen=True, slots=True, kw_only=True)
class Receipt:
    """One job's account. `saved_g` is ours only where `ours` says so."""

    cluster: str
    job_id: int
    label: str
    name: str
    user: str
    account: str
    partition: str
    state: str
    submit_utc: datetime
    now_utc: datetime
    start_utc: datetime | None
    end_utc: datetime | None
    ours: bool
    energy_j: float | None = None
    energy_source: str | None = None
    power_w: float | None = None
    carbon_g: float | None = None
    carbon_now_g: float | None = None
    saved_g: float | None = None
    saved_percent: float | None = None
    provider: str | None = None
    basis: str | None = None
    scope: str | None = None
    time_scale: float | None = None
    counterfactual: str = COUNTERFACTUAL
    notes: tuple[str, ...] = ()


def make_receipt(job: JobFacts, signal: Lookup, power: PowerModel) -> Receipt:
    """The receipt of one ended job (each array task has its own)."""
    blank = Receipt(
        cluster=job.cluster,
        job_id=job.job_id,
        label=job.label,
        name=job.name,
        user=job.user,
        account=job.account,
        partition=job.partition,
        state=job.state,
        submit_utc=job.submit_utc,
        now_utc=job.now_utc,
        start_utc=job.start_utc,
        end_utc=job.end_utc,
        ours=job.ours,
    )
    runs = runs_of(job)
    if runs is None:
        return replace(blank, notes=("still running",))
    if not runs:
        return replace(
            blank, energy_j=0.0, energy_source=MODELLED, carbon_g=0.0, notes=("never ran",)
        )
    notes = _notes(job, runs)
    power_w, real_j, source = _energy(job, runs, power)
    shift = job.now_utc - runs[0][0]
    actual = _mean_g_per_kwh(runs, signal)
    now = _mean_g_per_kwh([(start + shift, end + shift) for start, end in runs], signal)
    scales = {found[1].time_scale for found in (actual, now) if found is not None}
    if job.time_scale is not None:
        scales.add(job.time_scale)
    if len(scales) > 1:
        return replace(blank, notes=(*notes, "the signal changed its time scale"))
    scale = scales.pop() if scales else 1.0
    if scale != 1.0:
        notes.append(f"time-scaled x{scale:g}: energy and carbon are those of the trace's time")
    energy_j = real_j * scale
    carbon_g = None if actual is None else energy_j / J_PER_KWH * actual[0]
    carbon_now_g = None if now is None else energy_j / J_PER_KWH * now[0]
    saved_g = None
    if carbon_g is None:
        notes.append("no signal is known for all of the time it ran")
    if carbon_now_g is None:
        notes.append("no signal is known for the time at which it would have run at once")
    if actual and now and _kind(actual[1]) != _kind(now[1]):
        carbon_now_g = None
        notes.append("the signal changed its kind between submission and run")
    if carbon_g is not None and carbon_now_g is not None:
        saved_g = carbon_now_g - carbon_g
    series = (actual or now or (0.0, None))[1]
    return replace(
        blank,
        energy_j=energy_j,
        energy_source=source,
        power_w=power_w,
        carbon_g=carbon_g,
        carbon_now_g=carbon_now_g,
        saved_g=saved_g,
        saved_percent=_percent(saved_g, carbon_now_g),
        provider=series.provider if series else None,
        basis=series.basis if series else None,
        scope=series.scope if series else None,
        time_scale=scale,
        notes=tuple(notes),
    )


def with_receipt(job: JobFacts, receipt: Receipt) -> JobFacts:
    """The job's row with its receipt in it."""
    return replace(
        job,
        energy_j=receipt.energy_j,
        energy_source=receipt.energy_source or "",
        power_w=receipt.power_w,
        carbon_g=receipt.carbon_g,
        carbon_now_g=receipt.carbon_now_g,
        saved_g=receipt.saved_g,
        basis=receipt.basis or "",
        scope=receipt.scope or "",
        time_scale=receipt.time_scale,
    )


def _energy(
    job: JobFacts, runs: tuple[tuple[datetime, datetime], ...], power: PowerModel
) -> tuple[float, float, str]:
    power_w = power.job_w(gpus=job.gpus, cpus=job.cpus, nodes=job.nodes, partition=job.partition)
    if job.energy_j is None or job.energy_source not in COUNTED:
        return power_w, modelled_energy_j(power_w, runs), MODELLED
    # A row that already has its receipt holds scaled energy; undo it, so that this is stable.
    counted_j = job.energy_j / (job.time_scale or 1.0)
    # Slurm's times are whole seconds: a short run has none, and what was counted all the same.
    duration_s = sum((end - start).total_seconds() for start, end in runs)
    return counted_j / duration_s if duration_s > 0 else power_w, counted_j, job.energy_source


def _percent(part: float | None, whole: float | None) -> float | None:
    return None if part is None or not whole else 100 * part / whole


def _notes(job: JobFacts, runs: tuple[tuple[datetime, datetime], ...]) -> list[str]:
    notes = []
    if not job.ours:
        why = "decided in shadow mode" if job.action == "defer" else "not deferred by us"
        notes.append(f"{why}: a difference comes from the queue")
    if job.energy_source in COUNTED:
        notes.append("GPUs by their energy counters, the rest of the node modelled")
    if job.energy_note:
        notes.append(f"no energy by counters: {job.energy_note}")
    uncounted = job.restarts - (len(runs) - 1)
    if uncounted > 0:
        notes.append(f"{uncounted} earlier run(s) not in this receipt")
    return notes


def _mean_g_per_kwh(
    runs: Iterable[tuple[datetime, datetime]], signal: Lookup
) -> tuple[float, Series] | None:
    """Mean over all runs by their length, and the series behind it; None if any is unknown."""
    total = length_s = 0.0
    last: Series | None = None
    for start, end in runs:
        # An instant has no mean; a microsecond of it has the value that held.
        end = max(end, start + timedelta(microseconds=1))
        series = signal(start, end)
        if series is None or (last is not None and _kind(last) != _kind(series)):
            return None
        seconds = (end - start).total_seconds()
        total += series.mean(start, end) * seconds
        length_s += seconds
        last = series
    return None if last is None else (total / length_s, last)


def _kind(series: Series) -> tuple[str, str, str, str, float]:
    return (series.region, series.unit, series.basis, series.scope, series.time_scale)
