# SPDX-License-Identifier: Apache-2.0
"""The clock of a replica's GPUs and what they draw, while it runs and while it waits. Pure.

A change takes the profile's switch latency; until then the old clock holds, also within an
iteration. A new wish replaces one that is not in effect yet.
"""

from serving.governor.engine import Batch, EngineModel

__all__ = ["Meter"]


class Meter:
    """Energy of one replica since `start_s`; starts at the highest clock unless told of another."""

    def __init__(self, engine: EngineModel, start_s: float, clock: int | None = None) -> None:
        self._engine = engine
        self._clock = self._wanted = len(engine.clocks_mhz) - 1 if clock is None else clock
        self.settled_s = start_s
        self.energy_j = 0.0
        self.changes = 0
        self.spans: list[tuple[float, float, float]] | None = None  # begin, end, watts

    def clock_at(self, now_s: float) -> int:
        """The clock in effect."""
        if now_s >= self.settled_s:
            self._clock = self._wanted
        return self._clock

    def ask(self, clock: int, now_s: float) -> None:
        """Want a clock from now on."""
        current = self.clock_at(now_s)
        if clock == self._wanted:
            return
        self.changes += 1
        self._wanted = clock
        # Back to what still holds: nothing is to be waited for.
        self.settled_s = now_s if clock == current else now_s + self._engine.switch_latency_s

    def run(self, batch: Batch, begin_s: float) -> float:
        """Run an iteration; the time at which it ends."""
        clock = self.clock_at(begin_s)
        whole_s, watts = self._engine.time_and_power(batch, clock)
        end_s = begin_s + whole_s
        if clock == self._wanted or end_s <= self.settled_s:
            self._add(begin_s, end_s, watts)
            return end_s
        before_s = self.settled_s - begin_s
        self._add(begin_s, self.settled_s, watts)
        rest_s, watts = self._engine.time_and_power(batch, self._wanted)
        end_s = self.settled_s + rest_s * (1 - before_s / whole_s)
        self._add(self.settled_s, end_s, watts)
        return end_s

    def idle(self, begin_s: float, end_s: float, park_after_s: float | None) -> None:
        """Wait without work, at the lowest clock after a while."""
        park_s = end_s if park_after_s is None else min(begin_s + park_after_s, end_s)
        self._rest(begin_s, park_s)
        if park_s < end_s:
            self.ask(0, park_s)
            self._rest(park_s, end_s)

    def _rest(self, begin_s: float, end_s: float) -> None:
        clock = self.clock_at(begin_s)
        if clock != self._wanted and self.settled_s < end_s:
            self._add(begin_s, self.settled_s, self._engine.idle_power_w(clock))
            begin_s = self.settled_s
            clock = self.clock_at(begin_s)
        self._add(begin_s, end_s, self._engine.idle_power_w(clock))

    def _add(self, begin_s: float, end_s: float, watts: float) -> None:
        self.energy_j += watts * (end_s - begin_s)
        if self.spans is not None:
            self.spans.append((begin_s, end_s, watts))
