# SPDX-License-Identifier: Apache-2.0
"""What a decision on moves is made of: sites, links, jobs that may move, and the moves. Pure.

Times are seconds from one common zero, amounts of data are bytes, None is what nobody knows.
"""

from dataclasses import dataclass, field
from enum import StrEnum

from slurm_green.migration.windows import Outlook

__all__ = ["Decision", "Kept", "Link", "Moment", "MovableJob", "Move", "Site", "State"]


class State(StrEnum):
    """Whether a job computes; one that waits has nothing to stop."""

    RUNNING = "running"
    PENDING = "pending"


@dataclass(frozen=True, slots=True, kw_only=True)
class Site:
    """A cluster as it is now.

    `free_gpus` is what is left when those that wait there and those on their way have started.
    `load_w` is what its jobs draw, and those on their way will; the base load is in the outlook.
    `projects` may compute there; None is everybody.
    """

    name: str
    gpus: int
    free_gpus: int
    load_w: float
    outlook: Outlook
    nodes: int | None = None
    queue_wait_s: float = 0.0
    projects: frozenset[str] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Link:
    """The way from one site to another.

    `in_flight_bytes` are still to be carried for moves under way; those and new ones share the
    link. `budget_bytes` is the most that may be added now; None is no bound.
    """

    source: str
    destination: str
    gbps: float
    efficiency: float = 0.8
    in_flight_bytes: float = 0.0
    budget_bytes: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class MovableJob:
    """A job that can be stopped and go on elsewhere.

    `checkpoint_bytes` is what must be carried: 0 for a job that never ran. `remaining_s` is what
    it still needs, by its time limit where nothing better is known. `last_checkpoint_s` is when
    what would be carried was written; None: it is written when the job is told to stop.
    `window_end_s` is the end of the window for which it moved last, `stays_until_s` that of one for
    which it was to move, and the move was given up. `submit_s` is None where it
    counts from now. `sites` are those where its data may be; None is any.
    """

    id: str
    site: str
    user: str = ""
    project: str = ""
    checkpoint_bytes: float
    power_w: float
    remaining_s: float
    deadline_s: float | None = None
    gpus: int = 1
    nodes: int = 1
    state: State = State.RUNNING
    last_checkpoint_s: float | None = None
    last_move_s: float | None = None
    window_end_s: float | None = None
    stays_until_s: float | None = None
    submit_s: float | None = None
    sites: frozenset[str] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Moment:
    """What is known when moves are decided; `snapshot_s` and `restart_s` hold for running jobs.

    `everybody_s` are the times from submission to end of all jobs submitted lately, those that have
    ended and those that nobody may move too, by the same limits as `remaining_s`. () are `jobs`.
    """

    now_s: float
    sites: tuple[Site, ...]
    links: tuple[Link, ...]
    jobs: tuple[MovableJob, ...]
    snapshot_s: float = 30.0
    restart_s: float = 120.0
    network_j_per_gb: float = 0.0
    everybody_s: tuple[float, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Move:
    """A move to make, and why.

    `migration_s` is the longest it may take with all that shares the link, `due_s` when it must
    have ended to stay in the feasible domain, `window_s` what is left of the window there.
    `saves_g` is expected, of the job alone, and may be negative: a policy may want something else.
    """

    job: MovableJob
    source: str
    destination: str
    why: str
    migration_s: float
    due_s: float
    window_s: float
    lost_work_s: float
    saves_g: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Kept:
    """A job that stays, and why in words."""

    job: MovableJob
    why: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """What one cycle decides; every job of the moment is in one of the two."""

    moves: tuple[Move, ...] = ()
    kept: tuple[Kept, ...] = field(default=())
