# SPDX-License-Identifier: Apache-2.0
"""What is usual at each hour of the week: the last resort, and what lies beyond every forecast.

It is no forecast and never says so: its stretch is of kind "climatology" and its band is wide.
Pure.
"""

import math
from dataclasses import dataclass, replace
from datetime import UTC, datetime

import numpy as np
from numpy.typing import NDArray

from slurm_green.errors import SignalError
from slurm_green.signals.measured import Measured
from slurm_green.signals.quantity import CARBON, quantity_named
from slurm_green.signals.series import Series, Stretch

__all__ = ["CLIMATOLOGY", "LEAST_DAYS", "MAX_AGE_S", "Climatology", "climatology_of"]

CLIMATOLOGY = "climatology"
LEAST_DAYS = 7
# What was usual two months ago was usual in another season.
MAX_AGE_S = 60 * 86_400.0
_STEP_S = 3600.0
_SLOTS = 168
# POSIX time began on a Thursday; slots count from Monday 00:00 UTC.
_MONDAY_S = 4 * 86_400.0
# Eight weeks follow the season and still hold eight of each hour of the week.
_WINDOW_DAYS = 56
# Eight values of one hour of the week say little alone: so many of its hour of day join them.
_SHRINKAGE = 6.0
# What the profile was away from the two weeks after it, for so many weeks back, is its band.
_TRIALS = 26
_AHEAD_DAYS = 14
# With too little past to try it on, its band is that of the week itself, so much wider.
_WIDEN = 1.6
# Weeks to come differ more from the newest than past ones did on average.
_DRIFT = 1.1
_SHARES = (0.1, 0.5, 0.9)


@dataclass(frozen=True, kw_only=True)
class Climatology:
    """Usual amounts by hour of the week in UTC; all arrays have 168 entries from Monday 00:00."""

    values: NDArray[np.float64]
    quantiles: dict[float, NDArray[np.float64]]
    made_utc: datetime  # until when its past reaches
    days: int  # how many days it rests on
    provider: str
    region: str = ""
    quantity: str = CARBON.name
    basis: str = "average"
    scope: str = "unknown"

    def __post_init__(self) -> None:
        """Refuse profiles that are no profiles: a damaged file must not become a plan."""
        for one in (self.values, *self.quantiles.values()):
            if one.shape != (_SLOTS,) or not np.isfinite(one).all():
                raise SignalError(f"climatology of {self.provider} is malformed")
        if self.made_utc.tzinfo is None:
            raise SignalError(f"climatology of {self.provider}: times must carry a time zone")

    def series(self, start_utc: datetime, end_utc: datetime) -> Series:
        """Whole hours that touch [start, end)."""
        first = math.floor(start_utc.timestamp() / _STEP_S)
        count = max(math.ceil(end_utc.timestamp() / _STEP_S) - first, 1)
        slots = (first - int(_MONDAY_S / _STEP_S) + np.arange(count)) % _SLOTS
        return Series(
            start_utc=datetime.fromtimestamp(first * _STEP_S, UTC),
            step_s=_STEP_S,
            values=self.values[slots],
            issued_utc=self.made_utc,
            provider=f"{CLIMATOLOGY}({self.provider})",
            region=self.region,
            quantity=self.quantity,
            basis=self.basis,
            scope=self.scope,
            quantiles={share: one[slots] for share, one in self.quantiles.items()},
            provenance=(
                Stretch(
                    steps=count,
                    provider=f"{CLIMATOLOGY}({self.provider})",
                    issued_utc=self.made_utc,
                    kind=CLIMATOLOGY,
                ),
            ),
        )

    def at_least_as_wide_as(self, forecast: Series) -> "Climatology":
        """The same with a band no narrower than the forecast's on its last day.

        Knowing less must never look like knowing more.
        """
        low, high = forecast.quantiles.get(0.1), forecast.quantiles.get(0.9)
        if low is None or high is None:
            return self
        day = max(1, round(86_400.0 / forecast.step_s))
        widths = (high - low)[-day:]
        if not np.isfinite(widths).any():
            return self
        wanted = float(np.nanmean(widths))
        band = float(np.mean(self.quantiles[0.9] - self.quantiles[0.1]))
        return _with_band(self, wanted, band) if wanted > band else self


