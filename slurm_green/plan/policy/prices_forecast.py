# SPDX-License-Identifier: Apache-2.0
"""A forecast, corrected by what its errors have been so far. Pure.

The forecast, earlier ones of the same slots and what is usual at that hour are each moved by their
error of the moment, of which less is left with each hour. What comes true is regressed on how they
differ, for each range of hours ahead, with ridge and with older errors forgotten. A forecast that
is always right stays as it is; of a noisy one peaks and troughs are believed by as much as they
have deserved.
"""

from collections import deque

import numpy as np

from slurm_green.plan.problem import SECONDS_PER_HOUR, Floats

__all__ = ["Corrections"]

_DAYS = 7
_ISSUES = 3  # earlier ones that are compared
_UP_TO_H = (1, 2, 4, 8, 16, 24, 48, 72, 1e9)  # ranges of hours ahead
_KEPT = 0.998  # of what was learned, per hour
_LASTS = 0.87  # of a forecast's error of the moment, per hour
_STAYS = 0.95  # of a difference to what is usual, per hour
# What is believed before anything was learned: of what is usual, of earlier forecasts of the same
# slot, and of the error of the moment beyond what is taken to last.
_FIRST = np.array((0.1, 0.4, 0.0))
# Of the last one so much only if it was issued a day before: those of an hour ago err alike.
_APART_H = 24.0
_RIDGES = np.array((0.03, 0.1, 0.05))  # squared errors in units of the mean level
_LEAST_BELIEF = np.array((0.0, 0.0, -1.0))  # an error may last less long than is taken


class Corrections:
    """Learns from one kind of forecast; asked once for each slot."""

    def __init__(self, step_s: float, slots: int) -> None:
        self._step_s = step_s
        self._slots = slots
        self._day = max(1, round(24 * SECONDS_PER_HOUR / step_s))
        hours = np.arange(slots) * step_s / SECONDS_PER_HOUR
        self._lasting, self._staying = _LASTS**hours, _STAYS**hours
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
        self._learn(now)
        if issued_s != self._issued_s or self._says_other(now, value):
            self._issues.append((now, value.copy()))
            hours = (issued_s - self._issued_s) / SECONDS_PER_HOUR
            self._apart = min(max(hours / _APART_H, 0.0), 1.0)
            self._issued_s = issued_s
        lasting = self._lasting[:slots]
        forecast = value[:slots].copy()
        issued, was = self._issues[-1]
        error = float(value[0] - was[now - issued]) if 0 < now - issued < len(was) else 0.0
        forecast[1:] += error * lasting[1:]
        usual = self._usual(slots)
        comes = value[:slots] > 0 if usual is None else (value[:slots] > 0) | (usual > 0)
        usual = forecast if usual is None else usual + (value[0] - usual[0]) * self._staying[:slots]
        features = np.stack([usual, self._older(now, forecast), forecast + error * lasting])
        features -= forecast
        self._past.append((now, forecast, features))
        while self._past and now - self._past[0][0] >= self._slots:
            self._past.popleft()
        better = value.copy()
        better[:slots] = forecast
        belief = self._belief()[self._range[:slots]]
        better[1:slots] += np.einsum("ns,sn->s", features, belief)[1:]
        better[:slots][~comes] = 0.0  # such as the sun at night, whatever was wrong at noon
        return np.maximum(better, 0.0)

    def _belief(self) -> Floats:
        """How much each feature counts, a row for each range of hours ahead."""
        level = max(float(np.mean(self._seen[-_DAYS * self._day :])), 1e-9)
        ridge = _RIDGES * level**2
        known = self._xy + ridge * _FIRST * (1.0, self._apart, 1.0)
        found = np.linalg.solve(self._xx + np.diag(ridge), known[:, :, None])[:, :, 0]
        found = np.clip(found, _LEAST_BELIEF, 1.0)
        found[:, :2] /= np.maximum(found[:, :2].sum(axis=1, keepdims=True), 1.0)
        return np.asarray(found)

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

    def _says_other(self, now: int, value: Floats) -> bool:
        """Whether the next slot is not what was forecast: the time of issue may be another's."""
        issued, was = self._issues[-1]
        said = was[max(now + 1 - issued, 0) :][:1]
        return len(value) > 1 and len(said) > 0 and not np.allclose(value[1], said)

    def _older(self, now: int, forecast: Floats) -> Floats:
        """What earlier forecasts say of the same slots, on average; as `forecast` where none."""
        more, count = np.zeros(len(forecast)), np.zeros(len(forecast))
        for issued, was in list(self._issues)[:-1]:
            past = now - issued
            known = min(len(forecast), max(self._slots - past, 0), len(was) - past)
            if known > 0 and past >= 0:  # below it the clock was set back
                said = was[past:][:known]
                moved = said + (forecast[0] - said[0]) * self._lasting[:known]
                more[:known] += moved - forecast[:known]
                count[:known] += 1
        return forecast + more / np.maximum(count, 1)

    def _usual(self, slots: int) -> Floats | None:
        """What is usual at each slot's hour: the mean of some days, at the last day's level."""
        days = min(_DAYS, len(self._seen) // self._day)
        if not days:
            return None
        past = np.array(self._seen[-days * self._day :]).reshape(days, self._day)
        # past[:, 0] is one day before the next slot.
        at = np.arange(-1, slots - 1) % self._day
        mean = past.mean(axis=0)
        return np.asarray(mean * (past[-1].mean() / max(float(mean.mean()), 1e-9)))[at]
