# SPDX-License-Identifier: Apache-2.0
"""`heron`: plans by forecast, adjusts by power, then schedules, after arXiv 2505.09989. Pure.

Planner-L solves an integer programme every 15 minutes: how many replicas run at each site at which
clock, and how much of each class of requests they take, within GPUs and the low quantile of the
power forecast, against what is expected to arrive. Planner-S keeps the number of replicas and sets
clocks and shares every few seconds by the power there is. The scheduler spreads each class over
sites by those shares, and within a site picks the replica with the least queue and cache in use.
No formulas are public: the programme is our reading. Its tensor parallelism is that of the
profile's replicas, since the replay's replicas keep theirs.
"""

import math
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
from scipy.optimize import Bounds, LinearConstraint, milp
from scipy.sparse import coo_array

from serving.governor.engine import EngineModel
from serving.governor.protocol import Slo
from serving.router.policy.capacity import Capacity
from serving.router.policy.classes import CLASSES, class_of
from serving.router.policy.mix import Mix
from serving.router.policy.protocol import Moment, Orders, RequestView, SiteOrder
from serving.router.policy.simple import Shares, least_busy

__all__ = ["Heron", "Plan", "plan"]

_PLAN_S = 900.0
_YOUNG_PLAN_S = 60.0  # between plans while requests have been seen for less than _PLAN_S
_LOST = 1000.0  # what a request costs that nobody serves
_FILLED = ((0.6, 5.0), (0.8, 20.0))  # GPU time of a site beyond such a share of it costs so much
_ROOM_WORTH = 1e-3  # what a request a second of room earns
_LIMIT_S = 2.0
_CLOCKS = 8  # so many of the clocks that a capacity knows, evenly, and the lowest
_OTHER = 0.15  # another plan at once when so much more, or less, arrives than planned for
_ROOM = 1.15  # for more than what is expected, as requests never come evenly


@dataclass(frozen=True, kw_only=True)
class Plan:
    """`awake` replicas by site, `rate` of requests by site and class, `lost` by class."""

    awake: Sequence[int]
    rate: Sequence[Sequence[float]]
    lost: Sequence[float]


