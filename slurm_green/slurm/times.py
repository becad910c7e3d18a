# SPDX-License-Identifier: Apache-2.0
"""Durations and times as Slurm writes them, and durations as people write them.

Times that leave this package are aware UTC; Slurm is asked for and given epoch seconds, so that
neither the controller's zone nor ours, nor a DST change, can shift them.
"""

import re
from datetime import UTC, datetime

from slurm_green.errors import BadInputError

__all__ = [
    "format_duration",
    "from_epoch",
    "parse_duration_s",
    "parse_slurm_duration_s",
    "parse_slurm_time",
    "to_slurm_time",
]

_UNITS_S = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}
_HUMAN = re.compile(r"(?:\d+(?:\.\d+)?[smhdw])+", re.ASCII)
_HUMAN_PART = re.compile(r"(\d+(?:\.\d+)?)([smhdw])")
_CLOCK = re.compile(r"(?:(\d+)-)?(\d+)(?::(\d+))?(?::(\d+))?")
# What Slurm writes where there is no duration or no time.
_NO_DURATION = frozenset(
    {"", "UNLIMITED", "INFINITE", "NONE", "N/A", "(NULL)", "PARTITION_LIMIT", "INVALID", "NOT_SET"}
)
_NO_TIME = frozenset({"", "NONE", "N/A", "UNKNOWN", "(NULL)", "0", "NEVER"})
# The longest anybody means; beyond it datetime arithmetic overflows.
_LONGEST_S = 100 * 366 * 86400


def parse_duration_s(text: str) -> float:
    """A person's duration ("45s", "90m", "12h", "2d", "1h30m") in seconds.

    Raises:
        BadInputError: anything else, with what is allowed.
    """
    wanted = text.strip().lower()
    if not _HUMAN.fullmatch(wanted):
        raise BadInputError(
            f"not a duration: {text[:80]!r}. Write a number and a unit, s, m, h, d or w,"
            " for example 45s, 90m, 12h, 2d or 1h30m."
        )
    total_s = sum(float(number) * _UNITS_S[unit] for number, unit in _HUMAN_PART.findall(wanted))
    if total_s > _LONGEST_S:
        raise BadInputError(f"duration too long: {text[:80]!r}. The longest allowed is 36600d.")
    return total_s


def format_duration(seconds: float) -> str:
    """Seconds as a person writes them, the two largest units: "2d3h", "1h30m", "45s"."""
    left = round(abs(seconds))
    parts: list[str] = []
    for unit, size_s in (("d", 86400), ("h", 3600), ("m", 60), ("s", 1)):
        count, left = divmod(left, size_s)
        if count and len(parts) < 2:
            parts.append(f"{count}{unit}")
        elif parts:
            break
    return ("-" if seconds < -0.5 else "") + ("".join(parts) or "0s")


def parse_slurm_duration_s(text: str) -> int | None:
    """Slurm's duration in seconds; None where it says unlimited or nothing.

    Forms: "MM", "MM:SS", "HH:MM:SS", "D-HH", "D-HH:MM", "D-HH:MM:SS", and "60 sec", "2 min".
    """
    wanted = text.strip()
    if wanted.upper() in _NO_DURATION:
        return None
    number, _, unit = wanted.partition(" ")
    if unit in {"sec", "secs", "min", "mins"} and number.isdecimal():
        return int(number) * (1 if unit.startswith("sec") else 60)
    match = _CLOCK.fullmatch(wanted)
    if not match:
        raise BadInputError(
            f"not a Slurm duration: {text[:80]!r}. Slurm writes minutes, MM:SS, HH:MM:SS,"
            " D-HH, D-HH:MM, D-HH:MM:SS or UNLIMITED."
        )
    days, *rest = match.groups()
    fields = [int(part) for part in rest if part is not None]
    if days is not None:
        hours, minutes, seconds = (*fields, 0, 0)[:3]
        return int(days) * 86400 + hours * 3600 + minutes * 60 + seconds
    if len(fields) == 1:
        return fields[0] * 60
    if len(fields) == 2:
        return fields[0] * 60 + fields[1]
    return fields[0] * 3600 + fields[1] * 60 + fields[2]


def from_epoch(seconds: float | None) -> datetime | None:
    """Epoch seconds as aware UTC; 0, negative and Slurm's 32-bit sentinels are None."""
    if seconds is None or seconds <= 0 or seconds in (0xFFFFFFFE, 0xFFFFFFFF):
        return None
    try:
        return datetime.fromtimestamp(seconds, UTC)
    except (ValueError, OverflowError, OSError):
        return None


def parse_slurm_time(text: str) -> datetime | None:
    """A time as our queries make Slurm print it: epoch seconds, or ISO taken as UTC."""
    wanted = text.strip()
    if wanted.upper() in _NO_TIME:
        return None
    if wanted.isdecimal():
        return from_epoch(int(wanted))
    try:
        when = datetime.fromisoformat(wanted)
    except ValueError as error:
        raise BadInputError(
            f"not a time Slurm writes: {text[:80]!r}. Expected epoch seconds or"
            " YYYY-MM-DDTHH:MM:SS."
        ) from error
    return when.replace(tzinfo=UTC) if when.tzinfo is None else when.astimezone(UTC)


def to_slurm_time(when: datetime) -> str:
    """A time as scontrol reads it in any zone: `uts` and epoch seconds."""
    if when.tzinfo is None:
        raise BadInputError(f"a time without a zone: {when!r}. Give an aware datetime, in UTC.")
    return f"uts{max(1, int(when.timestamp()))}"
