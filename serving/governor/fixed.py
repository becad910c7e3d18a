# SPDX-License-Identifier: Apache-2.0
"""`max`, `min` and `static:MHZ`: one clock, whatever happens. Pure."""

from serving.governor.protocol import Ended, Moment, Policy

__all__ = ["Fixed"]


class Fixed(Policy):
    """Always the same clock."""

    park_after_s: float | None = None

    def __init__(self, clock: int) -> None:
        self.clock = clock

    def choose(self, moment: Moment) -> int:
        """The clock it was made with."""
        return self.clock

    def saw(self, moment: Moment, duration_s: float) -> None:
        """Nothing to learn."""

    def finished(self, one: Ended) -> None:
        """Nothing to learn."""
