# SPDX-License-Identifier: Apache-2.0
"""A table of a profile from CSV text: typed cells, and errors that name file, line and column.

The trap: an empty cell is "not known", and only some columns may say so.
"""

import csv
import io
import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from profiling.errors import ProfileError
from profiling.number import number_of

__all__ = ["COUNT", "NUMBER", "Column", "Row", "read_bytes", "read_rows"]

_MAX_BYTES = 64 * 2**20
_MOST = 1e15


@dataclass(frozen=True, kw_only=True)
class Column:
    """What a column may hold; a missing column is one of empty cells."""

    name: str
    kind: str  # "number" (above 0, or from 0 with `zero`), "count" (whole, from 1) or a word
    words: tuple[str, ...] = ()
    needed: bool = False
    zero: bool = False
    signed: bool = False  # below 0, too: a time whose zero may be anywhere
    least: float = 0.0
    most: float = _MOST
    unit: str = ""  # for messages, of a column that is easily given in another one
    default: Any = None

    def read(self, cell: str) -> Any:
        """The cell's value; ProfileError says why it is none."""
        text = cell.strip()
        if not text:
            if self.needed:
                raise ProfileError(f"is empty; wanted {self._allowed}")
            return self.default
        if self.kind == "word":
            if text not in self.words:
                raise ProfileError(f"{text[:40]!r}; wanted {self._allowed}")
            return text
        try:
            value = number_of(text)
        except ValueError:
            raise ProfileError(f"{text[:40]!r} is no number; wanted {self._allowed}") from None
        least = 1.0 if self.kind == "count" and not self.zero else self.least
        good = math.isfinite(value) and (-_MOST if self.signed else least) <= value <= self.most
        good &= value > 0 or self.zero or self.signed
        if not good or (self.kind == "count" and value != int(value)):
            raise ProfileError(f"{text[:40]} is not allowed; wanted {self._allowed}")
        return int(value) if self.kind == "count" else value

    @property
    def _allowed(self) -> str:
        if self.kind == "word":
            return " or ".join(self.words)
        above = " from 0" if self.zero else " from 1" if self.kind == "count" else " above 0"
        above = f" from {self.least:g}" if self.least else above
        unit = f" of {self.unit}" if self.unit else ""
        whole = "whole " if self.kind == "count" else ""
        most = "" if self.most == _MOST else f" to {self.most:.15g}"
        unknown = "" if self.needed else ", or nothing where it is not known"
        return f"a {whole}number{unit}{'' if self.signed else above}{most}{unknown}"


NUMBER = "number"
COUNT = "count"


@dataclass(frozen=True, kw_only=True)
class Row:
    """A line's cells by column, as they are written."""

    path: Path
    line: int
    cells: dict[str, str]

    def values(self, columns: tuple[Column, ...]) -> dict[str, Any]:
        """The typed cells of known columns; raises ProfileError at the first bad one."""
        found = {}
        for column in columns:
            try:
                found[column.name] = column.read(self.cells.get(column.name, ""))
            except ProfileError as error:
                raise ProfileError(
                    f"{self.path}: line {self.line}: column {column.name}: {error}"
                ) from None
        return found


def read_bytes(path: Path) -> bytes:
    """A plain file's bytes; raises ProfileError where it cannot be read or is beyond 64 MiB."""
    try:
        if not path.is_file():
            raise ProfileError(f"{path}: {'is no plain file' if path.exists() else 'no such file'}")
        with path.open("rb") as file:
            data = file.read(_MAX_BYTES + 1)
    except OSError as error:
        raise ProfileError(f"{path}: cannot be read: {error.strerror or error}") from error
    if len(data) > _MAX_BYTES:
        raise ProfileError(f"{path}: larger than {_MAX_BYTES >> 20} MiB; no profile is that long")
    return data


def read_rows(data: bytes, path: Path, needed: tuple[str, ...]) -> Iterator[Row]:
    """The rows below the header; `path` is for the messages. Raises ProfileError."""
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise ProfileError(f"{path}: line {line}: not UTF-8 text; save it as UTF-8") from None
    rows = csv.reader(io.StringIO(text, newline=""), strict=True)
    header: list[str] = []
    before = 0
    try:
        for row in rows:
            line, before = before + 1, rows.line_num
            if not any(cell.strip() for cell in row):
                continue
            if not header:
                header = [cell.strip() for cell in row]
                _check_header(header, path, line, needed)
                continue
            if len(row) != len(header):
                # By its number where it has no name.
                at = min(len(row), len(header))
                name = (header[at] if at < len(header) else "") or str(at + 1)
                raise ProfileError(
                    f"{path}: line {line}: column {name}: {len(row)} cells where the header has "
                    f"{len(header)}; a number takes no decimal comma"
                )
            yield Row(path=path, line=line, cells=dict(zip(header, row, strict=True)))
    except csv.Error as error:
        raise ProfileError(
            f"{path}: line {before + 1}: not CSV: {error}; double a quote within a quoted cell"
        ) from None
    if not header:
        raise ProfileError(f"{path}: is empty; wanted a header line {','.join(needed)}")


def _check_header(header: list[str], path: Path, line: int, needed: tuple[str, ...]) -> None:
    shown = ",".join(header)[:200]
    if len(header) == 1 and any(one in header[0] for one in ";\t"):
        raise ProfileError(
            f"{path}: line {line}: one column, {shown!r}; save it with commas between the cells"
        )
    for name in needed:
        if name not in header:
            raise ProfileError(
                f"{path}: line {line}: no column {name} in the header {shown!r}; wanted at least "
                f"{','.join(needed)}"
            )
    for name in header:
        if name and header.count(name) > 1:
            raise ProfileError(f"{path}: line {line}: column {name} is there twice; leave one out")
