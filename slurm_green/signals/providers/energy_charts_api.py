# SPDX-License-Identifier: Apache-2.0
"""How answers of the Energy-Charts API v2 are read: rows of a timestamp and named values.

The trap: the older API without `/v2` answers in another shape, and does not say for which place.
"""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

from slurm_green.errors import SignalError
from slurm_green.signals.providers.mix import HOUR_S
from slurm_green.signals.times import parse_utc, rounded_down

__all__ = ["BASE_URL", "Points", "checked", "column", "hour_text", "ids", "parts"]

BASE_URL = "https://api.energy-charts.info"
Points = list[tuple[datetime, float | None]]
_PART = timedelta(days=40)  # of a past at once: some 2.5 MB of quarter hours


def checked(answer: Any, name: str, field: str, wanted: str) -> dict[str, Any]:
    """Refuse what is no answer of API v2, or one about another place."""
    if not isinstance(answer, dict) or not isinstance(answer.get("data"), list):
        raise SignalError(f"{name}: the answer has no list `data`; did the API change?")
    got = str(answer.get(field))
    if got.lower() != wanted.lower():
        raise SignalError(f"{name}: asked for {field} {wanted}, the answer is for {got[:20]!r}")
    return answer


def ids(answer: dict[str, Any], name: str) -> list[str]:
    """The series of an answer."""
    try:
        return [str(one["id"]) for one in answer["series"]]
    except (KeyError, TypeError) as exc:
        raise SignalError(
            f"{name}: the answer has no ids in `series`; did the API change?"
        ) from exc


def column(answer: dict[str, Any], key: str, name: str, *, required: bool = True) -> Points:
    """One series of an answer, in order; None where the source has a null or nothing."""
    found: Points = []
    for number, row in enumerate(answer["data"]):
        try:
            at = parse_utc(row["timestamp"], name)
            value = row["values"].get(key)
        except (KeyError, TypeError, AttributeError) as exc:
            raise SignalError(
                f"{name}: row {number} lacks timestamp or values; did the API change?"
            ) from exc
        if isinstance(value, bool) or not isinstance(value, int | float | None):
            raise SignalError(f"{name}: row {number}: {str(value)[:40]!r} is no number of {key}")
        if found and at <= found[-1][0]:
            raise SignalError(
                f"{name}: row {number} ({at:%Y-%m-%dT%H:%MZ}) overlaps the row before"
            )
        found.append((at, value))
    if required and found and not any(key in row["values"] for row in answer["data"]):
        raise SignalError(f"{name}: no row has values of {key}; did the API change?")
    return found


def parts(start_utc: datetime, end_utc: datetime) -> Iterator[tuple[datetime, datetime]]:
    """A span in whole hours (the API refuses others), in parts that are not too large."""
    at = rounded_down(start_utc, HOUR_S)
    last = rounded_down(end_utc + timedelta(seconds=HOUR_S - 1), HOUR_S)
    while at < last:
        yield at, min(at + _PART, last)
        at += _PART


def hour_text(when: datetime) -> str:
    """As the API takes times."""
    return f"{rounded_down(when, HOUR_S).astimezone(UTC):%Y-%m-%dT%H:%MZ}"
