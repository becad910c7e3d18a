# SPDX-License-Identifier: Apache-2.0
"""What a cycle wants done: changes for Slurm, events and decisions for the ledger, a new view."""

from dataclasses import dataclass, field
from datetime import datetime

from slurm_green.controller.nodes.site import NodeOrders
from slurm_green.controller.observed import Memory
from slurm_green.hook.decide import Decision
from slurm_green.hook.view import View
from slurm_green.slurm.records import Job, JobChange

__all__ = ["Event", "Judged", "Outcome"]


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
class Outcome:
    """Everything a cycle leads to."""

    changes: dict[int, JobChange]
    events: tuple[Event, ...]
    judged: tuple[Judged, ...]
    view: View
    memory: Memory
    deferred: int = 0
    orders: NodeOrders = field(default_factory=NodeOrders)
