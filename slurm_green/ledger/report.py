# SPDX-License-Identifier: Apache-2.0
"""The site's report: its figure against a replayed FIFO, beside the sum of the receipts.

The two differ, and the report says by what: `receipts - queue - displaced - idle = site`, where
queue is what the deferred jobs would have waited anyway, displaced what other jobs emitted
differently because of ours, idle what waiting GPUs drew at other times.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime

import numpy as np

from slurm_green.ledger.entries import Decision, JobFacts, Lookup
from slurm_green.ledger.fifo import Capacity, ReplayJob, replay_fifo
from slurm_green.ledger.receipt import COUNTERFACTUAL, Receipt, make_receipt
from slurm_green.ledger.rows import utc
from slurm_green.ledger.site import Run, site_carbon
from slurm_green.plan.power import PowerModel
from slurm_green.slurm.requeue import REQUEUED, submitted_anew

__all__ = ["Delays", "Group", "Promises", "Report", "SiteFigure", "build_report", "site_figure"]

_PROMISE_TOLERANCE_S = 1.0  # Slurm keeps whole seconds
SITE_COUNTERFACTUAL = "FIFO with EASY backfill of the same jobs, replayed; idle GPUs included"


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """Receipts of one user, account or partition; sums are over the known ones."""

    name: str
    jobs: int
    deferred: int
    energy_j: float
    carbon_g: float
    saved_g: float  # of deferred jobs only
    unknown: int  # receipts without carbon, and deferred ones without a saving


@dataclass(frozen=True, slots=True, kw_only=True)
class Delays:
    """From when a job could have started to when it did."""

    jobs: int
    mean_s: float | None = None
    p50_s: float | None = None
    p90_s: float | None = None
    p99_s: float | None = None
    max_s: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Promises:
    """Kept: the job became eligible by the promised time. Deadlines are Slurm's own."""

    made: int
    kept: int
    broken: int
    unknown: int
    deadlines: int
    deadlines_met: int
    deadlines_missed: int
    deadlines_unknown: int


@dataclass(frozen=True, slots=True, kw_only=True)
class SiteFigure:
    """The headline, or the reason why there is none. Grams; `saved_g = fifo_g - actual_g`."""

    jobs: int = 0
    left_out: int = 0  # still running, never ran, or larger than the given capacity
    reason: str | None = None
    actual_g: float | None = None
    fifo_g: float | None = None
    saved_g: float | None = None
    saved_percent: float | None = None
    energy_j: float | None = None
    receipts_g: float | None = None  # of deferred jobs, over the same jobs as this figure
    queue_g: float | None = None
    displaced_g: float | None = None
    idle_g: float | None = None
    counterfactual: str = SITE_COUNTERFACTUAL


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """Everything `sgreen report` shows."""

    jobs: int
    deferred: int
    energy_j: float
    carbon_g: float
    receipts_saved_g: float
    unknown: int
    energy_sources: dict[str, int]
    bases: dict[str, int]
    time_scale: float | None
    site: SiteFigure
    by_user: tuple[Group, ...]
    by_account: tuple[Group, ...]
    by_partition: tuple[Group, ...]
    delays_deferred: Delays
    delays_others: Delays
    promises: Promises
    receipts: tuple[Receipt, ...] = field(repr=False)
    counterfactual: str = COUNTERFACTUAL


def build_report(
    jobs: Sequence[JobFacts],
    decisions: Sequence[Decision],
    *,
    signal: Lookup,
    power: PowerModel,
    capacity: Capacity | str | None = None,
) -> Report:
    """The report over these jobs; without a `capacity` (in words: why) it has no site's figure."""
    receipts = tuple(make_receipt(job, signal, power) for job in jobs)
    total = _group("all", receipts)
    scales = {receipt.time_scale for receipt in receipts} - {None}
    return Report(
        jobs=total.jobs,
        deferred=total.deferred,
        energy_j=total.energy_j,
        carbon_g=total.carbon_g,
        receipts_saved_g=total.saved_g,
        unknown=total.unknown,
        energy_sources=_counts([receipt.energy_source or "unknown" for receipt in receipts]),
        bases=_counts([_basis(receipt) for receipt in receipts]),
        time_scale=scales.pop() if len(scales) == 1 else None,
        site=site_figure(jobs, receipts, signal=signal, power=power, capacity=capacity),
        by_user=_groups(receipts, lambda receipt: receipt.user),
        by_account=_groups(receipts, lambda receipt: receipt.account),
        by_partition=_groups(receipts, lambda receipt: receipt.partition),
        delays_deferred=_delays([job for job in jobs if job.ours]),
        delays_others=_delays([job for job in jobs if not job.ours]),
        promises=_promises(jobs, decisions),
        receipts=receipts,
    )


