# SPDX-License-Identifier: Apache-2.0
"""A table that somebody copies in: a past, a future, or forecasts with their times of issue.

For sites without internet, and for what a site computes itself. It meets no network; the file is
read again at every refresh. The trap: nothing in a plain table says when it was made, so its time
of issue is the file's.
"""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from slurm_green.errors import SignalError
from slurm_green.signals.measured import Measured
from slurm_green.signals.quantity import CARBON
from slurm_green.signals.series import Series
from slurm_green.signals.table import read_forecasts, read_history

__all__ = ["TableFile"]


class TableFile:
    """Provider over one CSV (also .gz, .xz) or Parquet file of one quantity."""

    def __init__(
        self,
        path: Path,
        *,
        region: str,
        quantity: str = CARBON.name,
        basis: str = "average",
        scope: str = "unknown",
        name: str = "file",
    ) -> None:
        """Nothing is read yet."""
        self.name = name
        self._path = path
        self._quantity = quantity
        self._says: dict[str, Any] = {
            "provider": name,
            "region": region,
            "basis": basis,
            "scope": scope,
        }

    def fetch(self, now_utc: datetime) -> Series:
        """The newest forecast issued by now, or the rows from now on of a plain table."""
        if self._has_issues():
            issued = [
                one
                for one in read_forecasts(self._path, self._quantity, **self._says)
                if one.issued_utc <= now_utc and one.covers(now_utc, now_utc)
            ]
            if not issued:
                raise SignalError(f"{self._path}: no forecast issued by now covers now")
            return issued[-1]
        table = read_history(self._path, self._quantity, **self._says)
        first = int((now_utc - table.start_utc).total_seconds() // table.step_s)
        if not 0 <= first < len(table.values) or np.isnan(table.values[first]):
            raise SignalError(
                f"{self._path}: covers {table.start_utc:%Y-%m-%dT%H:%M}Z to "
                f"{table.end_utc:%Y-%m-%dT%H:%M}Z, and nothing at now"
            )
        ahead = table.since(now_utc)
        gaps = np.flatnonzero(np.isnan(ahead.values))
        values = ahead.values[: gaps[0]] if len(gaps) else ahead.values
        made_utc = datetime.fromtimestamp(self._path.stat().st_mtime, UTC)
        return Series(
            start_utc=ahead.start_utc,
            step_s=ahead.step_s,
            values=values,
            # The clock of who made it may run ahead of ours, but nothing is issued in the future.
            issued_utc=min(made_utc, now_utc),
            quantity=self._quantity,
            **self._says,
        )

    def history(self, start_utc: datetime, end_utc: datetime) -> Measured:
        """The rows in [start, end) of a plain table."""
        if self._has_issues():
            raise SignalError(f"{self._path}: holds forecasts, nothing measured")
        table = read_history(self._path, self._quantity, **self._says)
        past = table.until(end_utc)
        if past is None or past.end_utc <= start_utc:
            raise SignalError(f"{self._path}: has no rows before now in the time asked for")
        return past.since(max(start_utc, past.start_utc))

    def _has_issues(self) -> bool:
        from slurm_green.signals.column_files import read_columns

        return bool({"issued_s", "issued_utc"} & set(read_columns(self._path).names))
