# SPDX-License-Identifier: Apache-2.0
"""What is known ahead about hours to come: forecasts of weather or generation, from a table.

The trap: a forecast of tomorrow that is issued tonight was not known this morning. Each row says
when it was issued, and no origin before that is shown it.
"""

import math
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from slurm_green.errors import SignalError
from slurm_green.signals.column_files import read_columns
from slurm_green.signals.quantity import REGRESSOR

__all__ = ["Regressors", "read_regressors"]

_HOUR_S = 3600.0
_TIMES = ("start_utc", "start_s", "issued_utc", "issued_s")


@dataclass(frozen=True, kw_only=True)
class Regressors:
    """Hourly columns on the POSIX grid; `values` and `issued_s` have shape (names, hours).

    NaN where nothing is known; `issued_s` is in POSIX seconds, -inf for what was always known.
    """

    names: tuple[str, ...]
    start_utc: datetime
    values: NDArray[np.float64]
    issued_s: NDArray[np.float64]

    def aligned(
        self, start_utc: datetime, hours: int
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Values, and the first hour at whose beginning each was known, from `start_utc` on."""
        offset = round((start_utc - self.start_utc).total_seconds() / _HOUR_S)
        index = np.arange(hours) + offset
        inside = (index >= 0) & (index < self.values.shape[1])
        index = np.clip(index, 0, self.values.shape[1] - 1)
        values = np.where(inside, self.values[:, index], np.nan)
        since = np.ceil((self.issued_s[:, index] - start_utc.timestamp()) / _HOUR_S)
        return values, np.where(inside, since, np.inf)


def read_regressors(path: Path) -> Regressors:
    """All columns of numbers in a table (CSV, also .gz and .xz, or Parquet), one row an hour.

    Columns: start_utc or start_s, the regressors', and issued_utc or issued_s; without one of the
    last, rows count as always known, as calendars and astronomy are. Raises SignalError.
    """
    table = read_columns(path)
    names = tuple(name for name in table.names if name not in _TIMES)
    start = [name for name in ("start_utc", "start_s") if name in table.names][:1]
    if not names or not start:
        shown = ",".join(table.names)[:80]
        raise SignalError(f"{path}: header {shown!r}; wanted start_utc or start_s and regressors")
    starts = table.seconds(start[0])
    issued = [name for name in ("issued_utc", "issued_s") if name in table.names][:1]
    known_s = table.seconds(issued[0]) if issued else np.full(len(starts), -np.inf)
    slots = np.array([math.floor(at / _HOUR_S + 1e-9) for at in starts], dtype=np.int64)
    again = np.flatnonzero(np.diff(np.sort(slots)) == 0)
    if len(slots) == 0 or len(again):
        what = "no rows" if len(slots) == 0 else "two rows for one hour"
        raise SignalError(f"{path}: {what}; wanted one row for each hour that is known")
    first = int(slots.min())
    shape = (len(names), int(slots.max()) - first + 1)
    values, issues = np.full(shape, np.nan), np.full(shape, np.inf)
    for row, name in enumerate(names):
        values[row, slots - first] = table.amounts(name, REGRESSOR.name)
        issues[row, slots - first] = known_s
    return Regressors(
        names=names,
        start_utc=datetime.fromtimestamp(first * _HOUR_S, UTC),
        values=values,
        issued_s=issues,
    )
