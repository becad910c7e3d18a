# SPDX-License-Identifier: Apache-2.0
"""A CSV file as columns: quick to read, and exact about the cell that is wrong.

The trap: rows are only checked together. Which line and column is to blame is looked up after
something failed, by reading the text again, because a quoted cell may span lines.
"""

import csv
import io
from collections.abc import Iterator
from dataclasses import dataclass
from operator import itemgetter
from pathlib import Path

import numpy as np

from profiling.number import is_plain, number_of
from slurm_green.errors import BadInputError
from slurm_green.plan.problem import Floats

__all__ = ["LEAST", "MOST", "CsvTable", "read_table"]

MOST = 1e15  # sums of products of what is below stay far from overflow
LEAST = 1e-15  # what must be above 0 must be so by more than this, lest a quotient overflow
_MAX_BYTES = 2**30


@dataclass(frozen=True, kw_only=True)
class CsvTable:
    """The rows of one file, blank ones left out; every row is as long as the header."""

    path: Path
    names: tuple[str, ...]
    rows: list[list[str]]
    text: str

    def __len__(self) -> int:
        """Number of rows below the header."""
        return len(self.rows)

    def texts(self, name: str) -> list[str]:
        """A column as it is written."""
        return list(map(itemgetter(self.names.index(name)), self.rows))

    def numbers(
        self,
        name: str,
        low: float,
        high: float = MOST,
        *,
        whole: bool = False,
        empty: float | None = None,
    ) -> Floats:
        """A column's numbers, shape (rows,); `empty` stands for empty cells and a missing column.

        Raises BadInputError at the first cell that is no number (or not whole) from low to high.
        """
        if name not in self.names and empty is not None:
            return np.full(len(self), empty)
        cells = self.texts(name)
        allowed = f"wanted a {'whole ' if whole else ''}number from {low:g} to {high:g}"
        try:
            read = float if is_plain("".join(cells)) else number_of
            values = np.fromiter(map(read, cells), np.float64, len(cells))
            given = np.ones(len(cells), dtype=np.bool_)
        except ValueError:
            # Empty cells make the quick way fail; with them this one is the usual way.
            given = np.fromiter(map(bool, map(str.strip, cells)), np.bool_, len(cells))
            if empty is None and not given.all():
                raise self.bad(int(np.argmin(given)), name, f"is empty; {allowed}") from None
            try:
                values = np.full(len(cells), np.nan if empty is None else empty)
                values[given] = [number_of(cell) for cell in cells if cell.strip()]
            except ValueError:
                at = next(row for row, cell in enumerate(cells) if not _is_number(cell))
                raise self.bad(at, name, f"{cells[at][:40]!r} is no number; {allowed}") from None
        good = (values >= low) & (values <= high)
        if whole:
            good &= values == np.floor(values)
        good |= ~given
        if not good.all():
            at = int(np.argmin(good))
            raise self.bad(at, name, f"{cells[at].strip()[:40]} is not allowed; {allowed}")
        return values

    def require(self, *names: str) -> None:
        """Refuse a file without these columns, or with a column twice."""
        missing = [name for name in names if name not in self.names]
        shown = ",".join(self.names)[:200]
        if missing:
            raise BadInputError(
                f"{self.path}: line {self._header_line()}: no column {missing[0]} in the header "
                f"{shown!r}; wanted at least {','.join(names)}"
            )
        for name in self.names:
            if name and self.names.count(name) > 1:
                raise BadInputError(
                    f"{self.path}: line {self._header_line()}: column {name} is there twice in "
                    f"the header {shown!r}; leave one out"
                )

    def line(self, row: int) -> int:
        """The line on which a row begins, the first line of the file being 1."""
        return next(
            line for at, (line, _) in enumerate(_records(self.text, self.path)) if at == row + 1
        )

    def bad(self, row: int, name: str, why: str) -> BadInputError:
        """The error that names file, line and column."""
        return BadInputError(f"{self.path}: line {self.line(row)}: column {name}: {why}")

    def _header_line(self) -> int:
        return next(_records(self.text, self.path))[0]


def read_table(path: Path, wanted: str) -> CsvTable:
    """Read a CSV file; `wanted` is the header that the message for an empty one suggests.

    A byte order mark, any line ends and blank lines are fine. Raises BadInputError.
    """
    text = _text(path, wanted)
    rows = csv.reader(io.StringIO(text, newline=""), strict=True)
    try:
        # `any` on the cells only where the first one is empty: a row of a plain file is not blank.
        kept = [row for row in rows if row and (row[0] or any(map(str.strip, row)))]
        if any(not row[0].strip() for row in kept):
            kept = [row for row in kept if any(map(str.strip, row))]
    except csv.Error as exc:
        raise BadInputError(
            f'{path}: line {rows.line_num}: not CSV: {exc}; quote cells with " and double a '
            "quote in them"
        ) from exc
    if not kept:
        raise BadInputError(f"{path}: is empty; wanted a header line {wanted}")
    names = tuple(cell.strip() for cell in kept[0])
    table = CsvTable(path=path, names=names, rows=kept[1:], text=text)
    if set(map(len, table.rows)) - {len(names)}:
        _trim(table)
    return table


def _trim(table: CsvTable) -> None:
    """Refuse rows that are too short, or that say something the header has no name for."""
    count = len(table.names)
    for at, row in enumerate(table.rows):
        if len(row) < count:
            raise table.bad(
                at,
                table.names[len(row)] or str(len(row) + 1),
                f"missing: {len(row)} cells where the header has {count}",
            )
        if any(map(str.strip, row[count:])):
            raise table.bad(
                at,
                str(count + 1),
                f"{len(row)} cells where the header has {count}; a number takes no thousands "
                "separator and no decimal comma",
            )
        del row[count:]


def _records(text: str, path: Path) -> Iterator[tuple[int, list[str]]]:
    """The rows that are not blank, the header first, each with the line it begins on."""
    rows = csv.reader(io.StringIO(text, newline=""), strict=True)
    before = 0
    for row in rows:
        if any(map(str.strip, row)):
            yield before + 1, row
        before = rows.line_num


def _text(path: Path, wanted: str) -> str:
    try:
        # A pipe is fine (a shell's <(...)); a terminal or /dev/zero would never end.
        if not (path.is_file() or path.is_fifo()):
            why = "is not a plain file" if path.exists() else "no such file"
            raise BadInputError(f"{path}: {why}; wanted a CSV file with the header {wanted}")
        with path.open("rb") as file:
            data = file.read(_MAX_BYTES + 1)
    except (OSError, ValueError) as exc:
        said = getattr(exc, "strerror", None) or exc
        raise BadInputError(f"{path}: cannot be read: {said}") from exc
    if len(data) > _MAX_BYTES:
        raise BadInputError(f"{path}: larger than {_MAX_BYTES // 2**20} MiB; give a smaller file")
    nul = data.find(b"\0")
    if nul >= 0:
        line = data.count(b"\n", 0, nul) + 1
        raise BadInputError(f"{path}: line {line}: holds a NUL byte; wanted CSV as UTF-8 text")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as exc:
        line = data.count(b"\n", 0, exc.start) + 1
        raise BadInputError(f"{path}: line {line}: not UTF-8 text; save it as UTF-8") from exc


def _is_number(cell: str) -> bool:
    try:
        number_of(cell.strip() or "0")
    except ValueError:
        return False
    return True
