# SPDX-License-Identifier: Apache-2.0
"""What the ridge regression looks at: an hour to come beside the same hour of past days. Pure.

The one idea: everything is told as a difference from the mean of the last seven same hours, so that
the regression learns how surprises last and not what a day looks like, which is known already.
"""

import numpy as np
from numpy.typing import NDArray

from slurm_green.signals.forecast.bands import Hourly

__all__ = ["Features", "calendar"]

Array = NDArray[np.float64]
Index = NDArray[np.int64]
_FADES_H = 12.0


class Features:
    """Features of all origins of a past without gaps; row o is that of origin o.

    Row o reads `values[:o]` alone, and regressors at the hour it is about.
    """

    def __init__(self, past: Hourly) -> None:
        """Everything that does not depend on how far ahead one looks."""
        values = past.values
        self._past = past
        self._origins = np.arange(len(values) + 1)
        self._usual, self._usual14, self._usual28 = (_same_hours(values, k) for k in (7, 14, 28))
        # By how much an hour differed from what was usual a day before.
        self._surprise = np.zeros_like(values)
        self._surprise[24:] = values[24:] - self._usual[:-24]
        self._level = _trailing(values, 168)
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
        usual = _at(self._usual, same)
        aligned = [_at(values, same - 24 * day) for day in range(7)]
        aligned += [_at(values, after), _at(values, same - 1)]
        aligned += [_at(self._usual, after), _at(self._usual, same - 1)]
        aligned += [_at(values, week - 1), _at(values, week + 1)]
        aligned += [_at(self._usual14, same), _at(self._usual28, same)]
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
        guess = usual + np.exp(-(ahead + 1) / _FADES_H) * _at(self._surprise, origins - 1)
        return np.concatenate(columns, axis=1), guess

    def _recently(self) -> Array:
        """How surprising the last hours and days were, and how the level moves."""
        origins, surprise = self._origins, self._surprise
        day, week = _trailing(self._past.values, 24), self._level
        found = [_at(surprise, origins - lag) for lag in (1, 2, 3, 4)]
        found += [_trailing(surprise, hours) for hours in (6, 12, 24, 48, 96)]
        found += [_trailing(surprise, 24)[np.maximum(origins - 24, 0)]]
        found += [_at(surprise, origins - back - lag) for back in (24, 168) for lag in (1, 2, 3, 6)]
        found += [day - week, week - _trailing(self._past.values, 672)]
        return np.stack(found, axis=1)


class _Ahead:
    """A regressor: how the hour to come is forecast to differ from the usual of past days."""

    def __init__(self, row: Array, known_at: Array) -> None:
        known = np.isfinite(row)
        scale = float(row[known][:672].std()) if known.any() else 0.0
        self._row = row / (scale or 1.0)
        self._known_at = known_at
        self._usual = _same_hours(np.nan_to_num(self._row), 7)

    def columns(self, origins: Index, same: Index, target: Index) -> Array:
        """Against the last seven same hours, and against the last one; 0 where not known."""
        inside = target < len(self._row)
        there = np.where(
            inside & (_at(self._known_at, target) <= origins), _at(self._row, target), np.nan
        )
        found = np.stack((there - _at(self._usual, same), there - _at(self._row, same)), axis=1)
        return np.nan_to_num(found)


def calendar(time: Index, *, weight: float) -> Array:
    """The hour of day, UTC weekends, and both together; one column each."""
    hour = np.eye(24)[time % 24]
    weekend = ((time // 24) % 7 >= 5)[:, None].astype(np.float64)
    return np.concatenate((weight * hour, weight * weekend, hour * weekend), axis=1)


def _at(values: Array, index: Index) -> Array:
    """Values at hours, the first one before the beginning."""
    return np.asarray(values[np.clip(index, 0, len(values) - 1)])


def _trailing(values: Array, hours: int) -> Array:
    """For each origin, the mean of that many hours before it (fewer at the beginning)."""
    sums = np.concatenate(([0.0], np.cumsum(values)))
    end = np.arange(len(values) + 1)
    begin = np.maximum(end - hours, 0)
    return np.asarray((sums[end] - sums[begin]) / np.maximum(end - begin, 1))


def _same_hours(values: Array, days: int) -> Array:
    """For each hour, the mean of it and the same hour on the days before."""
    sums, counts = np.zeros_like(values), np.zeros_like(values)
    for day in range(min(days, -(-len(values) // 24))):
        sums[24 * day :] += values[: len(values) - 24 * day]
        counts[24 * day :] += 1
    return np.asarray(sums / counts)
