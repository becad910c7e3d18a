# SPDX-License-Identifier: Apache-2.0
"""Means over what lies before each hour, shared by the members of the model. Pure."""

import numpy as np
from numpy.typing import NDArray

__all__ = ["at", "guesses", "same_hours", "surprises", "trailing"]

Array = NDArray[np.float64]
Index = NDArray[np.int64]
# The last surprise is half gone after eight hours; every member corrects a guess that says so.
_FADES_H = 12.0


def at(values: Array, index: Index) -> Array:
    """Values at hours, the first one before the beginning."""
    return np.asarray(values[np.clip(index, 0, len(values) - 1)])


def trailing(values: Array, hours: int) -> Array:
    """For each origin, the mean of that many hours before it (fewer at the beginning)."""
    sums = np.concatenate(([0.0], np.cumsum(values)))
    end = np.arange(len(values) + 1)
    begin = np.maximum(end - hours, 0)
    return np.asarray((sums[end] - sums[begin]) / np.maximum(end - begin, 1))


def same_hours(values: Array, days: int) -> Array:
    """For each hour, the mean of it and the same hour on the days before."""
    sums, counts = np.zeros_like(values), np.zeros_like(values)
    for day in range(min(days, -(-len(values) // 24))):
        sums[24 * day :] += values[: len(values) - 24 * day]
        counts[24 * day :] += 1
    return np.asarray(sums / counts)


def surprises(values: Array, usual: Array) -> Array:
    """By how much each hour differed from what was usual (same_hours) a day before."""
    found = np.zeros_like(values)
    found[24:] = values[24:] - usual[:-24]
    return found


def guesses(usual: Array, surprise: Array, origins: Index, ahead: int) -> Array:
    """For each origin: the usual of the hour `ahead`, and the last surprise, fading."""
    same = origins + ahead - 24 * (ahead // 24 + 1)  # the last known same hour
    fading = float(np.exp(-(ahead + 1) / _FADES_H))
    return np.asarray(at(usual, same) + fading * at(surprise, origins - 1))
