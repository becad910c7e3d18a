# SPDX-License-Identifier: Apache-2.0
"""Measured pasts and issued forecasts in tables, CSV or Parquet; writes pasts as CSV.

The traps: the step is the smallest distance between two rows, so one stray row makes gaps of all
others; and a past begins at a multiple of its step of UTC, which local hours need not.
"""

import math
from datetime import UTC, datetime, tzinfo
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from slurm_green.errors import SignalError
from slurm_green.signals.column_files import read_columns
from slurm_green.signals.columns import MAX_ROWS, Columns
from slurm_green.signals.file import write_text
from slurm_green.signals.measured import Measured
from slurm_green.signals.quantity import CARBON, QUANTITIES, RENEWABLE, quantity_named
from slurm_green.signals.series import Series

__all__ = ["read_forecasts", "read_history", "write_history_csv"]

_SINGLE_ROW_STEP_S = 3600.0
_SHORTEST_SPLIT_S = 60.0
_TOLERANCE_S = 1e-3
# Quantity -> what its quantiles' columns begin with.
_PREFIXES = {CARBON.name: "", RENEWABLE.name: "renewable_"}


def read_history(
    path: Path,
    quantity: str = CARBON.name,
    step_s: float | None = None,
    *,
    time_zone: tzinfo | None = None,
    provider: str = "",
    region: str = "",
    basis: str = "average",
    scope: str = "unknown",
) -> Measured:
    """The past in a table; `step_s` None: the smallest distance of two rows, 3600 for a lone one.

    Columns: start_s (POSIX seconds), start_utc or start_local (in `time_zone`), and the quantity's.
    Missing rows, empty cells and nan are gaps. Raises SignalError naming file, line and column.
    """
    table = read_columns(path)
    column = _time_column(table, "start", quantity)
    starts = table.seconds(column, time_zone)
    values = table.amounts(quantity, quantity)
    _must_ascend(table, column, starts, np.arange(len(starts)))
    if not np.isfinite(values).any():
        raise SignalError(f"{path}: column {quantity} holds no value")
    given_s = step_s
    step_s = step_s or _smallest(starts) or _SINGLE_ROW_STEP_S
    slots = _slots(table, column, starts, step_s)
    if slots[-1] >= MAX_ROWS:
        raise SignalError(f"{path}: spans more than {MAX_ROWS} steps of {step_s:g} s")
    dense = np.full(int(slots[-1]) + 1, np.nan)
    dense[slots] = values
    first_s = float(starts[0])
    off_s = first_s % step_s
    if min(off_s, step_s - off_s) > _TOLERANCE_S:
        # Hours that begin at half past are told without loss in half hours.
        fine_s = float(math.gcd(round(step_s), round(off_s)))
        if given_s or fine_s < _SHORTEST_SPLIT_S or not _whole(step_s, first_s):
            raise SignalError(
                f"{table.where(0, column)}: steps of {step_s:g} s begin at multiples of them, this "
                f"one {off_s:g} s after"
            )
        dense, step_s = np.repeat(dense, round(step_s / fine_s)), fine_s
    return Measured(
        start_utc=datetime.fromtimestamp(round(first_s / step_s) * step_s, UTC),
        step_s=step_s,
        values=dense,
        provider=provider or path.name,
        region=region,
        quantity=quantity,
        basis=basis,
        scope=scope,
    )


