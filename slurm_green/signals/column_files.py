# SPDX-License-Identifier: Apache-2.0
"""Tables in files: CSV, plain or compressed, and where pyarrow is installed Parquet.

The traps: a CSV cut in its last number still parses, so its last line must end; and a decimal comma
makes two cells of one, so a row may not be longer than the header.
"""

import csv
import gzip
import io
import lzma
import os
import stat
import zlib
from collections.abc import Callable, Iterator, Sequence
from datetime import tzinfo
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from profiling.number import number_of
from slurm_green.errors import SignalError
from slurm_green.signals.columns import MAX_ROWS, Columns, checked_amounts, seconds_of
from slurm_green.signals.csv_trace import decoded
from slurm_green.signals.parquet_columns import ParquetColumns
from slurm_green.signals.quantity import quantity_named

__all__ = ["MAX_BYTES", "read_columns"]

MAX_BYTES = 64 * 2**20  # after decompression too


def read_columns(path: Path) -> Columns:
    """The table in a file named .csv, .csv.gz, .csv.xz or .parquet; raises SignalError."""
    name = path.name.lower()
    if name.endswith(".parquet"):
        return ParquetColumns(path, _bounded(path, None))
    unpackers: dict[str, Callable[[Any], Any]] = {
        ".csv.gz": lambda file: gzip.GzipFile(fileobj=file),
        ".csv.xz": lzma.LZMAFile,
    }
    for ending, unpacker in unpackers.items():
        if name.endswith(ending):
            return _CsvColumns(path, _bounded(path, unpacker))
    if name.endswith(".csv"):
        return _CsvColumns(path, _bounded(path, None))
    raise SignalError(f"{path}: wanted a name that ends in .csv, .csv.gz, .csv.xz or .parquet")


def _bounded(path: Path, unpacker: Callable[[Any], Any] | None) -> bytes:
    """The file's bytes, unpacked; refused above MAX_BYTES, and where opening could block."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                raise SignalError(f"{path}: is not a plain file")
            with os.fdopen(descriptor, "rb", closefd=False) as file:
                data: bytes = (unpacker(file) if unpacker else file).read(MAX_BYTES + 1)
        finally:
            os.close(descriptor)
    except (EOFError, zlib.error, lzma.LZMAError, gzip.BadGzipFile) as exc:
        raise SignalError(f"{path}: cut or damaged: {exc}") from exc
    except OSError as exc:
        raise SignalError(f"{path}: {exc.strerror or exc}") from exc
    if len(data) > MAX_BYTES:
        raise SignalError(f"{path}: larger than {MAX_BYTES // 2**20} MiB, no signal is that long")
    return data


class _CsvColumns:
    """A CSV's rows as text; lines are counted only when a message needs one."""

    def __init__(self, path: Path, data: bytes) -> None:
        """Check what concerns the file as a whole."""
        self.path = path
        self._text = decoded(data, str(path))
        reader = csv.reader(io.StringIO(self._text), strict=True)
        try:
            self.names: Sequence[str] = [cell.strip() for cell in next(reader)]
            self._rows = list(islice(_filled(reader), MAX_ROWS + 1))
        except csv.Error as exc:
            raise SignalError(f"{path}: line {reader.line_num}: {exc}") from exc
        if len(self._rows) > MAX_ROWS:
            raise SignalError(f"{path}: more than {MAX_ROWS} rows, no signal is that long")
        for number, row in enumerate(self._rows):
            if len(row) != len(self.names):
                raise SignalError(
                    f"{path}: line {self._line(number)}: {len(row)} columns where the header has "
                    f"{len(self.names)}"
                )

    def where(self, row: int, column: str) -> str:
        """File, line and column."""
        return f"{self.path}: line {self._line(row)}: column {column}"

    def seconds(self, column: str, time_zone: tzinfo | None = None) -> NDArray[np.float64]:
        """POSIX seconds of a time column."""
        index = self.names.index(column)
        cells = [row[index].strip() for row in self._rows]
        return seconds_of(self, column, cells, time_zone)

    def amounts(self, column: str, quantity: str) -> NDArray[np.float64]:
        """Amounts of a column of numbers."""
        index = self.names.index(column)
        values: list[float] = []
        for row in self._rows:
            try:
                values.append(number_of(row[index]))
            except ValueError as exc:
                text = row[index].strip()
                if text:
                    unit = quantity_named(quantity).unit
                    raise SignalError(
                        f"{self.where(len(values), column)}: {text[:40]!r} is no number of {unit}"
                    ) from exc
                values.append(np.nan)
        return checked_amounts(self, column, np.array(values, dtype=np.float64), quantity)

    def _line(self, number: int) -> int:
        reader = csv.reader(io.StringIO(self._text), strict=True)
        next(reader)
        next(islice(_filled(reader), number, None))
        return reader.line_num


def _filled(rows: Iterator[list[str]]) -> Iterator[list[str]]:
    return (row for row in rows if any(map(str.strip, row)))
