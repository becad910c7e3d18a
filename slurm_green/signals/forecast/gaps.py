# SPDX-License-Identifier: Apache-2.0
"""Fills gaps of an hourly past from what lies before them, never from after. Pure."""

import math

import numpy as np
from numpy.typing import NDArray

__all__ = ["filled"]

# The last known difference from the usual fades within half a day.
_FADES_H = 12.0


def filled(values: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Values without gaps, and which of them were known.

    A gap gets the mean of the same hour on up to seven days before, and the difference from it
    that was last seen, fading. Before the first known value there is only that one.
    """
    found = np.array(values, dtype=np.float64)
    known = np.isfinite(found)
    if known.all() or not known.any():
        return np.nan_to_num(found), known
    first = int(known.argmax())
    found[:first] = found[first]
    away, last = 0.0, -(10**6)
    for hour in np.flatnonzero(~known):
        if hour < first:
            continue
        if known[hour - 1]:
            last = int(hour) - 1
            away = found[last] - _usual(found, last)
        found[hour] = _usual(found, int(hour)) + away * math.exp(-(hour - last) / _FADES_H)
    return found, known


def _usual(values: NDArray[np.float64], hour: int) -> float:
    """The mean of the same hour on the seven days before; on the first day, of the hour before."""
    before = values[hour % 24 : hour : 24][-7:]
    return float(before.mean()) if len(before) else float(values[max(hour - 1, 0)])
