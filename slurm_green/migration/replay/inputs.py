# SPDX-License-Identifier: Apache-2.0
"""What is replayed: sites with their weather, links, and jobs. Pure.

Times are seconds from the start of the first slot. Arrays are read-only by convention.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from slurm_green.migration.moves import Link
from slurm_green.plan.problem import Floats

__all__ = ["Costs", "Inputs", "Issue", "ReplayJob", "ReplaySite"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Issue:
    """A forecast as it was issued: values at the middle of its rows, NaN where nothing is said."""

    issued_s: float
    middle_s: Floats
    supply_w: Floats
    carbon_g_per_kwh: Floats


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplaySite:
    """A cluster and what really came; arrays have one entry per slot."""

    name: str
    gpus: int
    supply_w: Floats
    carbon_g_per_kwh: Floats
    base_w: Floats
    issues: Sequence[Issue] = ()
    nodes: int | None = None
    projects: frozenset[str] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplayJob:
    """A job, submitted at its site.

    `limit_s` is what a policy takes `duration_s` for. `checkpoint_every_s` is None for a job that
    writes its checkpoint when told to stop.
    """

    id: str
    site: int
    submit_s: float
    duration_s: float
    limit_s: float
    gpus: int
    power_w: float
    checkpoint_bytes: float
    nodes: int = 1
    deadline_s: float | None = None
    checkpoint_every_s: float | None = None
    project: str = ""
    sites: frozenset[str] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Costs:
    """What a move takes: times of running jobs, and what the network draws per GB."""

    snapshot_s: float = 30.0
    restart_s: float = 120.0
    network_j_per_gb: float = 0.0


@dataclass(frozen=True, kw_only=True)
class Inputs:
    """Everything of a replay. Moves are decided every `cycle_s`, a multiple of the slot.

    `start_s` is the caller's time of the first slot. Drawn with `seed`: `failure_share` of the
    transfers come to nothing, `slow_share` get a tenth of what their link promises, and
    `closing_share` of the moves for a window see it close while their data is on its way.
    """

    step_s: float
    sites: tuple[ReplaySite, ...]
    links: tuple[Link, ...]
    jobs: tuple[ReplayJob, ...]
    start_s: float = 0.0
    cycle_s: float = 900.0
    horizon_s: float = 86_400.0
    costs: Costs = field(default_factory=Costs)
    failure_share: float = 0.0
    slow_share: float = 0.0
    closing_share: float = 0.0
    seed: int = 0

    @property
    def slots(self) -> int:
        """Number of slots."""
        return len(self.sites[0].supply_w)

    @property
    def end_s(self) -> float:
        """Where the last slot ends; no job runs past it."""
        return self.slots * self.step_s

    @property
    def edges_s(self) -> Floats:
        """Borders of the slots."""
        return np.arange(self.slots + 1, dtype=np.float64) * self.step_s
