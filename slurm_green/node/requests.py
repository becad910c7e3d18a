# SPDX-License-Identifier: Apache-2.0
"""What can be asked of sgreen-noded: one JSON object a line, checked before anybody acts. Pure.

The trap: any user of the node writes these lines, and a prolog passes on what its environment says.
"""

import json
import re
from dataclasses import dataclass

from profiling.device.apply import Setting
from slurm_green.errors import BadInputError

__all__ = ["BeginJob", "EndJob", "Ping", "Release", "Request", "SetGpus", "parse_request"]

_MOST_ID = 2**32 - 1
_MOST_TTL_S = 60.0
_MOST_AT_S = 1e10
_LEAST_TTL_S = 0.2
_RANGE = re.compile(r"(\d{1,3})(?:-(\d{1,3}))?", re.ASCII)


@dataclass(frozen=True, slots=True)
class BeginJob:
    """Root's prolog: a job begins on these GPUs, by index; said at `at_s` of CLOCK_MONOTONIC."""

    job_id: int
    uid: int
    gpus: tuple[int, ...]
    at_s: float


@dataclass(frozen=True, slots=True)
class EndJob:
    """Root's epilog: it has ended."""

    job_id: int
    at_s: float


@dataclass(frozen=True, slots=True)
class SetGpus:
    """A user's lease on GPUs of their job, by index; said again, it lasts longer."""

    job_id: int
    gpus: tuple[int, ...]
    setting: Setting
    ttl_s: float


@dataclass(frozen=True, slots=True)
class Release:
    """A user gives up the leases of their job."""

    job_id: int


@dataclass(frozen=True, slots=True)
class Ping:
    """Anybody who may ask at all: are you there?"""


Request = BeginJob | EndJob | SetGpus | Release | Ping


def parse_request(line: bytes) -> Request:
    """The request in a line; BadInputError says what is wrong with it."""
    try:
        values = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise BadInputError("not a line of JSON") from error
    if not isinstance(values, dict):
        raise BadInputError("not a JSON object")
    match values.get("op"):
        case "begin":
            return BeginJob(
                _whole(values, "job", 1, _MOST_ID),
                _whole(values, "uid", 0, _MOST_ID),
                _gpus(values),
                _number(values, "at_s", 0, _MOST_AT_S),
            )
        case "end":
            return EndJob(
                _whole(values, "job", 1, _MOST_ID), _number(values, "at_s", 0, _MOST_AT_S)
            )
        case "set":
            return SetGpus(
                _whole(values, "job", 1, _MOST_ID),
                _gpus(values),
                _setting(values),
                _number(values, "ttl_s", _LEAST_TTL_S, _MOST_TTL_S),
            )
        case "release":
            return Release(_whole(values, "job", 1, _MOST_ID))
        case "ping":
            return Ping()
    raise BadInputError("op: allowed are begin, end, set, release, ping")


def _setting(values: dict[str, object]) -> Setting:
    clock_mhz = power_limit_w = None
    if values.get("clock_mhz") is not None:
        clock_mhz = _whole(values, "clock_mhz", 1, 100_000)
    if values.get("power_limit_w") is not None:
        power_limit_w = _number(values, "power_limit_w", 1, 100_000)
    if clock_mhz is None and power_limit_w is None:
        raise BadInputError("set: wanted clock_mhz, power_limit_w or both")
    return Setting(clock_mhz=clock_mhz, power_limit_w=power_limit_w)


def _gpus(values: dict[str, object]) -> tuple[int, ...]:
    """Slurm's list of indices: "0,1" or "0-3,7"."""
    text = values.get("gpus")
    found: set[int] = set()
    for part in text.split(",") if isinstance(text, str) and len(text) <= 1024 else [""]:
        match = _RANGE.fullmatch(part)
        if match is None:
            raise BadInputError("gpus: wanted SLURM_JOB_GPUS, a list of numbers like 0,1")
        found |= set(range(int(match[1]), int(match[2] or match[1]) + 1))
    return tuple(sorted(found))


def _whole(values: dict[str, object], key: str, least: int, most: int) -> int:
    value = values.get(key)
    if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) <= 10:
        value = int(value)  # as a prolog's environment has it
    if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= most:
        raise BadInputError(f"{key}: wanted a whole number from {least} to {most}")
    return value


def _number(values: dict[str, object], key: str, least: float, most: float) -> float:
    value = values.get(key)
    # Compared before it is converted: a whole number can be too large for a float.
    if not isinstance(value, int | float) or isinstance(value, bool) or not least <= value <= most:
        raise BadInputError(f"{key}: wanted a number from {least:g} to {most:g}")
    return float(value)
