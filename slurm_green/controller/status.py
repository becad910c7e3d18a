# SPDX-License-Identifier: Apache-2.0
"""What the daemon says about itself: a world-readable JSON file and Prometheus metrics."""

import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

from profiling.whole import whole_file
from slurm_green.controller.observed import Observed
from slurm_green.controller.outcome import Outcome
from slurm_green.controller.rules import Rules
from slurm_green.signals.series import Series

__all__ = ["HORIZONS_H", "Counters", "Status", "status_of", "taken_utc", "write_status"]

# How far ahead the metrics and the status tell the forecast, in hours.
HORIZONS_H = (1, 3, 6, 12, 24, 48, 72, 96)
_TIME = "%Y-%m-%dT%H:%M:%SZ"


@dataclass(kw_only=True)
class Counters:
    """Counted since the cycle process started; they only grow."""

    cycles: int = 0
    cpu_s: float = 0.0
    slurm_failures: int = 0
    bugs: int = 0
    refused: int = 0
    events: Counter[str] = field(default_factory=Counter)
    decisions: Counter[str] = field(default_factory=Counter)
    expected_save_g: float = 0.0

    def count(self, outcome: Outcome, refused: Mapping[int, str], *, cpu_s: float) -> None:
        """Add one cycle."""
        self.cycles += 1
        self.cpu_s += cpu_s
        self.refused += len(refused)
        self.events.update(e.kind for e in outcome.events if e.job_id not in refused)
        for one in outcome.judged:
            self.decisions[f"{one.mode}/{one.decision.reason}"] += 1
            if one.mode == "enforce" and one.decision.save_g and one.job.job_id not in refused:
                self.expected_save_g += one.decision.save_g


@dataclass(frozen=True, slots=True, kw_only=True)
class Status:
    """A cycle's summary. Times are ISO 8601 UTC; what is not known is None."""

    at_utc: str
    cluster: str
    slurm_version: str
    off: bool
    modes: dict[str, str]
    deferred: int
    signal: str | None
    signal_region: str | None
    signal_basis: str | None
    signal_age_s: float | None
    signal_until_utc: str | None
    signal_problem: str
    carbon_g_per_kwh: float | None
    cycles: int
    cycle_cpu_s: float
    slurm_failures: int
    bugs: int
    changes_refused: int
    events: dict[str, int]
    decisions: dict[str, int]
    expected_save_g: float
    # Hours ahead -> mean, p10 and p90 of that moment; a quantile nobody knows is None.
    forecast_g_per_kwh: dict[str, list[float | None]] = field(default_factory=dict)
    # What became of each link of the fetching process's chain.
    signal_links: list[dict[str, str]] = field(default_factory=list)
    # Of the newest plan: its age, seconds taken and jobs placed; None where none is made.
    plan: dict[str, float | int | str | None] | None = None
    # Why the ledger cannot be written just now; "" where it can.
    ledger_problem: str = ""
    # Digest of the settings that are in force.
    settings: str = ""


def status_of(
    observed: Observed,
    outcome: Outcome,
    counters: Counters,
    rules: Rules,
    *,
    plan: dict[str, float | int | str | None] | None = None,
    ledger_problem: str = "",
    settings: str = "",
) -> Status:
    """The summary of one cycle."""
    signal = outcome.view.signal
    now = observed.now_utc
    return Status(
        at_utc=_text(now),
        cluster=observed.info.name,
        slurm_version=".".join(f"{part:02d}" for part in observed.info.version),
        off=observed.off,
        modes={p.name: rules.policy_for(p.name, "").mode for p in observed.partitions},
        deferred=outcome.deferred,
        signal=None if signal is None else signal.provider,
        signal_region=None if signal is None else signal.region,
        signal_basis=None if signal is None else signal.basis,
        signal_age_s=None if signal is None else max(0.0, round(signal.age_s(now), 1)),
        signal_until_utc=None if signal is None else _text(signal.end_utc),
        signal_problem=outcome.view.signal_problem,
        carbon_g_per_kwh=None if signal is None else signal.at(now),
        forecast_g_per_kwh=_ahead(signal, now),
        signal_links=[
            {"name": one.name, "kind": one.kind, "status": one.status, "said": one.said}
            for one in observed.signal_links
        ],
        cycles=counters.cycles,
        cycle_cpu_s=round(counters.cpu_s, 3),
        slurm_failures=counters.slurm_failures,
        bugs=counters.bugs,
        changes_refused=counters.refused,
        events=dict(counters.events),
        decisions=dict(counters.decisions),
        expected_save_g=round(counters.expected_save_g, 1),
        plan=plan,
        ledger_problem=ledger_problem,
        settings=settings,
    )


def taken_utc(status: Status) -> datetime:
    """When the cycle ran."""
    return datetime.strptime(status.at_utc, _TIME).replace(tzinfo=UTC)


def write_status(path: Path, status: Status) -> None:
    """Replace the file in one step; OSError when the place cannot be written."""
    with whole_file(path) as file:  # any user's commands read it
        json.dump(asdict(status), file)


def _ahead(signal: Series | None, now: datetime) -> dict[str, list[float | None]]:
    found: dict[str, list[float | None]] = {}
    for hours in HORIZONS_H:
        if signal is None:
            break
        # In the signal's own time, which a demo lets pass faster.
        at = now + timedelta(hours=hours / signal.time_scale)
        if signal.covers(at, at):
            found[str(hours)] = [
                signal.at(at),
                signal.quantile_at(0.1, at),
                signal.quantile_at(0.9, at),
            ]
    return found


def _text(when: datetime) -> str:
    return when.strftime(_TIME)
