# SPDX-License-Identifier: Apache-2.0
"""The two references every forecast is measured against, with bands from their own past errors.

Pure. Gaps are filled as for the built-in model, so that all are judged alike.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from slurm_green.signals.forecast.bands import Bands, Hourly
from slurm_green.signals.forecast.calibration import recalibrated
from slurm_green.signals.forecast.gaps import filled

__all__ = ["LAST_WEEK", "YESTERDAY", "SameHours"]


@dataclass(frozen=True, slots=True, kw_only=True)
class SameHours:
    """The mean of the same hour of day over the newest `days` days, day after day the same."""

    name: str
    days: int

    def bands(self, past: Hourly, origins: NDArray[np.int64], hours: int) -> Bands:
        """Points, and bands calibrated as those of the built-in model."""
        last = int(origins[-1])
        values, known = filled(past.values[:last])
        first = 24 * self.days
        means = np.full((last + 1, hours), np.nan)
        rows = np.arange(first, last + 1)
        days = np.stack(
            [values[rows[:, None] - 24 * (day + 1) + np.arange(24)] for day in range(self.days)]
        )
        means[first:] = days.mean(axis=0)[:, np.arange(hours) % 24]
        return recalibrated(
            means,
            np.where(known, values, np.nan),
            origins,
            clock=past.clock,
            least=float(values[: int(origins[0])].min()) / 2,
        )


YESTERDAY = SameHours(name="yesterday-again", days=1)
LAST_WEEK = SameHours(name="last-week-mean", days=7)
