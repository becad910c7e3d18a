# SPDX-License-Identifier: Apache-2.0
"""In which order and how fast prompts are computed. Pure.

An iteration's first tokens all come at its end, and it stalls everybody who decodes and whoever
arrives meanwhile. So it takes hardly longer than a token may, where that leaves room. Where
somebody who decodes is likely late all the same, because the answer has just begun or is short,
prompts come in smaller pieces: as small as lets all of them be in time. A clock takes tens of
milliseconds to change, this none.
"""

import math
from collections.abc import Sequence

from serving.governor.engine import Batch, EngineModel
from serving.governor.order import fewest_late
from serving.governor.protocol import Moment, Slo
from serving.governor.risk import Risk

__all__ = ["Pace"]

_LEAST = 0.005  # late requests for which prompts are held up
_PIECE, _LEAST_PIECE = 256, 64  # tokens; smaller ones cost more steps, larger ones a token's time
_STEP = 1.5  # times the TPOT that an iteration with prompts may last
_CROWD = 1.5  # requests; where there are fewer hardly anybody else waits
_SAFE = 1.2  # times what prompts take, for what else comes
_PATIENCE = 5.0  # times the TTFT after which nobody goes before
_SHORTEST_S = 1e-9  # that a token takes
_COUNTED = 0.2  # of the time for which prompts can wait


class Pace:
    """Prompts are to be done once 1 - `most_wait` of their TTFT is left; 0: as soon as possible."""

    def __init__(self, engine: EngineModel, slo: Slo, most_wait: float) -> None:
        self._engine = engine
        self._high = len(engine.clocks_mhz) - 1
        self._ttft_s, self._tpot_s = slo.ttft_s, slo.tpot_s
        self._least_s = (1 - most_wait) * slo.ttft_s if most_wait else math.inf
        clocks = range(len(engine.clocks_mhz))
        self._token_s = [engine.prompt_s(_PIECE, clock) / _PIECE for clock in clocks]
        self._sized: dict[tuple[float, ...], tuple[int | None, int, float]] = {}

    def order(
        self,
        moment: Moment,
        begun_tokens: int,
        waiting: Sequence[tuple[float, int]],
        correction: float,
    ) -> list[int]:
        """Of prompts that wait: numbers in order of service, after what is begun."""
        rate_s = self._sizes(moment, correction)[2] * _SAFE
        oldest_s = moment.now_s - _PATIENCE * self._ttft_s
        return fewest_late(
            moment.now_s + begun_tokens * rate_s,
            [(arrival_s + self._ttft_s, left * rate_s) for arrival_s, left in waiting],
            [arrival_s < oldest_s for arrival_s, _ in waiting],
        )

    def tokens(self, moment: Moment, risk: Risk, correction: float, crowd: float) -> int | None:
        """Of prompts, for this iteration, where so many requests are usual; None: all.

        The model's times are corrected.
        """
        most, least, _ = self._sizes(moment, correction)
        piece = self._piece(moment, risk, correction, least) if moment.batch.decodes else None
        if most is None or crowd < _CROWD:
            return piece
        return most if piece is None else min(piece, most)

    def _sizes(self, moment: Moment, correction: float) -> tuple[int | None, int, float]:
        """Most and least tokens of prompts in an iteration, and how long each takes at most.

        None where not even the highest clock has time for a piece: first tokens need all of it.
        """
        of = (moment.batch.decodes, moment.batch.context, moment.clock, correction)
        if of not in self._sized:  # it is asked for twice before a step
            self._sized = {of: self._reckon(moment, correction)}
        return self._sized[of]

    def _reckon(self, moment: Moment, correction: float) -> tuple[int | None, int, float]:
        decode_s, token_s = self._pieces_s(moment, moment.clock, correction)
        most = max(int((_STEP * self._tpot_s - decode_s) / token_s), _PIECE)
        least = min(max(int((self._tpot_s - decode_s) / token_s), _LEAST_PIECE), _PIECE)
        fast_s = self._pieces_s(moment, self._high, correction)
        room = _STEP * self._tpot_s >= fast_s[0] + _PIECE * fast_s[1]
        return most if room else None, least, token_s + decode_s / most

    def _pieces_s(self, moment: Moment, clock: int, correction: float) -> tuple[float, float]:
        """What those who decode take, and each token of a piece beside them."""
        token_s = max(self._token_s[clock] * correction, _SHORTEST_S)
        return self._decode_s(moment, clock, correction), token_s

    def _decode_s(self, moment: Moment, clock: int, correction: float) -> float:
        plain = Batch(moment.batch.decodes, moment.batch.context)
        return self._engine.time_s(plain, clock) * correction

    def _piece(self, moment: Moment, risk: Risk, correction: float, least: int) -> int | None:
        """The least that lets all be in time, where somebody is likely late otherwise."""
        if moment.waiting > len(moment.queue):
            return None  # of who is not seen nobody knows how long it takes
        prompts_s, decode_s, spare_s = self._times(moment, moment.clock, correction)
        late, anyway = risk.stalled(moment, (prompts_s + decode_s, decode_s), correction)
        if late - anyway <= _LEAST:
            return None
        tokens, piece = 0, least
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
        prompts_s, spare_s = 0.0, []
        for arrival_s, left in moment.queue:
            prompts_s += self._engine.prompt_s(left, clock) * correction
            spare_s.append(arrival_s + self._ttft_s - moment.now_s - prompts_s)
        return prompts_s, self._decode_s(moment, clock, correction), spare_s
