# SPDX-License-Identifier: Apache-2.0
"""The line we leave in a job's AdminComment: what was decided, kept where Slurm keeps the job.

It is the only state a deferral needs: with the ledger and the daemon gone, this line still says
which begin time is ours and which start was promised.
"""

import re
import secrets
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

__all__ = [
    "CLOCK",
    "LOOK",
    "PAUSE",
    "Record",
    "append",
    "energy_of",
    "kept_start",
    "new_token",
    "parse",
    "remove",
    "replace_record",
    "with_energy",
]

# Our fields in our order, each once: what other tools write behind the line is theirs.
_FIELDS = ("decided", "start", "latest", "workers", "clock", "by", "save_g", "sig")
_RECORD = re.compile(
    r"green:v1 id=\S*" + "".join(rf"(?: {name}=\S*)?" for name in _FIELDS) + r"(?!\S)"
)
# What a finished job's GPUs used, by their counters.
_ENERGY = re.compile(r" ?green:energy j=(\d{1,18}) by=([a-z0-9+-]+)(?!\S)")
# `by=look`: held only so that the queue can show a deadline the submit hook cannot see.
LOOK = "look"
# `by=clock`: never deferred; written when it had begun, to remember its clock.
CLOCK = "clock"
# `by=pause`: it ran, and was put back into the queue to go on from its checkpoint.
PAUSE = "pause"
_TIME = "%Y-%m-%dT%H:%M:%SZ"


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """One decision as the job carries it; unknown fields are None and written as `-`."""

    token: str
    decided_utc: datetime
    start_utc: datetime
    latest_utc: datetime
    policy: str
    workers: int | None = None
    clock_mhz: int | None = None
    save_g: int | None = None
    signal: str | None = None
    signal_age_s: int | None = None

    def __str__(self) -> str:
        """The contract's line (design: AdminComment)."""
        sig = "-" if self.signal is None else f"{self.signal}@{_or_dash(self.signal_age_s)}s"
        sig = _word(sig)
        return (
            f"green:v1 id={_word(self.token)} decided={_text(self.decided_utc)}"
            f" start={_text(self.start_utc)} latest={_text(self.latest_utc)}"
            f" workers={_or_dash(self.workers)} clock={_or_dash(self.clock_mhz)}"
            f" by={_word(self.policy)} save_g={_or_dash(self.save_g)} sig={sig}"
        )


def new_token() -> str:
    """A token no user can guess: the daemon finds its own decisions by it."""
    return secrets.token_hex(6)


def parse(text: str) -> Record | None:
    """The last record in a comment, or None when there is none that can be read."""
    found = _RECORD.findall(text or "")
    if not found:
        return None
    fields = dict(part.split("=", 1) for part in found[-1].split()[1:])
    try:
        signal, _, age = fields.get("sig", "-").rpartition("@")
        return Record(
            token=fields["id"],
            decided_utc=_time(fields["decided"]),
            start_utc=_time(fields["start"]),
            latest_utc=_time(fields["latest"]),
            policy=fields.get("by", ""),
            workers=_number(fields.get("workers")),
            clock_mhz=_number(fields.get("clock")),
            save_g=_number(fields.get("save_g")),
            signal=signal or None,
            signal_age_s=_number(age.removesuffix("s")) if signal else None,
        )
    except (KeyError, ValueError):
        return None


def kept_start(start_utc: datetime, latest_utc: datetime) -> datetime:
    """A planned start as a record keeps it: one at the latest start means released (state.py)."""
    return min(start_utc, latest_utc - timedelta(seconds=1))


def append(existing: str, record: Record) -> str:
    """The comment with our line added behind what other tools wrote there."""
    return f"{existing.rstrip()} {record}".strip()


def replace_record(existing: str, record: Record) -> str:
    """The comment with our line exchanged, everybody else's text untouched."""
    return append(remove(existing), record)


def remove(existing: str) -> str:
    """The comment without our lines."""
    return re.sub(f" ?{_RECORD.pattern}", "", existing or "").strip()


def energy_of(text: str) -> tuple[float, str] | None:
    """Joules of a finished job's GPUs and what told them; None where they are not noted."""
    found = _ENERGY.search(text or "")
    return None if found is None else (float(found[1]), found[2])


def with_energy(existing: str, energy_j: float, source: str) -> str:
    """The comment with a job's energy behind what is there, in place of an older note of it."""
    return f"{_ENERGY.sub('', existing).rstrip()} green:energy j={energy_j:.0f} by={source}".strip()


def _text(when: datetime) -> str:
    return when.astimezone(UTC).strftime(_TIME)


def _time(text: str) -> datetime:
    return datetime.strptime(text, _TIME).replace(tzinfo=UTC)


def _word(text: str) -> str:
    """Text as one word: a provider's name may hold a path with blanks."""
    return re.sub(r"[^A-Za-z0-9=:@.+_/,()-]", "_", text)


def _or_dash(value: int | None) -> str:
    return "-" if value is None else str(value)


def _number(text: str | None) -> int | None:
    return int(text) if text and text != "-" else None
