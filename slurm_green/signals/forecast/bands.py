# SPDX-License-Identifier: Apache-2.0
"""Forecasts of many origins at once: what a model is given, and what it gives. Pure."""

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

__all__ = ["SHARES", "Bands", "Hourly", "Model"]

# The quantiles that every model gives.
SHARES = (0.1, 0.5, 0.9)


@dataclass(frozen=True, slots=True, kw_only=True)
class Hourly:
    """An hourly past with NaN for gaps, and what was known ahead about its hours.

    `clock` counts hours from a Monday 00:00 UTC to `values[0]`. `regressors` has shape
    (regressors, hours), hours at least as many as `values`, NaN where there is none; an origin is
    shown those whose `known_at`, in hours from `values[0]`, is not after it.
    """

    values: NDArray[np.float64]
    clock: int = 0
    regressors: NDArray[np.float64] | None = None
    known_at: NDArray[np.float64] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Bands:
    """Hourly forecasts; all arrays have shape (origins, hours), hour 0 begins at the origin."""

    mean: NDArray[np.float64]
    p10: NDArray[np.float64]
    p50: NDArray[np.float64]
    p90: NDArray[np.float64]

    def of(self, share: float) -> NDArray[np.float64]:
        """The quantile of one of SHARES."""
        return {0.1: self.p10, 0.5: self.p50, 0.9: self.p90}[share]

    def until(self, hours: int) -> "Bands":
        """Only so many hours ahead."""
        return Bands(
            mean=self.mean[:, :hours],
            p10=self.p10[:, :hours],
            p50=self.p50[:, :hours],
            p90=self.p90[:, :hours],
        )


class Model(Protocol):
    """A way to forecast from the past alone."""

    @property
    def name(self) -> str:
        """Short label for tables."""

    def bands(self, past: Hourly, origins: NDArray[np.int64], hours: int) -> Bands:
        """Forecasts for ascending origins o, each from `values[:o]` and nothing later.

        `values` may go on beyond the origins (a backtest hands in the whole year): what lies there
        must change nothing. Of regressors that holds for what is not known at the origin.
        """
