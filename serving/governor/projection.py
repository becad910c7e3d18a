# SPDX-License-Identifier: Apache-2.0
"""`projection`: the lowest clock for the projected batch, after throttLL'eM (2408.05235). Pure.

The batch and its cache are projected a few iterations ahead, the waiting requests among them; the
lowest clock whose predicted time between tokens meets its SLO is taken, the highest where none
does or where a prompt would be late by the whole queue. Time to the first token is not protected
beyond that. Assumed: the profile stands in for their learned model, as it does for all policies.
"""

from serving.governor.engine import Batch, EngineModel
from serving.governor.protocol import Ended, Moment, Policy, Slo

__all__ = ["Projection"]

_AHEAD = 32  # iterations


class Projection(Policy):
    """The lowest clock that the projection allows."""

    park_after_s: float | None = None

    def __init__(self, engine: EngineModel, slo: Slo) -> None:
        self._engine = engine
        self._slo = slo
        self._high = len(engine.clocks_mhz) - 1

    def choose(self, moment: Moment) -> int:
        """Bisect over clocks: predicted times fall with the clock."""
        joining = len(moment.queue)
        batch = Batch(decodes=moment.batch.decodes + joining, context=moment.batch.context + _AHEAD)
        prompts = [left for _, left in moment.queue]
        oldest_s = min((at for at, _ in moment.queue), default=moment.now_s)
        low, high = 0, self._high
        while low < high:
            middle = (low + high) // 2
            prefill_s = sum(self._engine.prompt_s(one, middle) for one in prompts)
            late = moment.now_s + prefill_s > oldest_s + self._slo.ttft_s
            slow = batch.decodes and self._engine.time_s(batch, middle) > self._slo.tpot_s
            if late or slow:
                low = middle + 1
            else:
                high = middle
        return low

    def saw(self, moment: Moment, duration_s: float) -> None:
        """Nothing to learn."""

    def finished(self, one: Ended) -> None:
        """Nothing to learn."""
