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
        """The same with a band no narrower at any hour of day than on the forecast's last day.

        Knowing less must never look like knowing more.
        """
        low, high = forecast.quantiles.get(0.1), forecast.quantiles.get(0.9)
        if low is None or high is None:
            return self
        day = max(1, round(86_400.0 / forecast.step_s))
        widths, hours = (high - low)[-day:], (forecast.edges_s[:-1][-day:] // _STEP_S) % 24
        if not np.isfinite(widths).any():
            return self
        wanted = np.full(24, float(np.nanmean(widths)))
        for hour in range(24):
            there = widths[(hours == hour) & np.isfinite(widths)]
            wanted[hour] = there.mean() if len(there) else wanted[hour]
        return self._with_width(np.tile(wanted, 7))

    def _with_width(self, wanted: NDArray[np.float64]) -> "Climatology":
        """Stretched evenly where it is narrower; what the bound at 0 takes below goes above."""
        bottom, middle, top = (self.quantiles[share] for share in _SHARES)
        least = -np.inf if quantity_named(self.quantity).may_be_negative else 0.0
        missing = np.maximum(wanted - (top - bottom), 0.0)
        bottom = np.maximum(bottom - missing / 2, np.minimum(bottom, least))
        top = np.maximum(top, bottom + wanted)
        return replace(self, quantiles={0.1: bottom, 0.5: middle, 0.9: top})


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
