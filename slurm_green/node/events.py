# SPDX-License-Identifier: Apache-2.0
"""What happens to a node, what is to be done then, and what came of it. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from profiling.device.apply import Setting
from slurm_green.node.state import Ask, Job, Orders

__all__ = [
    "Action",
    "Asked",
    "Begin",
    "Close",
    "End",
    "Event",
    "Free",
    "Freed",
    "Held",
    "Hold",
    "Kept",
    "Look",
    "Open",
    "Outcome",
    "Refused",
    "Stop",
    "Tick",
    "Withdrawn",
]


@dataclass(frozen=True, slots=True)
class Begin:
    """A prolog brought a job; `foreign` are those of its GPUs on which somebody else computes."""

    job: Job
    foreign: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class End:
    """Its epilog came; `unknown` says why its energy is not known."""

    job_id: int
    unknown: str = ""


@dataclass(frozen=True, slots=True)
class Asked:
    """A user asks for GPUs of a job, or asks again to keep them; whether they may was checked."""

    uuids: tuple[str, ...]
    ask: Ask


@dataclass(frozen=True, slots=True)
class Withdrawn:
    """A job's user gives up all its leases."""

    job_id: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Tick:
    """What the node shows: live jobs, GPUs with strangers' processes, clocks.

    `owed` are GPUs that the journal owes a restore, for a dead holder or our own earlier life;
    `orders` are None when sgreend could not be asked.
    """

    live: frozenset[int]
    foreign: Mapping[str, str] = field(default_factory=dict)
    clocks_mhz: Mapping[str, int | None] = field(default_factory=dict)
    owed: tuple[str, ...] = ()
    orders: Orders | None = None


@dataclass(frozen=True, slots=True)
class Look:
    """Time has passed, or outcomes came."""


@dataclass(frozen=True, slots=True)
class Stop:
    """Everything back, for good."""


@dataclass(frozen=True, slots=True)
class Held:
    """Outcome: journaled and set."""

    uuid: str
    setting: Setting


@dataclass(frozen=True, slots=True)
class Refused:
    """Outcome: not set; `owed` where a part of it may have been."""

    uuid: str
    why: str
    owed: bool


@dataclass(frozen=True, slots=True)
class Freed:
    """Outcome: restored, and out of the journal."""

    uuid: str


@dataclass(frozen=True, slots=True)
class Kept:
    """Outcome: could not be restored; it stays owed and is tried again."""

    uuid: str


@dataclass(frozen=True, slots=True)
class Hold:
    """Action: journal, then set."""

    uuid: str
    setting: Setting
    job_id: int


@dataclass(frozen=True, slots=True)
class Free:
    """Action: restore the site's default, then take it out of the journal."""

    uuid: str


@dataclass(frozen=True, slots=True)
class Open:
    """Action: note the job and its energy counters, to survive our death."""

    job: Job


@dataclass(frozen=True, slots=True)
class Close:
    """Action: account the job's energy, unless `unknown` says why it is not known; forget it."""

    job_id: int
    unknown: str = ""


Outcome = Held | Refused | Freed | Kept
Event = Begin | End | Asked | Withdrawn | Tick | Look | Stop | Outcome
Action = Hold | Free | Open | Close