def site_figure(
    jobs: Sequence[JobFacts],
    receipts: Sequence[Receipt],
    *,
    signal: Lookup,
    power: PowerModel,
    capacity: Capacity | str | None,
) -> SiteFigure:
    """The site against its replayed FIFO, over the jobs whose run is known."""
    if not isinstance(capacity, Capacity):
        reason = capacity or "its GPU and CPU counts are not known"
        return SiteFigure(left_out=len(jobs), reason=reason)
    ran = [
        (job, receipt)
        for job, receipt in zip(jobs, receipts, strict=True)
        if job.began_utc is not None and job.end_utc is not None and receipt.power_w is not None
    ]
    starts = replay_fifo([_replayed(i, job) for i, (job, _) in enumerate(ran)], capacity)
    placed = [
        (job, receipt, start_s)
        for i, (job, receipt) in enumerate(ran)
        if (start_s := starts[i]) is not None
    ]
    blank = SiteFigure(jobs=len(placed), left_out=len(jobs) - len(placed))
    if not placed:
        return SiteFigure(left_out=len(jobs), reason="no job of a known run")
    actual = [_run(job, receipt, None) for job, receipt, _ in placed]
    fifo = [_run(job, receipt, start_s) for job, receipt, start_s in placed]
    now = [_run(job, receipt, job.now_utc.timestamp()) for job, receipt, _ in placed]
    # One span for both, or the longer schedule would be charged more idle time.
    begin_s = min(run.start_s for run in (*actual, *fifo, *now))
    end_s = max(run.end_s for run in (*actual, *fifo, *now))
    series = signal(utc(begin_s), utc(end_s))
    if series is None:
        reason = f"no signal is known for all of {_span(begin_s)} to {_span(end_s)}"
        return SiteFigure(jobs=blank.jobs, left_out=blank.left_out, reason=reason)

    def carbon(runs: list[Run]) -> tuple[float, float, float, tuple[float, ...]]:
        one = site_carbon(
            runs,
            gpus=capacity.gpus,
            idle_w_per_gpu=power.idle_w(1),
            signal=series,
            begin_s=begin_s,
            end_s=end_s,
        )
        return one.total_g, one.idle_g, one.energy_j, one.run_g

    actual_g, actual_idle_g, energy_j, actual_runs = carbon(actual)
    fifo_g, fifo_idle_g, _, fifo_runs = carbon(fifo)
    _, _, _, now_runs = carbon(now)
    ours = [job.ours for job, _, _ in placed]
    each = list(zip(ours, now_runs, fifo_runs, actual_runs, strict=True))
    return SiteFigure(
        jobs=blank.jobs,
        left_out=blank.left_out,
        actual_g=actual_g,
        fifo_g=fifo_g,
        saved_g=fifo_g - actual_g,
        saved_percent=100 * (fifo_g - actual_g) / fifo_g if fifo_g > 0 else None,
        energy_j=energy_j,
        receipts_g=sum(at_once - got for mine, at_once, _, got in each if mine),
        queue_g=sum(at_once - queued for mine, at_once, queued, _ in each if mine),
        displaced_g=sum(got - queued for mine, _, queued, got in each if not mine),
        idle_g=actual_idle_g - fifo_idle_g,
    )


def _replayed(key: int, job: JobFacts) -> ReplayJob:
    assert job.start_utc is not None
    assert job.end_utc is not None
    run_s = max(0.0, (job.end_utc - job.start_utc).total_seconds())
    return ReplayJob(
        key=key,
        submit_s=job.now_utc.timestamp(),
        run_s=run_s,
        limit_s=job.time_limit_s or run_s,
        gpus=job.gpus,
        cpus=job.cpus,
    )


def _run(job: JobFacts, receipt: Receipt, start_s: float | None) -> Run:
    assert job.start_utc is not None
    assert job.end_utc is not None
    assert receipt.power_w is not None
    begin_s = job.start_utc.timestamp() if start_s is None else start_s
    run_s = max(0.0, (job.end_utc - job.start_utc).total_seconds())
    return Run(start_s=begin_s, end_s=begin_s + run_s, power_w=receipt.power_w, gpus=job.gpus)


