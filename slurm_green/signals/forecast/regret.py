# SPDX-License-Identifier: Apache-2.0
"""What a forecast is worth: the share of the perfect-forecast saving that a deferred job gets.

A job of constant power is submitted at every origin and may start at any whole hour within its
slack. It starts where the forecast says the least carbon is, decided once, at submission: the most
of the signal where that is what is wanted, as of the site's own supply. Pure.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from slurm_green.signals.forecast.scores import actual_after

__all__ = ["JOBS", "Worth", "worth"]

# (hours of run time, hours of slack) of the jobs that the backtest submits.
JOBS = ((6, 24), (1, 12), (24, 48))
_EQUAL = 1e-9  # starts whose means are closer, as a share of them, differ by rounding


@dataclass(frozen=True, slots=True, kw_only=True)
class Worth:
    """Sums over all submissions, in units of the signal per kW of the job.

    Shares are None where there was nothing to save; with `most`, to save is to get more.
    """

    job_h: int
    slack_h: int
    submissions: int
    now: float
    chosen: float
    best: float
    most: bool = False

    @property
    def perfect_saving(self) -> float | None:
        """What a perfect forecast saves, as a share of starting at once."""
        return self._saved(self.best) / self.now if self.now > 0 else None

    @property
    def saving(self) -> float | None:
        """What this forecast saves, as a share of starting at once."""
        return self._saved(self.chosen) / self.now if self.now > 0 else None

    @property
    def share_of_perfect(self) -> float | None:
        """The saving as a share of the perfect one."""
        perfect = self._saved(self.best)
        return self._saved(self.chosen) / perfect if perfect > 0 else None

    def _saved(self, amount: float) -> float:
        return amount - self.now if self.most else self.now - amount


def worth(
    values: NDArray[np.float64],
    origins: NDArray[np.int64],
    mean: NDArray[np.float64],
    *,
    job_h: int,
    slack_h: int,
    most: bool = False,
) -> Worth:
    """Submit the job at each origin; those whose window has a gap are left out.

    `mean` has shape (origins, at least job_h + slack_h). Of equal starts the first is taken.
    """
    hours = job_h + slack_h
    actual = actual_after(values, origins, hours)
    usable = np.isfinite(actual).all(axis=1)
    truth = _windows(actual[usable], job_h)
    sign = -1 if most else 1
    chosen, best = (
        float(np.take_along_axis(truth, _first_least(sign * one), axis=1).sum())
        for one in (_windows(mean[usable, :hours], job_h), truth)
    )
    return Worth(
        job_h=job_h,
        slack_h=slack_h,
        submissions=int(usable.sum()),
        now=float(truth[:, 0].sum()),
        chosen=chosen,
        best=best,
        most=most,
    )


def _first_least(amounts: NDArray[np.float64]) -> NDArray[np.intp]:
    """The first start of the least amount of each row, shape (origins, 1)."""
    equal = _EQUAL * np.abs(amounts).max(axis=1, keepdims=True)
    least = amounts <= amounts.min(axis=1, keepdims=True) + equal
    return np.asarray(least.argmax(axis=1, keepdims=True))


def _windows(amounts: NDArray[np.float64], length: int) -> NDArray[np.float64]:
    """Means over each start's window, shape (origins, slack + 1)."""
    sums = np.cumsum(np.pad(amounts, ((0, 0), (1, 0))), axis=1)
    return np.asarray((sums[:, length:] - sums[:, :-length]) / length)
