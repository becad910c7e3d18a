# SPDX-License-Identifier: Apache-2.0
"""Whether prompts wait while requests that decode win time. Pure.

A prompt stalls everybody who decodes, and an answer that has just begun, or is short, has no time
to lose; a first token mostly has. So prompts wait while that saves more decoding requests from
being late than it makes of those to come, and each has enough of its own time left. A clock takes
tens of milliseconds to change, this takes none.
"""

import math

from serving.governor.engine import Batch, EngineModel
from serving.governor.protocol import Moment, Slo
from serving.governor.risk import Risk

__all__ = ["Throttle"]

_LEAST = 0.02  # late requests that an iteration's wait must save
_COUNTED = 0.2  # of the time for which prompts can wait
_ROOM = 0.7  # of the TTFT: a burst that needs no more is in time by itself


class Throttle:
    """No prompt waits once less than 1 - `most_wait` of its TTFT is left; 0: none ever does."""

    def __init__(self, engine: EngineModel, slo: Slo, most_wait: float) -> None:
        self._engine = engine
        self._high = len(engine.clocks_mhz) - 1
        self._ttft_s = slo.ttft_s
        self._least_s = (1 - most_wait) * slo.ttft_s if most_wait else math.inf

    def waits(self, moment: Moment, risk: Risk, correction: float) -> bool:
        """Whether prompts wait for this iteration at least; `correction` of the model's times."""
        prompts_s, decode_s, left_s = self._times(moment, moment.clock, correction)
        if not moment.queue or left_s < 0 or moment.waiting > len(moment.queue):
            return False  # of who is not seen nobody knows how long it takes
        saved = risk.stalled(moment, prompts_s + decode_s, correction)
        if saved <= _LEAST:
            return False
        return saved - risk.blocked(moment.now_s, prompts_s, _ROOM * self._ttft_s) > _LEAST

    def counted_s(self, moment: Moment, correction: float) -> float:
        """How much longer prompts that are there or come are likely left for later, if need be."""
        return max(_COUNTED * self._times(moment, self._high, correction)[2], 0.0)

    def _times(self, moment: Moment, clock: int, correction: float) -> tuple[float, float, float]:
        """What the prompts take, what the others do, and how long prompts may still wait."""
        plain = Batch(moment.batch.decodes, moment.batch.context)
        decode_s = self._engine.time_s(plain, clock) * correction
        prompts_s, spare_s = 0.0, self._ttft_s
        for arrival_s, left in moment.queue:
            prompts_s += self._engine.prompt_s(left, clock) * correction
            spare_s = min(spare_s, arrival_s + self._ttft_s - moment.now_s - prompts_s)
        return prompts_s, decode_s, spare_s - decode_s - self._least_s
