# SPDX-License-Identifier: Apache-2.0
"""Columns of a table in a file: what they have in common, whatever the format. Pure."""

from collections.abc import Sequence
from datetime import UTC, datetime, tzinfo
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from profiling.number import number_of
from slurm_green.errors import SignalError
from slurm_green.signals.quantity import quantity_named
from slurm_green.signals.times import from_local

__all__ = ["MAX_ROWS", "Columns", "checked_amounts", "checked_seconds", "seconds_of"]

MAX_ROWS = 2_000_000
_MAX_ABS_S = 1e10  # three centuries; what lies beyond is not seconds
_WANTED = {
    "s": "a number of seconds",
    "utc": "a time like 2026-01-31T12:00:00Z",
    "local": "a local time like 2026-01-31T12:00",
}


class Columns(Protocol):
    """Named columns of one length; errors name the file, the row and the column."""

    path: Path
    names: Sequence[str]

    def where(self, row: int, column: str) -> str:
        """The beginning of a message about one cell."""

    def seconds(self, column: str, time_zone: tzinfo | None = None) -> NDArray[np.float64]:
        """POSIX seconds from `..._s`, `..._utc` (without offset: UTC) or `..._local`."""

    def amounts(self, column: str, quantity: str) -> NDArray[np.float64]:
        """Amounts of a quantity; NaN where a cell is empty, null or nan."""


def seconds_of(
    columns: Columns, column: str, cells: Sequence[Any], zone: tzinfo | None
) -> NDArray[np.float64]:
    """Each cell of a time column, text or datetime, as POSIX seconds; raises SignalError."""
    kind = column.rpartition("_")[2]
    if kind == "local" and zone is None:
        raise SignalError(f"{columns.path}: column {column} needs a time_zone to mean anything")
    found: list[float] = []
    before: datetime | None = None
    for cell in cells:
        try:
            if kind == "s":
                found.append(number_of(str(cell)))
                continue
            when = cell if isinstance(cell, datetime) else datetime.fromisoformat(cell)
            if kind == "local" and zone is not None:
                if when.tzinfo is not None:
                    raise ValueError("has an offset")
                when = before = from_local(when, zone, after=before)
            elif when.tzinfo is None:
                when = when.replace(tzinfo=UTC)  # the column's name says so
            found.append(when.timestamp())
        except (TypeError, ValueError, OverflowError) as exc:
            raise SignalError(
                f"{columns.where(len(found), column)}: {str(cell)[:40]!r} is not {_WANTED[kind]}"
            ) from exc
        except SignalError as exc:
            raise SignalError(f"{columns.where(len(found), column)}: {exc}") from exc
    return checked_seconds(columns, column, np.array(found, dtype=np.float64))


def checked_seconds(
    columns: Columns, column: str, seconds: NDArray[np.float64]
) -> NDArray[np.float64]:
    """The same seconds, if a calendar holds them; raises SignalError."""
    bad = ~(np.abs(seconds) <= _MAX_ABS_S)
    if bad.any():
        row = int(np.flatnonzero(bad)[0])
        raise SignalError(f"{columns.where(row, column)}: {seconds[row]:g} is no time in seconds")
    return seconds


def checked_amounts(
    columns: Columns, column: str, values: NDArray[np.float64], quantity: str
) -> NDArray[np.float64]:
    """The same amounts, if the quantity can have them; NaN may stay. Raises SignalError."""
    kind = quantity_named(quantity)
    bad = np.abs(values) > kind.most
    if not kind.may_be_negative:
        bad |= values < 0
    if bad.any():
        row = int(np.flatnonzero(bad)[0])
        low = f"{-kind.most:g}" if kind.may_be_negative else "0"
        raise SignalError(
            f"{columns.where(row, column)}: {values[row]:g} is not between {low} and "
            f"{kind.most:g} {kind.unit}"
        )
    return values
