# SPDX-License-Identifier: Apache-2.0
"""A carbon forecast, weighed against what the past lets expect. Pure.

What is said of an hour is the truth and an error, in logarithms. What errors are like is learned
from what came true (carbon_errors). The issues are first made one, by least variance, each moved by
what should be left of its error of the moment; what is likeliest by that and by the past
(carbon_usual) is the answer. So a forecast that is always right stays nearly as it is, jumps from
hour to hour are smoothed where the truth has none, and issues that err alike count as one.
"""

from collections import deque
from typing import NamedTuple

import numpy as np
from scipy.linalg import cho_factor, cho_solve, toeplitz

from slurm_green.plan.policy.carbon_errors import ISSUES, Errors, age_days, first_beliefs
from slurm_green.plan.policy.carbon_usual import PAST_H, Usual
from slurm_green.plan.problem import SECONDS_PER_HOUR, Floats, Ints

__all__ = ["CarbonFilter"]

_AHEAD_H, _WEEK_H, _DAY_H = 96, 168, 24
_NEAR_NOTHING = 0.02  # of the level, added before the logarithm
_NEVER = 1e6  # the variance where nothing is said


class _Issue(NamedTuple):
    at: int  # the slot in which it came; its value there is measured, not forecast
    value: Floats


class CarbonFilter:
    """Learns from the forecasts of one signal; asked once for each slot."""

    def __init__(self, step_s: float) -> None:
        # Slots below an hour are weighed an hour apart, and those between as their neighbours.
        self._every = max(1, round(SECONDS_PER_HOUR / step_s))
        self._slot_h = step_s / SECONDS_PER_HOUR
        self._step_h = self._every * self._slot_h
        self._usual = Usual(self._every, self._step_h)
        self._wrong = Errors(self._slot_h, self._step_h)
        self._seen: list[float] = []
        self._first = 0
        self._learned: int | None = None
        self._issued_s = -np.inf
        self._issues: deque[_Issue] = deque(maxlen=ISSUES)  # newest first

    def corrected(self, start_s: float, issued_s: float, value: Floats) -> Floats:
        """The forecast from the slot at `start_s` on (whose own value is known), corrected."""
        value = np.maximum(value, 0.0)  # what is below nothing has no logarithm
        now = round(start_s / (self._slot_h * SECONDS_PER_HOUR))
        self._see(now, float(value[0]))
        self._take(now, issued_s, value)
        points = min(round(_AHEAD_H / self._step_h), (len(value) - 1) // self._every)
        level = self._level()
        if points < 1 or level <= 0:
            return value
        newest = self._log(self._issues[0].value[:: self._every])
        errs, varies = first_beliefs(newest, self._step_h)
        new = now != self._learned
        if new:
            self._learn(now, errs)
        said, covariance = self._composite(now, points, self._wrong.sizes(errs))
        past = np.array(self._seen[:: -self._every][: round(PAST_H / self._step_h)][::-1])
        usual, apart = self._usual.expected(now if new else None, self._log(past), points, varies)
        gain = cho_solve(cho_factor(apart + covariance, lower=True), said - usual)
        likely = usual + apart @ gain
        at = self._every * np.arange(points + 1)
        moved = self._wrong.trusted() * np.append(0.0, likely - self._log(value[at[1:]]))
        slots = int(at[-1]) + 1
        more = np.interp(np.arange(slots), at, moved)
        least = _NEAR_NOTHING * level
        better = value.copy()
        better[:slots] = (better[:slots] + least) * np.exp(more) - least
        better[:slots] = np.clip(better[:slots], *self._range(value))
        better[0] = value[0]
        return better

    def spread(self, ahead: Floats) -> float:
        """Standard deviation of the last week; before a day was seen, of what lies `ahead`."""
        week, day = (round(hours / self._slot_h) for hours in (_WEEK_H, _DAY_H))
        return float(np.std(self._seen[-week:] if len(self._seen) >= day else ahead))

    def _see(self, now: int, value: float) -> None:
        if not self._seen:
            self._first = now
        missing = now - self._first - len(self._seen)
        if missing < 0:  # the same slot again, or the clock was set back
            del self._seen[missing:]
        elif missing * self._slot_h > _DAY_H:  # too much to be filled
            self._seen, missing = [], 0
        self._seen += [value] * (max(missing, 0) + 1)
        longest = round(PAST_H / self._slot_h)
        if len(self._seen) > 2 * longest:
            del self._seen[:-longest]
        self._first = now + 1 - len(self._seen)

    def _take(self, now: int, issued_s: float, value: Floats) -> None:
        """Keeps a forecast that was issued since, or that says other things than the last one."""
        while self._issues and self._issues[0].at > now:  # the clock was set back
            self._issues.popleft()
        if issued_s == self._issued_s and not self._says_other(now, value):
            return
        if self._issues and self._issues[0].at == now:
            self._issues.popleft()
        self._issues.appendleft(_Issue(now, value[: round(_AHEAD_H / self._slot_h) + 1].copy()))
        self._issued_s = issued_s

    def _says_other(self, now: int, value: Floats) -> bool:
        """Whether the next slot is not what was forecast: it may come from elsewhere now."""
        if not self._issues:
            return True
        ahead = now + 1 - self._issues[0].at
        said = self._issues[0].value[ahead : ahead + 1]
        return len(value) > 1 and (not len(said) or not np.allclose(value[1], said))

    def _range(self, value: Floats) -> tuple[float, float]:
        """The least and the most that was said or seen: nothing else is expected."""
        known = (value, np.array(self._seen), *(issue.value for issue in self._issues))
        return min(float(one.min()) for one in known), max(float(one.max()) for one in known)

    def _level(self) -> float:
        return float(np.mean(self._seen[-round(_WEEK_H / self._slot_h) :]))

    def _log(self, values: Floats) -> Floats:
        return np.asarray(np.log(np.maximum(values, 0.0) + _NEAR_NOTHING * self._level()))

    def _ages(self, slot: int) -> Ints:
        return age_days(np.array([slot - one.at for one in self._issues]), self._slot_h)

    def _errors(self, slot: int, sizes: Floats) -> Floats:
        """What each issue was wrong by in a slot that was seen, in its usual errors; else NaN."""
        found = np.full(len(self._issues), np.nan)
        for number, issue in enumerate(self._issues):
            ahead, seen = slot - issue.at, slot - self._first
            if 0 < ahead < len(issue.value) and 0 <= seen < len(self._seen):
                said, came = self._log(np.array((issue.value[ahead], self._seen[seen])))
                found[number] = said - came
        return np.asarray(found / sizes[self._ages(slot)])

    def _learn(self, now: int, errs: float) -> None:
        """Adds what was said of this slot."""
        self._learned = now
        sizes = self._wrong.sizes(errs)
        errors, before = (self._errors(at, sizes) for at in (now, now - self._every))
        ages = self._ages(now)
        self._wrong.learn(errors, before, sizes[ages], ages)

    def _composite(self, now: int, points: int, sizes: Floats) -> tuple[Floats, Floats]:
        """All issues as one: what it says of the steps ahead, and the covariance of its errors."""
        likeness = self._wrong.likeness([issue.at for issue in self._issues])
        left = self._wrong.left() ** np.arange(1, points + 1)
        errors, unsure = _filled(self._errors(now, sizes), likeness)
        said = np.full((len(errors), points), np.nan)
        wide = np.full((len(errors), points), np.nan)
        for number, issue in enumerate(self._issues):
            at = now - issue.at + self._every * np.arange(1, points + 1)
            at = at[at < len(issue.value)]
            size = sizes[age_days(at, self._slot_h)]
            ahead = left[: len(at)]
            said[number, : len(at)] = self._log(issue.value[at]) - errors[number] * size * ahead
            wide[number, : len(at)] = size * np.sqrt(1.0 - ahead**2 * (1.0 - unsure[number]))
        mean, variance = np.zeros(points), np.full(points, _NEVER)
        told = ~np.isnan(said)
        for who in np.unique(told, axis=1).T:
            if not who.any():
                continue
            at = (told == who[:, None]).all(axis=0)
            alike, width = likeness[np.ix_(who, who)], wide[who][:, at]
            weight = np.maximum(np.linalg.solve(alike, 1.0 / width) / width, 0.0)
            weight /= weight.sum(axis=0)
            mean[at] = (weight * said[who][:, at]).sum(axis=0)
            variance[at] = (weight * width * (alike @ (weight * width))).sum(axis=0)
        goes_on = toeplitz(np.append(1.0, left[:-1])) - np.outer(left, left)
        deviation = np.sqrt(variance / (1.0 - left**2))
        return mean, np.asarray(goes_on * np.outer(deviation, deviation))


def _filled(errors: Floats, likeness: Floats) -> tuple[Floats, Floats]:
    """Errors of the moment, guessed by the others' where NaN, and their variance that stays."""
    unsure, known = np.zeros(len(errors)), ~np.isnan(errors)
    if not known.all():
        across = likeness[np.ix_(known, ~known)]
        share = np.linalg.solve(likeness[np.ix_(known, known)], across)
        errors[~known] = errors[known] @ share
        unsure[~known] = np.clip(1.0 - (across * share).sum(axis=0), 0.0, 1.0)
    return errors, unsure