def read_forecasts(
    path: Path,
    quantity: str = CARBON.name,
    *,
    provider: str = "",
    region: str = "",
    basis: str = "average",
    scope: str = "unknown",
) -> list[Series]:
    """The forecasts in a table, one per time of issue and in that order, without gaps each.

    Columns: issued_s or issued_utc, start_s or start_utc, the quantity's, and its quantiles p10 and
    p90 where they are known (renewable_p10 and renewable_p90 for the renewable supply; those of
    prices and base power may begin with their names, and do where carbon or the other is beside).
    """
    table = read_columns(path)
    column = _time_column(table, "start", quantity)
    issues = table.seconds(_time_column(table, "issued", quantity))
    starts = table.seconds(column)
    values = table.amounts(quantity, quantity)
    prefix = _PREFIXES.get(quantity, f"{quantity}_")
    others = QUANTITIES.keys() - {quantity, RENEWABLE.name}
    if quantity not in _PREFIXES and not {*others, f"{prefix}p10"} & {*table.names}:
        prefix = ""  # they are nobody else's
    quantiles = {
        share: table.amounts(name, quantity)
        for share, name in ((0.1, f"{prefix}p10"), (0.9, f"{prefix}p90"))
        if name in table.names
    }
    if np.isnan(values).any():
        row = int(np.flatnonzero(np.isnan(values))[0])
        raise SignalError(f"{table.where(row, quantity)}: no value, and forecasts have no gaps")
    order = np.argsort(issues, kind="stable")
    groups = np.split(order, np.flatnonzero(np.diff(issues[order])) + 1)
    for rows in groups:
        _must_ascend(table, column, starts, rows)
    known_s = [one for rows in groups if (one := _smallest(starts[rows]))]
    found = []
    for rows in groups:
        step_s = _smallest(starts[rows]) or min(known_s, default=_SINGLE_ROW_STEP_S)
        slots = _slots(table, column, starts, step_s, rows)
        missing = np.flatnonzero(slots != np.arange(len(rows)))
        if len(missing):
            raise SignalError(
                f"{table.where(int(rows[missing[0]]), column)}: leaves a gap; wanted steps of "
                f"{step_s:g} s in a row"
            )
        issued_utc = datetime.fromtimestamp(float(issues[rows[0]]), UTC)
        try:
            series = Series(
                start_utc=datetime.fromtimestamp(float(starts[rows[0]]), UTC),
                step_s=step_s,
                values=values[rows],
                issued_utc=issued_utc,
                provider=provider or path.name,
                region=region,
                quantity=quantity,
                basis=basis,
                scope=scope,
                quantiles={share: one[rows] for share, one in quantiles.items()},
            )
        except SignalError as exc:
            raise SignalError(f"{path}: issued {issued_utc:%Y-%m-%dT%H:%M:%SZ}: {exc}") from exc
        found.append(series)
    return found


def write_history_csv(path: Path, measured: Measured) -> None:
    """Write a past whole or not at all: start_utc and the quantity; gaps are empty cells."""
    if not path.name.endswith(".csv"):
        raise SignalError(f"{path}: a past is written as .csv")
    values = measured.values
    if len(values) == 1 and measured.step_s != _SINGLE_ROW_STEP_S:
        values = np.append(values, np.nan)  # only a second row tells how long the first one is
    whole = _whole(measured.start_utc.timestamp(), measured.step_s)
    starts_us = np.round(
        (measured.start_utc.timestamp() + measured.step_s * np.arange(len(values))) * 1e6
    ).astype("datetime64[us]")
    times = np.datetime_as_string(starts_us, unit="s" if whole else "us")
    lines = [
        f"{time}Z,{'' if math.isnan(value) else repr(value)}"
        for time, value in zip(times.tolist(), values.tolist(), strict=True)
    ]
    write_text(path, "\n".join([f"start_utc,{measured.quantity}", *lines, ""]))


def _time_column(table: Columns, stem: str, quantity: str) -> str:
    """The column that says when, the plainest of them; raises SignalError without it or a value."""
    quantity_named(quantity)
    names = list(table.names)
    wanted = (f"{stem}_utc", f"{stem}_s", f"{stem}_local")
    exact = [name for name in wanted if name in names][:1]
    if not exact or any(names.count(name) != 1 for name in (*exact, quantity)):
        shown = ",".join(names)[:80]
        raise SignalError(
            f"{table.path}: header {shown!r}; wanted {stem}_utc or {stem}_s, and {quantity}, once"
        )
    return exact[0]


def _must_ascend(
    table: Columns, column: str, starts: NDArray[np.float64], rows: NDArray[np.intp]
) -> None:
    if len(rows) == 0:
        raise SignalError(f"{table.path}: has a header but no rows")
    back = np.flatnonzero(np.diff(starts[rows]) <= 0)
    if len(back):
        raise SignalError(
            f"{table.where(int(rows[back[0] + 1]), column)}: not after the row before it"
        )


def _smallest(starts: NDArray[np.float64]) -> float | None:
    if len(starts) < 2:
        return None
    step_s = float(np.diff(starts).min())
    # Milliseconds of jitter in one pair must not add up over a year.
    return round(step_s) if round(step_s) and _whole(step_s) else step_s


def _slots(
    table: Columns,
    column: str,
    starts: NDArray[np.float64],
    step_s: float,
    rows: NDArray[np.intp] | None = None,
) -> NDArray[np.int64]:
    """Which step each row is, from the first; raises SignalError for one between two steps."""
    rows = np.arange(len(starts)) if rows is None else rows
    steps = (starts[rows] - starts[rows[0]]) / step_s
    slots = np.round(steps)
    off = np.flatnonzero(np.abs(steps - slots) * step_s > _TOLERANCE_S)
    if len(off):
        raise SignalError(
            f"{table.where(int(rows[off[0]]), column)}: lies between two steps of {step_s:g} s "
            "from the first row"
        )
    return np.asarray(slots, dtype=np.int64)


def _whole(*seconds: float) -> bool:
    return all(abs(one - round(one)) < _TOLERANCE_S for one in seconds)
