# SPDX-License-Identifier: Apache-2.0
"""`two-level`: VoltanaLLM's rule (arXiv 2509.04827) over two clocks. Pure.

The highest clock while requests wait or the predicted iteration would miss its SLO, else the
lower one. The lower clock is the most efficient one for decoding: theirs was, for their GPU.
Assumed: one engine for prefill and decode takes the stricter of both rules, since theirs had one
engine for each.
"""

from serving.governor.engine import Batch, EngineModel
from serving.governor.protocol import Ended, Moment, Policy, Slo

__all__ = ["TwoLevel"]

_TYPICAL = Batch(decodes=16, context=1024.0)


class TwoLevel(Policy):
    """VoltanaLLM's frequency rule."""

    park_after_s: float | None = 5.0  # their lowest clock after five seconds without work

    def __init__(self, engine: EngineModel, slo: Slo) -> None:
        self._engine = engine
        self._slo = slo
        self._high = len(engine.clocks_mhz) - 1
        self._low = min(range(self._high + 1), key=lambda k: _energy_j(engine, k))

    def choose(self, moment: Moment) -> int:
        """Low where the prediction fits at the low clock."""
        if moment.waiting:
            return self._high
        duration_s = self._engine.time_s(moment.batch, self._low)
        if moment.batch.decodes and duration_s > self._slo.tpot_s:
            return self._high
        late = any(
            moment.now_s + duration_s > arrival_s + self._slo.ttft_s
            for arrival_s, _ in moment.queue
        )
        return self._high if late else self._low

    def saw(self, moment: Moment, duration_s: float) -> None:
        """Nothing to learn."""

    def finished(self, one: Ended) -> None:
        """Nothing to learn."""


def _energy_j(engine: EngineModel, clock: int) -> float:
    duration_s, watts = engine.time_and_power(_TYPICAL, clock)
    return duration_s * watts
