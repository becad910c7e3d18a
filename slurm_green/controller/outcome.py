# SPDX-License-Identifier: Apache-2.0
"""What a cycle wants done: changes for Slurm, events and decisions for the ledger, a new view."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

from slurm_green.controller.nodes.site import NodeOrders
from slurm_green.controller.observed import Memory
from slurm_green.controller.occupancy import Occupancy
from slurm_green.hook.decide import Decision
from slurm_green.hook.extent import Extent
from slurm_green.hook.view import View
from slurm_green.slurm.records import Job, JobChange

__all__ = ["Event", "Judged", "Kept", "Outcome"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """Something that happened to a job of ours, in a word and a sentence."""

    job_id: int
    kind: str  # confirmed, released, released-early, pulled, moved, left-alone, clock, ...
    detail: str = ""
    at_utc: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Judged:
    """A decision about one job, enforced or only thought of (shadow)."""

    job: Job
    decision: Decision
    mode: str
    token: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Kept:
    """A job that goes on waiting, `latest_s` (POSIX s) at most; no extent where nobody can say."""

    job: Job
    extent: Extent | None = None
    power_w: float = 0.0
    latest_s: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """Everything a cycle leads to."""

    changes: dict[int, JobChange]
    events: tuple[Event, ...]
    judged: tuple[Judged, ...]
    view: View
    memory: Memory
    kept: tuple[Kept, ...] = ()
    # Running jobs to requeue, with their changes once they wait.
    pauses: Mapping[int, JobChange] = field(default_factory=dict)
    # What runs and queues, for the next plan.
    occupied: Mapping[str, Occupancy] = field(default_factory=dict)
    orders: NodeOrders = field(default_factory=NodeOrders)

    @property
    def deferred(self) -> int:
        """How many jobs go on waiting."""
        return len(self.kept)
