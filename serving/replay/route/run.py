# SPDX-License-Identifier: Apache-2.0
"""A trace through all sites under one policy. Pure.

The router sees requests when they arrive and replicas as they are; a request reaches its replica
half a round trip later, and its tokens come back as late. A request whose replica loses its power
is sent anew, with the tokens that it has; where nobody takes it, it is dropped.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from profiling.law import Floats
from serving.governor.engine import EngineModel
from serving.replay.route.fleet import Fleet
from serving.replay.route.sites import Sites, Times
from serving.replay.route.supply import Supply
from serving.replay.route.trace import Trace
from serving.router.policy.capacity import peaks_w
from serving.router.policy.protocol import (
    Moment,
    Orders,
    Outlook,
    Policy,
    ReplicaView,
    RequestView,
    SiteView,
)

__all__ = ["Foresight", "Outcome", "Site", "route_replay"]

_EARLIER_S = 120.0  # that sites are up before the first request; not counted
_LOW_WITHIN_S = 600.0  # the low quantile of a site's power looks so far ahead


@dataclass(frozen=True, kw_only=True)
class Site:
    """A site: its GPUs and how far away it is."""

    name: str
    gpus: int
    rtt_s: float
    tp: int = 1


class Foresight(Protocol):
    """What is known of the power to come."""

    def outlook(self, site: int, now_s: float) -> Sequence[Outlook]:
        """Steps from now on."""
        ...


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What became of each request, in the order of the trace; nan: it did not happen.

    `ttft_s` and `end_s` are as the client sees them; `site` is where it ended, -1 nowhere.
    """

    ttft_s: Floats
    end_s: Floats
    site: Floats
    rerouted: int
    starts: int
    energy_j: float
    begin_s: float
    last_s: float
    drawn: Floats  # rows of time_s, and joules that each site has drawn until then
    peak_over_w: (
        float  # the most that any site drew beyond its supply when looked at; 0 or less: never
    )


def route_replay(
    trace: Trace,
    sites: Sequence[Site],
    supply: Supply,
    engine: EngineModel,
    policy: Policy,
    foresight: Foresight,
    *,
    patience_s: float = 60.0,
    times: Times | None = None,
    told: bool = False,
    progress: Callable[[float], None] | None = None,
) -> Outcome:
    """Run it; with `told` the policy knows how long answers will be."""
    return _Run(
        trace, sites, supply, engine, policy, foresight, patience_s, times or Times(), told
    ).go(progress)


