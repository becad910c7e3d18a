# SPDX-License-Identifier: Apache-2.0
"""Durations as people write them in the configuration, and back.

Not Slurm's own reading: there a plain number means minutes, here it means seconds.
"""

import re
import sys

from slurm_green.errors import BadInputError
from slurm_green.slurm import times

__all__ = ["duration_text", "parse_duration_s"]

_UNITS = {"d": 86_400, "h": 3_600, "m": 60, "s": 1}
_CLOCK = re.compile(r"(?:(\d+)-)?(\d+):([0-5]?\d):([0-5]?\d)", re.ASCII)
_SECONDS = re.compile(r"\d+(?:\.\d+)?", re.ASCII)


def parse_duration_s(value: object) -> float:
    """Seconds in `90`, `"90s"`, `"1h30m"`, `"2w"` or `"1-12:00:00"`; ValueError otherwise."""
    if isinstance(value, int | float) and not isinstance(value, bool):
        seconds: float = value
    else:
        seconds = _seconds_in(value)
    # A whole number may be beyond any float.
    if not 0 <= seconds <= sys.float_info.max:
        raise ValueError("is out of range")
    return float(seconds)


def _seconds_in(value: object) -> float:
    if not isinstance(value, str):
        raise ValueError("is not a duration")
    word = value.strip().lower()
    if _SECONDS.fullmatch(word):
        return float(word)
    if clock := _CLOCK.fullmatch(word):
        days, hours, minutes, rest = (int(part or 0) for part in clock.groups())
        return days * 86_400 + hours * 3_600 + minutes * 60 + rest
    try:
        return times.parse_duration_s(word)
    except BadInputError as error:
        raise ValueError("is not a duration") from error


def duration_text(seconds: float) -> str:
    """The shortest way to write a duration that reads back as the same: `1d12h`, `30m`, `0s`."""
    rest, words = seconds, ""
    for letter, unit in _UNITS.items():
        if letter == "s":
            count = rest
        else:
            count, rest = divmod(rest, unit)
        if count:
            words += f"{count:.12g}{letter}"
    return words or "0s"
