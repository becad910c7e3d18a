# SPDX-License-Identifier: Apache-2.0
"""The state of a replay at a moment, and what is kept of it. Pure."""

from dataclasses import dataclass, field
from enum import IntEnum

from slurm_green.migration.moves import Link
from slurm_green.migration.replay.inputs import Inputs
from slurm_green.migration.replay.transfers import Wire
from slurm_green.plan.problem import Floats

__all__ = ["Draw", "JobState", "Phase", "Ride", "Trace", "World"]


@dataclass(frozen=True, slots=True)
class Draw:
    """Power of a job at a site from one time to another."""

    site: int
    start_s: float
    end_s: float
    power_w: float


@dataclass(slots=True, kw_only=True)
class Ride:
    """A move that was made, and how it went; `arrived_s` is when it computed again.

    `broken` is one whose transfer came to nothing, or that was `given_up`.
    """

    job: int
    source: int
    destination: int
    decided_s: float
    due_s: float
    data_bytes: float
    arrived_s: float | None = None
    broken: bool = False
    given_up: bool = False


@dataclass(kw_only=True)
class Trace:
    """What happened; `done_s` is NaN for jobs that did not end."""

    done_s: Floats
    draws: list[Draw] = field(default_factory=list)
    rides: list[Ride] = field(default_factory=list)
    cycles: int = 0


class Phase(IntEnum):
    """Where a job stands."""

    UNKNOWN = 0
    WAITS = 1
    RUNS = 2
    STOPS = 3
    TRAVELS = 4
    RESTARTS = 5
    DONE = 6


@dataclass(slots=True)
class JobState:
    """What changes of a job. `turn` tells events that hold no more from those that do."""

    number: int
    site: int
    left_s: float
    limit_s: float
    phase: Phase = Phase.UNKNOWN
    since_s: float = 0.0
    started_s: float | None = None
    turn: int = 0
    ride: Ride | None = None
    last_move_s: float | None = None
    window_end_s: float | None = None
    stays_until_s: float | None = None


class World:
    """Everything that changes. Queues hold numbers of jobs; `live` are submitted and not done."""

    def __init__(self, inputs: Inputs) -> None:
        """Before the first job."""
        self.inputs = inputs
        self.now_s = 0.0
        self.jobs = [
            JobState(at, job.site, job.duration_s, max(job.limit_s, job.duration_s))
            for at, job in enumerate(inputs.jobs)
        ]
        self.live: dict[int, JobState] = {}
        self.ended: list[tuple[float, float]] = []  # submission, and by the limit time to the end
        self.free = [site.gpus for site in inputs.sites]
        self.queues: list[list[int]] = [[] for _ in inputs.sites]
        number = {site.name: at for at, site in enumerate(inputs.sites)}
        self.links: dict[tuple[int, int], tuple[Link, Wire]] = {
            (number[link.source], number[link.destination]): (
                link,
                Wire(bytes_per_s=link.efficiency * link.gbps * 1e9 / 8),
            )
            for link in inputs.links
        }
