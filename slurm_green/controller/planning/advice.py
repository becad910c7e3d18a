# SPDX-License-Identifier: Apache-2.0
"""What a plan says: a place for each job, prices for those yet to come. Pure.

It is advice: who follows it bounds every start by what was promised, whatever stands here.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from slurm_green.hook.view import Prices

__all__ = ["Advice", "Place"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """When a job should start (POSIX s), how wide and at which clock (0: as it is)."""

    start_s: float
    workers: int = 1
    clock_mhz: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Advice:
    """One plan, made for the moment `at_s`; `prices` are by partition.

    `pauses` are running jobs that would better rest, among those that may.
    """

    at_s: float
    until_s: float
    places: Mapping[int, Place] = field(default_factory=dict)
    prices: Mapping[str, Prices] = field(default_factory=dict)
    pauses: frozenset[int] = frozenset()
    solve_s: float = 0.0

    def fresh(self, now_s: float) -> bool:
        """Whether it is to be followed now."""
        return self.at_s <= now_s + 1.0 and now_s < self.until_s