class Heron:
    """Planner-L, planner-S and a scheduler; `background`: planner-L has a thread of its own."""

    period_s = 5.0
    retry_after_s = 5.0

    def __init__(self, engine: EngineModel, slo: Slo, *, background: bool = False) -> None:
        self._engine, self._slo = engine, slo
        self._capacity = Capacity(engine, slo)
        self._by_class = [Capacity(engine, slo) for _ in CLASSES]
        self._mix = Mix()
        self._mixes = [Mix() for _ in CLASSES]
        self._shares = [Shares(()) for _ in CLASSES]
        self._taken = [1.0] * len(CLASSES)  # the share of a class that somebody can serve
        self._credit = [0.0] * len(CLASSES)
        self._planned_s = float("-inf")
        self._planned_rate = 0.0
        self._first_s: float | None = None
        self._most: list[float] = []  # requests that a replica of each site runs within their SLO
        self._plan: Plan | None = None
        self._thread = ThreadPoolExecutor(1, "planner-l") if background else None
        self._coming: Future[Plan] | None = None

    def control(self, moment: Moment) -> Orders:
        """A plan when it is due, else clocks and shares by the power of now."""
        self._mix.tick(moment.now_s)
        for one in self._mixes:
            one.tick(moment.now_s)
        other = abs(self._mix.rate - self._planned_rate) > _OTHER * self._planned_rate
        if self._first_s is None and self._mix.rate:
            self._first_s = moment.now_s
        young = self._first_s is None or moment.now_s < self._first_s + _PLAN_S
        due = moment.now_s >= self._planned_s + (_YOUNG_PLAN_S if young else _PLAN_S)
        if self._coming is not None and self._coming.done():
            coming, self._coming = self._coming, None
            self._plan = coming.result()
        again = self._plan is None or due or other or self._broken(moment)
        if again and self._coming is None:
            self._planned_s, self._planned_rate = moment.now_s, self._mix.rate
            self._begin(moment)
        return self._adjusted(moment)

    def route(self, request: RequestView, moment: Moment) -> int | None:
        """The site whose turn it is for this class, then the least busy replica."""
        kind = class_of(request.prompt_tokens, self._mix.answer(request))
        if not request.tried and not request.again:
            self._mix.came(request)
            self._mixes[kind].came(request)
        if not request.tried and not request.begun:
            self._credit[kind] += self._taken[kind]
            if self._credit[kind] < 1:
                return None
            self._credit[kind] -= 1
        allowed = {one.site for one in moment.replicas if one.ready}
        if request.sites is not None:
            allowed &= request.sites
        shares = self._shares[kind]
        full: int | None = None
        while allowed:
            site = shares.next(sorted(allowed))
            if site is None:
                site = max(allowed, key=lambda one: moment.sites[one].supply_w or 0.0)
            found = least_busy(moment, request, site)
            if found is not None and moment.replicas[found].running < self._most[site]:
                return found
            if full is None:
                full = found  # whose turn it was, if no site of this class has room
            allowed.discard(site)
        return full

    def finished(
        self,
        request: RequestView,
        replica: int,
        ttft_s: float | None,
        tpot_s: float | None,
        tokens: int,
    ) -> None:
        """Lengths, by class too: the one that it was taken for, as its like will be again."""
        kind = class_of(request.prompt_tokens, self._mix.answer(request))
        self._mix.ended(request.prompt_tokens, tokens)
        self._mixes[kind].ended(request.prompt_tokens, tokens)

    def _begin(self, moment: Moment) -> None:
        """A new plan, or with a thread: some time later; until then the last one holds."""
        for capacity, mix in zip(self._by_class, self._mixes, strict=True):
            capacity.learn(mix.prompt_tokens, mix.output_tokens)
        now_w = [np.inf if one.supply_w is None else one.supply_w for one in moment.sites]
        low_w = []
        for site, most_w in zip(moment.sites, now_w, strict=True):
            within = [
                one.low_w for one in site.outlook if one.start_s < moment.now_s + _PLAN_S
            ] or [site.supply_low_w if site.supply_low_w is not None else np.inf]
            # A forecast that is too high already wakes replicas that there is no power for.
            low_w.append(min(*within, most_w))
        gpus = [one.gpus for one in moment.sites]
        rates = [_ROOM * one.rate for one in self._mixes]
        if self._plan is None or not self._mix.rate:  # be ready for anything
            self._plan = self._spread(gpus, low_w)
        if not self._mix.rate:
            return
        if self._thread is None:
            self._plan = _surest(self._by_class, gpus, low_w, now_w, rates)
        else:
            self._coming = self._thread.submit(_surest, self._by_class, gpus, low_w, now_w, rates)

    def _spread(self, gpus: Sequence[int], power_w: Sequence[float]) -> Plan:
        """All sites at their best, each class by what they can do."""
        self._capacity.learn(self._mix.prompt_tokens, self._mix.output_tokens)
        best = [self._capacity.best(*one) for one in zip(gpus, power_w, strict=True)]
        nothing = [0.0] * len(CLASSES)
        return Plan(awake=[one.awake for one in best], rate=[nothing for _ in best], lost=nothing)

    def _broken(self, moment: Moment) -> bool:
        """A site has not even the power for the replicas that the plan wakes there."""
        assert self._plan is not None
        return any(
            site.supply_w is not None
            and awake
            and self._capacity.need_w(site.gpus, awake, 0) > site.supply_w
            for site, awake in zip(moment.sites, self._plan.awake, strict=True)
        )

    def _adjusted(self, moment: Moment) -> Orders:
        """Planner-S: the replicas of the plan, the highest clock that the power of now allows."""
        assert self._plan is not None
        self._capacity.learn(self._mix.prompt_tokens, self._mix.output_tokens)
        orders, now = [], []
        self._most = []
        for site, awake in zip(moment.sites, self._plan.awake, strict=True):
            supply_w = np.inf if site.supply_w is None else site.supply_w
            fitting = [
                one
                for one in self._capacity.clocks
                if self._capacity.need_w(site.gpus, awake, one) <= supply_w
            ]
            clock = fitting[-1] if fitting else 0
            rate = awake * self._capacity.rates[clock] if fitting else 0.0
            now.append(rate)
            self._most.append(self._capacity.batches[clock])
            orders.append(
                SiteOrder(weight=rate, ceiling_mhz=self._engine.clocks_mhz[clock], awake=awake)
            )
        rate = self._mix.rate
        enough = min(1.0, sum(now) / rate) if rate else 1.0
        for kind, shares in enumerate(self._shares):
            served, lost = sum(one[kind] for one in self._plan.rate), self._plan.lost[kind]
            self._taken[kind] = min(enough, served / (served + lost) if lost > 1e-9 else 1.0)
            planned = [one[kind] for one in self._plan.rate]
            total = [sum(one) for one in self._plan.rate]
            # A site that can do less, or more, than planned takes as much less or more.
            weights = [
                rate * can / want if want > 0 else 0.0
                for rate, can, want in zip(planned, now, total, strict=True)
            ]
            if not any(weights):
                weights = now
            if len(shares.weights) != len(weights):
                self._shares[kind] = Shares(weights)
            else:
                shares.weights = weights
        return Orders(orders)


