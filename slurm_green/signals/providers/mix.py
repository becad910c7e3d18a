# SPDX-License-Identifier: Apache-2.0
"""From what was generated, by type, to carbon intensity; and from that past to an estimate. Pure.

Factors in gCO2e/kWh of electricity. Life-cycle and direct values of coal, gas, biomass,
geothermal, hydro, nuclear, solar (utility), wind and marine are the medians of IPCC AR5 (2014),
WG III, Annex III, table A.III.2. What that table lacks is computed from the default CO2 factors
of fuels in the IPCC 2006 Guidelines, vol. 2, table 2.2: lignite 101, residual oil 77.4, peat 106
and oil shale 107 g/MJ at 38 % efficiency, plus the 60 g/kWh upstream that AR5 has for coal;
waste 91.7 g/MJ at 25 %, half of its energy fossil. Choices: coal gas counts as coal, biogas as
biomass (direct 0: what burns had grown), "other" and mixed fuels as gas, "other renewables" as
geothermal. Storage is left out both ways: it moves energy whose emissions were counted when it was
made. Imports are not counted: it is the intensity of the zone's own generation.

The trap: a type that is missing from an answer makes the rest look clean (or dirty).
"""

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta

import numpy as np
from numpy.typing import NDArray

from slurm_green.errors import SignalError
from slurm_green.signals.measured import Measured
from slurm_green.signals.series import Series, Stretch
from slurm_green.signals.times import rounded_down

__all__ = [
    "FACTORS",
    "HOUR_S",
    "SCOPES",
    "check_scope",
    "derived",
    "fuel_of",
    "hourly",
    "in_quarters",
    "mix_history",
]

HOUR_S = 3600
SCOPES = ("life-cycle", "direct")
FACTORS: dict[str, tuple[float, float]] = {
    "biomass": (230, 0), "coal": (820, 760), "gas": (490, 370), "geothermal": (38, 0),
    "hydro": (24, 0), "lignite": (1017, 957), "marine": (17, 0), "nuclear": (12, 0),
    "oil": (793, 733), "oil shale": (1074, 1014), "peat": (1064, 1004), "solar": (48, 0),
    "waste": (660, 660), "wind": (11, 0), "wind offshore": (12, 0),
}  # fmt: skip
_STORAGE = None
# Names of all providers, in snake case.
_FUELS: dict[str, str | None] = {
    "biofuel": "biomass", "biogas": "biomass", "biomass": "biomass", "landfill_gas": "biomass",
    "wood": "biomass", "coal": "coal", "coal_and_lignite": "coal", "fossil_hard_coal": "coal",
    "fossil_coal_derived_gas": "coal", "fossil_brown_coal_lignite": "lignite",
    "cogeneration": "gas", "combined_cycle": "gas", "dual_fuel": "gas", "fossil_gas": "gas",
    "gas": "gas", "gas_fired_steam": "gas", "multiple_fuels": "gas", "natural_gas": "gas",
    "other": "gas", "others": "gas", "simple_cycle": "gas", "geothermal": "geothermal",
    "other_renewable": "geothermal", "other_renewables": "geothermal", "hydro": "hydro",
    "hydro_run_of_river": "hydro", "hydro_run_of_river_and_pondage": "hydro",
    "hydro_run_of_river_and_poundage": "hydro", "hydro_water_reservoir": "hydro",
    "large_hydro": "hydro", "small_hydro": "hydro", "marine": "marine", "nuclear": "nuclear",
    "diesel_fuel_oil": "oil", "fossil_oil": "oil", "oil": "oil", "other_fossil_fuels": "oil",
    "petroleum": "oil", "fossil_oil_shale": "oil shale", "fossil_peat": "peat", "solar": "solar",
    "refuse": "waste", "waste": "waste", "waste_disposal_services": "waste", "waste_heat": "gas",
    "wind": "wind", "wind_onshore": "wind", "wind_offshore": "wind offshore",
    "batteries": _STORAGE, "battery": _STORAGE, "battery_storage": _STORAGE,
    "energy_storage": _STORAGE, "hydro_pumped_storage": _STORAGE, "power_storage": _STORAGE,
    "pumped_storage": _STORAGE, "storage": _STORAGE, "imports": _STORAGE,
}  # fmt: skip
_MOST_MW = 2_000_000.0  # more than any grid generates
_MISSING = 0.05  # of the generation may be missing from an hour
_GONE_H = 168  # a type without values for so long is no longer expected
_LEAST_H = 72  # to learn from


