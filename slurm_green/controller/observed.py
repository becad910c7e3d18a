# SPDX-License-Identifier: Apache-2.0
"""What one cycle sees and what it remembers: two values, in and out of the pure cycle."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

from slurm_green.controller.arrivals import Arrivals
from slurm_green.controller.nodes.site import NodeSite, Planned
from slurm_green.controller.planning.advice import Advice
from slurm_green.controller.ramp import Ramp
from slurm_green.hook.extent import Extent
from slurm_green.plan.history import History
from slurm_green.signals.bundle import Link
from slurm_green.signals.series import Series
from slurm_green.slurm.records import ClusterInfo, Job, Node, Partition, Reservation

__all__ = ["Credit", "Memory", "Observed", "ShadowBooking"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Observed:
    """One batch of Slurm's answers, and the signal, at `now_utc`."""

    now_utc: datetime
    jobs: tuple[Job, ...]
    nodes: tuple[Node, ...]
    partitions: tuple[Partition, ...]
    reservations: tuple[Reservation, ...] = ()
    info: ClusterInfo
    signal: Series | None = None
    signal_problem: str = ""
    # What the fetching process said of each link of its chain.
    signal_links: tuple[Link, ...] = ()
    # The site's own supply and its draw besides jobs, as far as they are known.
    own: tuple[Series, ...] = ()
    own_problem: str = ""
    # Jobs accounting knows from before the first cycle: what usually arrives is learned from them.
    past: tuple[Job, ...] = ()
    off: bool = False
    # What clocks are planned from; None where the node API is off.
    nodes_site: NodeSite | None = None
    # The newest plan; None where there is none.
    advice: Advice | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Credit:
    """The site factor we gave a released job for the age it would have had, and for which shape."""

    points: int
    shape: tuple[object, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class ShadowBooking:
    """A deferral that shadow mode would have made."""

    job_id: int
    partition: str
    extent: Extent
    power_w: float
    start_s: float
    latest_s: float
    # Its start has come, and was told.
    started: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Memory:
    """What a cycle hands to the next. All of it can be lost: Slurm's records rebuild the rest.

    `arrivals` is what was submitted so far, from which the usual load follows.
    `seen` are jobs shadow mode has judged, `started` and `ended` those whose wait and run are in
    the history; all forget jobs Slurm forgot. `shadow` are deferrals only thought of, which must
    not all be thought into the same hour. `clocks` are those of jobs that run or may start.
    """

    last_utc: datetime | None = None
    arrivals: Arrivals | None = None
    history: History = field(default_factory=History)
    credits: Mapping[int, Credit] = field(default_factory=dict)
    seen: frozenset[int] = frozenset()
    started: frozenset[int] = frozenset()
    ended: frozenset[int] = frozenset()
    shadow: tuple[ShadowBooking, ...] = ()
    clocks: Mapping[int, Planned] = field(default_factory=dict)
    ramp: Ramp = field(default_factory=Ramp)
    # Jobs whose width Slurm refused to change: they run as they asked for.
    rigid: frozenset[int] = frozenset()
