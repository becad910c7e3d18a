# SPDX-License-Identifier: Apache-2.0
"""How good forecasts were: error by day, pinball loss, coverage. Pure; gaps do not count."""

import numpy as np
from numpy.typing import NDArray

from slurm_green.signals.forecast.bands import SHARES, Bands

__all__ = ["actual_after", "coverage", "mape_by_day", "pinball"]


def actual_after(
    values: NDArray[np.float64], origins: NDArray[np.int64], hours: int
) -> NDArray[np.float64]:
    """What came, shape (origins, hours); NaN where it is unknown or beyond the end."""
    index = origins[:, None] + np.arange(hours)[None, :]
    padded = np.append(values, np.nan)
    return np.asarray(padded[np.minimum(index, len(values))])


def mape_by_day(actual: NDArray[np.float64], mean: NDArray[np.float64]) -> list[float | None]:
    """Mean absolute percentage error of each day ahead, in percent.

    Hours with an amount of 0 have no percentage and are left out.
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        errors = np.where(actual != 0, 100 * np.abs(mean - actual) / np.abs(actual), np.nan)
    days = range(0, actual.shape[1], 24)
    return [_mean(errors[:, day : day + 24]) for day in days]


def pinball(actual: NDArray[np.float64], bands: Bands) -> float | None:
    """Mean pinball loss over the quantiles 0.1, 0.5 and 0.9, in the signal's unit."""
    losses = []
    for share in SHARES:
        over = actual - bands.of(share)
        losses.append(np.where(over >= 0, share * over, (share - 1) * over))
    return _mean(np.stack(losses))


def coverage(actual: NDArray[np.float64], bands: Bands) -> float | None:
    """Share of what came that lay within p10 to p90; 0.8 is what the band promises."""
    inside = (actual >= bands.p10) & (actual <= bands.p90)
    return _mean(np.where(np.isnan(actual), np.nan, inside))


def _mean(values: NDArray[np.float64]) -> float | None:
    return float(np.nanmean(values)) if np.isfinite(values).any() else None
