# SPDX-License-Identifier: Apache-2.0
"""Rows of times and amounts in any JSON, found with JMESPath (jmespath.org). Pure.

The trap: JMESPath gives null, not an error, for what is not there, so a renamed field must be
looked for, and a misspelt function is noticed only when it meets something.
"""

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime, tzinfo
from typing import Any

import jmespath  # type: ignore[import-untyped]
from jmespath.exceptions import JMESPathError, ParseError  # type: ignore[import-untyped]
from jmespath.functions import Functions  # type: ignore[import-untyped]

from slurm_green.errors import SignalError
from slurm_green.signals.quantity import CARBON, quantity_named
from slurm_green.signals.slots import amount
from slurm_green.signals.times import already_shown, from_local, from_posix, parse_utc

__all__ = ["TIME_KINDS", "Expression", "JsonRows", "Row"]

TIME_KINDS = ("iso", "posix", "posix_ms", "local")


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One step: when it begins, its amount (None: not known) and quantiles (NaN: not known)."""

    number: int
    at: datetime
    value: float | None
    quantiles: dict[float, float]


class Expression:
    """A JMESPath expression; `where` begins every message."""

    def __init__(self, text: str, where: str) -> None:
        """Refuse what is no JMESPath, saying where it is wrong."""
        self._where = where
        wrong = f"{where}: {text[:80]!r} is no JMESPath"
        try:
            self._compiled: Any = jmespath.compile(text)
        except ParseError as exc:
            rest = text[exc.lex_position :][:10]
            near = f"near {rest!r}" if rest else "it ends too early"
            raise SignalError(f"{wrong}: at character {exc.lex_position + 1}, {near}") from exc
        except (JMESPathError, RecursionError) as exc:
            raise SignalError(f"{wrong}: {'nested too deeply' if text else 'it is empty'}") from exc
        unknown = sorted({*_functions(self._compiled.parsed)} - {*Functions.FUNCTION_TABLE})
        if unknown:
            raise SignalError(f"{wrong}: there is no function {', '.join(unknown)}")

    def search(self, answer: Any) -> Any:
        """What it finds, None for nothing; raises SignalError where it does not fit at all."""
        try:
            return self._compiled.search(answer)
        except (JMESPathError, TypeError, ArithmeticError, RecursionError) as exc:
            words = " ".join(str(exc).split())[:120]
            raise SignalError(f"{self._where}: {words}; did the API change?") from exc


@dataclass(frozen=True, kw_only=True)
class JsonRows:
    """How to read rows: fields are all names (of objects) or all numbers (of lists).

    With `columns` there are no rows but one list per field, beside each other. `time_kind` is "iso"
    (with an offset), "posix" (seconds), "posix_ms", or "local": wall-clock time of `time_zone`.
    Values times `factor` are amounts of `quantity`. Text is no number; JMESPath has to_number().
    """

    time_field: str | int = 0
    value_field: str | int = 1
    p10_field: str | int | None = None
    p90_field: str | int | None = None
    columns: bool = False
    time_kind: str = "iso"
    time_zone: tzinfo | None = None
    factor: float = 1.0
    quantity: str = CARBON.name

    def __post_init__(self) -> None:
        """Refuse what can never be read."""
        quantity_named(self.quantity)
        if len({type(field) for field in self._fields}) > 1:
            raise SignalError("time_field, value_field, p10_field, p90_field: all names or numbers")
        if self.time_kind not in TIME_KINDS:
            raise SignalError(f"time_kind {self.time_kind!r} is none of {', '.join(TIME_KINDS)}")
        if (self.time_kind == "local") != (self.time_zone is not None):
            raise SignalError("time_kind local needs a time_zone, the other kinds have none")
        if self.factor == 0 or not math.isfinite(self.factor):
            raise SignalError(f"factor {self.factor} makes no amounts")

    @property
    def shares(self) -> tuple[float, ...]:
        """The quantiles that rows have."""
        given = ((0.1, self.p10_field), (0.9, self.p90_field))
        return tuple(share for share, field in given if field is not None)

    def read(self, found: Any, where: str) -> Iterator[Row]:
        """The rows in what an expression found; raises SignalError beginning with `where`."""
        rows = [list(cells) for cells in self._cells(found, where)]
        at = self._already_shown(rows)
        for number, (time, *cells) in enumerate(rows):
            row = f"{where}: row {number}"
            at = self.time(time, row, after=at)
            value, *known = (self._amount(cell, row) for cell in cells)
            amounts = [math.nan if one is None else one for one in known]
            if amounts != sorted(amounts):
                raise SignalError(f"{row}: its p10 {amounts[0]:g} is above its p90 {amounts[1]:g}")
            quantiles = dict(zip(self.shares, amounts, strict=True))
            yield Row(number=number, at=at, value=value, quantiles=quantiles)

    def time(self, value: Any, where: str, *, after: datetime | None = None) -> datetime:
        """One time as UTC; raises SignalError beginning with `where`."""
        if self.time_zone is not None:
            return _from_local(value, self.time_zone, where, after)
        if self.time_kind == "iso":
            return parse_utc(value, where)
        if self.time_kind == "posix_ms" and type(value) in (int, float) and abs(value) < 1e18:
            value = value / 1000
        return from_posix(value, where)

    @property
    def _fields(self) -> list[str | int]:
        fields = (self.time_field, self.value_field, self.p10_field, self.p90_field)
        return [field for field in fields if field is not None]

    def _already_shown(self, rows: list[list[Any]]) -> datetime | None:
        try:
            local = (datetime.fromisoformat(time) for time, *_ in rows)
            return None if self.time_zone is None else already_shown(local, self.time_zone)
        except (TypeError, ValueError, OverflowError):
            return None  # that time is told with its row

    def _cells(self, found: Any, where: str) -> Iterable[Iterable[Any]]:
        if self.columns:
            lists = [_pick(found, field, where) for field in self._fields]
            if not all(isinstance(one, list) and len(one) == len(lists[0]) for one in lists):
                raise SignalError(f"{where}: no lists of one length; did the API change?")
            return zip(*lists, strict=True)
        if not isinstance(found, list):
            raise SignalError(f"{where}: finds no list of rows; did the API change?")
        return (
            [_pick(row, field, f"{where}: row {number}") for field in self._fields]
            for number, row in enumerate(found)
        )

    def _amount(self, value: Any, where: str) -> float | None:
        if value is None:
            return None
        if isinstance(value, int | float) and not isinstance(value, bool):
            try:
                value = value * self.factor
            except OverflowError:  # JSON has integers that no float holds
                value = math.inf
        return amount(value, where, self.quantity)


def _pick(row: Any, field: str | int, where: str) -> Any:
    fits = isinstance(row, dict) if isinstance(field, str) else isinstance(row, list)
    try:
        if fits:
            return row[field]
    except LookupError:
        pass
    raise SignalError(f"{where} lacks field {field!r}; did the API change?")


def _from_local(value: Any, zone: tzinfo, where: str, after: datetime | None) -> datetime:
    try:
        local = datetime.fromisoformat(value)
        if local.tzinfo is not None:
            raise ValueError("it has an offset")
        return from_local(local, zone, after=after)
    except SignalError as exc:
        raise SignalError(f"{where}: {exc}") from exc
    except (TypeError, ValueError, OverflowError) as exc:
        shown = str(value)[:40]
        raise SignalError(f"{where}: {shown!r} is no local time like 2026-01-31T12:00") from exc


def _functions(node: Any) -> Iterator[str]:
    if isinstance(node, dict):
        if node["type"] == "function_expression":
            yield node["value"]
        for child in node["children"]:
            yield from _functions(child)
