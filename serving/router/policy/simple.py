# SPDX-License-Identifier: Apache-2.0
"""The simple policies: a static split, weights by power, caps on clocks, the least delay. Pure.

`per-site`: each site alone has its share of requests, by GPUs, whatever its power; it picks the
setting that serves most with the power it has. `power-cap`: the same split, all replicas awake at
the clocks that the power allows, and sites without power passed over. `wrr-power`: as `power-cap`,
with shares by power at this moment. `greedy-latency`: the replica with the least expected time to
a first token.
"""

from collections.abc import Sequence

from serving.governor.engine import EngineModel
from serving.governor.protocol import Slo
from serving.router.policy.capacity import Capacity, peaks_w
from serving.router.policy.mix import Mix
from serving.router.policy.protocol import Moment, Orders, RequestView, SiteOrder

__all__ = [
    "GreedyLatency",
    "PerSite",
    "PowerCap",
    "Shares",
    "WrrPower",
    "best_orders",
    "least_busy",
]

_PROMPT = 1024  # tokens of a prompt by which the time of one is told


class Shares:
    """Weighted round robin that spreads evenly: each turn the one that is furthest behind."""

    def __init__(self, weights: Sequence[float]) -> None:
        self._credit = [0.0] * len(weights)
        self.weights = list(weights)

    def next(self, allowed: Sequence[int]) -> int | None:
        """Whose turn it is among those allowed; None where none has a weight."""
        total, best = 0.0, None
        for one in allowed:
            weight = self.weights[one]
            if weight <= 0:
                continue
            total += weight
            self._credit[one] += weight
            if best is None or self._credit[one] > self._credit[best]:
                best = one
        if best is not None:
            self._credit[best] -= total
        return best


def least_busy(moment: Moment, request: RequestView, site: int) -> int | None:
    """The ready replica of a site with the fewest requests, not one tried before."""
    best, least = None, 0
    for number, one in enumerate(moment.replicas):
        if one.site == site and one.ready and number not in request.tried:
            load = one.running + 4 * one.waiting
            if best is None or load < least:
                best, least = number, load
    return best


class _Split:
    """A share of requests for each site, and its least busy replica."""

    period_s = 5.0
    retry_after_s = 5.0

    def __init__(self, engine: EngineModel, slo: Slo) -> None:
        self._engine = engine
        self._slo = slo
        self._shares = Shares(())

    def control(self, moment: Moment) -> Orders:
        """No wishes: all awake, at the clocks that the power allows."""
        weights = self._weights(moment)
        if len(weights) != len(self._shares.weights):
            self._shares = Shares(weights)
        self._shares.weights = list(weights)
        return Orders([SiteOrder(weight=one) for one in weights])

    def route(self, request: RequestView, moment: Moment) -> int | None:
        """By share, among sites that have a ready replica."""
        ready = {one.site for number, one in enumerate(moment.replicas) if one.ready}
        if request.sites is not None:
            ready &= request.sites
        while ready:
            site = self._shares.next(sorted(ready))
            if site is None:
                return None
            found = least_busy(moment, request, site)
            if found is not None:
                return found
            ready.discard(site)
        return None

    def finished(
        self,
        request: RequestView,
        replica: int,
        ttft_s: float | None,
        tpot_s: float | None,
        tokens: int,
    ) -> None:
        """Nothing to learn."""

    def _weights(self, moment: Moment) -> list[float]:
        return [float(one.gpus) for one in moment.sites]


class PowerCap(_Split):
    """Clocks follow the power, requests do not."""


class WrrPower(_Split):
    """Shares by the power of this moment, up to what the GPUs may draw."""

    def __init__(self, engine: EngineModel, slo: Slo) -> None:
        super().__init__(engine, slo)
        self._peak_w = peaks_w(engine)[-1]

    def _weights(self, moment: Moment) -> list[float]:
        return [
            one.gpus * self._peak_w
            if one.supply_w is None
            else min(one.supply_w, one.gpus * self._peak_w)
            for one in moment.sites
        ]


class PerSite(_Split):
    """Each site alone, at its best."""

    def __init__(self, engine: EngineModel, slo: Slo) -> None:
        super().__init__(engine, slo)
        self._capacity = Capacity(engine, slo)
        self._mix = Mix()

    def control(self, moment: Moment) -> Orders:
        """The setting of each site that serves most with its power."""
        super().control(moment)
        self._mix.tick(moment.now_s)
        self._capacity.learn(self._mix.prompt_tokens, self._mix.output_tokens)
        return Orders(best_orders(moment, self._capacity, self._engine))

    def route(self, request: RequestView, moment: Moment) -> int | None:
        """The site whose turn it is, ready or not."""
        if not request.again:
            self._mix.came(request)
        allowed = range(len(moment.sites)) if request.sites is None else sorted(request.sites)
        if request.tried:  # it stays at its site, where another replica may have room
            site: int | None = moment.replicas[min(request.tried)].site
            site = site if site in allowed else None
        else:
            site = self._shares.next(list(allowed))
        return None if site is None else least_busy(moment, request, site)

    def finished(
        self,
        request: RequestView,
        replica: int,
        ttft_s: float | None,
        tpot_s: float | None,
        tokens: int,
    ) -> None:
        """Learn how long answers are."""
        self._mix.ended(request.prompt_tokens, tokens)


class GreedyLatency(_Split):
    """The least time to a first token, by what waits and by the profile."""

    def __init__(self, engine: EngineModel, slo: Slo) -> None:
        super().__init__(engine, slo)
        self._token_s: dict[float, float] = {}  # of a prompt, by clock

    def route(self, request: RequestView, moment: Moment) -> int | None:
        """Round trip, then the prompts ahead and its own at the replica's clock, then a step."""
        best, least_s = None, 0.0
        for number, one in enumerate(moment.replicas):
            if not one.ready or number in request.tried:
                continue
            if request.sites is not None and one.site not in request.sites:
                continue
            mhz = one.clock_mhz or self._engine.clocks_mhz[-1]
            if mhz not in self._token_s:
                clock = self._engine.index(mhz)
                self._token_s[mhz] = self._engine.prompt_s(_PROMPT, clock) / _PROMPT
            tokens = one.queued_tokens + request.prompt_tokens
            delay_s = moment.sites[one.site].rtt_s + tokens * self._token_s[mhz]
            # A busy replica takes longer for each step.
            delay_s += 1e-4 * one.running
            if best is None or delay_s < least_s:
                best, least_s = number, delay_s
        return best


def best_orders(moment: Moment, capacity: Capacity, engine: EngineModel) -> list[SiteOrder]:
    """For each site the setting that serves most with its power now."""
    orders = []
    for site in moment.sites:
        best = capacity.best(site.gpus, site.supply_w)
        orders.append(
            SiteOrder(weight=best.rate, ceiling_mhz=engine.clocks_mhz[best.clock], awake=best.awake)
        )
    return orders
