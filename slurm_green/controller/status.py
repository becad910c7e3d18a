# SPDX-License-Identifier: Apache-2.0
"""What the daemon says about itself: a world-readable JSON file and Prometheus metrics."""

import contextlib
import json
import os
import tempfile
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from slurm_green.controller.observed import Observed
from slurm_green.controller.outcome import Outcome
from slurm_green.controller.rules import Rules

__all__ = ["Counters", "Status", "status_of", "taken_utc", "write_status"]

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


def status_of(observed: Observed, outcome: Outcome, counters: Counters, rules: Rules) -> Status:
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
        signal_age_s=None if signal is None else round(signal.age_s(now), 1),
        signal_until_utc=None if signal is None else _text(signal.end_utc),
        signal_problem=outcome.view.signal_problem,
        carbon_g_per_kwh=None if signal is None else signal.at(now),
        cycles=counters.cycles,
        cycle_cpu_s=round(counters.cpu_s, 3),
        slurm_failures=counters.slurm_failures,
        bugs=counters.bugs,
        changes_refused=counters.refused,
        events=dict(counters.events),
        decisions=dict(counters.decisions),
        expected_save_g=round(counters.expected_save_g, 1),
    )


def taken_utc(status: Status) -> datetime:
    """When the cycle ran."""
    return datetime.strptime(status.at_utc, _TIME).replace(tzinfo=UTC)


def write_status(path: Path, status: Status) -> None:
    """Replace the file in one step; OSError when the place cannot be written."""
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            os.fchmod(file.fileno(), 0o644)  # any user's commands read it
            json.dump(asdict(status), file)
        Path(temporary).replace(path)
    except BaseException:
        with contextlib.suppress(OSError):
            Path(temporary).unlink()
        raise


def _text(when: datetime) -> str:
    return when.strftime(_TIME)
