# SPDX-License-Identifier: Apache-2.0
"""What a setting's value may be: how it is read from TOML, written back, and described.

A kind's `read` raises ValueError with what is wrong; where it was wrong is the loader's to add.
"""

import json
import re
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Generic, TypeVar
from zoneinfo import ZoneInfo

from slurm_green.config.durations import duration_text, parse_duration_s

__all__ = [
    "Kind",
    "address",
    "choice",
    "duration",
    "flag",
    "names",
    "number",
    "optional",
    "path",
    "text",
    "texts",
    "time_zone",
    "url",
    "utc_time",
    "watts_by_type",
    "whole",
]

T = TypeVar("T")

_MOST_PORT = 65_535


@dataclass(frozen=True, slots=True)
class Kind(Generic[T]):
    """One kind of value; `allowed` says in words what `read` accepts, for people."""

    allowed: str
    read: Callable[[object], T]
    write: Callable[[T], str]


def text(allowed: str = "text", pattern: str = r"[^\n\x00]*") -> Kind[str]:
    """One line of text that matches a pattern as a whole."""

    def read(value: object) -> str:
        if not isinstance(value, str) or not re.fullmatch(pattern, value):
            raise ValueError("is not allowed here")
        return value

    return Kind(allowed, read, json.dumps)


def path() -> Kind[Path]:
    """An absolute path: a daemon's working directory is nobody's business."""
    inner = text("an absolute path", r"/[^\n\x00]*")
    return Kind(inner.allowed, lambda value: Path(inner.read(value)), lambda v: json.dumps(str(v)))


def address() -> Kind[str]:
    """Where to listen: host:port, or empty for nowhere."""
    return _with_port(
        text('HOST:PORT, or "" for off', r"|[^\s:]+:\d{1,5}|\[[0-9a-fA-F:]+\]:\d{1,5}")
    )


def url() -> Kind[str]:
    """Where somebody listens, or empty for nobody."""
    host = r"(?:[A-Za-z0-9.-]+|\[[0-9a-fA-F:]+\])"
    return _with_port(text('http://HOST:PORT, or "" for off', rf"|http://{host}:\d{{1,5}}/?"))


def _with_port(kind: Kind[str]) -> Kind[str]:
    """The same, but for a port that there is none of: of a name the system would take another."""

    def read(value: object) -> str:
        found = kind.read(value)
        port = found.rstrip("/").rpartition(":")[2]
        if port and int(port) > _MOST_PORT:
            raise ValueError("is no port")
        return found

    return Kind(kind.allowed, read, kind.write)


def choice(*words: str) -> Kind[str]:
    """One of a few words."""

    def read(value: object) -> str:
        if value not in words:
            raise ValueError("is none of the words allowed")
        return str(value)

    return Kind(" | ".join(words), read, json.dumps)


def flag() -> Kind[bool]:
    """Yes or no."""

    def read(value: object) -> bool:
        if not isinstance(value, bool):
            raise ValueError("is not a yes or no")
        return value

    return Kind("true | false", read, lambda value: "true" if value else "false")


def number(least: float | None = None, most: float | None = None) -> Kind[float]:
    """A finite number within bounds."""

    def read(value: object) -> float:
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise ValueError("is not a number")
        # nan fails both comparisons of `within`; whole numbers may be beyond any float.
        if not _within(value, least, most) or not abs(value) <= sys.float_info.max:
            raise ValueError("is out of range")
        return float(value)

    return Kind(_range("a number", least, most), read, _exactly)


def whole(least: int | None = None, most: int | None = None) -> Kind[int]:
    """A whole number within bounds."""

    def read(value: object) -> int:
        if isinstance(value, bool) or not isinstance(value, int):
            raise ValueError("is not a whole number")
        if not _within(value, least, most):
            raise ValueError("is out of range")
        return value

    return Kind(_range("a whole number", least, most), read, str)


def duration(
    least_s: float = 0.0, most_s: float | None = None, *, whole: bool = False
) -> Kind[float]:
    """A length of time, in seconds once read."""

    def read(value: object) -> float:
        seconds = parse_duration_s(value)
        if not _within(seconds, least_s, most_s):
            raise ValueError("is out of range")
        if whole and seconds != round(seconds):
            raise ValueError("is no whole number of seconds")
        return seconds

    bounds = f"from {duration_text(least_s)}"
    if most_s is not None:
        bounds += f" to {duration_text(most_s)}"
    allowed = f'a duration {bounds}: "90s", "30m", "12h", "7d", "1-12:00:00" or seconds'
    return Kind(allowed, read, lambda value: json.dumps(duration_text(value)))