def _group(name: str, receipts: Sequence[Receipt]) -> Group:
    ours = [receipt for receipt in receipts if receipt.ours]
    return Group(
        name=name,
        jobs=len(receipts),
        deferred=len(ours),
        energy_j=sum(receipt.energy_j or 0.0 for receipt in receipts),
        carbon_g=sum(receipt.carbon_g or 0.0 for receipt in receipts),
        saved_g=sum(receipt.saved_g or 0.0 for receipt in ours),
        unknown=sum(
            receipt.carbon_g is None or (receipt.ours and receipt.saved_g is None)
            for receipt in receipts
        ),
    )


def _groups(receipts: Sequence[Receipt], key: Callable[[Receipt], str]) -> tuple[Group, ...]:
    names: dict[str, list[Receipt]] = {}
    for receipt in receipts:
        names.setdefault(key(receipt), []).append(receipt)
    groups = [_group(name, members) for name, members in names.items()]
    return tuple(sorted(groups, key=lambda group: (-group.carbon_g, group.name)))


def _delays(jobs: Sequence[JobFacts]) -> Delays:
    waits = np.array(
        [
            max(0.0, (job.began_utc - job.now_utc).total_seconds())
            for job in jobs
            if job.began_utc is not None
        ]
    )
    if not len(waits):
        return Delays(jobs=0)
    p50, p90, p99 = (float(value) for value in np.percentile(waits, [50, 90, 99]))
    return Delays(
        jobs=len(waits),
        mean_s=float(waits.mean()),
        p50_s=p50,
        p90_s=p90,
        p99_s=p99,
        max_s=float(waits.max()),
    )


def _promises(jobs: Sequence[JobFacts], decisions: Sequence[Decision]) -> Promises:
    latest: dict[tuple[str, int], tuple[datetime, datetime]] = {}
    for decision in sorted(decisions, key=lambda one: one.decided_utc):
        if decision.mode == "enforce" and decision.action == "defer" and decision.latest_utc:
            # The first promise is the one that was printed; a later one cannot soften it.
            made_so = decision.decided_utc, decision.latest_utc
            latest.setdefault((decision.cluster, decision.job_id), made_so)
    made = kept = broken = 0
    judged: set[tuple[str, int]] = set()
    again: set[tuple[str, int]] = set()
    deadlines = met = missed = 0
    for job in jobs:
        promised = latest.get((job.cluster, job.job_id))
        if promised is None and job.array_job_id is not None:
            promised = latest.get((job.cluster, job.array_job_id))
        if promised is not None and submitted_anew(job.submit_utc, promised[0]):
            # Requeued, for Slurm a new submission: the promise was its first run's.
            again.add((job.cluster, job.job_id))
        elif promised is not None and (job.cluster, job.job_id) not in judged:
            made += 1
            judged.add((job.cluster, job.job_id))
            eligible, asked = job.eligible_utc or job.start_utc, job.asked_begin_utc
            # A begin time of the user's own, later than promised, is no breach of ours.
            if eligible is not None and (asked is None or asked <= promised[1]):
                good = (eligible - promised[1]).total_seconds() <= _PROMISE_TOLERANCE_S
                kept, broken = kept + good, broken + (not good)
        if job.deadline_utc is not None and job.state != REQUEUED:
            deadlines += 1
            if job.state == "DEADLINE" or (job.end_utc and job.end_utc > job.deadline_utc):
                missed += 1
            elif job.end_utc is not None and job.began_utc is not None:
                met += 1
    made += len(again - judged)
    return Promises(
        made=made,
        kept=kept,
        broken=broken,
        unknown=made - kept - broken,
        deadlines=deadlines,
        deadlines_met=met,
        deadlines_missed=missed,
        deadlines_unknown=deadlines - met - missed,
    )


def _counts(names: Sequence[str]) -> dict[str, int]:
    return {name: names.count(name) for name in sorted(set(names))}


def _basis(receipt: Receipt) -> str:
    return f"{receipt.basis}, {receipt.scope}" if receipt.basis else "unknown"


def _span(at_s: float) -> str:
    return f"{utc(at_s):%Y-%m-%dT%H:%M}Z"
