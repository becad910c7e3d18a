# SPDX-License-Identifier: Apache-2.0
"""The line protocol between the courier in slurmctld and `sgreend`, as pure text.

One request is one line of tab-separated, percent-encoded `key=value`; one answer is one line too.
The other end is slurm/slurm_green_wire.lua, which checks every value of an answer again.
"""

import re
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TypeAlias, get_type_hints
from urllib.parse import quote_from_bytes, unquote_to_bytes

from slurm_green.errors import SlurmGreenError

__all__ = [
    "PING",
    "PONG",
    "Answer",
    "Ask",
    "Defer",
    "Pass",
    "WireError",
    "defers",
    "encode_answer",
    "parse_ask",
    "passes",
    "percent_decode",
    "percent_encode",
]

# The courier asks for a sign of life with these after a time-out; see slurm_green_transport.lua.
PING = b"ping\n"
PONG = b"pong\n"

# Printable ASCII without the percent sign goes as it is.
_SAFE = "".join(chr(c) for c in range(0x20, 0x7F) if chr(c) != "%")
_NUMBER = re.compile(r"[0-9]{1,15}")


class WireError(SlurmGreenError):
    """A request line that cannot be understood."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ask:
    """What the courier could read of a job at submission; None is unset.

    `deadline_text` is what an `#SBATCH --deadline` line says; Slurm shows Lua nothing else of it.
    `time_limit_s` is None both for unset and for unlimited: the latter sets `unlimited`.
    """

    seq: int
    uid: int
    user: str | None = None
    account: str | None = None
    partition: str | None = None
    qos: str | None = None
    name: str | None = None
    comment: str | None = None
    time_limit_s: int | None = None
    time_min_s: int | None = None
    unlimited: bool = False
    min_nodes: int | None = None
    max_nodes: int | None = None
    min_cpus: int | None = None
    num_tasks: int | None = None
    cpus_per_task: int | None = None
    ntasks_per_node: int | None = None
    tres_per_job: str | None = None
    tres_per_node: str | None = None
    tres_per_task: str | None = None
    tres_per_socket: str | None = None
    array_inx: str | None = None
    dependency: str | None = None
    reservation: str | None = None
    licenses: str | None = None
    features: str | None = None
    requeue: bool | None = None
    deadline_text: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Pass:
    """Leave the job as it is; `reason` is a stable code for the log, `message` for the user."""

    reason: str
    message: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Defer:
    """Hold the job until `begin_utc`, write the record, tell the user.

    Without a message it is a look: held for a moment only, so that the queue shows the whole job.
    """

    begin_utc: datetime
    latest_utc: datetime
    record: str
    message: str = ""


Answer: TypeAlias = Pass | Defer

_HINTS = get_type_hints(Ask)
_TEXTS = frozenset(key for key, hint in _HINTS.items() if hint == (str | None))
_NUMBERS = frozenset(key for key, hint in _HINTS.items() if hint in (int, int | None)) - {"seq"}
_MINUTES = {"time_limit": "time_limit_s", "time_min": "time_min_s"}
_FLAGS = frozenset({"requeue"})


def percent_encode(raw: bytes) -> str:
    """Any bytes as one printable word without tabs or newlines."""
    return quote_from_bytes(raw, safe=_SAFE)


def percent_decode(text: str) -> str:
    """The text behind `percent_encode`; what is not UTF-8 becomes the replacement character."""
    return unquote_to_bytes(text).decode("utf-8", "replace")


def parse_ask(line: bytes) -> Ask:
    """One request line; unknown keys are a newer courier's and are left out, WireError else."""
    try:
        first, *items = line.rstrip(b"\n").decode("ascii").split("\t")
    except UnicodeDecodeError as error:
        raise WireError(f"request is not ASCII at byte {error.start}") from error
    values: dict[str, str | int | bool] = {"seq": _number("seq", first)}
    for item in items:
        key, equals, text = item.partition("=")
        if not equals:
            raise WireError(f"request item '{item[:40]}' is not key=value")
        if key in _TEXTS:
            values[key] = percent_decode(text) if "%" in text else text
        elif key in _NUMBERS:
            values[key] = _number(key, text)
        elif key in _MINUTES:
            if text == "unlimited":
                values["unlimited"] = True
            else:
                values[_MINUTES[key]] = 60 * _number(key, text)
        elif key in _FLAGS:
            values[key] = _number(key, text) != 0
    if "uid" not in values:
        raise WireError("request names no uid")
    return Ask(**values)  # type: ignore[arg-type]


def encode_answer(seq: int, answer: Answer) -> bytes:
    """The answer line to request `seq`."""
    match answer:
        case Defer():
            return defers(seq, answer.begin_utc, answer.latest_utc, answer.record, answer.message)
        case Pass():
            return passes(seq, answer.reason, answer.message)


def passes(seq: int, reason: str, message: str = "") -> bytes:
    """The line that leaves a job alone."""
    said = f"\tmsg={_enc(message)}" if message else ""
    return f"{seq}\tpass\t{_enc(reason)}{said}\n".encode("ascii")


def defers(seq: int, begin: datetime, latest: datetime, record: str, message: str) -> bytes:
    """The line that holds a job and leaves a record in it."""
    return (
        f"{seq}\tdefer\tbegin={_epoch(begin)}\tlatest={_epoch(latest)}"
        f"\trecord={_enc(record)}\tmsg={_enc(message)}\n"
    ).encode("ascii")


def _enc(text: str) -> str:
    return percent_encode(text.encode("utf-8", "replace"))


def _epoch(when: datetime) -> int:
    return int(when.astimezone(UTC).timestamp())


def _number(key: str, text: str) -> int:
    if _NUMBER.fullmatch(text) is None:
        raise WireError(f"request has {key}='{text[:40]}', which is not a whole number")
    return int(text)
