# SPDX-License-Identifier: Apache-2.0
"""What a clock policy sees before an iteration, and what it answers. Pure.

Clocks are indices of `EngineModel.clocks_mhz`; times are seconds of one clock, in a replica the
machine's, in a replay the trace's.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from serving.governor.engine import Batch

__all__ = ["MOST_ORDERED", "Ended", "Moment", "Policy", "Slo"]

MOST_ORDERED = 64  # requests that wait; those behind stay where they are


@dataclass(frozen=True, slots=True)
class Slo:
    """Time to the first token, and mean time per further token of a request; seconds."""

    ttft_s: float
    tpot_s: float


@dataclass(frozen=True, slots=True)
class Ended:
    """A request that got its first token, and then all others (`finished`) or left."""

    arrival_s: float
    first_s: float
    end_s: float
    tokens: int
    prompt_tokens: int  # computed: not what was found in the cache
    finished: bool = True
    cached_tokens: int = 0  # of the prompt, beside those: its tokens read them all the same


@dataclass(slots=True)
class Moment:
    """An iteration about to run.

    `queue` holds, in the order of service, (arrival_s, prompt tokens left) of requests that have
    no token yet, those of this batch included, at most the first few; `waiting` counts those not
    in the batch. `banks_s` are the lowest banks of decoding requests, rising, at most the first
    few: how much later than now a request could have had its last token and be in time; below 0
    it would miss its SLO if it ended now; `made` are the tokens that those have. `clock` is in
    effect now, `settled_s` when the last change is or was complete. `oldest_s` is the arrival of
    the oldest request that has not ended, `most` the highest clock that the site allows, if any,
    `held` the share of the cache that is taken, where that is known: what several share counts
    once.
    """

    now_s: float
    batch: Batch
    clock: int
    settled_s: float
    queue: Sequence[tuple[float, int]] = ()
    waiting: int = 0
    banks_s: Sequence[float] = ()
    made: Sequence[int] = ()
    oldest_s: float = -math.inf
    most: int | None = None
    held: float | None = None


class Policy(Protocol):
    """One policy for one replica; it may remember what it has seen."""

    @property
    def park_after_s(self) -> float | None:
        """Idle for that long it goes to the lowest clock; None: never."""
        ...

    @property
    def paces(self) -> bool:
        """Whether it ever limits the tokens of prompts; else it is not asked."""
        return False

    @property
    def orders(self) -> bool:
        """Whether prompts that wait may come in an order of its own; else it is not asked."""
        return False

    def order(
        self, moment: Moment, begun_tokens: int, waiting: Sequence[tuple[float, int]]
    ) -> Sequence[int]:
        """The order of prompts that wait, by their numbers in `waiting`: (arrival_s, tokens).

        Asked where several wait, of the first `MOST_ORDERED`. The moment's batch has no prompts;
        of those that are begun, or begin anew before all others, so many tokens are left.
        """
        return range(len(waiting))

    def prompt_tokens(self, moment: Moment) -> int | None:
        """So many tokens of prompts the next iteration may compute; None: as many as fit.

        Asked where prompts are there; the moment's batch has none of them.
        """
        return None

    def choose(self, moment: Moment) -> int:
        """The clock that this iteration and the next ones should have."""
        ...

    def saw(self, moment: Moment, duration_s: float) -> None:
        """The iteration of that moment ended, and how long it took."""
        ...

    def finished(self, one: Ended) -> None:
        """A request ended."""
        ...