def check_scope(scope: str, provider: str) -> None:
    """Refuse scopes there are no factors for."""
    if scope not in SCOPES:
        raise SignalError(f"{provider}: scope {scope[:20]!r} is none of {', '.join(SCOPES)}")


def _snake(name: str) -> str:
    """A type's name in lower case and underscores, whichever way the provider writes it."""
    return re.sub(r"[^a-z0-9]+", "_", name.lower()).strip("_")


def fuel_of(name: str, provider: str) -> str | None:
    """The fuel of a provider's type, None for what is left out; raises SignalError if unknown."""
    # Some operators tell what was bid from what runs on its own account.
    key = _snake(name).removesuffix("_market").removesuffix("_self")
    if key not in _FUELS:
        raise SignalError(
            f"{provider}: the mix has a type {name[:40]!r} without a factor; did the API change?"
        )
    return _FUELS[key]


def hourly(points: Iterable[tuple[datetime, float | None]]) -> dict[int, float]:
    """Means over hours (POSIX seconds of their start) known for at least three quarters.

    Steps may be of 5 to 60 minutes, and change on the way.
    """
    rows = sorted({at.timestamp(): value for at, value in points}.items())
    spans = _spans([at for at, _ in rows])
    sums: dict[int, tuple[float, float]] = {}
    for (at, value), span in zip(rows, spans, strict=True):
        if value is not None:
            hour = int(at // HOUR_S) * HOUR_S
            area, known = sums.get(hour, (0.0, 0.0))
            sums[hour] = (area + value * span, known + span)
    return {hour: area / known for hour, (area, known) in sums.items() if known >= 0.75 * HOUR_S}


def mix_history(
    types: Mapping[str, Sequence[tuple[datetime, float | None]]],
    *,
    provider: str,
    region: str,
    scope: str,
    start_utc: datetime,
    end_utc: datetime,
) -> Measured:
    """Hourly intensity (gCO2e/kWh) of whole hours in [start, end) from MW by type.

    An hour is a gap when types that stood for more than 5 % of the generation are missing from
    it, by their nearest known value. Give some hours before the start, or nothing is expected yet.
    """
    check_scope(scope, provider)
    column = SCOPES.index(scope)
    found = [
        (FACTORS[fuel][column], hours)
        for name, points in types.items()
        if (fuel := fuel_of(name, provider)) is not None
        and (hours := hourly(_checked(points, name, provider)))
    ]
    if not found:
        raise SignalError(f"{provider}: no generation in what it gave")
    first = min(min(hours) for _, hours in found)
    count = (max(max(hours) for _, hours in found) - first) // HOUR_S + 1
    power = np.full((len(found), count), np.nan)
    for row, (_, hours) in zip(power, found, strict=True):
        row[[(hour - first) // HOUR_S for hour in hours]] = list(hours.values())
    power = np.maximum(power, 0.0)  # a plant at a standstill consumes; NaN stays NaN
    seen = np.nansum(power, axis=0)
    lost = np.nansum([np.where(np.isnan(row), _expected(row), 0.0) for row in power], axis=0)
    factors = np.array([factor for factor, _ in found])
    emitted = np.nansum(power * factors[:, np.newaxis], axis=0)
    good = (seen > 0) & (lost <= _MISSING * (lost + seen))
    points = [
        (datetime.fromtimestamp(first + HOUR_S * i, UTC), float(emitted[i] / seen[i]))
        for i in np.flatnonzero(good).tolist()
    ]
    hour = timedelta(seconds=HOUR_S)
    return Measured.from_points(
        [(at, value) for at, value in points if start_utc <= at and at + hour <= end_utc],
        step_s=HOUR_S,
        provider=provider,
        region=region,
        scope=scope,
    )


def derived(
    past: Measured,
    regressors: Mapping[int, tuple[float, ...]],
    now_utc: datetime,
    *,
    kind: str = "forecast",
) -> Series:
    """An estimate of the hours to come: least squares of an hourly past on known regressors.

    It goes from the hour of `now_utc` to the first hour without regressors, stays within what the
    past has seen, and its provenance says "derived". Raises SignalError for too little past.
    """
    first = int(past.start_utc.timestamp())
    learnt = [
        (regressors[hour], value)
        for i, value in enumerate(past.values.tolist())
        if (hour := first + HOUR_S * i) in regressors and math.isfinite(value)
    ]
    if len(learnt) < _LEAST_H:
        raise SignalError(
            f"{past.provider}: {len(learnt)} hours of history to learn from, wanted {_LEAST_H}"
        )
    seen = np.array([value for _, value in learnt])
    weights = np.linalg.lstsq(np.array([row for row, _ in learnt]), seen, rcond=None)[0]
    start = rounded_down(now_utc, HOUR_S)
    hour = int(start.timestamp())
    ahead = []
    while hour in regressors:
        ahead.append(regressors[hour])
        hour += HOUR_S
    if not ahead:
        raise SignalError(f"{past.provider}: what its forecast is derived from does not cover now")
    values = np.clip(np.array(ahead) @ weights, seen.min(), seen.max())
    name = f"{past.provider}-derived"
    return Series(
        start_utc=start,
        step_s=HOUR_S,
        values=values,
        issued_utc=now_utc,
        provider=past.provider,
        region=past.region,
        basis=past.basis,
        scope=past.scope,
        provenance=(Stretch(steps=len(values), provider=name, issued_utc=now_utc, kind=kind),),
    )


def in_quarters(
    rows: Sequence[tuple[datetime, float | None]], minutes: int | None
) -> list[tuple[datetime, float | None]]:
    """Rows in order as quarter hours; `minutes` None takes each one's step from its neighbours."""
    spans = _spans([at.timestamp() for at, _ in rows])
    return [
        (at + timedelta(minutes=15 * i), value)
        for (at, value), span in zip(rows, spans, strict=True)
        for i in range((minutes or round(span / 60)) // 15)
    ]


def _spans(times: Sequence[float]) -> list[float]:
    """Seconds each of the sorted times stands for: to its nearer neighbour, an hour at most.

    To the later one where that is as far from its own: from there on the steps are longer. Not
    where those are no steps, but two outages of one length.
    """
    gaps = np.diff(np.asarray(times, dtype=np.float64))
    edge = [float(HOUR_S)]
    nearer = np.minimum(np.concatenate((edge, gaps)), np.concatenate((gaps, edge)))
    longer = np.flatnonzero((gaps[:-1] == gaps[1:]) & (gaps[1:] <= HOUR_S))
    nearer[longer] = gaps[longer]
    result: list[float] = np.minimum(nearer, HOUR_S)[: len(times)].tolist()
    return result


def _expected(row: NDArray[np.float64]) -> NDArray[np.float64]:
    """For each hour the nearest known value before it, else after it; 0 beyond a week."""
    at = np.arange(len(row))
    known = np.flatnonzero(~np.isnan(row))
    before = np.searchsorted(known, at, side="right") - 1
    near = known[np.maximum(before, 0)]
    return np.where(np.abs(at - near) <= _GONE_H, row[near], 0.0)


def _checked(
    points: Sequence[tuple[datetime, float | None]], name: str, provider: str
) -> Sequence[tuple[datetime, float | None]]:
    for at, value in points:
        if value is not None and not abs(value) <= _MOST_MW:
            raise SignalError(
                f"{provider}: {value:g} MW of {name[:40]!r} at {at:%Y-%m-%dT%H:%MZ} is out of range"
            )
    return points
