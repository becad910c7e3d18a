# SPDX-License-Identifier: Apache-2.0
"""From rows of a provider's answer to a forecast: uniform steps, no gap, far enough ahead. Pure."""

import math
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta

import numpy as np

from slurm_green.errors import SignalError
from slurm_green.signals.quantity import CARBON, quantity_named
from slurm_green.signals.series import Series

__all__ = ["amount", "must_reach", "series_from_slots"]

_TOLERANCE_S = 1e-3


def amount(value: object, where: str, quantity: str = CARBON.name) -> float:
    """One number of an answer; raises SignalError beginning with `where` when it is none."""
    kind = quantity_named(quantity)
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise SignalError(f"{where}: {str(value)[:40]!r} is no number of {kind.unit}")
    # JSON allows whole numbers that no float holds: compare before anything converts them.
    if abs(value) > kind.most or (value < 0 and not kind.may_be_negative) or math.isnan(value):
        raise SignalError(f"{where}: {str(value)[:40]} {kind.unit} is out of range")
    return float(value)


def series_from_slots(
    rows: Sequence[tuple[datetime, float | None]],
    *,
    provider: str,
    issued_utc: datetime,
    step_s: float | None = None,
    region: str = "",
    quantity: str = CARBON.name,
    basis: str = "average",
    scope: str = "unknown",
    quantiles: Mapping[float, Sequence[float]] | None = None,
) -> Series:
    """Rows (start, value) in order of time as a series; `step_s` None takes it from the rows.

    None is no value: at the end that is only a shorter forecast. Raises SignalError naming the row
    where there is none before the end, or where steps leave a gap, overlap or run backwards.
    """
    known = max(
        (number for number, (_, value) in enumerate(rows, 1) if value is not None), default=0
    )
    beyond, rows = len(rows) - known, rows[:known]
    if not rows:
        raise SignalError(f"{provider}: the answer holds no values")
    if step_s is None:
        if len(rows) < 2:
            raise SignalError(f"{provider}: one value alone has no step")
        step_s = (rows[1][0] - rows[0][0]).total_seconds()
        if step_s <= 0:
            raise SignalError(
                f"{provider}: row 1 ({rows[1][0]:%Y-%m-%dT%H:%MZ}) is not after row 0"
            )
    first = rows[0][0]
    values: list[float] = []
    for number, (start_utc, value) in enumerate(rows):
        if value is None:
            raise SignalError(
                f"{provider}: row {number} ({start_utc:%Y-%m-%dT%H:%MZ}) has no value"
            )
        values.append(value)
        off_s = (start_utc - first).total_seconds() - number * step_s
        if abs(off_s) > _TOLERANCE_S:
            raise SignalError(
                f"{provider}: row {number} ({start_utc:%Y-%m-%dT%H:%MZ}) leaves a gap or overlaps; "
                f"wanted steps of {timedelta(seconds=step_s)} in a row"
            )
    return Series(
        start_utc=first,
        step_s=step_s,
        values=np.array(values, dtype=np.float64),
        issued_utc=issued_utc,
        provider=provider,
        region=region,
        quantity=quantity,
        basis=basis,
        scope=scope,
        quantiles={
            share: np.array(one, dtype=np.float64)[: len(one) - beyond]
            for share, one in (quantiles or {}).items()
        },
    )


def must_reach(series: Series, now_utc: datetime, least_s: float) -> Series:
    """The same series, if it covers now and so many seconds more; raises SignalError."""
    ahead_s = (series.end_utc - now_utc).total_seconds()
    if series.start_utc > now_utc or ahead_s < least_s:
        raise SignalError(
            f"{series.provider}: the forecast reaches from {series.start_utc:%Y-%m-%dT%H:%M}Z to "
            f"{series.end_utc:%Y-%m-%dT%H:%M}Z; wanted from now to {least_s / 3600:g} h ahead"
        )
    return series
