# SPDX-License-Identifier: Apache-2.0
"""What the past of a grid lets expect, in logarithms of its carbon. Pure.

What was measured is taken for the sum of a day's shape that stays, weather that is forgotten within
days, and smaller things that last some hours. How much these vary beside each other is assumed, how
much in all is seen; what to expect follows from the past (kriging). How far off it is, by hours
ahead, is learned: what rises from one hour to the next says little of how days differ.
"""

from functools import lru_cache

import numpy as np
from scipy.linalg import cho_factor, cho_solve, toeplitz

from slurm_green.plan.problem import Floats

__all__ = ["PAST_H", "Usual"]

PAST_H = 240  # what is older does not count
_DAY_H = 24
# Variances beside that of the weather, and hours; likeliest in eight zones of 2022.
_DAY, _SMOOTH = 0.34, 0.4  # the larger, the smoother is the day's shape
_WEATHER_H = 137.0
_SHORT, _SHORT_H = 0.38, 3.5
_JITTER = 1e-4
_TAUGHT = 24.0  # steps, as much as which a first belief counts
# Squared errors, of those that were thought, are learned so many hours ahead; first they are less.
_LEARNED_H = (3, 6, 12, 24)
_WIDER = 0.7
_KEPT = 0.998  # of what was learned, per hour
_NOTHING = (np.zeros(0), np.zeros(0))


class Usual:
    """Learns how far off its expectations are; asked once for each slot."""

    def __init__(self, every: int, step_h: float) -> None:
        """A step is `every` slots."""
        self._every, self._step_h = every, step_h
        self._steps = np.unique(np.maximum(np.round(np.array(_LEARNED_H) / step_h), 1)).astype(int)
        day = round(_DAY_H / step_h) * every
        self._skipped = day  # the first say little of later ones
        self._day = day
        self._made: dict[int, tuple[Floats, Floats]] = {}  # by the slot in which they were made
        self._was, self._thought = np.zeros(len(self._steps)), np.zeros(len(self._steps))

    def expected(
        self, now: int | None, past: Floats, steps: int, varies: float
    ) -> tuple[Floats, Floats]:
        """The steps after a past, and the covariance of what else may come.

        `past` is not empty; its last is of the slot `now`, None where that was learned from. At
        first it is taken to vary by `varies`, a standard deviation.
        """
        inverse, shares, covariance = _weights(len(past), steps, self._step_h)
        ones = inverse.sum(axis=0)
        level = float(ones @ past / ones.sum())
        off = past - level
        size = (_TAUGHT * varies**2 + off @ inverse @ off) / (_TAUGHT + len(past))
        mean, covariance = level + off @ shares, size * covariance
        variance = np.diag(covariance)
        at = self._steps[self._steps <= steps] - 1
        if now is not None:
            self._learn(now, float(past[-1]))
            self._made[now] = mean[at], variance[at]
        usual = _TAUGHT * variance[at]
        known = slice(len(at))
        wider = (_WIDER * usual + self._was[known]) / (usual + self._thought[known])
        if not len(at):
            return mean, covariance
        deviation = np.sqrt(np.interp(np.log(np.arange(steps) + 1), np.log(at + 1), wider))
        return mean, np.asarray(covariance * np.outer(deviation, deviation))

    def _learn(self, now: int, came: float) -> None:
        oldest = now - self._day
        self._made = {at: one for at, one in self._made.items() if oldest <= at < now}
        kept = _KEPT ** (self._step_h / self._every)
        self._was *= kept
        self._thought *= kept
        if self._skipped:
            self._skipped -= 1
            return
        for number, step in enumerate(self._steps):
            mean, variance = self._made.get(now - step * self._every, _NOTHING)
            if number < len(mean):
                self._was[number] += (came - mean[number]) ** 2 / self._every
                self._thought[number] += variance[number] / self._every


@lru_cache(maxsize=8)  # with each slot the same, once the past is long enough
def _weights(past: int, steps: int, step_h: float) -> tuple[Floats, Floats, Floats]:
    """Of what is known the inverse covariance, its shares in what comes, and what stays unsure."""
    apart_h = np.arange(past + steps, dtype=np.float64) * step_h
    alike = toeplitz(_varies_with(apart_h) + _JITTER * (apart_h == 0))
    inverse = cho_solve(cho_factor(alike[:past, :past], lower=True), np.eye(past))
    shares = inverse @ alike[:past, past:]
    level = 1.0 - shares.sum(axis=0)  # it is not known, either
    unsure = alike[past:, past:] - alike[past:, :past] @ shares
    return inverse, shares, unsure + np.outer(level, level) / inverse.sum()


def _varies_with(apart_h: Floats) -> Floats:
    """How two times so far apart vary together."""
    day, one = (
        np.exp(-2 * np.sin(np.pi * hours / _DAY_H) ** 2 / _SMOOTH**2)
        for hours in (apart_h, np.arange(float(_DAY_H)))
    )
    shape = (day - one.mean()) / (1 - one.mean())  # a day's mean is the weather's
    short = (1 + apart_h / _SHORT_H) * np.exp(-apart_h / _SHORT_H)
    return np.asarray(_DAY * shape + np.exp(-apart_h / _WEATHER_H) + _SHORT * short)
