# SPDX-License-Identifier: Apache-2.0
"""Columns of a Parquet file; pyarrow is imported only when there is one to read.

The trap: a column of times may have a zone or none, but what is stored counts from 1970 in UTC.
"""

import importlib
from collections.abc import Callable, Sequence
from datetime import tzinfo
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from slurm_green.errors import SignalError
from slurm_green.signals.columns import MAX_ROWS, checked_amounts, checked_seconds, seconds_of

__all__ = ["ParquetColumns"]


class ParquetColumns:
    """A Parquet file's columns; only those that are asked for are read."""

    def __init__(self, path: Path, data: bytes) -> None:
        """Read the schema."""
        try:
            self._arrow: Any = importlib.import_module("pyarrow")
            parquet: Any = importlib.import_module("pyarrow.parquet")
        except ImportError as exc:
            raise SignalError(
                f"{path}: reading Parquet needs pyarrow: pip install 'slurm-green[parquet]'"
            ) from exc
        self.path = path
        try:
            self._file = parquet.ParquetFile(self._arrow.BufferReader(data))
            self.names: Sequence[str] = self._file.schema_arrow.names
        except (self._arrow.ArrowException, OSError, ValueError) as exc:
            raise SignalError(f"{path}: is no Parquet file, or damaged: {_short(exc)}") from exc
        if self._file.metadata.num_rows > MAX_ROWS:
            raise SignalError(f"{path}: more than {MAX_ROWS} rows, no signal is that long")

    def where(self, row: int, column: str) -> str:
        """File, row (the first one is 0) and column."""
        return f"{self.path}: row {row}: column {column}"

    def seconds(self, column: str, time_zone: tzinfo | None = None) -> NDArray[np.float64]:
        """POSIX seconds of a time column."""
        return self._converted(column, lambda found: self._times(column, found, time_zone))

    def amounts(self, column: str, quantity: str) -> NDArray[np.float64]:
        """Amounts of a column of numbers."""
        values = self._converted(column, self._numbers)
        return checked_amounts(self, column, values, quantity)

    def _converted(
        self, column: str, convert: Callable[[Any], NDArray[np.float64]]
    ) -> NDArray[np.float64]:
        try:
            return convert(self._file.read(columns=[column]).column(column))
        except (self._arrow.ArrowException, OSError, ValueError, KeyError, TypeError) as exc:
            raise SignalError(f"{self.path}: column {column}: {_short(exc)}") from exc

    def _numbers(self, found: Any) -> NDArray[np.float64]:
        numbers = found.cast(self._arrow.float64()).to_numpy()
        return np.array(numbers, dtype=np.float64)  # nulls are NaN by now; a copy may be written to

    def _times(self, column: str, found: Any, zone: tzinfo | None) -> NDArray[np.float64]:
        kinds = self._arrow.types
        if not kinds.is_timestamp(found.type):
            return seconds_of(self, column, found.to_pylist(), zone)
        if column.endswith("_local"):
            if found.type.tz is not None:
                raise SignalError(f"{self.path}: column {column}: has a zone, call it start_utc")
            naive = found.cast(self._arrow.timestamp("us"), safe=False).to_pylist()
            return seconds_of(self, column, naive, zone)
        if found.null_count:
            row = found.is_null().to_pylist().index(True)
            raise SignalError(f"{self.where(row, column)}: no time")
        micro = self._arrow.timestamp("us", tz=found.type.tz)
        whole = found.cast(micro, safe=False).cast(self._arrow.int64())
        return checked_seconds(self, column, np.asarray(whole.to_numpy() / 1e6, np.float64))


def _short(exc: BaseException) -> str:
    return " ".join(str(exc).split())[:120]
