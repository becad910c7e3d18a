# SPDX-License-Identifier: Apache-2.0
"""What the ridge regression looks at: an hour to come beside the same hour of past days. Pure.

The one idea: everything is told as a difference from the mean of the last seven same hours, so that
the regression learns how surprises last and not what a day looks like, which is known already.
"""

import numpy as np
from numpy.typing import NDArray

from slurm_green.signals.forecast.bands import Hourly
from slurm_green.signals.forecast.rolling import at, guesses, same_hours, surprises, trailing

__all__ = ["Features", "calendar", "scaled_regressors"]

Array = NDArray[np.float64]
Index = NDArray[np.int64]


class Features:
    """Features of all origins of a past without gaps; row o is that of origin o.

    Row o reads `values[:o]` alone, and scaled regressors at the hour it is about.
    """

    def __init__(self, past: Hourly) -> None:
        """Everything that does not depend on how far ahead one looks."""
        values = past.values
        self._past = past
        self._origins = np.arange(len(values) + 1)
        self._usual, self._usual14, self._usual28 = (same_hours(values, k) for k in (7, 14, 28))
        # By how much an hour differed from what was usual a day before.
        self._surprise = surprises(values, self._usual)
        self._level = trailing(values, 168)
        self._recent = self._recently()
        # These three at least act differently by day and by night.
        self._by_hour = 0.5 * self._recent[:, [0, 5, 7]]
        self._ahead: list[_Ahead] = []
        if past.regressors is not None:
            always = np.full_like(past.regressors, -np.inf)
            known_at = always if past.known_at is None else past.known_at
            self._ahead = [
                _Ahead(row, since) for row, since in zip(past.regressors, known_at, strict=True)
            ]

    def __call__(self, ahead: int) -> tuple[Array, Array]:
        """Features of shape (origins, features) and the guess they correct, `ahead` hours on."""
        origins, values = self._origins, self._past.values
        same = origins + ahead - 24 * (ahead // 24 + 1)  # the last known same hour
        after = np.minimum(same + 1, origins - 1)
        week = origins + ahead - 168 * (ahead // 168 + 1)
        usual = at(self._usual, same)
        aligned = [at(values, same - 24 * day) for day in range(7)]
        aligned += [at(values, after), at(values, same - 1)]
        aligned += [at(self._usual, after), at(self._usual, same - 1)]
        aligned += [at(values, week - 1), at(values, week + 1)]
        aligned += [at(self._usual14, same), at(self._usual28, same)]
        time = origins + ahead + self._past.clock
        angle = 2 * np.pi * time[:, None] / 24
        columns = [
            self._recent,
            np.stack(aligned, axis=1) - usual[:, None],
            calendar(time, weight=2.0),
            (usual - self._level)[:, None],
            self._level[:, None],
            *(self._by_hour * turn(order * angle) for order in (1, 2) for turn in (np.cos, np.sin)),
            *(one.columns(origins, same, origins + ahead) for one in self._ahead),
        ]
        guess = guesses(self._usual, self._surprise, origins, ahead)
        return np.concatenate(columns, axis=1), guess

    def _recently(self) -> Array:
        """How surprising the last hours and days were, and how the level moves."""
        origins, surprise = self._origins, self._surprise
        day, week = trailing(self._past.values, 24), self._level
        found = [at(surprise, origins - lag) for lag in (1, 2, 3, 4)]
        found += [trailing(surprise, hours) for hours in (6, 12, 24, 48, 96)]
        found += [trailing(surprise, 24)[np.maximum(origins - 24, 0)]]
        found += [at(surprise, origins - back - lag) for back in (24, 168) for lag in (1, 2, 3, 6)]
        found += [day - week, week - trailing(self._past.values, 672)]
        return np.stack(found, axis=1)


class _Ahead:
    """A regressor: how the hour to come is forecast to differ from the usual of past days."""

    def __init__(self, row: Array, known_at: Array) -> None:
        known = np.isfinite(row)
        self._row = row
        self._known_at = known_at
        # Of the days that are known: a gap is no hour of nothing.
        share = same_hours(known.astype(np.float64), 7)
        self._usual = same_hours(np.nan_to_num(self._row), 7) / np.where(share > 0, share, np.nan)

    def columns(self, origins: Index, same: Index, target: Index) -> Array:
        """Against the last seven same hours, and against the last one; 0 where not known."""
        inside = target < len(self._row)
        there = np.where(
            inside & (at(self._known_at, target) <= origins), at(self._row, target), np.nan
        )
        found = np.stack((there - at(self._usual, same), there - at(self._row, same)), axis=1)
        return np.nan_to_num(found)


def scaled_regressors(past: Hourly, origin: int) -> Array | None:
    """Regressors over their spread in the first four weeks of what is known at an origin."""
    if past.regressors is None:
        return None
    known = np.isfinite(past.regressors) & (np.arange(past.regressors.shape[1]) < origin)
    if past.known_at is not None:
        known &= past.known_at <= origin
    scaled = []
    for row, there in zip(past.regressors, known, strict=True):
        first = row[there][:672]
        # What hardly moved is not blown up: later on it would outweigh all else.
        scale = max(float(first.std()), 1e-3 * abs(float(first.mean()))) if len(first) else 0.0
        scaled.append(row / (scale or 1.0))
    return np.stack(scaled)


def calendar(time: Index, *, weight: float) -> Array:
    """The hour of day, UTC weekends, and both together; one column each."""
    hour = np.eye(24)[time % 24]
    weekend = ((time // 24) % 7 >= 5)[:, None].astype(np.float64)
    return np.concatenate((weight * hour, weight * weekend, hour * weekend), axis=1)
