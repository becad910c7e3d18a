# SPDX-License-Identifier: Apache-2.0
"""One forecast from now on: the model where four weeks are known, a plainer one with less.

Hours that passed since the last measured one are forecast too, and dropped: a past that ends
yesterday gives a forecast of yesterday's quality, with yesterday's time of issue.
"""

import math
from datetime import datetime, timedelta

import numpy as np

from slurm_green.errors import SignalError
from slurm_green.signals.forecast.bands import SHARES, Bands, Hourly, Model
from slurm_green.signals.forecast.builtin import LEAST_H, BuiltIn
from slurm_green.signals.forecast.cold import LEAST_H as COLD_LEAST_H
from slurm_green.signals.forecast.cold import Cold
from slurm_green.signals.forecast.gaps import filled
from slurm_green.signals.measured import Measured
from slurm_green.signals.regressors import Regressors
from slurm_green.signals.series import Series, Stretch

__all__ = ["HOUR_S", "LONGEST_H", "forecast", "hourly_of"]

HOUR_S = 3600.0
LONGEST_H = 96
_MONDAY_S = 4 * 86_400.0  # POSIX time began on a Thursday
# A year and a month have every season; the time a fit takes grows faster than the past.
_MOST_H = 400 * 24
_LEAST_KNOWN = 0.6
# Nobody measured a grid's carbon before: such a time is seconds from somebody's own zero.
_FIRST_YEAR = 1990


def forecast(
    past: Measured,
    now_utc: datetime,
    ahead_s: float = LONGEST_H * HOUR_S,
    regressors: Regressors | None = None,
) -> Series:
    """Hourly from the hour that holds now, with quantiles 0.1, 0.5 and 0.9.

    It reaches `ahead_s` from now, at most 96 h from the end of the past. Nothing measured after
    `now_utc` is looked at. Raises SignalError with less than a day of the past, or with one that
    ended too long ago.
    """
    known = past.until(now_utc)
    if known is None:
        raise SignalError(f"{past.provider}: nothing was measured before now")
    hourly = _trimmed(known.in_steps_of(HOUR_S).until(now_utc), past.provider)
    late = round((now_utc - hourly.end_utc).total_seconds() // HOUR_S)
    hours = min(late + math.ceil(ahead_s / HOUR_S) + 1, LONGEST_H)
    if late >= hours:
        raise SignalError(
            f"{past.provider}: what was measured ends {late} h ago, forecasts reach {LONGEST_H} h"
        )
    origin = np.array([len(hourly.values)], dtype=np.int64)
    enough = len(hourly.values) >= LEAST_H
    model: Model = BuiltIn() if enough else Cold()
    bands = model.bands(
        hourly_of(hourly, len(hourly.values) + hours, regressors),
        origin,
        hours,
    )
    return _series(bands, hourly, late, kind="forecast" if enough else "naive")


def hourly_of(
    hourly: Measured,
    hours: int,
    regressors: Regressors | None,
    *,
    weekdays_until: int | None = None,
) -> Hourly:
    """A past as models take it, with what is known ahead on its hours and beyond, `hours` in all.

    Where a past has no weekdays they are told from its first `weekdays_until` hours.
    """
    rows = known_at = None
    if regressors is not None:
        rows, known_at = regressors.aligned(hourly.start_utc, hours)
    return Hourly(
        values=hourly.values,
        clock=_clock(hourly, weekdays_until),
        regressors=rows,
        known_at=known_at,
    )


def _clock(hourly: Measured, known_until: int | None) -> int:
    """Hours from a Monday 00:00 UTC to the first step.

    A past in seconds from a zero of its own has no weekdays: there the two days that differ most
    from the others, up to hour `known_until`, pass for the weekend.
    """
    clock = round((hourly.start_utc.timestamp() - _MONDAY_S) / HOUR_S) % 168
    if hourly.start_utc.year >= _FIRST_YEAR:
        return clock
    values, _ = filled(hourly.values[:known_until])
    weeks = values[: len(values) // 168 * 168].reshape(-1, 7, 24)
    if len(weeks) < 3:
        return clock
    away = (weeks - weeks.mean(axis=1, keepdims=True)).mean(axis=(0, 2))
    pairs = [abs(away[day] + away[(day + 1) % 7]) for day in range(7)]
    # The pair's first day, of the days since the first hour, is to be day 5: Saturday.
    return int(24 * ((5 - int(np.argmax(pairs))) % 7))


def _trimmed(hourly: Measured | None, provider: str) -> Measured:
    """The newest thirteen months, from the first known hour to the last."""
    if hourly is None or hourly.known == 0:
        raise SignalError(f"{provider}: nothing was measured before now")
    known = np.flatnonzero(np.isfinite(hourly.values))
    last = hourly.start_utc + timedelta(hours=int(known[-1]) + 1)
    cut = hourly.until(last) or hourly
    first = max(
        cut.start_utc + timedelta(hours=int(known[0])), cut.end_utc - timedelta(hours=_MOST_H)
    )
    cut = cut.since(first)
    if cut.known < COLD_LEAST_H:
        raise SignalError(
            f"{provider}: {cut.known} hours of the past, a forecast needs {COLD_LEAST_H}"
        )
    recent = cut.values[-LEAST_H:]
    if np.isfinite(recent).mean() < _LEAST_KNOWN:
        raise SignalError(
            f"{provider}: {np.isnan(recent).mean():.0%} of the last four weeks are gaps"
        )
    return cut


def _series(bands: Bands, hourly: Measured, late: int, *, kind: str) -> Series:
    provider = f"forecast({hourly.provider})"
    values = bands.mean[0, late:]
    return Series(
        start_utc=hourly.end_utc + timedelta(hours=late),
        step_s=HOUR_S,
        values=values,
        issued_utc=hourly.end_utc,
        provider=provider,
        region=hourly.region,
        quantity=hourly.quantity,
        basis=hourly.basis,
        scope=hourly.scope,
        quantiles={share: bands.of(share)[0, late:] for share in SHARES},
        provenance=(
            Stretch(
                steps=len(values),
                provider=provider,
                issued_utc=hourly.end_utc,
                kind=kind,
            ),
        ),
    )
