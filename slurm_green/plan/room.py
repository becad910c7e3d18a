# SPDX-License-Identifier: Apache-2.0
"""How much of some resources is free over the next days, on a uniform time grid.

A grid slot counts as used when it is used for any part of it, so that what fits here fits in
continuous time as well. Beyond the grid's end the last slot holds on for ever.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

__all__ = ["Room"]

# Times are POSIX seconds; a microsecond keeps a start exactly on an edge out of the slot before.
_EPSILON_S = 1e-6


@dataclass(frozen=True, slots=True, kw_only=True)
class Room:
    """Free amounts, shape (resources, slots): the same order of resources as every `need`."""

    start_s: float
    step_s: float
    free: NDArray[np.float64]

    @classmethod
    def empty(
        cls, *, start_s: float, step_s: float, slots: int, capacity: Sequence[float]
    ) -> "Room":
        """A room nobody uses yet."""
        free = np.repeat(np.asarray(capacity, dtype=np.float64)[:, None], slots, axis=1)
        return cls(start_s=start_s, step_s=step_s, free=free)

    @property
    def slots(self) -> int:
        """Number of grid slots."""
        return int(self.free.shape[1])

    @property
    def edges_s(self) -> NDArray[np.float64]:
        """POSIX seconds at which slots begin."""
        return np.asarray(self.start_s + self.step_s * np.arange(self.slots), dtype=np.float64)

    def copy(self) -> "Room":
        """A room of its own to book in."""
        return replace(self, free=self.free.copy())

    def take(self, need: Sequence[float], begin_s: float, end_s: float) -> None:
        """Book `need` for [begin, end) in place; what lies before the grid is ignored."""
        first, last = self._span(begin_s, end_s)
        for row, amount in zip(self.free, need, strict=True):
            if amount and last > first:
                row[first:last] -= amount

    def fits(self, need: Sequence[float], begin_s: float, end_s: float) -> bool:
        """Whether `need` is free during all of [begin, end)."""
        first, last = self._span(begin_s, end_s)
        last = max(last, first + 1)
        return all(
            row[first:last].min() >= amount - 1e-9
            for row, amount in zip(self.free, need, strict=True)
        )

    def fitting(
        self, need: Sequence[float], begins_s: NDArray[np.float64], length_s: float
    ) -> NDArray[np.bool_]:
        """For each begin, whether `need` is free during [begin, begin + length)."""
        wanted = np.asarray(need, dtype=np.float64)[:, None]
        short = (self.free < wanted - 1e-9).any(axis=0)
        before = np.concatenate(([0], np.cumsum(short)))
        first = self._slot(begins_s + _EPSILON_S)
        last = self._slot(begins_s + length_s - _EPSILON_S) + 1
        return np.asarray(before[np.maximum(last, first + 1)] - before[first] == 0)

    def earliest_fit(self, need: Sequence[float], from_s: float, length_s: float) -> float | None:
        """First start from `from_s` on at which `need` fits for `length_s`, or None."""
        if self.fits(need, from_s, from_s + length_s):
            return from_s
        edges = self.edges_s
        begins = np.concatenate(([from_s], edges[edges > from_s]))
        fitting = np.flatnonzero(self.fitting(need, begins, length_s))
        return float(begins[fitting[0]]) if len(fitting) else None

    def latest_fit(
        self, need: Sequence[float], from_s: float, to_s: float, length_s: float
    ) -> float | None:
        """Last start in [from, to] at which `need` fits for `length_s`, or None."""
        if to_s < from_s:
            return None
        if self.fits(need, to_s, to_s + length_s):
            return to_s
        edges = self.edges_s
        inside = edges[(edges > from_s) & (edges < to_s)]
        # A start may also end exactly where a slot begins.
        ends = edges - length_s
        inside_ends = ends[(ends > from_s) & (ends < to_s)]
        begins = np.concatenate(([from_s], inside, inside_ends, [to_s]))
        fitting = self.fitting(need, begins, length_s)
        return float(begins[fitting].max()) if fitting.any() else None

    def _slot(self, at_s: NDArray[np.float64]) -> NDArray[np.intp]:
        index = np.floor((at_s - self.start_s) / self.step_s)
        return np.clip(index, 0, self.slots - 1).astype(np.intp)

    def _span(self, begin_s: float, end_s: float) -> tuple[int, int]:
        if end_s <= self.start_s or end_s <= begin_s:
            return 0, 0
        # In plain Python: for two numbers numpy costs ten times as much, and slurmctld waits.
        first = math.floor((begin_s + _EPSILON_S - self.start_s) / self.step_s)
        last = math.floor((end_s - _EPSILON_S - self.start_s) / self.step_s)
        top = self.slots - 1
        return min(max(first, 0), top), min(max(last, 0), top) + 1
