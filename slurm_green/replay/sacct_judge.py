# SPDX-License-Identifier: Apache-2.0
"""Which rows of a sacct export are jobs of a replay, and why the others are not. Pure."""

from collections import defaultdict
from dataclasses import dataclass

from slurm_green.replay.sacct_assumed import Assumed
from slurm_green.replay.sacct_rows import SacctRow

__all__ = ["Judge", "LeftOut"]

_HOUR_S = 3600.0
_LISTED = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class LeftOut:
    """Rows left out for one reason: the first of them, and the GPU-hours that are known."""

    reason: str
    rows: int
    first: tuple[int, ...]
    gpu_hours: float


class Judge:
    """Why rows are no jobs of the replay."""

    def __init__(self) -> None:
        self._lines: dict[str, list[int]] = defaultdict(list)
        self._gpu_hours: dict[str, float] = defaultdict(float)

    def add(self, reason: str, at: int, gpu_s: float = 0.0) -> bool:
        """Leave a row out; True, for the caller to return."""
        self._lines[reason].append(at)
        self._gpu_hours[reason] += gpu_s / _HOUR_S
        return True

    def no_job(self, row: SacctRow) -> bool:
        """What is no run of a job at all."""
        if "." in row.job_id:
            return self.add("steps, not jobs: leave them out with -X", row.at)
        if row.state == "REVOKED":
            return self.add("of another cluster of the federation (REVOKED)", row.at)
        if row.submit_s is None:
            return self.add("without a submit time", row.at)
        if row.start_s is None or (row.allocated is False and not row.ran_s):
            return self.add(
                "not started yet" if row.goes_on else "ended before they started", row.at
            )
        return False

    def not_replayed(self, row: SacctRow, assumed: Assumed, on_gpus: bool) -> bool:
        """Runs that are known, and that the replay cannot or need not repeat."""
        ran_s = row.ran_s
        gpu_s = row.gpus * (ran_s or 0.0)
        if row.end_s is None or row.goes_on:
            return self.add("still running when exported", row.at, gpu_s)
        if ran_s is None or ran_s <= 0:
            return self.add("ran for less than a second", row.at)
        if row.end_s < (row.start_s or 0.0):
            return self.add("ended before they began: a clock was set back", row.at)
        if on_gpus and not row.gpus:
            return self.add("without GPUs on a site with GPUs: neither moved nor counted", row.at)
        earliest_s = row.eligible_s or row.submit_s or 0.0
        before = assumed.since_s is not None and earliest_s < assumed.since_s
        if before or (assumed.until_s is not None and earliest_s >= assumed.until_s):
            return self.add("eligible outside the period asked for", row.at, gpu_s)
        return False

    def listed(self) -> tuple[LeftOut, ...]:
        """The most frequent reason first."""
        by_count = sorted(self._lines.items(), key=lambda item: (-len(item[1]), item[0]))
        return tuple(
            LeftOut(
                reason=reason,
                rows=len(lines),
                first=tuple(sorted(lines)[:_LISTED]),
                gpu_hours=self._gpu_hours[reason],
            )
            for reason, lines in by_count
        )
