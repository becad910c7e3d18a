# SPDX-License-Identifier: Apache-2.0
"""`per-site-admit`: each site alone, as in `per-site`, with the admission of `prices`. Pure.

What `prices` has beyond it is what pooling the sites is worth; what it has beyond `per-site` is
what turning requests away is worth.
"""

from collections.abc import Sequence
from dataclasses import replace

from serving.governor.engine import EngineModel
from serving.governor.protocol import Slo
from serving.router.policy.prices import Prices
from serving.router.policy.protocol import Moment, Orders, RequestView
from serving.router.policy.simple import Shares

__all__ = ["PerSiteAdmit"]


class PerSiteAdmit:
    """A fixed share for each site, and at each a `prices` that knows only that site."""

    period_s = Prices.period_s
    retry_after_s = Prices.retry_after_s

    def __init__(self, engine: EngineModel, slo: Slo, seed: int = 0) -> None:
        self._engine, self._slo, self._seed = engine, slo, seed
        self._sites: list[Prices] = []
        self._site_of: Sequence[int] = ()
        self._shares = Shares(())

    def control(self, moment: Moment) -> Orders:
        """What each site wants for itself."""
        if len(self._sites) != len(moment.sites):
            self._sites = [
                Prices(self._engine, self._slo, self._seed + site, only=site)
                for site in range(len(moment.sites))
            ]
            self._shares = Shares([float(one.gpus) for one in moment.sites])
        self._site_of = [one.site for one in moment.replicas]
        return Orders([one.control(moment).sites[site] for site, one in enumerate(self._sites)])

    def route(self, request: RequestView, moment: Moment) -> int | None:
        """The site whose turn it is, if it has room."""
        every = range(len(moment.sites))
        allowed = list(every) if request.sites is None else sorted(request.sites)
        if request.tried:  # it stays at its site
            own = {self._site_of[one] for one in request.tried}
            allowed = [one for one in allowed if one in own]
        site = self._shares.next(allowed)
        if site is None:
            return None
        # To a site that was not asked for it before it is a new one.
        again = request.again and site in request.asked
        request.asked |= {site}
        alone = replace(
            request, sites=frozenset((site,)), again=again, placed=request.placed and again
        )
        return self._sites[site].route(alone, moment)

    def finished(
        self,
        request: RequestView,
        replica: int,
        ttft_s: float | None,
        tpot_s: float | None,
        tokens: int,
    ) -> None:
        """Its site learns."""
        self._sites[self._site_of[replica]].finished(request, replica, ttft_s, tpot_s, tokens)
