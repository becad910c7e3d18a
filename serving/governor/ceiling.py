# SPDX-License-Identifier: Apache-2.0
"""A ceiling that the site hands down, in MHz or watts, around any policy. Pure.

Watts bound the worst iteration that the profile knows (a full prefill, a full batch), not the one
about to run: a batch may grow sooner than a GPU changes its clock. The ceiling goes before the
SLO: it stands for power that is not there.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from serving.governor.engine import Batch, EngineModel
from serving.governor.protocol import Ended, Moment, Policy

__all__ = ["Capped", "Ceiling", "highest_below", "uncapped", "worst_power_w"]

_CONTEXTS = (1.0, 1024.0, 8192.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Ceiling:
    """What a replica's GPUs may run at, and draw together; None is no limit."""

    clock_mhz: float | None = None
    power_w: float | None = None


def worst_power_w(engine: EngineModel, clock: int) -> float:
    """The most that the profile knows of at a clock, watts of the whole replica."""
    most = engine.max_batched_tokens
    batches = [Batch(chunks=[(0, tokens)]) for tokens in (64, 512, most)]
    batches += [Batch(size, held) for size in (1, engine.max_num_seqs) for held in _CONTEXTS]
    return max(engine.time_and_power(one, clock)[1] for one in batches)


def highest_below(engine: EngineModel, ceiling: Ceiling) -> int:
    """The highest clock that the ceiling allows; the lowest where it allows none."""
    clock = len(engine.clocks_mhz) - 1
    if ceiling.clock_mhz is not None and math.isfinite(ceiling.clock_mhz):
        clock = engine.index(ceiling.clock_mhz)
    while clock and ceiling.power_w is not None and worst_power_w(engine, clock) > ceiling.power_w:
        clock -= 1
    return clock


class Capped(Policy):
    """A policy that never chooses more than the ceiling of now; `most` gives a clock's index."""

    def __init__(self, policy: Policy, most: Callable[[], int]) -> None:
        self.policy = policy
        self.most = most
        self.held_down = 0  # decisions at which the policy wanted more

    @property
    def park_after_s(self) -> float | None:
        """The policy's."""
        return self.policy.park_after_s

    @property
    def paces(self) -> bool:
        """The policy's."""
        return self.policy.paces

    @property
    def orders(self) -> bool:
        """The policy's."""
        return self.policy.orders

    def order(
        self, moment: Moment, begun_tokens: int, waiting: Sequence[tuple[float, int]]
    ) -> Sequence[int]:
        """The policy's."""
        return self.policy.order(moment, begun_tokens, waiting)

    def prompt_tokens(self, moment: Moment) -> int | None:
        """The policy's."""
        return self.policy.prompt_tokens(moment)

    def choose(self, moment: Moment) -> int:
        """The policy's choice or the ceiling, whichever is lower."""
        most = moment.most = self.most()
        wanted = self.policy.choose(moment)
        self.held_down += wanted > most
        return min(wanted, most)

    def saw(self, moment: Moment, duration_s: float) -> None:
        """Passed on."""
        self.policy.saw(moment, duration_s)

    def finished(self, one: Ended) -> None:
        """Passed on."""
        self.policy.finished(one)


def uncapped(policy: Policy | None) -> Policy | None:
    """The policy under the ceiling, where it has one."""
    return policy.policy if isinstance(policy, Capped) else policy
