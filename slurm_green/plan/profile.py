# SPDX-License-Identifier: Apache-2.0
"""Busy GPUs over continuous time: where there is room, and how it changes. Pure.

Times are multiples of 1/8192 s (see `rounded`), which floats add without rounding: a run taken
out leaves no trace.
"""

import numpy as np

from slurm_green.plan.problem import Floats, Ints

__all__ = ["GRID", "Profile", "rounded", "rounded_down", "rounded_up"]

GRID = 8192.0


def rounded(moment_s: float) -> float:
    """The nearest multiple of the grid."""
    return round(moment_s * GRID) / GRID


def rounded_up(moment_s: Floats) -> Floats:
    """The first multiples of the grid that are not before, but for errors of rounding."""
    return np.asarray(np.ceil(moment_s * GRID - 1e-6) / GRID)


def rounded_down(moment_s: Floats) -> Floats:
    """The last multiples of the grid that are not after, but for errors of rounding."""
    return np.asarray(np.floor(moment_s * GRID + 1e-6) / GRID)


class Profile:
    """A step function: `used[i]` GPUs are busy from `times[i]` to `times[i + 1]`."""

    def __init__(self, gpus: int, size: int) -> None:
        self.gpus = gpus
        self._times = np.full(max(size, 16), np.inf)
        self._used = np.zeros(len(self._times), dtype=np.int64)
        self._times[0] = 0.0
        self._count = 1

    @property
    def times(self) -> Floats:
        """Where the number of busy GPUs changes, from 0 on; a view."""
        return self._times[: self._count]

    @property
    def used(self) -> Ints:
        """GPUs busy from each of the times on; a view."""
        return self._used[: self._count]

    @property
    def arrays(self) -> tuple[Floats, Ints]:
        """Times and busy GPUs with the room behind them; for the kernel."""
        return self._times, self._used

    def reserve(self, steps: int) -> None:
        """Makes room for so many more steps."""
        if self._count + steps + 2 > len(self._times):
            self._grow(self._count + steps)

    def adopt(self, count: int) -> None:
        """So many steps are there after the kernel changed the arrays."""
        self._count = count

    def reset(self, times: Floats, used: Ints) -> None:
        """These steps, of which it keeps a copy, instead of its own."""
        self._count = len(times)
        if self._count + 2 > len(self._times):
            self._grow(2 * self._count)
        self._times[: self._count] = times
        self._used[: self._count] = used

    def add(self, start_s: float, end_s: float, gpus: int) -> None:
        """Makes GPUs busy, or free again with a negative number."""
        first = self._split(start_s)
        last = self._split(end_s)
        self._used[first:last] += gpus
        self._merge(last)
        self._merge(first)

    def add_all(self, start_s: Floats, end_s: Floats, gpus: Ints) -> None:
        """The same for many at once."""
        moment = np.concatenate([self.times, start_s, end_s])
        change = np.concatenate([np.diff(self.used, prepend=0), gpus, -gpus])
        times, at = np.unique(moment, return_inverse=True)
        used = np.cumsum(np.bincount(at, change, len(times)).astype(np.int64))
        keep = np.append(True, used[1:] != used[:-1])
        self._count = int(keep.sum())
        if self._count + 2 > len(self._times):
            self._grow(2 * self._count)
        self._times[: self._count] = times[keep]
        self._used[: self._count] = used[keep]

    def free(self, gpus: int, begin_s: float, end_s: float) -> tuple[Floats, Floats]:
        """Starts and ends of the stretches within [begin, end] in which so many GPUs are free."""
        times = self._times[: self._count]
        low = int(times.searchsorted(begin_s, "right")) - 1
        high = int(times.searchsorted(end_s, "left"))
        room = self._used[low:high] <= self.gpus - gpus
        if room.all():
            return np.array([begin_s]), np.array([end_s])
        change = np.flatnonzero(room[1:] != room[:-1])
        change += low + 1
        border = times[change]
        if room[0]:
            border = np.concatenate([[begin_s], border])
        if room[-1]:
            border = np.concatenate([border, [end_s]])
        return border[0::2], border[1::2]

    def fits(self, gpus: int, start_s: float, end_s: float) -> bool:
        """Whether so many GPUs are free throughout."""
        times = self._times[: self._count]
        low = int(times.searchsorted(start_s, "right")) - 1
        high = int(times.searchsorted(end_s, "left"))
        return bool((self._used[low:high] <= self.gpus - gpus).all())

    def within(self, start_s: float, end_s: float) -> tuple[Floats, Ints]:
        """Copies of the steps that [start, end) meets; the first begins at or before it."""
        times = self._times[: self._count]
        low = int(times.searchsorted(start_s, "right")) - 1
        high = int(times.searchsorted(end_s, "left"))
        return times[low:high].copy(), self._used[low:high].copy()

    def _split(self, moment_s: float) -> int:
        """The index of the step that begins there, made if there is none."""
        count = self._count
        at = int(self._times[:count].searchsorted(moment_s))
        if at < count and self._times[at] == moment_s:
            return at
        if count + 2 > len(self._times):
            self._grow(2 * count)
        times, used = self._times, self._used
        times[at + 1 : count + 1] = times[at:count]
        used[at + 1 : count + 1] = used[at:count]
        times[at] = moment_s
        used[at] = used[at - 1]
        self._count = count + 1
        return at

    def _merge(self, at: int) -> None:
        if at > 0 and self._used[at] == self._used[at - 1]:
            count = self._count
            self._times[at : count - 1] = self._times[at + 1 : count]
            self._used[at : count - 1] = self._used[at + 1 : count]
            self._count = count - 1

    def _grow(self, size: int) -> None:
        more = size + 16 - len(self._times)
        self._times = np.concatenate([self._times, np.full(more, np.inf)])
        self._used = np.concatenate([self._used, np.zeros(more, dtype=np.int64)])
