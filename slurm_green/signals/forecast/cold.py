# SPDX-License-Identifier: Apache-2.0
"""A forecast from hours or days of past: a day that repeats, and weather that is forgotten. Pure.

What is measured is taken for the sum of a level, a smooth shape of the day that stays, and what
weather adds, of which a third is left after three days; all are unknown, and how much they vary is
assumed. What to expect then follows from the past (kriging): of one hour that it goes on, of some
that what rises will fall within the day, of days more and more of their shape. Gaps stay gaps.
"""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import cho_factor, cho_solve

from slurm_green.errors import SignalError
from slurm_green.signals.forecast.bands import Bands, Hourly

__all__ = ["LEAST_H", "Cold", "expected"]

Array = NDArray[np.float64]
LEAST_H = 24
_MOST_H = 14 * 24
# Variances, of which that of the weather is 1. How they were chosen: docs/forecast.md.
_DAY = 0.7
_SMOOTH = 1.4  # the larger, the smoother is the day's shape
_FORGET_H = 72.0
_NOISE = 5e-4
# Weather comes in kinds, and little past saw few of them.
_WIDER = 1.3
_NORMAL = 1.2816  # half of a normal distribution's 80 %, in standard deviations


def expected(values: Array, steps: int, step_h: float = 1.0) -> tuple[Array, Array]:
    """What is expected of so many steps after a past, and the standard deviation of each.

    `values` has NaN for gaps, but some are known of the newest 14 days, which alone count.
    """
    past = values[-max(1, round(_MOST_H / step_h)) :]
    known = np.isfinite(past)
    seen = past[known]
    shares, ones, away, inverse, usual = _weights(known.tobytes(), steps, step_h)
    level = float(ones @ seen / ones.sum())
    off = seen - level
    # By steps from hour to hour, and by all that was seen: whichever says more.
    size = max(float(off @ inverse @ off) / len(seen), float(seen.var()) / usual)
    mean, spread = level + off @ shares, np.sqrt(_WIDER * size * away)
    return (mean, spread) if seen.min() != 0 else _as_seen(past, mean, spread, step_h)


@lru_cache(maxsize=4)  # a replay asks for one slot after another, of a past of 14 days
def _weights(mask: bytes, steps: int, step_h: float) -> tuple[Array, Array, Array, Array, float]:
    """What each known hour counts for: shares of what is to come, and of the level.

    Then the variance of what is to come, the inverse of that of what is known, and what the known
    hours usually vary among themselves.
    """
    known = np.flatnonzero(np.frombuffer(mask, dtype=np.bool_))
    alike = _alike(np.arange(len(mask) + steps, dtype=np.float64) * step_h)
    within = alike[np.abs(known[:, None] - known)] + _NOISE * np.eye(len(known))
    to_come = alike[len(mask) + np.arange(steps) - known[:, None]]
    inverse = cho_solve(cho_factor(within, lower=True), np.eye(len(known)))
    ones, shares = inverse.sum(axis=0), inverse @ to_come
    unsure = (1.0 - shares.sum(axis=0)) ** 2 / ones.sum()  # of the level
    away = np.maximum(alike[0] + _NOISE - (to_come * shares).sum(axis=0) + unsure, 0.0)
    return shares, ones, away, inverse, float(alike[0] + _NOISE - within.mean() + 1e-9)


def _as_seen(past: Array, mean: Array, spread: Array, step_h: float) -> tuple[Array, Array]:
    """Of what is nothing at times (sun, wind): within what was seen at that hour of day."""
    per_day = max(1, round(24 / step_h))
    missing = -len(past) % per_day
    days = np.concatenate([np.full(missing, np.nan), past]).reshape(-1, per_day)
    hour = np.arange(len(mean)) % per_day
    low, high = np.fmin.reduce(days)[hour], np.fmax.reduce(days)[hour]  # NaN: not seen
    return np.fmax(np.fmin(mean, high), low), np.where(high == 0, 0.0, spread)


def _alike(apart_h: Array) -> Array:
    """How two times so far apart vary together."""
    day, one = (
        np.exp(-2 * np.sin(np.pi * hours / 24) ** 2 / _SMOOTH**2)
        for hours in (apart_h, np.arange(24.0))
    )
    # A day's mean is the level's, not the shape's.
    shape = (day - one.mean()) / (1 - one.mean())
    return np.asarray(_DAY * shape + np.exp(-apart_h / _FORGET_H))


@dataclass(frozen=True, slots=True, kw_only=True)
class Cold:
    """The forecast from under four weeks; needs a day that is known before each origin."""

    name: str = "cold"

    def bands(self, past: Hourly, origins: NDArray[np.int64], hours: int) -> Bands:
        """Each origin from the hours before it; raises SignalError with too few."""
        parts = [self._one(past.values[: int(origin)], hours) for origin in origins]
        mean, low, high = np.stack(parts, axis=1)
        return Bands(mean=mean, p10=low, p50=mean, p90=high)

    def _one(self, past: Array, hours: int) -> Array:
        known = past[np.isfinite(past)]
        recent = int(np.isfinite(past[-_MOST_H:]).sum())  # older ones do not count
        if recent < LEAST_H:
            raise SignalError(f"{recent} hours of the past, a forecast needs {LEAST_H}")
        mean, spread = expected(past, hours)
        # Half of the least ever seen, as of the model; what was negative has no bound.
        least = float(known.min()) / 2 if known.min() >= 0 else -np.inf
        mean = np.maximum(mean, least)
        wide = _NORMAL * spread
        return np.stack([mean, np.maximum(mean - wide, least), mean + wide])
