# SPDX-License-Identifier: Apache-2.0
"""What usually arrives at an hour, learned from what has arrived: jobs that may come. Pure.

Jobs of the last week may come again at any hour, more of them at hours of the day that brought
more. Of many jobs some are drawn for each hour ahead, the large ones first, with weights that keep
their GPU-hours.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from slurm_green.plan.policy.protocol import Job
from slurm_green.plan.problem import SECONDS_PER_HOUR, Floats, Ints, Shapes

__all__ = ["Arrivals", "Likely"]

_DAY_S = 24 * SECONDS_PER_HOUR
_DAYS = 7
_PER_HOUR = 8
_LEAST_H = 12.0  # what came first is no flood: it is spread over so long
_SHRINK = 20  # days of the mean hour that an hour's own count is weighed against


@dataclass(frozen=True, kw_only=True)
class Likely:
    """Jobs that may come, one entry each; `weight` is how many of it are expected."""

    class_index: Ints
    work: Floats
    earliest_s: Floats
    deadline_s: Floats
    weight: Floats
    preemptible: Ints

    def __len__(self) -> int:
        """Number of entries."""
        return len(self.weight)


class Arrivals:
    """Remembers what arrived, in order of time."""

    def __init__(self, shapes: Shapes) -> None:
        self._shapes = shapes
        self._table = np.zeros((7, 256))
        self._count = 0
        self._since_s = math.inf

    def grow(self, shapes: Shapes) -> None:
        """Further classes behind those that were known."""
        self._shapes = shapes

    def add(self, jobs: Sequence[Job], now_s: float) -> None:
        """These jobs arrived by now."""
        if jobs:
            # What was before the first is not known: a replay has weeks of the signal, not of jobs.
            self._since_s = min(self._since_s, now_s)
        while self._count + len(jobs) > self._table.shape[1]:
            self._table = np.concatenate([self._table, np.zeros_like(self._table)], axis=1)
        for job in jobs:
            fastest_s = job.work / float(self._shapes.fastest_rate[job.class_index])
            least = int(self._shapes.first[job.class_index])
            gpu_s = fastest_s * float(self._shapes.gpus[least])
            self._table[:, self._count] = (
                job.submit_s,
                job.class_index,
                job.work,
                job.earliest_s - job.submit_s,
                job.deadline_s - job.submit_s,
                gpu_s,
                job.preemptible,
            )
            self._count += 1

    def known(self, now_s: float) -> bool:
        """Whether a day was seen: who is there at first did not come then."""
        return now_s - self._since_s >= _DAY_S

    def usual_gpus(self, now_s: float, time_s: float) -> float:
        """GPUs that jobs take on average that can wait for less than so long, and may not pause."""
        _, number, work, earliest, deadline, gpu_s, pauses = self._recent(now_s)
        can_wait_s = deadline - earliest - work / self._shapes.fastest_rate[number.astype(np.int64)]
        seen_s = min(max(now_s - self._since_s, _LEAST_H * SECONDS_PER_HOUR), _DAYS * _DAY_S)
        return float(gpu_s[(can_wait_s < time_s) & (pauses == 0)].sum() / seen_s)

    def _recent(self, now_s: float) -> Floats:
        """Who came in the last days, a column each."""
        first = int(self._table[0, : self._count].searchsorted(now_s - _DAYS * _DAY_S))
        return self._table[:, first : self._count]

    def likely(self, now_s: float, hours: int) -> Likely:
        """What may arrive in each of the next hours."""
        seen_h = (now_s - self._since_s) / SECONDS_PER_HOUR
        if not self._count or seen_h <= 0:
            return _likely([], self._table)
        table = self._recent(now_s)
        if not table.shape[1]:
            return _likely([], table)  # nothing for a whole week
        seen_h = max(_LEAST_H, min(seen_h, _DAYS * 24.0))
        submit, rows = table[0], np.arange(table.shape[1])
        number = table.shape[1] / seen_h
        # Whole days, so that each hour of the day was seen as often.
        days = int(seen_h // 24)
        clock = np.full(24, number)
        if days:
            late = submit[submit >= now_s - days * _DAY_S]
            back = ((now_s - late) // SECONDS_PER_HOUR).astype(np.int64) % 24
            came = np.bincount(back, minlength=24)[:24]
            clock = number * (came + _SHRINK * number) / (days * number + _SHRINK * number)
        drawn = []
        for ahead in range(hours):
            some, weight = _draw(rows, table[5], ahead)
            middle_s = now_s + (ahead + 0.5) * SECONDS_PER_HOUR
            share = clock[-(ahead + 1) % 24] / len(rows)
            drawn.append((some, np.full(len(some), middle_s), weight * share))
        return _likely(drawn, table)


def _draw(rows: Ints, gpu_s: Floats, number: int) -> tuple[Ints, Floats]:
    """Positions of some of the rows and their weights: evenly along their GPU-hours."""
    if len(rows) <= _PER_HOUR:
        return np.arange(len(rows)), np.ones(len(rows))
    total = np.cumsum(np.maximum(gpu_s[rows], 1e-9))
    # Not the same jobs for every hour: the points shift by the golden ratio.
    shift = (0.5 + number * 0.6180339887498949) % 1.0
    points = (np.arange(_PER_HOUR) + shift) / _PER_HOUR * total[-1]
    at = np.minimum(total.searchsorted(points, "right"), len(rows) - 1)
    return at, total[-1] / _PER_HOUR / np.maximum(gpu_s[rows[at]], 1e-9)


def _likely(drawn: list[tuple[Ints, Floats, Floats]], table: Floats) -> Likely:
    nothing = (np.zeros(0, dtype=np.int64), np.zeros(0), np.zeros(0))
    row, submit, weight = (np.concatenate(part) for part in zip(nothing, *drawn, strict=True))
    return Likely(
        class_index=table[1, row].astype(np.int64),
        work=table[2, row],
        earliest_s=submit + table[3, row],
        deadline_s=submit + table[4, row],
        weight=weight,
        preemptible=table[6, row].astype(np.int64),
    )
