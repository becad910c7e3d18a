# SPDX-License-Identifier: Apache-2.0
"""How wrong forecasts of carbon are, in logarithms: by age, for how long, and how alike. Pure."""

import numpy as np

from slurm_green.plan.problem import Floats, Ints

__all__ = ["ISSUES", "Errors", "age_days", "first_beliefs"]

ISSUES = 4  # as many forecasts are compared
_DAY_H = 24.0
# What is believed before anything was learned, and as much as so many hours have taught: of how
# errors and the truth vary (standard deviations, at most), of what is left of an error after an
# hour, and of the likeness of errors of issues a day apart.
_TAUGHT_H = 24.0
_ERRS, _VARIES, _LASTS, _ALIKE = 0.1, 0.1, 0.9, 0.4
_LEAST_ERRS, _LEAST_VARIES = 0.001, 0.003
_BELIEVED_H = 1.0  # beside as many hours of errors a forecast counts as it is
_FEW, _MEDIAN_OF_DEVIATION = 3, 0.67
_BY_AGE = np.array((1.0, 1.5, 1.9, 2.1))  # squared errors on days 1 to 4
_KEPT = 0.998  # of what was learned, per hour
_LEAST_OWN = 0.02  # of an issue's variance is its own at least


class Errors:
    """Learned from the errors of each slot; those are in units of what is usual for their age."""

    def __init__(self, slot_h: float, step_h: float) -> None:
        self._slot_h, self._step_h = slot_h, step_h
        self._squares, self._counts = np.zeros(len(_BY_AGE)), np.zeros(len(_BY_AGE))
        self._lasting = np.zeros(2)
        self._alike = np.zeros((ISSUES, 2))

    def sizes(self, first: float) -> Floats:
        """Usual errors by age in days, where `first` was believed of those of the first day."""
        usual = _TAUGHT_H * first**2 + (self._squares / _BY_AGE).sum()
        usual *= _BY_AGE / (_TAUGHT_H + self._counts.sum())
        squares = (_TAUGHT_H * usual + self._squares) / (_TAUGHT_H + self._counts)
        return np.asarray(np.sqrt(squares))

    def trusted(self) -> float:
        """How far what is learned of errors goes: 0 before one was seen, later nearly 1."""
        seen_h = float(self._counts.sum())
        return seen_h / (seen_h + _BELIEVED_H)

    def left(self) -> float:
        """What is left of an error after a step."""
        known, weight = self._lasting
        first = _LASTS**self._step_h
        return float(np.clip((_TAUGHT_H * first + known) / (_TAUGHT_H + weight), 0.0, 0.995))

    def likeness(self, at: list[int]) -> Floats:
        """How errors of issues of these slots, newest first, go together, 1 for those of one."""
        found = np.eye(len(at))
        for older in range(len(at)):
            for newer in range(older):
                known, weight = self._alike[older - newer]
                days = (at[newer] - at[older]) * self._slot_h / _DAY_H
                likely = (_TAUGHT_H * _ALIKE**days + known) / (_TAUGHT_H + weight)
                found[newer, older] = found[older, newer] = max(likely, 0.0)
        values, vectors = np.linalg.eigh(found)
        found = (vectors * np.maximum(values, _LEAST_OWN)) @ vectors.T
        return np.asarray(found / np.sqrt(np.outer(np.diag(found), np.diag(found))))

    def learn(self, errors: Floats, before: Floats, sizes: Floats, ages: Ints) -> None:
        """Adds a slot's errors, NaN where nothing was said, and those of a step before.

        `sizes` are what the units of `errors` are, and `ages` how old the issues are, in days.
        """
        for one in (self._squares, self._counts, self._lasting, self._alike):
            one *= _KEPT**self._slot_h
        share = min(self._slot_h, 1.0)
        told = ~np.isnan(errors)
        np.add.at(self._squares, ages[told], share * (errors * sizes)[told] ** 2)
        np.add.at(self._counts, ages[told], share)
        both = told & ~np.isnan(before)
        self._lasting += share * np.array((errors[both], before[both])) @ before[both]
        for older in np.flatnonzero(told).tolist():
            for newer in np.flatnonzero(told[:older]).tolist():
                one, other = errors[older], errors[newer]
                together = np.array((one * other, (one**2 + other**2) / 2))
                self._alike[older - newer] += share * together


def age_days(slots: Ints, slot_h: float) -> Ints:
    """Days that so many slots are, at most as many as are told apart."""
    return np.asarray(np.clip(slots * slot_h / _DAY_H, 0, len(_BY_AGE) - 1).astype(np.int64))


def first_beliefs(said: Floats, step_h: float) -> tuple[float, float]:
    """How much errors and the truth may vary by what a forecast says itself, in logarithms.

    Neither varies by more than both together. Errors that last so long jump from step to step;
    half of the usual jump (a single one is the truth's) may be theirs.
    """
    if len(said) < _FEW:
        return _ERRS, _VARIES
    jump = float(np.median(np.abs(np.diff(said)))) / _MEDIAN_OF_DEVIATION
    spread = max(float(np.std(said)), _LEAST_VARIES)
    errs = jump / (2 * np.sqrt(1 - _LASTS**step_h))
    varies = max(min(_VARIES, spread), spread / 2)  # of deep days most is the truth's
    return max(min(_ERRS, spread, errs), _LEAST_ERRS), varies
