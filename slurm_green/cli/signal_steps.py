# SPDX-License-Identifier: Apache-2.0
"""The steps of a signal over a span, as the chart, the picture, the JSON and the CSV show them.

Pure.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta

import numpy as np
from numpy.typing import NDArray

from slurm_green.cli.signal_origin import Origin, origins
from slurm_green.signals.series import Series

__all__ = ["HIGH", "LOW", "Step", "averages", "steps"]

LOW, HIGH = 0.1, 0.9


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """What holds from `start_utc` on; `p10` and `p90` are None where nobody knows."""

    start_utc: datetime
    value: float
    p10: float | None
    p90: float | None
    origin: Origin


def steps(series: Series, start_utc: datetime, end_utc: datetime) -> list[Step]:
    """The steps that touch [start, end)."""
    low, high = (series.quantiles.get(share) for share in (LOW, HIGH))
    whence = iter(origins(series))
    origin = next(whence)
    step = timedelta(seconds=series.step_s)
    first = max(0, math.floor((start_utc - series.start_utc) / step))
    found = []
    for i in range(first, len(series.values)):
        at = series.start_utc + i * step
        if at >= end_utc:
            break
        while (at - origin.end_utc).total_seconds() > -1e-3:
            origin = next(whence)
        found.append(
            Step(
                start_utc=at,
                value=float(series.values[i]),
                p10=_known(low, i),
                p90=_known(high, i),
                origin=origin,
            )
        )
    return found


def averages(
    series: Series | None, spans: Iterable[tuple[datetime, datetime]]
) -> list[tuple[float | None, float | None, float | None]]:
    """Value, p10 and p90 on other spans than the series' own steps; None where not all is known.

    Averages of quantiles are what a step looks like, not quantiles of the average: those need to
    know how errors hang together.
    """
    if series is None:
        return [(None, None, None) for _ in spans]
    low, high = (series.quantiles.get(share) for share in (LOW, HIGH))
    found = []
    for start_utc, end_utc in spans:
        part = _overlap(series, start_utc, end_utc)
        found.append((_mean(series.values, part), _mean(low, part), _mean(high, part)))
    return found


def _known(amounts: NDArray[np.float64] | None, index: int) -> float | None:
    if amounts is None or math.isnan(amounts[index]):
        return None
    return float(amounts[index])


def _overlap(
    series: Series, start_utc: datetime, end_utc: datetime
) -> tuple[slice, NDArray[np.float64]] | None:
    """The steps within a span, and how many seconds of each; None where it is not covered."""
    if not series.covers(start_utc, end_utc):
        return None
    edges = np.clip(series.edges_s, start_utc.timestamp(), end_utc.timestamp())
    seconds = np.diff(edges)
    inside = np.flatnonzero(seconds > 1e-6)
    if len(inside) == 0:
        return None
    part = slice(int(inside[0]), int(inside[-1]) + 1)
    return part, seconds[part]


def _mean(
    amounts: NDArray[np.float64] | None, part: tuple[slice, NDArray[np.float64]] | None
) -> float | None:
    if amounts is None or part is None:
        return None
    mean = float(np.average(amounts[part[0]], weights=part[1]))
    return None if math.isnan(mean) else mean
