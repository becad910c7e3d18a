# SPDX-License-Identifier: Apache-2.0
"""Everything a decision knows about the site at one moment: a value, made by the cycle.

The answer process keeps the newest one and books its own answers into it until the next comes.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, tzinfo

from slurm_green.hook.extent import Extent, extent_of
from slurm_green.hook.options import Options
from slurm_green.hook.policy import Policy
from slurm_green.hook.request import Request
from slurm_green.plan.history import History
from slurm_green.plan.power import PowerModel
from slurm_green.plan.response import PriceCurve
from slurm_green.plan.room import Room
from slurm_green.signals.series import Series
from slurm_green.slurm.records import NodeSize

__all__ = ["PartitionView", "Prices", "View"]

# The queue's tail is what breaks promises: leave room for the 95th percentile, half as much again.
_WAIT_QUANTILE = 0.95
_WAIT_FACTOR = 1.5


@dataclass(frozen=True, slots=True, kw_only=True)
class Prices:
    """What the hours ahead cost by the newest plan, in POSIX seconds, until `until_s`.

    `resource` is what a unit of `curve` is: 0 a GPU, 1 a CPU. In `curve` waiting has a price, for
    who looks for a start; `plain` is without, for who runs.
    """

    curve: PriceCurve
    plain: PriceCurve
    resource: int
    until_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class PartitionView:
    """One partition: its size, its room, and how its queue behaves.

    All rooms hold (GPUs, CPUs). `queue` counts what runs and queues; `room` also the usual load of
    other jobs and what we promised, each deferred job at its latest start; `planned` has them at
    their planned starts instead, under the site's budget.
    """

    name: str
    gpus: int
    cpus: int
    default_time_s: float | None
    max_time_s: float | None
    queue: Room
    room: Room
    planned: Room
    history: History = field(default_factory=History)
    # What a start may wait for nodes that power saving has switched off.
    resume_s: float = 0.0
    # Partitions that share nodes with this one, itself included.
    shares_with: frozenset[str] = frozenset()
    # How many nodes of each size are up, and how many nodes a job may have.
    sizes: Mapping[NodeSize, int] = field(default_factory=dict)
    min_nodes: int = 0
    max_nodes: int | None = None

    def margin_s(self, request: Request, policy: Policy) -> float:
        """Seconds to leave for the queue before a deadline: recent waits, with a floor."""
        wait_s = self.history.wait_quantile_s(
            _WAIT_QUANTILE, partition=self.name, qos=request.qos, gpus=request.gpus
        )
        return max(policy.margin_floor_s, _WAIT_FACTOR * (wait_s or 0.0)) + self.resume_s

    def late_chance(self, request: Request, margin_s: float) -> float | None:
        """Share of similar jobs that queued longer than the margin; None with too few to say."""
        return self.history.chance_of_waiting_over(
            margin_s, partition=self.name, qos=request.qos, gpus=request.gpus
        )

    def extent(self, request: Request, options: Options) -> Extent | None:
        """What the job takes here; None for a job whose run time nothing limits.

        How long it will run is the user's word, else learned from their jobs, else the limit.
        """
        limit_s = request.time_limit_s or self.default_time_s or self.max_time_s
        if not limit_s:
            return None
        fraction = self.history.run_fraction(
            partition=self.name, user=request.user, name=request.name
        )
        return extent_of(
            request,
            limit_s=limit_s,
            task_s=options.runtime_s or fraction * limit_s,
            room=(self.gpus, self.cpus),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class View:
    """The site at `taken_utc`. `signal` is None when there is none to trust, and why is said."""

    taken_utc: datetime
    partitions: dict[str, PartitionView]
    default_partition: str = ""
    signal: Series | None = None
    signal_problem: str = ""
    # By partition; there is none where no fresh plan is.
    prices: Mapping[str, Prices] = field(default_factory=dict)
    power: PowerModel = field(default_factory=PowerModel)
    watts: Room | None = None
    off: bool = False
    comment_prefix: str = "green:"
    zone: tzinfo = UTC
    # A start this soon counts as at once: what the scheduler itself takes.
    prompt_s: float = 30.0

    def partition(self, name: str) -> PartitionView | None:
        """A partition by name; the default one for an empty name; of a list, the first known."""
        for one in (name or self.default_partition).split(","):
            if one in self.partitions:
                return self.partitions[one]
        return None

    def power_w(self, request: Request, extent: Extent) -> float:
        """Modelled watts of one wave of a job, where it would run."""
        partition = self.partition(request.partition)
        return self.power.job_w(
            gpus=request.gpus * extent.width,
            cpus=request.cpus * extent.width,
            nodes=request.nodes * extent.width,
            partition="" if partition is None else partition.name,
        )

    def site_rooms(self, power_w: float) -> list[tuple[Room, tuple[float]]]:
        """The site's watt budget as a room, where one is set."""
        return [] if self.watts is None else [(self.watts, (power_w,))]

    def queue_up(self, partition: PartitionView, extent: Extent, *, power_w: float) -> None:
        """Book a job that queues from now on, in place: where the queue has room for it first."""
        now_s = self.taken_utc.timestamp()
        begin_s = partition.queue.earliest_fit(extent.need, now_s, extent.run_s)
        if begin_s is None:
            return
        for name in partition.shares_with | {partition.name}:
            other = self.partitions.get(name)
            if other is not None:
                other.queue.take(extent.need, begin_s, begin_s + extent.run_s)
                other.room.take(extent.need, begin_s, begin_s + extent.run_s)
                other.planned.take(extent.need, begin_s, begin_s + extent.expected_s)
        if self.watts is not None:
            self.watts.take((power_w,), begin_s, begin_s + extent.expected_s)

    def book(
        self,
        partition: PartitionView,
        extent: Extent,
        *,
        power_w: float,
        start_s: float,
        latest_s: float,
    ) -> None:
        """Book a deferral in place: at its latest start in the room, at its start in the plan."""
        for name in partition.shares_with | {partition.name}:
            other = self.partitions.get(name)
            if other is not None:
                other.room.take(extent.need, latest_s, latest_s + extent.run_s)
                other.planned.take(extent.need, start_s, start_s + extent.expected_s)
        if self.watts is not None:
            self.watts.take((power_w,), start_s, start_s + extent.expected_s)
