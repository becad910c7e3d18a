# SPDX-License-Identifier: Apache-2.0
"""Times of signals: everything becomes UTC here, and local days with 23 or 25 hours with it. Pure.

The trap: a local time without offset names no instant, or two, on the days clocks change.
"""

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta, tzinfo

from slurm_green.errors import SignalError

__all__ = [
    "already_shown",
    "from_local",
    "from_posix",
    "parse_utc",
    "rounded_down",
    "start_of_local_day",
]


def parse_utc(text: object, where: str, *, naive_is_utc: bool = False) -> datetime:
    """An ISO 8601 time as UTC; raises SignalError beginning with `where`.

    A time without zone is refused, but where the field is documented to be UTC.
    """
    try:
        if not isinstance(text, str):
            raise ValueError("not text")
        when = datetime.fromisoformat(text.strip())
        if when.tzinfo is None:
            if not naive_is_utc:
                raise ValueError("no time zone")
            when = when.replace(tzinfo=UTC)
        return when.astimezone(UTC)
    except (ValueError, OverflowError) as exc:
        wanted = "2026-01-31T12:00:00Z" if not naive_is_utc else "2026-01-31T12:00:00"
        raise SignalError(f"{where}: {str(text)[:40]!r} is not a time like {wanted}") from exc


def from_posix(value: object, where: str) -> datetime:
    """POSIX seconds as UTC; raises SignalError beginning with `where`."""
    try:
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise ValueError("not a number")
        return datetime.fromtimestamp(value, UTC)
    except (ValueError, OverflowError, OSError) as exc:
        raise SignalError(f"{where}: {str(value)[:40]!r} is no time in POSIX seconds") from exc


def from_local(local: datetime, zone: tzinfo, *, after: datetime | None = None) -> datetime:
    """A wall-clock time of a zone as UTC; raises SignalError where the clock never showed it.

    An hour that the clock showed twice is the first one, or the second when `after`, the instant
    of the row before, says that the first is past.
    """
    first = local.replace(tzinfo=zone, fold=0).astimezone(UTC)
    second = local.replace(tzinfo=zone, fold=1).astimezone(UTC)
    if first.astimezone(zone).replace(tzinfo=None) != local.replace(tzinfo=None):
        raise SignalError(f"{local:%Y-%m-%d %H:%M} did not exist in {zone}: clocks went forward")
    return second if after is not None and first <= after else first


def already_shown(times: Iterable[datetime], zone: tzinfo) -> datetime | None:
    """When the clock first showed the time that rows begin with, if they begin at its second.

    They do where they go on to a time that it showed once without going back; else it is None.
    """
    begin = before = None
    for local in times:
        first, second = (local.replace(tzinfo=zone, fold=fold).astimezone(UTC) for fold in (0, 1))
        if before is not None and local <= before:
            return None
        if first >= second:
            return begin
        begin, before = begin or first, local
    return None


def start_of_local_day(when_utc: datetime, zone: tzinfo) -> datetime:
    """The midnight with which the local day of an instant began, as UTC."""
    midnight = when_utc.astimezone(zone).replace(hour=0, minute=0, second=0, microsecond=0)
    return midnight.replace(fold=0).astimezone(UTC)


def rounded_down(when_utc: datetime, step_s: float) -> datetime:
    """The step of the POSIX grid in which an instant lies."""
    return when_utc - timedelta(seconds=when_utc.timestamp() % step_s)
