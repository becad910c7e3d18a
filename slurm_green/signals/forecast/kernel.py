# SPDX-License-Identifier: Apache-2.0
"""A kernel ridge regression: what followed when the last days looked like this, all hours at once.

One kernel serves all hours ahead, so there is one factorisation; it grows week by week, so that a
year's rolling pass costs about as much as one fit. Solved by SciPy. Pure.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import cholesky, solve_triangular

from slurm_green.signals.forecast.rolling import (
    at,
    guesses,
    same_hours,
    surprises,
    trailing,
)

__all__ = ["kernel_means"]

Array = NDArray[np.float64]
Index = NDArray[np.int64]
# A row every five hours, which all hours of day get their turn in.
_EVERY_H = 5
_FIRST_ROW_H = 168
_SCALE_H = 672
_NOISE = 10.0
_LEAST_SPREAD = 1e-3  # of values whose own spread is about one
_LEAST_KNOWN = 0.75
# How alike two origins are beyond their linear part: at all, by time of day, across a weekend.
_CONSTANT = 0.3
_ANY_HOUR = 0.5
_WEEKEND = 0.6
# How much each group of the state counts; each is scaled to a spread of one first.
_WEIGHTS = {
    "surprises": 1.0,
    "days": 0.1,
    "levels": 0.1,
    "yesterday": 0.6,
    "bent14": 0.4,
    "bent28": 0.4,
    "form": 0.6,
}


class _Likeness:
    """How alike two origins are, by what lay before them and by their hour and weekend."""

    def __init__(self, values: Array, clock: int) -> None:
        origins = np.arange(len(values) + 1)
        self._state = _state(values)
        self._size = (self._state**2).sum(axis=1)
        self._angle = 2 * np.pi * ((origins + clock) % 24) / 24
        # The day that most of the hours ahead lie in.
        self._weekend = (((origins + 12 + clock) // 24) % 7 >= 5).astype(np.float64)

    def between(self, one: Index, two: Index) -> Array:
        """The kernel matrix of two sets of origins."""
        linear = self._state[one] @ self._state[two].T
        far = np.maximum(self._size[one][:, None] + self._size[two] - 2 * linear, 0)
        hour = np.exp(np.cos(self._angle[one][:, None] - self._angle[two]) - 1)
        kind = 1 - _WEEKEND * np.abs(self._weekend[one][:, None] - self._weekend[two])
        alike = linear + kind * (_CONSTANT + np.exp(-far / 2))
        return np.asarray(hour * alike + _ANY_HOUR * linear)


class _Growing:
    """A Cholesky factor, and its forward solution, to which rows are added."""

    def __init__(self, most: int, hours: int) -> None:
        self._factor = np.zeros((most, most))
        self._forward = np.zeros((most, hours))
        self.rows = np.zeros(0, dtype=np.int64)

    def add(self, rows: Index, targets: Array, likeness: _Likeness) -> None:
        """Take rows in with what followed them."""
        if len(rows) == 0:
            return
        old, new = len(self.rows), len(self.rows) + len(rows)
        block = likeness.between(rows, rows) + _NOISE * np.eye(len(rows))
        rest = targets
        if old:
            side = solve_triangular(
                self._factor[:old, :old],
                likeness.between(self.rows, rows),
                lower=True,
                check_finite=False,
            ).T
            block = block - side @ side.T
            rest = rest - side @ self._forward[:old]
            self._factor[old:new, :old] = side
        corner = cholesky(block, lower=True)
        self._factor[old:new, old:new] = corner
        self._forward[old:new] = solve_triangular(corner, rest, lower=True)
        self.rows = np.concatenate((self.rows, rows))

    def weights(self) -> Array:
        """What each row counts, shape (rows, hours)."""
        count = len(self.rows)
        found = solve_triangular(
            self._factor[:count, :count],
            self._forward[:count],
            lower=True,
            trans=1,
            check_finite=False,
        )
        return np.asarray(found)


def kernel_means(
    values: Array, known: NDArray[np.bool_], times: Sequence[int], hours: int, clock: int
) -> Array:
    """Means for every origin from the first of `times` on, by the fit before it; NaN before.

    `values` are scaled and without gaps, `known` says which of them were measured. Shape
    (origins, hours); an origin o reads `values[:o]` alone.
    """
    count = len(values)
    origins = np.arange(count + 1)
    usual = same_hours(values, 7)
    surprise = surprises(values, usual)
    guess = np.stack([guesses(usual, surprise, origins, ahead) for ahead in range(hours)], axis=1)
    followed = at(values, origins[:, None] + np.arange(hours)) - guess
    sums = np.concatenate(([0], np.cumsum(known)))
    seen = sums[np.minimum(origins + hours, count)] - sums[np.minimum(origins, count)]
    likeness = _Likeness(values, clock)
    fit = _Growing(max(count - _FIRST_ROW_H, 0) // _EVERY_H + 2, hours)
    means = np.full((count + 1, hours), np.nan)
    next_row = _FIRST_ROW_H
    for time, end in zip(times, [*times[1:], count + 1], strict=True):
        rows = np.arange(next_row, time - hours + 1, _EVERY_H)
        if len(rows):
            next_row = int(rows[-1]) + _EVERY_H
            rows = rows[seen[rows] >= _LEAST_KNOWN * hours]
            fit.add(rows, followed[rows], likeness)
        asked = origins[time:end]
        means[asked] = guess[asked]
        if len(fit.rows):
            means[asked] += likeness.between(asked, fit.rows) @ fit.weights()
    return means


def _state(values: Array) -> Array:
    """What lay before each origin, in groups of one spread; row o reads `values[:o]` alone."""
    origins = np.arange(len(values) + 1)
    usual, usual14, usual28 = (same_hours(values, days) for days in (7, 14, 28))
    surprise = surprises(values, usual)
    lags = np.arange(1, 49)
    day, week, off = trailing(values, 24), trailing(values, 168), trailing(surprise, 24)
    last = origins[:, None] + np.arange(-24, 0)
    form = at(usual, last)
    groups = {
        "surprises": at(surprise, origins[:, None] - lags) * np.exp(-(lags - 1) / 10.0),
        "days": np.stack([off[np.maximum(origins - 24 * back, 0)] for back in range(7)], axis=1),
        "levels": np.stack((day - week, week - trailing(values, 672)), axis=1),
        "yesterday": at(values, last) - form,
        "bent14": form - at(usual14, last),
        "bent28": form - at(usual28, last),
        "form": form - form.mean(axis=1, keepdims=True),
    }
    return np.concatenate([_WEIGHTS[name] * _scaled(one) for name, one in groups.items()], axis=1)


def _scaled(group: Array) -> Array:
    """Divided by its spread in the first weeks, and by its width: a group counts as one thing.

    One that hardly moved then is not blown up: rounding would outweigh all else later.
    """
    spread = max(float(group[_FIRST_ROW_H:_SCALE_H].std()), _LEAST_SPREAD)
    return np.asarray(group / (spread * np.sqrt(group.shape[1])))
