# SPDX-License-Identifier: Apache-2.0
"""What the ridge regression looks at: an hour to come beside the same hour of past days. Pure.

The one idea: everything is told as a difference from the mean of the last seven same hours, so that
the regression learns how surprises last and not what a day looks like, which is known already.
"""

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from slurm_green.signals.forecast.bands import Hourly
from slurm_green.signals.forecast.rolling import at, guesses, same_hours, surprises, trailing

__all__ = ["LEAST_TOLD_H", "Features", "calendar", "with_scaled_regressors"]

Array = NDArray[np.float64]
Index = NDArray[np.int64]
# Hours of a regressor that must be known before it is leant on.
LEAST_TOLD_H = 72


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
            *(np.nan_to_num(one.columns(origins, ahead)) for one in self._ahead),
        ]
        guess = guesses(self._usual, self._surprise, origins, ahead)
        return np.concatenate(columns, axis=1), guess

    def told(self, ahead: int) -> NDArray[np.bool_]:
        """Which origins know of a regressor what their hour `ahead` brings; all, without any."""
        found = [np.isfinite(one.columns(self._origins, ahead)).any(axis=1) for one in self._ahead]
        return np.any(found, axis=0) if found else np.ones(len(self._origins), dtype=np.bool_)

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

    def columns(self, origins: Index, ahead: int) -> Array:
        """Against the last seven same hours, and against the last one; NaN where not known."""
        target = origins + ahead
        same = target - 24 * (ahead // 24 + 1)
        inside = target < len(self._row)
        there = np.where(
            inside & (at(self._known_at, target) <= origins), at(self._row, target), np.nan
        )
        return np.stack((there - at(self._usual, same), there - at(self._row, same)), axis=1)


def with_scaled_regressors(past: Hourly, origin: int) -> Hourly:
    """Regressors over their spread in the first four weeks of what is known at an origin.

    Of which too little is known by then, that is shown from the first origin on that knows enough.
    """
    if past.regressors is None:
        return past
    shape = past.regressors.shape
    known_at = np.full(shape, -np.inf) if past.known_at is None else np.array(past.known_at)
    # The first origin that can compare what was said of an hour with others.
    passed = np.maximum(known_at, np.arange(shape[1]) + 1)
    passed[~np.isfinite(past.regressors)] = np.inf
    scaled = np.array(past.regressors)
    for row, since, told in zip(scaled, known_at, passed, strict=True):
        enough = np.sort(told)[LEAST_TOLD_H - 1] if len(told) >= LEAST_TOLD_H else np.inf
        first = row[np.isfinite(told) & (told <= max(enough, origin))][:672]
        if enough > origin:
            since[:] = np.maximum(since, enough)
        # What hardly moved is not blown up: later on it would outweigh all else.
        scale = max(float(first.std()), 1e-3 * abs(float(first.mean()))) if len(first) else 0.0
        row /= scale or 1.0
    return replace(past, regressors=scaled, known_at=known_at)


def calendar(time: Index, *, weight: float) -> Array:
    """The hour of day, UTC weekends, and both together; one column each."""
    hour = np.eye(24)[time % 24]
    weekend = ((time // 24) % 7 >= 5)[:, None].astype(np.float64)
    return np.concatenate((weight * hour, weight * weekend, hour * weekend), axis=1)