def climatology_of(past: Measured) -> Climatology:
    """The usual week of the newest eight weeks; raises SignalError with less than one week."""
    hourly = past.in_steps_of(_STEP_S)
    first = math.floor(hourly.start_utc.timestamp() / _STEP_S)
    known = np.isfinite(hourly.values)
    values = hourly.values[known]
    hours = first + np.flatnonzero(known) - int(_MONDAY_S / _STEP_S)
    end = first + len(hourly.values) - int(_MONDAY_S / _STEP_S)
    recent = hours >= end - 24 * _WINDOW_DAYS
    if recent.sum() < LEAST_DAYS * 24:
        raise SignalError(
            f"the past of {past.provider} holds {recent.sum() / 24:.1f} days of the last "
            f"{_WINDOW_DAYS}; what is usual needs {LEAST_DAYS}"
        )
    profile = _profile(hours[recent], values[recent])
    away, slots = _errors(hours, values, end)
    widen = _DRIFT
    if len(away) < _AHEAD_DAYS * 24:
        away, slots = values[recent] - profile[hours[recent] % _SLOTS], hours[recent] % _SLOTS
        widen = _WIDEN
    low = -np.inf if quantity_named(past.quantity).may_be_negative else 0.0
    return Climatology(
        values=profile,
        quantiles={
            share: np.maximum(
                profile
                + widen * np.tile([_near(away, slots, hour, share) for hour in range(24)], 7),
                low,
            )
            for share in _SHARES
        },
        # Half an hour may have filled the last hour.
        made_utc=min(hourly.end_utc, past.end_utc),
        days=round(recent.sum() / 24),
        provider=past.provider,
        region=past.region,
        quantity=past.quantity,
        basis=past.basis,
        scope=past.scope,
    )


def _profile(hours: NDArray[np.int64], values: NDArray[np.float64]) -> NDArray[np.float64]:
    """The usual week of some hours, counted from a Monday."""
    by_hour = _means(hours % 24, values, 24, np.full(24, values.mean()))
    return _means(hours % _SLOTS, values, _SLOTS, np.tile(by_hour, 7))


def _errors(
    hours: NDArray[np.int64], values: NDArray[np.float64], end: int
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """What profiles of earlier weeks were away from the two weeks after them, and the slots."""
    found, slots = [np.zeros(0)], [np.zeros(0, dtype=np.int64)]
    for week in range(1, _TRIALS + 1):
        made = end - _SLOTS * week
        before = (hours < made) & (hours >= made - 24 * _WINDOW_DAYS)
        after = (hours >= made) & (hours < made + 24 * _AHEAD_DAYS)
        if before.sum() < 2 * LEAST_DAYS * 24:
            break
        profile = _profile(hours[before], values[before])
        slots.append(hours[after] % _SLOTS)
        found.append(values[after] - profile[slots[-1]])
    return np.concatenate(found), np.concatenate(slots)


def _means(
    slots: NDArray[np.int64], values: NDArray[np.float64], count: int, base: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Means by slot, drawn towards a base where few values stand behind them."""
    sums = np.bincount(slots, weights=values, minlength=count)
    numbers = np.bincount(slots, minlength=count)
    weight = _SHRINKAGE if count == _SLOTS else 0.5
    return np.asarray((sums + weight * base) / (numbers + weight))


def _near(away: NDArray[np.float64], slots: NDArray[np.int64], hour: int, share: float) -> float:
    """A quantile of what this hour of day and its neighbours were away from the mean."""
    distance = (slots % 24 - hour + 12) % 24 - 12
    near = away[np.abs(distance) <= 1]
    return float(np.quantile(near if len(near) else away, share))


def _with_band(one: Climatology, wanted: float, band: float) -> Climatology:
    """Its band stretched to a mean width; what the bound at 0 takes below is added above."""
    middle = one.quantiles[0.5]
    low = -np.inf if quantity_named(one.quantity).may_be_negative else 0.0
    if band > 0:
        factor = wanted / band
        quantiles = {
            share: np.maximum(middle + factor * (amounts - middle), low)
            for share, amounts in one.quantiles.items()
        }
    else:
        quantiles = {
            share: np.maximum(middle + (share - 0.5) / 0.8 * wanted, low) for share in _SHARES
        }
    missing = wanted - float(np.mean(quantiles[0.9] - quantiles[0.1]))
    return replace(one, quantiles=quantiles | {0.9: quantiles[0.9] + max(missing, 0.0)})