class _Run:
    def __init__(
        self,
        trace: Trace,
        sites: Sequence[Site],
        supply: Supply,
        engine: EngineModel,
        policy: Policy,
        foresight: Foresight,
        patience_s: float,
        times: Times,
        told: bool,
    ) -> None:
        self._trace, self._supply, self._policy = trace, supply, policy
        self._foresight, self._told = foresight, told
        self._begin_s = float(trace.arrival_s[0])
        early_s = self._begin_s - _EARLIER_S
        replicas = [
            ReplicaView(site=number, ready=False)
            for number, one in enumerate(sites)
            for _ in range(one.gpus // one.tp)
        ]
        self._moment = Moment(
            now_s=early_s,
            sites=[SiteView(one.name, one.rtt_s, one.gpus // one.tp) for one in sites],
            replicas=replicas,
        )
        self._fleet = Fleet(engine, trace, len(replicas), early_s, patience_s)
        self._sites = Sites(
            self._fleet, self._moment, engine.clocks_mhz, peaks_w(engine), engine.parked_w, times
        )
        count = len(trace)
        self._at = np.full(count, -1, dtype=np.int64)  # its replica
        # Of its first token, once it lost the replica that made it.
        self._back_s = np.full(count, np.nan)
        self._one_way_s = [0.5 * one.rtt_s for one in self._moment.sites]
        self._kv_blocks = max(engine.kv_tokens // 16, 1)
        self._orders = Orders()
        self._step = -1
        self._ticked_s, self._switch_s = early_s, engine.switch_latency_s
        self._rerouted = 0
        self._sent_s = self._begin_s  # when all were at their last replica, or were turned away
        self._before_j = 0.0
        self._drawn: list[list[float]] = []
        self._of_site = np.array(
            [[one.site == site for one in replicas] for site in range(len(sites))]
        )
        self._over_w = float("-inf")
        self._prompts = trace.prompt_tokens.tolist()
        self._outputs = trace.output_tokens.tolist()
        self._arrivals = trace.arrival_s.tolist()

    def go(self, progress: Callable[[float], None] | None) -> Outcome:
        with self._fleet:
            next_s = self._tick(self._moment.now_s)
            while next_s < self._begin_s:
                next_s = self._tick(next_s)
            self._advance(self._begin_s)
            self._before_j = float(self._fleet.energy_j.sum())
            count = len(self._arrivals)
            for number, at_s in enumerate(self._arrivals):
                while next_s <= at_s:
                    next_s = self._tick(next_s)
                self._advance(at_s)
                self._route(number, frozenset())
                if progress is not None and number % 4096 == 0:
                    progress(number / count)
            while self._busy():
                self._advance(next_s)
                if self._busy():
                    next_s = self._tick(next_s)
            return self._outcome()

    def _tick(self, now_s: float) -> float:
        """Power, control and what became ready, at one time; the next such time."""
        self._advance(now_s)
        if now_s > self._ticked_s + self._switch_s:
            self._check_draws()
        self._ticked_s = now_s
        self._power(now_s)
        self._control()
        following_s = now_s + self._policy.period_s
        step = self._step + 1
        if step < len(self._supply.start_s):
            following_s = min(following_s, float(self._supply.start_s[step]))
        return min(following_s, self._sites.next_s())

    def _advance(self, now_s: float) -> None:
        self._moment.now_s = now_s
        ended = self._fleet.advance(now_s)
        for one, (running, waiting, queued, kv) in zip(
            self._moment.replicas, self._fleet.views.tolist(), strict=True
        ):
            one.running, one.waiting, one.queued_tokens = running, waiting, queued
            one.kv_use = kv / self._kv_blocks
        for number, replica in ended:
            self._ended(number, replica)

    def _ended(self, number: int, replica: int) -> None:
        first_s, end_s = float(self._fleet.first_s[number]), float(self._fleet.end_s[number])
        tokens = self._outputs[number]
        view = self._moment.replicas[replica]
        ttft_s = first_s + self._one_way_s[view.site] - self._arrivals[number]
        tpot_s = (end_s - first_s) / (tokens - 1) if tokens > 1 else None
        view.ttft_s = _mean(view.ttft_s, ttft_s)
        if tpot_s is not None:
            view.tpot_s = _mean(view.tpot_s, tpot_s)
        request = RequestView(self._prompts[number])
        self._policy.finished(request, replica, ttft_s, tpot_s, tokens)

    def _check_draws(self) -> None:
        """Sites within their supply? Asked when clocks have switched."""
        self._draws()
        for one in self._moment.sites:
            if one.supply_w is not None and one.draw_w is not None:
                self._over_w = max(self._over_w, one.draw_w - one.supply_w)

    def _power(self, now_s: float) -> None:
        step = self._supply.step_at(now_s)
        if step != self._step:
            self._meter(now_s)
        self._step = step
        for number, site in enumerate(self._moment.sites):
            site.supply_w = float(self._supply.watts[number, step])
            site.outlook = self._foresight.outlook(number, now_s)
            within_s = now_s + _LOW_WITHIN_S
            site.supply_low_w = min(one.low_w for one in site.outlook if one.start_s <= within_s)

    def _meter(self, at_s: float) -> None:
        """What was drawn until then: now, or a time since which all were idle."""
        since_j = self._fleet.watts * (self._moment.now_s - at_s)
        self._drawn.append([at_s, *(self._of_site @ (self._fleet.energy_j - since_j)).tolist()])

    def _control(self) -> None:
        self._orders = self._policy.control(self._moment)
        lost: list[int] = []
        for number, order in enumerate(self._orders.sites):
            lost += self._sites.apply(number, order)
        self._draws()
        for number in lost:
            self._rerouted += 1
            old = int(self._at[number])
            if not np.isnan(self._fleet.first_s[number]) and np.isnan(self._back_s[number]):
                self._back_s[number] = self._one_way_s[self._moment.replicas[old].site]
            self._route(number, frozenset((old,)))

    def _draws(self) -> None:
        draws_w = (self._of_site @ self._fleet.watts).tolist()
        for site, draw_w in zip(self._moment.sites, draws_w, strict=True):
            site.draw_w = draw_w

    def _route(self, number: int, tried: frozenset[int]) -> None:
        moment = self._moment
        request = RequestView(
            self._prompts[number],
            self._outputs[number] if self._told else None,
            moment.now_s - self._arrivals[number],
            tried=tried,
            begun=bool(tried) and not np.isnan(self._fleet.first_s[number]),
        )
        replica = self._policy.route(request, moment)
        self._sent_s = max(self._sent_s, moment.now_s)
        if replica is None:
            self._at[number] = -1
            return
        view = moment.replicas[replica]
        there_s = moment.now_s + self._one_way_s[view.site]
        if self._fleet.send(replica, number, there_s):
            self._sent_s = max(self._sent_s, there_s)
            self._at[number] = replica
            view.running += 1
            view.waiting += 1
            view.queued_tokens += request.prompt_tokens

    def _busy(self) -> bool:
        return bool(self._fleet.views[:, 0].any())

    def _outcome(self) -> Outcome:
        fleet, trace = self._fleet, self._trace
        # Time goes on in steps: what is drawn after the last answer is none of the requests', nor
        # after one whose client has gone came there. On its way it may have lost its replica.
        ended_s = float(np.fmax.reduce(fleet.end_s, initial=self._sent_s))
        ended_s = min(ended_s, self._moment.now_s)
        self._meter(ended_s if ended_s >= self._ticked_s else self._moment.now_s)
        site_of = np.array([*(one.site for one in self._moment.replicas), -1])
        site = site_of[self._at]
        back_s = np.array([*self._one_way_s, 0.0])[site]
        first_back_s = np.where(np.isnan(self._back_s), back_s, self._back_s)
        return Outcome(
            ttft_s=fleet.first_s + first_back_s - trace.arrival_s,
            end_s=fleet.end_s + back_s,
            site=np.where(np.isnan(fleet.end_s), -1, site),
            rerouted=self._rerouted,
            starts=self._sites.starts,
            energy_j=sum(self._drawn[-1][1:]) - self._before_j,
            begin_s=self._begin_s,
            last_s=self._drawn[-1][0],
            drawn=np.array(self._drawn),
            peak_over_w=self._over_w,
        )


def _mean(old: float | None, new: float) -> float:
    return new if old is None else old + 0.1 * (new - old)
