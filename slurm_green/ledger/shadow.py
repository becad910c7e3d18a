# SPDX-License-Identifier: Apache-2.0
"""What shadow mode would have done, against what happened: the same runs at other times. Pure.

Each job is taken to run as long and to draw as much as it did, from when shadow mode would have let
it go. The other jobs stay where they were, so this is a sum of single jobs like receipts are, and
says nothing of who would have had to queue.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime

from slurm_green.ledger.entries import Decision, Event, JobFacts, Lookup
from slurm_green.ledger.receipt import J_PER_KWH, make_receipt
from slurm_green.plan.power import PowerModel
from slurm_green.slurm.requeue import REQUEUED, submitted_anew

__all__ = ["SHADOW_START", "ShadowOutcome", "compare_shadow"]

# The event with which shadow mode tells that a job would have been let go.
SHADOW_START = "shadow-start"
# As accounting tells runs that were the last of their jobs, or not: some jobs are requeued then.
_PERHAPS_REQUEUED = frozenset({"NODE_FAIL", "PREEMPTED"})


@dataclass(frozen=True, slots=True, kw_only=True)
class ShadowOutcome:
    """Sums over jobs that would have waited and have ended since.

    Grams are modelled from the signal's history; `expected_g` is what was expected of the same jobs
    when they were decided on. `late` would have ended after their deadline, of `deadlines`.
    `ahead` are jobs that would not have ended yet: of what is to come only forecasts are known.
    """

    compared: int = 0
    unknown: int = 0
    ahead: int = 0
    actual_g: float = 0.0
    would_g: float = 0.0
    expected_g: float = 0.0
    mean_delay_s: float | None = None
    most_delay_s: float | None = None
    deadlines: int = 0
    late: int = 0

    @property
    def saved_g(self) -> float:
        """By how much less they would have emitted."""
        return self.actual_g - self.would_g


def compare_shadow(
    jobs: Sequence[JobFacts],
    decisions: Iterable[Decision],
    events: Iterable[Event],
    *,
    signal: Lookup,
    power: PowerModel,
    now_utc: datetime,
) -> ShadowOutcome:
    """The comparison over these jobs; who never ran, or whose signal is lost, is unknown."""
    would = {
        (one.cluster, one.job_id): one
        for one in sorted(decisions, key=lambda one: one.decided_utc)
        if one.mode == "shadow" and one.action == "defer"
    }
    in_order = sorted(jobs, key=lambda job: job.submit_utc)
    last = {(job.cluster, job.job_id): job.submit_utc for job in in_order}
    told = {(one.cluster, one.job_id): one.at_utc for one in events if one.kind == SHADOW_START}
    pairs: list[tuple[float, float]] = []
    delays_s: list[float] = []
    unknown = ahead = deadlines = late = 0
    expected_g = 0.0
    for job in jobs:
        keys = [(job.cluster, job.job_id), (job.cluster, job.array_job_id or job.job_id)]
        decision = next((would[key] for key in keys if key in would), None)
        lived_on = job.state in _PERHAPS_REQUEUED and job.submit_utc < last[keys[0]]
        if decision is None or job.end_utc is None or job.state == REQUEUED or lived_on:
            continue  # what was expected is of whole jobs
        if submitted_anew(job.submit_utc, decision.decided_utc):
            continue  # requeued, for Slurm a new submission: it was not thought of
        if job.asked_begin_utc is not None and job.array_job_id is None:
            continue  # it had no begin time when it was thought of: it would have been left alone
        start = next((told[key] for key in keys if key in told), decision.start_utc)
        if start is not None:
            # Slurm lets tasks of `--array=0-99%4` go one after another: let go, they would as well.
            start += job.now_utc - job.submit_utc
        ran = None if job.start_utc is None else job.end_utc - job.start_utc
        if start is not None and ran is not None and start + ran > now_utc:
            ahead += 1
            continue
        grams = _grams(job, start, signal, power)
        if grams is None or start is None or job.start_utc is None:
            unknown += 1
            continue
        pairs.append(grams)
        expected_g += (decision.save_g or 0.0) / max(decision.tasks, 1)
        # Let go, it would have queued no less than the job did.
        delays_s.append((start - job.now_utc).total_seconds())
        if job.deadline_utc is not None:
            deadlines += 1
            late += start + (job.end_utc - job.start_utc) > job.deadline_utc
    return ShadowOutcome(
        compared=len(pairs),
        unknown=unknown,
        ahead=ahead,
        actual_g=sum(actual for actual, _ in pairs),
        would_g=sum(other for _, other in pairs),
        expected_g=expected_g,
        mean_delay_s=sum(delays_s) / len(delays_s) if delays_s else None,
        most_delay_s=max(delays_s, default=None),
        deadlines=deadlines,
        late=late,
    )


def _grams(
    job: JobFacts, start: datetime | None, signal: Lookup, power: PowerModel
) -> tuple[float, float] | None:
    """What the job emitted, and what it would have from `start` on."""
    receipt = make_receipt(job, signal, power)
    if start is None or job.start_utc is None or job.end_utc is None:
        return None
    if receipt.carbon_g is None or receipt.energy_j is None:
        return None
    end = start + (job.end_utc - job.start_utc)
    series = signal(start, end)
    if series is None or end <= start or series.time_scale != receipt.time_scale:
        return None
    return receipt.carbon_g, receipt.energy_j / J_PER_KWH * series.mean(start, end)
