# SPDX-License-Identifier: Apache-2.0
"""A forecast, corrected by what its errors have been so far. Pure.

What comes true is regressed on the forecast, on what was usual at that hour, on yesterday's value
and on the error of the current moment, for each range of hours ahead, with ridge and with older
errors forgotten. A forecast that is always right stays as it is; of a noisy one peaks and troughs
are believed by as much as they have deserved.
"""

from collections import deque

import numpy as np

from slurm_green.plan.problem import SECONDS_PER_HOUR, Floats

__all__ = ["Corrections"]

_DAYS = 7
_ISSUES = 3  # earlier ones that are compared
_UP_TO_H = (1, 2, 4, 8, 16, 24, 48, 72, 1e9)  # ranges of hours ahead
_KEPT = 0.998  # of what was learned, per hour
# What is believed before anything was learned: of what is usual, of the error of the moment
# (it lasts some hours), and of earlier forecasts of the same slot.
_FIRST = np.array([(0.1, lasting, 0.4) for lasting in (0.8, 0.7, 0.6, 0.4, 0.2, 0.1, 0, 0, 0)])
# Of the last one so much only if it was issued a day before: those of an hour ago err alike.
_APART_H = 24.0
_RIDGES = (3.0, 0.2, 0.5)  # squared errors in units of the mean level


class Corrections:
    """Learns from one kind of forecast; asked once for each slot."""

    def __init__(self, step_s: float, slots: int) -> None:
        self._step_s = step_s
        self._slots = slots
        self._day = max(1, round(24 * SECONDS_PER_HOUR / step_s))
        hours = np.arange(slots) * step_s / SECONDS_PER_HOUR
        self._range = np.searchsorted(_UP_TO_H, hours)
        self._wide = np.sqrt(np.maximum(np.bincount(self._range, minlength=len(_UP_TO_H)), 1))
        self._seen: list[float] = []
        self._first = 0
        self._past: deque[tuple[int, Floats, Floats]] = deque()
        ranges = len(_UP_TO_H)
        self._xx = np.zeros((ranges, 3, 3))
        self._xy = np.zeros((ranges, 3))
        self._issued_s = -np.inf
        self._apart = 1.0
        self._issues: deque[tuple[int, Floats]] = deque(maxlen=_ISSUES + 1)

    def corrected(self, start_s: float, issued_s: float, value: Floats) -> Floats:
        """The forecast from the slot at `start_s` on (whose own value is known), corrected."""
        slots = min(self._slots, len(value))
        now = round(start_s / self._step_s)
        if not self._seen:
            self._first = now
        missing = now - self._first - len(self._seen)
        if missing < 0:  # the same slot, a newer forecast
            self._seen.pop()
            if self._past and self._past[-1][0] == now:
                self._past.pop()
        self._seen += [float(value[0])] * (max(missing, 0) + 1)
        forecast = value[:slots]
        self._learn(now)
        usual, error = self._usual(slots, forecast), 0.0
        if self._past and issued_s == self._issued_s and issued_s < start_s:
            before, was, _ = self._past[-1]
            if 0 < now - before < len(was):
                error = float(value[0] - was[now - before])
        if issued_s != self._issued_s:
            self._issues.append((now, value.copy()))
            hours = (issued_s - self._issued_s) / SECONDS_PER_HOUR
            self._apart = min(max(hours / _APART_H, 0.0), 1.0)
        self._issued_s = issued_s
        features = np.stack([usual - forecast, np.full(slots, error), self._older(now, forecast)])
        self._past.append((now, forecast.copy(), features))
        while self._past and now - self._past[0][0] >= self._slots:
            self._past.popleft()
        level = max(float(np.mean(self._seen[-_DAYS * self._day :])), 1e-9)
        ridge = np.diag(_RIDGES) * level**2
        known = self._xy + ridge.diagonal() * _FIRST * (1.0, 1.0, self._apart)
        belief = np.linalg.solve(self._xx + ridge, known[:, :, None])[:, :, 0]
        belief = np.clip(belief, 0.0, 1.0)
        better = value.copy()
        better[1:slots] += np.einsum("ns,sn->s", features, belief[self._range[:slots]])[1:]
        return np.maximum(better, 0.0)

    def _learn(self, now: int) -> None:
        """Adds what earlier forecasts said of this slot."""
        self._xx *= _KEPT ** (self._step_s / SECONDS_PER_HOUR)
        self._xy *= _KEPT ** (self._step_s / SECONDS_PER_HOUR)
        truth = self._seen[-1]
        for before, forecast, features in self._past:
            ahead = now - before
            if 0 < ahead < len(forecast):
                x, group = features[:, ahead], self._range[ahead]
                x = x / self._wide[group]
                self._xx[group] += np.outer(x, x)
                self._xy[group] += x * (truth - forecast[ahead]) / self._wide[group]

    def _older(self, now: int, forecast: Floats) -> Floats:
        """By how much earlier forecasts of the same slots were higher, on average."""
        more, count = np.zeros(len(forecast)), np.zeros(len(forecast))
        for issued, was in list(self._issues)[:-1]:
            known = min(
                len(forecast), max(self._slots - (now - issued), 0), len(was) - (now - issued)
            )
            if known > 0:
                more[:known] += was[now - issued :][:known] - forecast[:known]
                count[:known] += 1
        return more / np.maximum(count, 1)

    def _usual(self, slots: int, forecast: Floats) -> Floats:
        """What is usual at each slot's hour: the mean of some days, at the last day's level."""
        days = min(_DAYS, len(self._seen) // self._day)
        if not days:
            return forecast
        past = np.array(self._seen[-days * self._day :]).reshape(days, self._day)
        # past[:, 0] is one day before the next slot.
        at = np.arange(-1, slots - 1) % self._day
        mean = past.mean(axis=0)
        return np.asarray(mean * (past[-1].mean() / max(float(mean.mean()), 1e-9)))[at]
