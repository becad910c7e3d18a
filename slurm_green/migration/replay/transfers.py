# SPDX-License-Identifier: Apache-2.0
"""Transfers that share links fairly, in simulated time. Pure."""

import math
from dataclasses import dataclass, field

__all__ = ["Transfer", "Wire"]

_TOLERANCE_BYTES = 1.0


@dataclass(slots=True, kw_only=True)
class Transfer:
    """Data of a job on its way; `due_s` is when it must have arrived, infinite without a bound."""

    job: int
    left_bytes: float
    due_s: float


@dataclass(slots=True, kw_only=True)
class Wire:
    """One direction between two sites."""

    bytes_per_s: float
    active: list[Transfer] = field(default_factory=list)
    now_s: float = 0.0

    def advance(self, now_s: float) -> None:
        """Carry until then; nothing may arrive before it (see `next_s`)."""
        if self.active:
            each = self.bytes_per_s * (now_s - self.now_s) / len(self.active)
            for one in self.active:
                one.left_bytes = max(one.left_bytes - each, 0.0)
        self.now_s = now_s

    def next_s(self) -> float:
        """When the next one arrives."""
        if not self.active:
            return float("inf")
        least = min(one.left_bytes for one in self.active)
        return self.now_s + least * len(self.active) / self.bytes_per_s

    def arrived(self) -> list[Transfer]:
        """Take out what is there."""
        # After days a fast link carries more than a byte in the least time that can be told apart.
        rest_bytes = max(_TOLERANCE_BYTES, 2.0 * self.bytes_per_s * math.ulp(self.now_s))
        there = [one for one in self.active if one.left_bytes <= rest_bytes]
        self.active = [one for one in self.active if one.left_bytes > rest_bytes]
        return there

    def drop(self, job: int) -> None:
        """Leave the rest of a job's data where it is."""
        self.active = [one for one in self.active if one.job != job]

    def left_bytes(self) -> float:
        """What is still to be carried."""
        return sum(one.left_bytes for one in self.active)

    def budget_bytes(self) -> float | None:
        """What may be added without making one of them late; None is no bound."""
        due_s = min((one.due_s for one in self.active), default=float("inf"))
        if due_s == float("inf"):
            return None
        return max((due_s - self.now_s) * self.bytes_per_s - self.left_bytes(), 0.0)
