# SPDX-License-Identifier: Apache-2.0
"""Time and power over context, batch and clock, from points that need not fill a grid. Pure.

What is measured comes back unchanged. Between points, time is linear in context, batch and
1/clock, as a roofline is, and power in the logarithms of context and batch and in the clock.
Outside, a clock, and any setting below the lowest, is held at the nearest one; above the highest
batch and context time goes on as it last rose, or is held where it fell, and power is held. The
trap: that is a rule, not knowledge; `Grid.covers` tells.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from profiling.law import Floats

__all__ = ["Grid"]


@dataclass(frozen=True, kw_only=True)
class Grid:
    """Values at every combination of the axes, each rising; shape (contexts, batches, clocks)."""

    contexts: Floats
    batches: Floats
    clocks: Floats  # MHz
    time_s: Floats
    power_w: Floats  # NaN throughout where no point has power

    @classmethod
    def of(cls, points: Mapping[tuple[float, float, float], tuple[float, float]]) -> "Grid":
        """From (context, batch, clock) -> (time, power or NaN); fills what is missing."""
        axes = [np.unique(axis) for axis in np.array(list(points)).T]
        contexts, batches, clocks = axes
        values = np.full((2, len(contexts), len(batches), len(clocks)), np.nan)
        for key, found in points.items():
            i, j, k = (int(axis.searchsorted(one)) for axis, one in zip(axes, key, strict=True))
            values[:, i, j, k] = found
        # Every context has a point, so batches fill what clocks left; but none need have power.
        time_s = _filled(values[0], 2, 1 / clocks, rising=True)
        time_s = _filled(time_s, 1, batches, rising=True)
        power_w = _filled(values[1], 2, clocks)
        power_w = _filled(_filled(power_w, 1, np.log(batches)), 0, np.log1p(contexts))
        return cls(
            contexts=contexts, batches=batches, clocks=clocks, time_s=time_s, power_w=power_w
        )

    def time_at(self, context: ArrayLike, batch: ArrayLike, clock: ArrayLike) -> Floats:
        """Time in seconds; arguments broadcast."""
        at_clock = _place(self.clocks, clock, np.reciprocal)
        held, gone_on = (
            self._at(
                self.time_s,
                _place(self.contexts, context, beyond=beyond),
                _place(self.batches, batch, beyond=beyond),
                at_clock,
            )
            for beyond in (False, True)
        )
        # Where time last fell, which is noise, it would go on below nothing.
        return np.maximum(held, gone_on)

    def power_at(self, context: ArrayLike, batch: ArrayLike, clock: ArrayLike) -> Floats:
        """Power in watts, NaN where it is not known; arguments broadcast."""
        return self._at(
            self.power_w,
            _place(self.contexts, context, np.log1p),
            _place(self.batches, batch, np.log),
            _place(self.clocks, clock),
        )

    def covers(self, context: float, batch: float, clock: float) -> bool:
        """Whether a setting lies within the axes."""
        asked = zip(
            (self.contexts, self.batches, self.clocks), (context, batch, clock), strict=True
        )
        return all(axis[0] <= one <= axis[-1] for axis, one in asked)

    @staticmethod
    def _at(values: Floats, *places: tuple[NDArray[np.intp], Floats]) -> Floats:
        total: Floats = np.zeros(())
        for corner in range(8):
            high = [corner >> axis & 1 for axis in range(3)]
            weight: Floats = np.ones(())
            index: list[NDArray[np.intp]] = []
            for (at, share), up in zip(places, high, strict=True):
                weight = weight * (share if up else 1 - share)
                index.append(np.minimum(at + up, values.shape[len(index)] - 1))
            # Not 0 x NaN: a corner that does not count need not be known.
            total = total + np.where(weight == 0, 0.0, weight * values[tuple(index)])
        return total


def _place(
    axis: Floats,
    asked: ArrayLike,
    scale: Callable[[Floats], Floats] = np.positive,
    *,
    beyond: bool = False,
) -> tuple[NDArray[np.intp], Floats]:
    """The cell of an axis that holds what is asked, and how far into it, on a scale."""
    wanted = np.asarray(asked, dtype=np.float64)
    wanted = np.clip(wanted, axis[0], None if beyond else axis[-1])
    if len(axis) == 1:
        return np.zeros(wanted.shape, dtype=np.intp), np.zeros(wanted.shape)
    at = (axis.searchsorted(wanted, "right") - 1).clip(0, len(axis) - 2)
    low, high = scale(axis[at]), scale(axis[at + 1])
    return at, (scale(wanted) - low) / (high - low)


def _filled(values: Floats, axis: int, at: Floats, *, rising: bool = False) -> Floats:
    """Gaps along an axis filled by straight lines; `rising` goes on above the last two known."""
    filled = np.moveaxis(values.copy(), axis, -1)
    for index in np.ndindex(filled.shape[:-1]):
        row = filled[index]
        known = np.flatnonzero(np.isfinite(row))
        if not len(known) or len(known) == len(row):
            continue
        order = known[np.argsort(at[known])]
        gaps = np.flatnonzero(~np.isfinite(row))
        row[gaps] = np.interp(at[gaps], at[order], row[order])
        if rising and len(known) > 1:
            before, last = order[-2:]
            slope = max(0.0, (row[last] - row[before]) / (at[last] - at[before]))
            above = gaps[at[gaps] > at[last]]
            row[above] = row[last] + slope * (at[above] - at[last])
    return np.moveaxis(filled, -1, axis)
