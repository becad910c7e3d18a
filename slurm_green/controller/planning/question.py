# SPDX-License-Identifier: Apache-2.0
"""What a plan is asked for, as plain values that travel to the process that plans. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from slurm_green.signals.series import Series

__all__ = ["Going", "Past", "Pool", "Question", "Waiting", "Way"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Way:
    """One way to run a job: how wide, at which clock, how fast against what was asked for.

    `units` are GPUs, or CPUs where the pool has no GPUs; `clock_mhz` 0 leaves the clock alone.
    """

    workers: int = 1
    units: int
    clock_mhz: int = 0
    power_w: float
    speed: float = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Waiting:
    """A job that waits: ours, which may start from `earliest_s` to `latest_s`, or another's.

    The first of its ways is the one that was asked for, which takes `length_s`. Of another's job
    both times are those at which Slurm will probably start it. All times are POSIX seconds.
    """

    job_id: int
    ways: tuple[Way, ...]
    length_s: float
    submit_s: float
    earliest_s: float
    latest_s: float
    ours: bool = True
    may_pause: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Going:
    """A job that runs, in the first of its ways, until `end_s` as far as can be told.

    `array_id` is what the rest of its array waits as; 0 for one that is no task.
    """

    job_id: int
    ways: tuple[Way, ...]
    since_s: float
    end_s: float
    array_id: int = 0
    latest_end_s: float = 0.0  # matters only where it may pause
    may_pause: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Past:
    """A job of the past, for what usually arrives."""

    ways: tuple[Way, ...]
    length_s: float
    submit_s: float
    slack_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Pool:
    """Partitions that share nodes, with all that runs and waits there.

    `resource` says what its units are: 0 GPUs, 1 CPUs (the order of every room's needs).
    """

    name: str
    partitions: frozenset[str]
    units: int
    resource: int
    waiting: tuple[Waiting, ...] = ()
    running: tuple[Going, ...] = ()
    past: tuple[Past, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """All pools at one moment; `pause_cost_s` is what a restart costs, in real seconds.

    `own` are series of the site's renewable supply and base power, where it has them.
    """

    at_s: float
    signal: Series
    pools: Mapping[str, Pool] = field(default_factory=dict)
    pause_cost_s: float = 300.0
    own: tuple[Series, ...] = ()

    @property
    def largest(self) -> str:
        """The pool that the site's own supply counts in: the largest, GPUs before CPUs."""
        return max(self.pools.values(), key=lambda one: (-one.resource, one.units)).name
