# SPDX-License-Identifier: Apache-2.0
"""What came of the batch: receipts from the ledger, and whether the story happened. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from slurm_green.demo.watch import Row
from slurm_green.ledger.entries import Decision
from slurm_green.ledger.report import Report
from slurm_green.signals.series import Series

__all__ = ["Line", "lines_of", "problems", "summary"]

# What "at once" may take: a hold, a cycle, and the scheduler's own round on a busy machine.
_AT_ONCE = timedelta(seconds=12)
# A job whose latest start has come still waits for the scheduler's next round.
_ROUND = timedelta(seconds=3)


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """One job's account, an array's tasks added up. Unknown is None."""

    row: Row
    jobs: int
    energy_kwh: float | None
    carbon_now_g: float | None
    carbon_g: float | None
    submit_g_per_kwh: float
    run_g_per_kwh: float | None

    @property
    def saved_g(self) -> float | None:
        """Grams saved against starting at once."""
        if self.carbon_g is None or self.carbon_now_g is None:
            return None
        return self.carbon_now_g - self.carbon_g

    @property
    def end_utc(self) -> datetime | None:
        """When its last task ended; None while one runs."""
        ends = [end for _, end in self.row.runs]
        known = [end for end in ends if end is not None]
        return max(known) if known and len(known) == len(ends) else None


def lines_of(rows: Sequence[Row], report: Report, series: Series) -> list[Line]:
    """The receipts of the batch, one line for each submitted job."""
    lines = []
    for row in rows:
        number = str(row.submitted.job_id)
        mine = [r for r in report.receipts if r.label.partition("_")[0] == number]
        lines.append(
            Line(
                row=row,
                jobs=len(mine),
                energy_kwh=_sum([None if r.energy_j is None else r.energy_j / 3.6e6 for r in mine]),
                carbon_now_g=_sum([r.carbon_now_g for r in mine]),
                carbon_g=_sum([r.carbon_g for r in mine]),
                submit_g_per_kwh=series.at(row.submit_utc),
                run_g_per_kwh=_while_running(row, series),
            )
        )
    return lines


def problems(
    lines: Sequence[Line], report: Report, decisions: Sequence[Decision] = ()
) -> list[str]:
    """What did not go as told; empty when the story happened."""
    reasons = {decision.job_id: decision.reason for decision in decisions}
    found = []
    for line in lines:
        row, start = line.row, line.row.started_utc
        name = row.submitted.name
        if row.state != "done" or start is None or line.carbon_g is None:
            found.append(f"{name} ended as {row.state!r}, with {line.jobs} receipts")
            continue
        if not row.submitted.wish.deferred:
            if start - row.submit_utc > _AT_ONCE:
                found.append(f"{name} was to start at once and waited {start - row.submit_utc}")
            continue
        if row.latest_utc is None or not row.deferred:
            why = reasons.get(row.submitted.job_id, "sgreend never saw it")
            found.append(f"{name} was not deferred: {why}")
            continue
        late = max(begin for begin, _ in row.runs) - row.latest_utc
        if late > _ROUND:
            found.append(f"{name} started {late} after its latest start")
        if line.run_g_per_kwh is None or line.run_g_per_kwh >= line.submit_g_per_kwh:
            found.append(f"{name} did not run in a cleaner hour than it was submitted in")
    if report.promises.broken:
        found.append(f"{report.promises.broken} promises were broken")
    if not report.receipts_saved_g > 0:
        found.append("the receipts save nothing")
    if report.site.saved_g is None or not report.site.saved_g > 0:
        found.append(f"the site saves nothing ({report.site.reason or 'against FIFO'})")
    return found


def summary(lines: Sequence[Line], report: Report) -> dict[str, Any]:
    """The same for programs; times are aware UTC, energy is modelled and time-scaled."""
    return {
        "jobs": [_line(line) for line in lines],
        "deferred": sum(line.row.deferred for line in lines),
        "receipts_saved_g": report.receipts_saved_g,
        "site": {
            "actual_g": report.site.actual_g,
            "fifo_g": report.site.fifo_g,
            "saved_g": report.site.saved_g,
            "saved_percent": report.site.saved_percent,
            "counterfactual": report.site.counterfactual,
        },
        "promises": {
            "made": report.promises.made,
            "kept": report.promises.kept,
            "broken": report.promises.broken,
        },
        "energy_sources": report.energy_sources,
        "time_scale": report.time_scale,
    }


def _line(line: Line) -> dict[str, Any]:
    row = line.row
    return {
        "name": row.submitted.name,
        "job_id": row.submitted.job_id,
        "story": row.submitted.wish.story,
        "said": row.submitted.said,
        "meant_to_wait": row.submitted.wish.deferred,
        "deferred": row.deferred,
        "state": row.state,
        "tasks": row.tasks,
        "gpus": row.gpus,
        "submit_utc": row.submit_utc,
        "latest_utc": row.latest_utc,
        "start_utc": row.started_utc,
        "last_start_utc": max((start for start, _ in row.runs), default=None),
        "end_utc": line.end_utc,
        "submit_g_per_kwh": line.submit_g_per_kwh,
        "run_g_per_kwh": line.run_g_per_kwh,
        "energy_kwh": line.energy_kwh,
        "carbon_now_g": line.carbon_now_g,
        "carbon_g": line.carbon_g,
        "saved_g": line.saved_g,
    }


def _sum(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) if known and len(known) == len(values) else None


def _while_running(row: Row, series: Series) -> float | None:
    """Mean intensity over its runs, by their length."""
    total = length_s = 0.0
    for start, end in row.runs:
        if end is None or end <= start:
            return None
        seconds = (end - start).total_seconds()
        total += series.mean(start, end) * seconds
        length_s += seconds
    return total / length_s if length_s else None
