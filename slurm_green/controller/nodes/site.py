# SPDX-License-Identifier: Apache-2.0
"""What sgreend knows for its nodes, and what it wants of them: plain values. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from profiling.profile import Profile
from slurm_green.plan.response import PriceCurve

__all__ = ["NodeOrders", "NodeSite", "Planned"]


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeSite:
    """Profiles by name, prices in POSIX seconds, the cap under the keys of an order's."""

    profiles: Mapping[str, Profile] = field(default_factory=dict)
    prices: PriceCurve | None = None
    cap: Mapping[str, object] = field(default_factory=dict)
    safety: float = 1.1
    max_slowdown: float = 1.25


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeOrders:
    """What one cycle wants of all nodes; `known` are all jobs that it saw.

    A job's order: {"clock_mhz": ..., "floor_mhz": ...} or {"own": True}; the keys of node.state.
    """

    jobs: Mapping[int, Mapping[str, object]] = field(default_factory=dict)
    cap: Mapping[str, object] = field(default_factory=dict)
    known: frozenset[int] = frozenset()


@dataclass(frozen=True, slots=True, kw_only=True)
class Planned:
    """A job's clock of the cycle before, and what was told of it (an event's kind)."""

    clock_mhz: int | None = None
    told: str = ""