def _surest(
    classes: Sequence[Capacity],
    gpus: Sequence[int],
    low_w: Sequence[float],
    now_w: Sequence[float],
    rate: Sequence[float],
) -> Plan:
    """By the power that is sure; where that is not enough, by the power of now."""
    found = plan(classes, gpus, low_w, rate)
    if sum(found.lost) > 1e-6 * sum(rate):
        found = plan(classes, gpus, now_w, rate)
    return found


def plan(
    classes: Sequence[Capacity],
    gpus: Sequence[int],
    power_w: Sequence[float],
    rate: Sequence[float],
) -> Plan:
    """Planner-L: as few requests lost as possible, then no site fuller than others. HiGHS."""
    sites, capacity = len(gpus), classes[0]
    offered = capacity.clocks
    # A site with little power has its replicas at the lowest, or none.
    clocks = sorted({offered[0], *offered[:: -math.ceil(len(offered) / _CLOCKS)]})
    numbers = sites * len(clocks)  # replicas at a site and clock, whole
    time_of = numbers  # GPU time by site, clock and class
    lost_of = numbers + numbers * len(classes)
    over_of = lost_of + len(classes)  # GPU time of a site beyond a share of its replicas
    size = over_of + len(_FILLED) * sites
    kinds = range(len(classes))
    rows: list[int] = []
    columns: list[int] = []
    values: list[float] = []
    low: list[float] = []
    high: list[float] = []

    def row(entries: Sequence[tuple[int, float]], least: float, most: float) -> None:
        for column, value in entries:
            rows.append(len(low))
            columns.append(column)
            values.append(value)
        low.append(least)
        high.append(most)

    def time(site: int, k: int, kind: int) -> int:
        return time_of + (site * len(clocks) + k) * len(classes) + kind

    for site in range(sites):
        here = [site * len(clocks) + k for k in range(len(clocks))]
        row([(one, 1.0) for one in here], 0, gpus[site])
        extra = [capacity.peak_w[clock] - capacity.parked_w for clock in clocks]
        room_w = max(min(power_w[site], 1e12) - gpus[site] * capacity.parked_w, 0.0)
        row(list(zip(here, extra, strict=True)), 0, room_w)
        for k, one in enumerate(here):
            shared = [(time(site, k, kind), 1.0) for kind in range(len(classes))]
            row([*shared, (one, -1.0)], -np.inf, 0)
        for step, (filled, _) in enumerate(_FILLED):
            every = [(time(site, k, kind), 1.0) for k in range(len(clocks)) for kind in kinds]
            bound = [(one, -filled) for one in here]
            row([*every, *bound, (over_of + step * sites + site, -1.0)], -np.inf, 0)
    for kind, known in enumerate(classes):
        served = [
            (time(site, k, kind), known.rates[clock])
            for site in range(sites)
            for k, clock in enumerate(clocks)
        ]
        row([*served, (lost_of + kind, 1.0)], rate[kind], rate[kind])
    cost = np.zeros(size)
    for site in range(sites):
        for k, clock in enumerate(clocks):
            # Wind costs nothing: as much room as there is power for.
            cost[site * len(clocks) + k] = -capacity.rates[clock] * _ROOM_WORTH
    cost[lost_of:over_of] = _LOST
    for step, (_, price) in enumerate(_FILLED):
        cost[over_of + step * sites : over_of + (step + 1) * sites] = price
    whole = np.zeros(size)
    whole[:numbers] = 1
    matrix = coo_array((values, (rows, columns)), shape=(len(low), size)).tocsr()
    found = milp(
        cost,
        integrality=whole,
        bounds=Bounds(0, np.inf),
        constraints=LinearConstraint(matrix, low, high),
        options={"time_limit": _LIMIT_S, "mip_rel_gap": 1e-2},
    )
    if found.x is None:
        return Plan(
            awake=list(gpus),
            rate=[[0.0] * len(classes)] * sites,
            lost=list(rate),
        )
    counts = np.round(found.x[:numbers]).reshape(sites, len(clocks))
    times = found.x[time_of:lost_of].reshape(sites, len(clocks), len(classes))
    speeds = np.array([[known.rates[clock] for known in classes] for clock in clocks])
    return Plan(
        awake=[int(one) for one in counts.sum(axis=1)],
        rate=(times * speeds).sum(axis=1).tolist(),
        lost=found.x[lost_of:over_of].tolist(),
    )
