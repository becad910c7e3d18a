# SPDX-License-Identifier: Apache-2.0
"""What a user writes for us in `--comment`, where Slurm has no word of its own.

    --comment="green:max-delay=8h,runtime=3h"      --comment="my project green:off"

Whatever cannot be understood is kept as an error to tell the user: the job then runs as if we
were not there.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, tzinfo
from typing import TypeVar

from slurm_green.errors import BadInputError
from slurm_green.slurm.times import parse_duration_s

__all__ = ["PROFILE_NAME", "Options", "parse_options", "parse_when"]

_T = TypeVar("_T")
_KNOWN = (
    "deadline", "max-delay", "runtime", "profile", "workers", "checkpoint", "signal", "move", "off",
)  # fmt: skip
PROFILE_NAME = r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}"
_CLOCK = re.compile(r"(\d{1,2}):(\d{2})(?::(\d{2}))?", re.ASCII)
_NOW = re.compile(r"now(?:\+(.+))?")
_SLURM_UNITS = re.compile(r"(\d+)\s*(seconds?|minutes?|hours?|days?|weeks?)?", re.ASCII)
# Longer numbers are nonsense, and int() refuses thousands of digits with an error of its own.
_LONGEST_TEXT = 32
_UNIT_S = {"second": 1, "minute": 60, "hour": 3600, "day": 86400, "week": 604800}


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """The user's own words; `errors` are sentences for the user, in order of appearance."""

    off: bool = False
    max_delay_s: float | None = None
    deadline_utc: datetime | None = None
    runtime_s: float | None = None
    profile: str | None = None
    workers: tuple[int, int] | None = None
    checkpoint: str | None = None
    errors: tuple[str, ...] = ()

    @property
    def marked(self) -> bool:
        """Whether the user asked for us in so many words."""
        return self.max_delay_s is not None or self.deadline_utc is not None


def parse_options(comment: str, *, prefix: str, now_utc: datetime, zone: tzinfo = UTC) -> Options:
    """The options in a comment; any text around them belongs to somebody else."""
    found = re.findall(rf"(?<!\w){re.escape(prefix)}(\S*)", comment or "")
    if not found:
        return Options()
    values: dict[str, str] = {}
    errors: list[str] = []
    # All of them: an opt-out must count wherever it stands.
    for part in (part for words in found for part in words.split(",")):
        key, _, value = part.partition("=")
        if not key:
            blank = f"an option is missing; write {prefix}max-delay=8h,runtime=3h without blanks"
            errors += [blank] if blank not in errors else []
        elif key not in _KNOWN:
            errors.append(f"'{key[:40]}' is not an option; known are {', '.join(_KNOWN)}")
        values[key] = value
    delay = _try(errors, "max-delay", values, parse_duration_s)
    runtime = _try(errors, "runtime", values, parse_duration_s)
    deadline = _try(errors, "deadline", values, lambda t: parse_when(t, now_utc=now_utc, zone=zone))
    return Options(
        off="off" in values,
        max_delay_s=delay,
        deadline_utc=deadline,
        runtime_s=runtime,
        profile=_try(errors, "profile", values, _profile_name),
        workers=_try(errors, "workers", values, _workers),
        checkpoint=values.get("checkpoint") or None,
        errors=tuple(errors),
    )


def parse_when(text: str, *, now_utc: datetime, zone: tzinfo = UTC) -> datetime:
    """An instant: ISO 8601, `HH:MM[:SS]` (the next one), or `now+DURATION`; BadInputError else.

    A time without an offset is the site's local time, as Slurm's own times are.
    """
    text = text.strip()
    try:
        if (now := _NOW.fullmatch(text)) is not None:
            return now_utc + timedelta(seconds=_slurm_duration_s(now[1] or "0"))
        if (clock := _CLOCK.fullmatch(text)) is not None:
            hour, minute, second = (int(part or 0) for part in clock.groups())
            local = now_utc.astimezone(zone)
            when = local.replace(hour=hour, minute=minute, second=second, microsecond=0)
            return _next_occurrence(when, now_utc)
        when = datetime.fromisoformat(text)
        return (when if when.tzinfo else when.replace(tzinfo=zone)).astimezone(UTC)
    except (ValueError, OverflowError) as error:
        raise BadInputError(
            f"'{text[:40]}' is not a time; write 2026-11-30T08:00, 08:00 or now+6hours"
        ) from error


def _next_occurrence(wall: datetime, now_utc: datetime) -> datetime:
    """The first instant after now that a clock of `wall`'s zone shows its time of day."""
    for day in (wall, wall + timedelta(days=1)):
        once, again = (day.replace(fold=fold).astimezone(UTC) for fold in (0, 1))
        if once > now_utc:
            return once
        # An hour that comes twice (end of summer time); where one is skipped, `again` is earlier.
        if again > now_utc:
            return again
    return once


def _slurm_duration_s(text: str) -> float:
    found = _SLURM_UNITS.fullmatch(text.strip())
    if found is None or len(text) > _LONGEST_TEXT:
        return parse_duration_s(text)
    unit = (found[2] or "second").rstrip("s")
    return float(int(found[1]) * _UNIT_S[unit])


def _profile_name(text: str) -> str:
    if not re.fullmatch(PROFILE_NAME, text):
        raise BadInputError(f"'{text[:40]}' is no name of a profile")
    return text


def _workers(text: str) -> tuple[int, int]:
    found = re.fullmatch(r"([0-9]{1,6})(?:-([0-9]{1,6}))?", text)
    low, high = (int(found[1]), int(found[2] or found[1])) if found else (0, 0)
    if not 0 < low <= high:
        raise BadInputError(f"'{text[:40]}' is no range of workers; write workers=2-8")
    return low, high


def _try(
    errors: list[str], key: str, values: dict[str, str], read: Callable[[str], _T]
) -> _T | None:
    if key not in values:
        return None
    try:
        return read(values[key])
    except BadInputError as error:
        errors.append(f"{key}: {error}")
        return None
