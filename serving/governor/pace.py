# SPDX-License-Identifier: Apache-2.0
"""How fast prompts are computed beside requests that decode. Pure.

A prompt stalls everybody who decodes, and an answer that has just begun, or is short, has no time
to lose; a first token mostly has. So where somebody is likely late for it, prompts come in pieces:
as small as lets all of them be in time, and with each everybody's answer goes on.
A clock takes tens of milliseconds to change, this takes none.
"""

import math

from serving.governor.engine import Batch, EngineModel
from serving.governor.protocol import Moment, Slo
from serving.governor.risk import Risk

__all__ = ["Pace"]

_LEAST = 0.005  # late requests for which prompts are held up
_PIECE = 256  # tokens; smaller ones cost more steps
_COUNTED = 0.2  # of the time for which prompts can wait


class Pace:
    """Prompts are to be done once 1 - `most_wait` of their TTFT is left; 0: as soon as possible."""

    def __init__(self, engine: EngineModel, slo: Slo, most_wait: float) -> None:
        self._engine = engine
        self._high = len(engine.clocks_mhz) - 1
        self._ttft_s = slo.ttft_s
        self._least_s = (1 - most_wait) * slo.ttft_s if most_wait else math.inf

    def tokens(self, moment: Moment, risk: Risk, correction: float) -> int | None:
        """Of prompts, for this iteration; None: as many as fit. The model's times are corrected."""
        if moment.waiting > len(moment.queue):
            return None  # of who is not seen nobody knows how long it takes
        prompts_s, decode_s, spare_s = self._times(moment, moment.clock, correction)
        saved = risk.stalled(moment, prompts_s + decode_s, correction)
        if saved - risk.stalled(moment, decode_s, correction) <= _LEAST:
            return None
        tokens, piece = 0, _PIECE
        for (_, left), one_s in zip(moment.queue, spare_s, strict=True):
            tokens += left
            steps_s = one_s - self._least_s
            if steps_s < decode_s:
                return None
            piece = max(piece, math.ceil(tokens * decode_s / steps_s))
        return piece if piece < tokens else None

    def counted_s(self, moment: Moment, correction: float) -> float:
        """How much of the time of prompts that are there or come is likely given to others."""
        _, decode_s, spare_s = self._times(moment, self._high, correction)
        left_s = min([self._ttft_s, *spare_s]) - decode_s - self._least_s
        return max(_COUNTED * left_s, 0.0)

    def _times(
        self, moment: Moment, clock: int, correction: float
    ) -> tuple[float, float, list[float]]:
        """What prompts take, what a step without them does, and how late each could be begun."""
        plain = Batch(moment.batch.decodes, moment.batch.context)
        prompts_s, spare_s = 0.0, []
        for arrival_s, left in moment.queue:
            prompts_s += self._engine.prompt_s(left, clock) * correction
            spare_s.append(arrival_s + self._ttft_s - moment.now_s - prompts_s)
        return prompts_s, self._engine.time_s(plain, clock) * correction, spare_s
