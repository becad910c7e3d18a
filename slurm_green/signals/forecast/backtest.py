# SPDX-License-Identifier: Apache-2.0
"""Rolling backtest: every forecast is made from what was known at its origin, and judged after.

Origins follow one another at a fixed pace from a first one on; the model and the two references
get the same. Pure but for the progress it reports.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

import numpy as np
from numpy.typing import NDArray

from slurm_green.errors import SignalError
from slurm_green.signals.forecast.bands import Bands, Model
from slurm_green.signals.forecast.live import HOUR_S, hourly_of
from slurm_green.signals.forecast.regret import JOBS, Worth, worth
from slurm_green.signals.forecast.scores import actual_after, coverage, mape_by_day, pinball
from slurm_green.signals.measured import Measured
from slurm_green.signals.quantity import RENEWABLE
from slurm_green.signals.regressors import Regressors

__all__ = ["Backtest", "Verdict", "backtest"]

# The model has two months before the first origin where the history is long enough, as the bars
# of a year from March on have; four weeks at the least.
_WARM_UP_DAYS = 59
_LEAST_DAYS = 28
_LONGEST_H = max(job_h + slack_h for job_h, slack_h in JOBS)


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """How one model did; None where nothing could be judged."""

    model: str
    mape_by_day: list[float | None]  # percent
    pinball: float | None  # in the unit of the history
    coverage_80: float | None
    worths: tuple[Worth, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Backtest:
    """The whole of it."""

    provider: str
    region: str
    quantity: str
    first_utc: datetime
    last_utc: datetime
    origins: int
    every_h: int
    horizon_h: int
    verdicts: tuple[Verdict, ...]


def backtest(
    past: Measured,
    models: Sequence[Model],
    *,
    horizon_h: int = 24,
    every_h: int = 3,
    warm_up_days: float | None = None,
    regressors: Regressors | None = None,
    progress: Callable[[str], None] = lambda name: None,
) -> Backtest:
    """Judge models on one history; raises SignalError when it is too short to judge anything.

    The last origin is the last one whose whole horizon, and the longest job's window, is known.
    """
    hourly = past.in_steps_of(HOUR_S)
    values = hourly.values
    hours = max(horizon_h, _LONGEST_H)
    if warm_up_days is None:
        warm_up_days = min(_WARM_UP_DAYS, max(_LEAST_DAYS, len(values) / 24 / 3))
    first = math.ceil(24 * warm_up_days)
    origins = np.arange(first, len(values) - hours + 1, every_h, dtype=np.int64)
    if len(origins) == 0:
        need = warm_up_days + hours / 24
        raise SignalError(
            f"the history of {past.provider} has {len(values) / 24:.1f} days; a backtest needs "
            f"{need:.0f}: {warm_up_days:g} to learn from, {hours} h to judge by"
        )
    hourly_past = hourly_of(hourly, len(values) + hours, regressors, weekdays_until=first)
    verdicts = []
    for model in models:
        progress(model.name)
        bands = model.bands(hourly_past, origins, hours)
        most = past.quantity == RENEWABLE.name
        verdicts.append(_judge(model.name, values, origins, bands, horizon_h, most=most))
    at = hourly.start_utc.timestamp() + HOUR_S * origins
    return Backtest(
        provider=past.provider,
        region=past.region,
        quantity=past.quantity,
        first_utc=datetime.fromtimestamp(float(at[0]), UTC),
        last_utc=datetime.fromtimestamp(float(at[-1]), UTC),
        origins=len(origins),
        every_h=every_h,
        horizon_h=horizon_h,
        verdicts=tuple(verdicts),
    )


def _judge(
    name: str,
    values: NDArray[np.float64],
    origins: NDArray[np.int64],
    bands: Bands,
    horizon_h: int,
    *,
    most: bool,
) -> Verdict:
    near = bands.until(horizon_h)
    actual = actual_after(values, origins, horizon_h)
    return Verdict(
        model=name,
        mape_by_day=mape_by_day(actual, near.mean),
        pinball=pinball(actual, near),
        coverage_80=coverage(actual, near),
        worths=tuple(
            worth(values, origins, bands.mean, job_h=job_h, slack_h=slack_h, most=most)
            for job_h, slack_h in JOBS
        ),
    )
