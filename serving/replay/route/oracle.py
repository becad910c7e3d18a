# SPDX-License-Identifier: Apache-2.0
"""`oracle`: `prices` that knows what arrives, how long answers get, and the power to come. Pure.

It is told the length of each answer, and its price rests on the requests of the next seconds
instead of the last ones. It is run several times, with several shares of the capacity filled, and
the run with the highest goodput is taken, one of `prices` itself among them. So it knows in
hindsight what no policy can; it is no proven optimum. What is proven to be out of reach is
`bound_met`.
"""

from bisect import bisect_left

from serving.governor.engine import EngineModel
from serving.governor.protocol import Slo
from serving.replay.route.trace import Trace
from serving.router.policy.prices import Prices, cutoff
from serving.router.policy.protocol import Moment

__all__ = ["Oracle"]

_AHEAD_S = 20.0
_MOST = 2000


class Oracle(Prices):
    """One run of it: fills so much of the capacity; None: as much as `prices` finds good."""

    def __init__(self, engine: EngineModel, slo: Slo, trace: Trace, fill: float | None) -> None:
        super().__init__(engine, slo)
        self._fill = fill
        self._arrivals = trace.arrival_s.tolist()
        self._prompts = trace.prompt_tokens.tolist()
        self._outputs = trace.output_tokens.tolist()

    def _price(self, moment: Moment, rate: float) -> None:
        super()._price(moment, rate)
        ability = self._ability if self._fill is None else self._fill
        first = bisect_left(self._arrivals, moment.now_s)
        last = min(bisect_left(self._arrivals, moment.now_s + _AHEAD_S), first + _MOST)
        if last <= first:
            return
        prompt, token = self._weights()
        works = [
            prompt * self._prompts[one] + token * self._outputs[one] for one in range(first, last)
        ]
        span_s = max(self._arrivals[last - 1] - moment.now_s, self.period_s)
        self.most_work = cutoff(works, ability * rate * span_s)
