# SPDX-License-Identifier: Apache-2.0
"""The built-in model: three members that are wrong in different ways, and bands from their errors.

One is a regression per hour ahead on aligned differences (features.py), one an autoregression on
chosen lags applied again and again, one asks what followed days like these (kernel.py). All are
fitted anew every week; bands come from what the fits of the last ten weeks were off by out of
sample (calibration.py). How the choice was made and what else was tried: docs/forecast.md. Pure.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from slurm_green.errors import SignalError
from slurm_green.signals.forecast.bands import Bands, Hourly
from slurm_green.signals.forecast.calibration import recalibrated
from slurm_green.signals.forecast.features import (
    LEAST_TOLD_H,
    Features,
    calendar,
    with_scaled_regressors,
)
from slurm_green.signals.forecast.gaps import filled
from slurm_green.signals.forecast.kernel import kernel_means
from slurm_green.signals.forecast.regression import rolling_fit
from slurm_green.signals.forecast.rolling import at

__all__ = ["LEAST_H", "BuiltIn"]

Array = NDArray[np.float64]
LEAST_H = 28 * 24
_LAGS = np.array([*range(1, 27), 47, 48, 49, 71, 72, 73, 96, 120, 144, 167, 168, 169])
_PENALTY = 100.0
_PENALTY_LAGS = 10.0
_RIDGE_OF_TWO = 2 / 3
_DAYS_OF_THREE = 0.35
_JUDGED_H = 70 * 24
_TOO_BAD = 1.05  # ten weeks of weather tell less of a difference than that
_REFIT_H = 168
# The first fit that forecasts, so that four weeks of past have some errors to learn bands from.
_FIRST_FIT_H = 17 * 24
_FIRST_ROW_H = 168
_SCALE_H = 672


@dataclass(frozen=True, slots=True, kw_only=True)
class BuiltIn:
    """The built-in forecast; needs four weeks before the first origin."""

    name: str = "built-in"

    def bands(self, past: Hourly, origins: NDArray[np.int64], hours: int) -> Bands:
        """Refitted every week, recalibrated every day; raises SignalError with too little past."""
        if len(origins) == 0 or int(origins[0]) < LEAST_H:
            raise SignalError(f"the built-in forecast needs {LEAST_H // 24} days of the past")
        first, last = int(origins[0]), int(origins[-1])
        # Nothing after the last origin is even looked at.
        values, known = filled(past.values[:last])
        start = first - _REFIT_H * ((first - _FIRST_FIT_H) // _REFIT_H)
        times = list(range(start, last + 1, _REFIT_H))
        past = with_scaled_regressors(replace(past, values=values), first)
        means = _rolling_means(past, known, times, hours)
        return recalibrated(
            means,
            np.where(known, values, np.nan),
            origins,
            clock=past.clock,
            # Half of the least ever seen: a record is possible, nonsense is not.
            least=float(values[:first].min()) / 2,
        )


def _rolling_means(
    past: Hourly, known: NDArray[np.bool_], times: Sequence[int], hours: int
) -> Array:
    """Means for every origin from the first of `times` on, by the fit before it; NaN before."""
    values = past.values
    count = len(values)
    centre = float(values[:_SCALE_H].mean())
    scale = max(float(values[:_SCALE_H].std()), 1e-3 * abs(centre), 1e-6)
    scaled = replace(past, values=(values - centre) / scale)
    alone = replace(scaled, regressors=None)
    means = _ridge_means(alone, known, times, hours)
    lags = _lag_means(alone, known, times, hours)
    means = _RIDGE_OF_TWO * means + (1 - _RIDGE_OF_TWO) * lags
    days = kernel_means(scaled.values, known, times, hours, past.clock)
    means = _joined(scaled.values, means, days, times)
    if past.regressors is not None:  # the other two members know nothing of what is known ahead
        leaning = _ridge_means(scaled, known, times, hours)
        means = np.where(np.isnan(leaning), means, leaning)
    assert means.shape == (count + 1, hours)
    return means * scale + centre


def _joined(values: Array, two: Array, days: Array, times: Sequence[int]) -> Array:
    """The first two members with the third, but for weeks before which it was clearly in the way.

    It is of use with weather, and in the way where weeks repeat as clockwork does. Decided at each
    fit by the errors of the ten weeks before it.
    """
    hours = two.shape[1]
    three = (1 - _DAYS_OF_THREE) * two + _DAYS_OF_THREE * days
    found = np.array(three)
    for time, end in zip(times, [*times[1:], len(two)], strict=True):
        rows = np.arange(max(times[0], time - _JUDGED_H), time - hours + 1)
        if len(rows):
            came = at(values, rows[:, None] + np.arange(hours))
            with_it = float(((three[rows] - came) ** 2).mean())
            if with_it > _TOO_BAD * float(((two[rows] - came) ** 2).mean()):
                found[time:end] = two[time:end]
    return found


def _ridge_means(past: Hourly, known: NDArray[np.bool_], times: Sequence[int], hours: int) -> Array:
    """With regressors learned from the hours that they tell of, and NaN for all others."""
    values = past.values
    count = len(values)
    features = Features(past)
    means = np.full((count + 1, hours), np.nan)
    ends = [*times[1:], count + 1]
    for ahead in range(hours):
        rows, guess = features(ahead)
        targets = np.zeros(count + 1)
        targets[: count - ahead] = values[ahead:] - guess[: count - ahead]
        usable = np.zeros(count + 1, dtype=np.bool_)
        usable[_FIRST_ROW_H : count - ahead] = known[_FIRST_ROW_H + ahead :]
        told = features.told(ahead)
        usable &= told
        weights = rolling_fit(
            rows,
            targets,
            usable,
            known_until=lambda time, ahead=ahead: time - ahead,  # type: ignore[misc]
            times=times,
            penalty=_PENALTY,
        )
        for one, begin, end in zip(weights, times, ends, strict=True):
            if past.regressors is None or usable[: begin - ahead].sum() >= LEAST_TOLD_H:
                means[begin:end, ahead] = guess[begin:end] + rows[begin:end] @ one
        means[~told, ahead] = np.nan
    return means


def _lag_means(past: Hourly, known: NDArray[np.bool_], times: Sequence[int], hours: int) -> Array:
    values, clock = past.values, past.clock
    count = len(values)
    hour = np.arange(count)
    rows = np.concatenate(
        (values[np.clip(hour[:, None] - _LAGS, 0, count - 1)], calendar(hour + clock, weight=1.0)),
        axis=1,
    )
    usable = known & (hour >= _LAGS.max())
    weights = rolling_fit(
        rows, values, usable, known_until=lambda time: time, times=times, penalty=_PENALTY_LAGS
    )
    means = np.full((count + 1, hours), np.nan)
    ends = [*times[1:], count + 1]
    longest = int(_LAGS.max())
    for one, begin, end in zip(weights, times, ends, strict=True):
        origins = np.arange(begin, end)
        before = np.clip(origins[:, None] + np.arange(-longest, 0), 0, count - 1)
        run = np.concatenate((values[before], np.zeros((len(origins), hours))), axis=1)
        for ahead in range(hours):
            seen = run[:, longest + ahead - _LAGS]
            dates = calendar(origins + ahead + clock, weight=1.0)
            run[:, longest + ahead] = seen @ one[: len(_LAGS)] + dates @ one[len(_LAGS) :]
        means[begin:end] = run[:, longest:]
    return means