def names(*, only: tuple[str, ...] = (), once: bool = False) -> Kind[tuple[str, ...]]:
    """A list of non-empty texts, optionally from a fixed set, optionally each only once."""

    def read(value: object) -> tuple[str, ...]:
        if not isinstance(value, list) or not all(isinstance(v, str) and v for v in value):
            raise ValueError("is not a list of texts")
        if only and not set(value) <= set(only):
            raise ValueError("holds a word that is not allowed")
        if len(set(value)) < len(value) and once:
            raise ValueError("names one of them twice")
        return tuple(value)

    allowed = f"a list of: {', '.join(only)}" if only else "a list of texts"
    return Kind(allowed, read, lambda value: json.dumps(list(value)))


def watts_by_type() -> Kind[Mapping[str, float]]:
    """A table from GPU type, lower case, to watts."""

    def read(value: object) -> Mapping[str, float]:
        if not isinstance(value, dict):
            raise ValueError("is not a table")
        watts = number(least=1, most=5000)
        return {str(name).lower(): watts.read(amount) for name, amount in value.items()}

    def write(value: Mapping[str, float]) -> str:
        inner = ", ".join(
            f"{json.dumps(name)} = {_exactly(amount)}" for name, amount in value.items()
        )
        return f"{{ {inner} }}" if inner else "{}"

    return Kind("a table TYPE = WATTS, watts from 1 to 5000", read, write)


def texts() -> Kind[Mapping[str, str]]:
    """A table of texts."""

    def read(value: object) -> Mapping[str, str]:
        if not isinstance(value, dict) or not all(isinstance(one, str) for one in value.values()):
            raise ValueError("is not a table of texts")
        return {str(name): one for name, one in value.items()}

    def write(value: Mapping[str, str]) -> str:
        inner = ", ".join(f"{json.dumps(name)} = {json.dumps(one)}" for name, one in value.items())
        return f"{{ {inner} }}" if inner else "{}"

    return Kind("a table NAME = TEXT", read, write)


def utc_time() -> Kind[datetime]:
    """An instant with its time zone, UTC once read."""

    def read(value: object) -> datetime:
        if isinstance(value, str):
            try:
                value = datetime.fromisoformat(value)
            except ValueError as error:
                raise ValueError("is not a date and time") from error
        if not isinstance(value, datetime) or value.tzinfo is None:
            raise ValueError("is not a date and time with a zone")
        try:
            return value.astimezone(UTC)
        except OverflowError as error:  # by its offset before the first year, or after the last
            raise ValueError("is not a date and time that UTC has") from error

    return Kind("a time with its zone: 2026-01-31T00:00:00Z", read, lambda v: f"{v:%Y-%m-%dT%XZ}")


def time_zone() -> Kind[str]:
    """A zone of the tz database."""

    def read(value: object) -> str:
        if not isinstance(value, str):
            raise ValueError("is not text")
        try:
            # UTC needs no tz database: a minimal container has none.
            value == "UTC" or ZoneInfo(value)
        except (KeyError, OSError, ValueError) as error:
            raise ValueError("is no known time zone") from error
        return value

    return Kind("a zone name such as UTC or Europe/Paris", read, json.dumps)


def optional(kind: Kind[Any]) -> Kind[Any]:
    """The same, or not set at all (TOML knows no null: the key is left out)."""
    return Kind(
        f"{kind.allowed}; left out: none",
        kind.read,
        lambda value: "" if value is None else kind.write(value),
    )


def _exactly(value: float) -> str:
    """As short as possible, and the same number when it is read again."""
    short = f"{value:g}"
    return short if float(short) == value else repr(value)


def _within(value: float, least: float | None, most: float | None) -> bool:
    return (least is None or value >= least) and (most is None or value <= most) and value == value


def _range(noun: str, least: float | None, most: float | None) -> str:
    if least is None and most is None:
        return noun
    if most is None:
        return f"{noun} from {least:g}"
    if least is None:
        return f"{noun} up to {most:g}"
    return f"{noun} from {least:g} to {most:g}"
