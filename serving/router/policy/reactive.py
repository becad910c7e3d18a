# SPDX-License-Identifier: Apache-2.0
"""`reactive`: latency, KV cache and queue depth only, after XWind (arXiv 2605.23348). Pure.

No forecast, no profile, no plan in the choice of a replica: those three signals, each against what
is usual, and the round trip. Of two replicas drawn at random the better one gets the request, so
that routers that see the same do not all pick the same. A site short of power reconfigures itself,
as theirs does. Assumed, as no code is public: the weights of the three, and that a site finds its
best setting by the same profile as all other policies here.
"""

import random

from serving.governor.engine import EngineModel
from serving.governor.protocol import Slo
from serving.router.policy.capacity import Capacity
from serving.router.policy.mix import Mix
from serving.router.policy.protocol import Moment, Orders, ReplicaView, RequestView
from serving.router.policy.simple import best_orders

__all__ = ["Reactive"]

_QUEUE = 0.25  # what a waiting request counts, of an SLO for a first token
_KV = 1.0  # what a full cache counts
_TPOT = 0.5


class Reactive:
    """The better of two replicas by what they show."""

    period_s = 2.0
    retry_after_s = 2.0

    def __init__(self, engine: EngineModel, slo: Slo, seed: int = 0) -> None:
        self._engine, self._slo = engine, slo
        self._capacity = Capacity(engine, slo)
        self._mix = Mix()
        self._random = random.Random(seed)

    def control(self, moment: Moment) -> Orders:
        """Each site at its best with the power it has."""
        self._mix.tick(moment.now_s)
        self._capacity.learn(self._mix.prompt_tokens, self._mix.output_tokens)
        return Orders(best_orders(moment, self._capacity, self._engine))

    def route(self, request: RequestView, moment: Moment) -> int | None:
        """Two at random, the one that looks better."""
        if not request.again:
            self._mix.came(request)
        ready = [
            number
            for number, one in enumerate(moment.replicas)
            if one.ready
            and number not in request.tried
            and (request.sites is None or one.site in request.sites)
        ]
        if len(ready) > 2:
            ready = self._random.sample(ready, 2)
        return min(ready, key=lambda one: self._cost(moment.replicas[one], moment), default=None)

    def finished(
        self,
        request: RequestView,
        replica: int,
        ttft_s: float | None,
        tpot_s: float | None,
        tokens: int,
    ) -> None:
        """Lengths, for the setting of a site."""
        self._mix.ended(request.prompt_tokens, tokens)

    def _cost(self, one: ReplicaView, moment: Moment) -> float:
        slo = self._slo
        return (
            moment.sites[one.site].rtt_s / slo.ttft_s
            + (one.ttft_s or 0.0) / slo.ttft_s
            + _TPOT * (one.tpot_s or 0.0) / slo.tpot_s
            + _KV * (one.kv_use or 0.0)
            + _QUEUE * one.waiting
            + 0.01 * one.running
        )
