# SPDX-License-Identifier: Apache-2.0
"""From errors that were made to bands that hold what they promise. Pure.

The spread of an error depends on how far ahead and on the hour of day it is for; its shape beyond
that only on how far ahead. So errors are scaled by the first and counted by the second.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from slurm_green.signals.forecast.bands import SHARES, Bands

__all__ = ["Calibration", "recalibrated"]

Array = NDArray[np.float64]
Hours = NDArray[np.int64]
_BLOCK_H = 6
_NEIGHBOURS_H = 3
_SMOOTH = np.array([1.0, 2.0, 3.0, 4.0, 3.0, 2.0, 1.0])
# How much of the spread is that of the hour of day; the rest is that of all hours.
_BY_HOUR = 0.8
_ENOUGH = 50
_ERRORS_OVER_H = 70 * 24
_EVERY_H = 24
# The quantiles of a normal distribution, where too few errors are known to count.
_NORMAL = np.array([-1.2816, 0.0, 1.2816])


@dataclass(frozen=True, slots=True, kw_only=True)
class Calibration:
    """`spread` by (hours ahead, hour of day) in the signal's unit; `shape` by (SHARES, ahead)."""

    spread: Array
    shape: Array

    @classmethod
    def of(cls, errors: Array, *, hours_of_day: Hours) -> "Calibration":
        """From errors of shape (origins, hours ahead), NaN unknown; `hours_of_day` of origins."""
        hours = errors.shape[1]
        target = (hours_of_day[:, None] + np.arange(hours)) % 24
        spread = _spread(errors, target)
        scaled = errors / spread[np.arange(hours), target]
        shape = np.empty((len(SHARES), hours))
        for begin in range(0, hours, _BLOCK_H):
            near = scaled[:, max(begin - _NEIGHBOURS_H, 0) : begin + _BLOCK_H + _NEIGHBOURS_H]
            near = near[np.isfinite(near)]
            found = np.quantile(near, SHARES) if len(near) >= _ENOUGH else _NORMAL
            shape[:, begin : begin + _BLOCK_H] = found[:, None]
        return cls(spread=spread, shape=np.stack([_smooth(row, np.ones(7)) for row in shape]))

    def bands(self, mean: Array, *, hours_of_day: Hours, least: float) -> Bands:
        """Bands around means of shape (origins, hours ahead), none below `least`."""
        hours = mean.shape[1]
        target = (hours_of_day[:, None] + np.arange(hours)) % 24
        spread = self.spread[np.arange(hours), target]
        low, middle, high = self.shape[:, None, :]
        low, high = np.minimum(low, 0), np.maximum(high, 0)
        # Half the shift: the median of few errors is a noisy thing.
        middle = np.clip(middle / 2, low, high)
        centre = np.maximum(mean, least)
        return Bands(
            mean=centre,
            p10=np.maximum(centre + low * spread, least),
            p50=np.maximum(centre + middle * spread, least),
            p90=centre + high * spread,
        )


def recalibrated(means: Array, values: Array, origins: Hours, *, clock: int, least: float) -> Bands:
    """Bands of some ascending origins, from the errors of the ten weeks before each day of them.

    `means` has one row per origin from 0 on (NaN: not forecast then), `values` are what came, NaN
    unknown; none after an origin is looked at. A negative `least` stands for no bound.
    """
    bound = least if least >= 0 else -np.inf
    parts = []
    for day in range(int(origins[0]), int(origins[-1]) + 1, _EVERY_H):
        chosen = origins[(origins >= day) & (origins < day + _EVERY_H)]
        if len(chosen) == 0:
            continue
        rows = np.arange(max(day - _ERRORS_OVER_H, 0), day)
        target = rows[:, None] + np.arange(means.shape[1])
        came = np.where(target < day, values[np.minimum(target, day - 1)], np.nan)
        calibration = Calibration.of(came - means[rows], hours_of_day=(rows + clock) % 24)
        parts.append(
            calibration.bands(means[chosen], hours_of_day=(chosen + clock) % 24, least=bound)
        )
    return Bands(
        mean=np.concatenate([one.mean for one in parts]),
        p10=np.concatenate([one.p10 for one in parts]),
        p50=np.concatenate([one.p50 for one in parts]),
        p90=np.concatenate([one.p90 for one in parts]),
    )


def _spread(errors: Array, target: Hours) -> Array:
    """Root mean square errors by (hours ahead, hour of day), drawn together and smoothed."""
    known = np.isfinite(errors)
    squares = np.where(known, errors, 0.0) ** 2
    sums, counts = np.zeros((errors.shape[1], 24)), np.zeros((errors.shape[1], 24))
    for hour in range(24):
        there = target == hour
        sums[:, hour] = (squares * there).sum(axis=0)
        counts[:, hour] = (known & there).sum(axis=0)
    overall = sums.sum(axis=1) / np.maximum(counts.sum(axis=1), 1)
    overall = _smooth(overall, _SMOOTH)
    relative = np.where(
        counts > 0, sums / np.maximum(counts, 1) / np.maximum(overall, 1e-12)[:, None], 1.0
    )
    relative = (np.roll(relative, 1, axis=1) + 2 * relative + np.roll(relative, -1, axis=1)) / 4
    relative = np.stack([_smooth(column, _SMOOTH) for column in relative.T], axis=1)
    mixed = overall[:, None] * (_BY_HOUR * relative + 1 - _BY_HOUR)
    return np.asarray(np.sqrt(np.maximum(mixed, 1e-12)))


def _smooth(row: Array, kernel: Array) -> Array:
    """A moving mean with the ends held."""
    padded = np.pad(row, len(kernel) // 2, mode="edge")
    return np.asarray(np.convolve(padded, kernel / kernel.sum(), mode="valid"))
