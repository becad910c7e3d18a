# SPDX-License-Identifier: Apache-2.0
"""`feedback`: a dual loop after GreenLLM (arXiv 2508.16449), without a model. Pure.

A coarse loop sets a band of clocks by throughput; a fine one steps within it by the latency of
the last iterations against the SLO, with hysteresis; prompts that wait raise the clock at once.
Assumed, as no code is public: periods of 0.5 s and 20 ms, steps of 5 % and 2 % of the range,
thresholds of 90 % and 65 % of the SLO.
"""

from serving.governor.engine import EngineModel
from serving.governor.protocol import Ended, Moment, Policy, Slo

__all__ = ["Feedback"]

_COARSE_S, _FINE_S = 0.5, 0.02
_UP, _DOWN = 0.9, 0.65


class Feedback(Policy):
    """Steps up and down by observed latency."""

    park_after_s: float | None = 5.0

    def __init__(self, engine: EngineModel, slo: Slo) -> None:
        self._slo = slo
        self._high = len(engine.clocks_mhz) - 1
        self._clock = float(self._high)
        self._floor = 0.0
        self._fine_s = self._coarse_s = float("-inf")
        self._latency_s = 0.0
        self._seen: list[float] = []

    def choose(self, moment: Moment) -> int:
        """The clock that the loops have come to."""
        oldest_s = max((moment.now_s - at for at, _ in moment.queue), default=0.0)
        if oldest_s > 0.3 * self._slo.ttft_s or moment.waiting > 2:
            self._clock = float(self._high)
            return self._high
        if moment.now_s >= self._coarse_s + _COARSE_S:
            self._coarse_s = moment.now_s
            self._move_band()
        if moment.now_s >= self._fine_s + _FINE_S:
            self._fine_s = moment.now_s
            ratio = self._latency_s / self._slo.tpot_s
            step = 0.02 * self._high
            if ratio > _UP:
                self._clock += 2 * step
            elif ratio < _DOWN:
                self._clock -= step
        self._clock = min(max(self._clock, self._floor), float(self._high))
        return round(self._clock)

    def saw(self, moment: Moment, duration_s: float) -> None:
        """Follow the latency of iterations that decode."""
        if moment.batch.decodes:
            self._latency_s += 0.3 * (duration_s - self._latency_s)
            self._seen.append(duration_s)

    def finished(self, one: Ended) -> None:
        """Nothing to learn."""

    def _move_band(self) -> None:
        if not self._seen:
            return
        slow = sorted(self._seen)[int(0.9 * len(self._seen))] / self._slo.tpot_s
        self._seen.clear()
        step = 0.05 * self._high
        self._floor += step if slow > _UP else -step if slow < _DOWN else 0.0
        self._floor = min(max(self._floor, 0.0), float(self._high))
