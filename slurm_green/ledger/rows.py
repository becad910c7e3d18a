# SPDX-License-Identifier: Apache-2.0
"""Between the ledger's values and SQLite's rows."""

import json
import math
from dataclasses import fields
from datetime import UTC, datetime
from typing import Any, TypeVar, get_args

from slurm_green.errors import LedgerError
from slurm_green.ledger.entries import Decision, Entry, Event, JobFacts, NodeEnergy

__all__ = ["TABLES", "columns", "from_row", "insert_sql", "seconds", "to_row", "utc"]

_T = TypeVar("_T", Decision, Event, JobFacts, NodeEnergy)

TABLES: dict[type[Entry], str] = {
    Decision: "decisions",
    Event: "events",
    JobFacts: "jobs",
    NodeEnergy: "energies",
}
_COLUMNS = {kind: tuple(field.name for field in fields(kind)) for kind in TABLES}
_NULLABLE = {
    kind: frozenset(field.name for field in fields(kind) if type(None) in get_args(field.type))
    for kind in TABLES
}


def columns(kind: type[Entry]) -> tuple[str, ...]:
    """A table's columns are its dataclass's fields."""
    return _COLUMNS[kind]


def insert_sql(kind: type[Entry]) -> str:
    """Write a row; the same key again replaces it, so that a replayed entry does no harm."""
    names = columns(kind)
    marks = ", ".join("?" * len(names))
    return f"INSERT OR REPLACE INTO {TABLES[kind]} ({', '.join(names)}) VALUES ({marks})"


def to_row(entry: Entry) -> tuple[Any, ...]:
    """SQLite's values for an entry; raises LedgerError for what no row can hold."""
    kind = type(entry)
    row = tuple(_bound(name, getattr(entry, name)) for name in columns(kind))
    for name, value in zip(columns(kind), row, strict=True):
        if value is None and name not in _NULLABLE[kind]:
            raise LedgerError(f"{name} is None, but a {kind.__name__} must have it")
    return row


def from_row(kind: type[_T], row: tuple[Any, ...]) -> _T:
    """The value a row holds."""
    pairs = zip(columns(kind), row, strict=True)
    return kind(**{name: _read(name, value) for name, value in pairs})


def seconds(when: datetime) -> float:
    """POSIX seconds; a double keeps microseconds for centuries."""
    if when.tzinfo is None:
        raise LedgerError(f"time {when} has no time zone")
    return when.timestamp()


def utc(at_s: float) -> datetime:
    """The instant of POSIX seconds."""
    return datetime.fromtimestamp(at_s, UTC)


def _bound(name: str, value: object) -> object:
    if isinstance(value, datetime):
        return seconds(value)
    if isinstance(value, str):
        # Job names are whatever bytes a user gave: lone surrogates cannot be stored.
        return value.encode("utf-8", "replace").decode("utf-8").replace("\0", "?")
    if isinstance(value, float) and not math.isfinite(value):
        raise LedgerError(f"{name} is {value}: unknown must be None")
    if isinstance(value, int) and not -(2**63) <= value < 2**63:
        raise LedgerError(f"{name} {value} is too large")
    if name == "earlier_runs":
        assert isinstance(value, tuple)
        return json.dumps([[seconds(start), seconds(end)] for start, end in value])
    if value is None or isinstance(value, int | float):
        return value
    raise LedgerError(f"{name} is a {type(value).__name__}, which no row can hold")


def _read(name: str, value: Any) -> Any:
    if name.endswith("_utc"):
        return None if value is None else utc(value)
    if name == "earlier_runs":
        return tuple((utc(start), utc(end)) for start, end in json.loads(value))
    return value
