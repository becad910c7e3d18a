# SPDX-License-Identifier: Apache-2.0
"""A forecast as CSV, in the format that `sgreen replay --forecast` reads. Pure."""

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta

from slurm_green.cli.signal_steps import Step, averages
from slurm_green.signals.quantity import RENEWABLE
from slurm_green.signals.series import Series

__all__ = ["rows"]

_RENEWABLE = ("renewable_w", "renewable_p10", "renewable_p90")
# What is unknown is an empty cell, never 0.
_UNKNOWN = ""


def rows(series: Series, steps: Sequence[Step], renewable: Series | None = None) -> Iterator[str]:
    """The header and a row per step; `renewable` is put on the same steps where it is known.

    `issued_s` is the same on all rows: when the newest part was issued, for nobody could have
    known the whole of it before. The last two columns say the times for people.
    """
    issued_utc = max((one.origin.issued_utc for one in steps), default=series.issued_utc)
    ours = _RENEWABLE if series.quantity == RENEWABLE.name else (series.quantity, "p10", "p90")
    beside = renewable is not None and series.quantity != RENEWABLE.name
    columns = ("issued_s", "start_s", *ours, *(_RENEWABLE if beside else ()))
    yield ",".join((*columns, "issued_utc", "start_utc"))
    length = timedelta(seconds=series.step_s)
    supply = averages(renewable, [(one.start_utc, one.start_utc + length) for one in steps])
    for one, known in zip(steps, supply, strict=True):
        amounts = (one.value, one.p10, one.p90, *(known if beside else ()))
        cells = [_seconds(issued_utc), _seconds(one.start_utc), *map(_number, amounts)]
        yield ",".join((*cells, _time(issued_utc), _time(one.start_utc)))


def _seconds(when: datetime) -> str:
    text = f"{when.timestamp():.3f}"
    return text.rstrip("0").rstrip(".")


def _number(amount: float | None) -> str:
    return _UNKNOWN if amount is None else f"{amount:.9g}"


def _time(when: datetime) -> str:
    digits = "milliseconds" if when.microsecond else "seconds"
    return when.astimezone(UTC).replace(tzinfo=None).isoformat(timespec=digits) + "Z"
