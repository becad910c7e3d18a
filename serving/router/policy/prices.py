# SPDX-License-Identifier: Apache-2.0
"""`prices`: ours. Reactive signals, the power of each site, and a price on GPU time. Pure.

Each site runs the setting (replicas awake, clock) that serves most with its power. A request goes
where its first token is expected soonest, among replicas that can still give it and those they
have their tokens in time; a site's carbon counts as delay. GPU time has a price once requests
bring more work than all sites can do: one whose work costs more than it is worth is turned away
at once instead of making others late. The price follows from the work of recent arrivals and the
power of now, and is corrected by how many of those admitted kept their SLO.
"""

import random
from bisect import bisect_right
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate

from serving.governor.engine import Batch, EngineModel
from serving.governor.protocol import Slo
from serving.router.policy.capacity import Capacity, Setting
from serving.router.policy.mix import Mix
from serving.router.policy.protocol import Moment, Orders, RequestView, SiteOrder
from slurm_green.plan.problem import JOULES_PER_KWH

__all__ = ["Prices", "cutoff"]

_WINDOW_S = 15.0  # of arrivals that the price rests on
_MOST_SEEN = 2000
_AHEAD_S = 20.0  # a drop that is forecast within this time empties replicas beforehand
_LATE = 0.6  # of the SLO for a first token: expected later, it is too late
_JITTER = 0.02  # routers that see the same must not all pick the same replica
_MISSED = 0.02  # of those admitted may miss their SLO; more, and less is admitted
_GAIN = 0.5
_START = 0.7
_FULL = 1.1  # times the batch that serves most: more requests, and their tokens are late
_GRAM_S = 20.0  # a gram of carbon counts as so many seconds of delay


@dataclass(frozen=True, slots=True, kw_only=True)
class _AtClock:
    """What a replica does at a clock (an index) with requests as they are now."""

    clock: int
    prompt_token_s: float
    steps_s: float  # that pass before and after a prompt's own
    token_s: float  # of a request alone
    more_s: float  # by which one more request delays every token
    most: int  # requests that run at once
    kwh: float  # of a mean request


class Prices:
    """Admission and routing by prices for one model."""

    period_s = 2.0
    retry_after_s = 2.0

    def __init__(self, engine: EngineModel, slo: Slo, seed: int = 0) -> None:
        self._engine, self._slo = engine, slo
        self._capacity = Capacity(engine, slo)
        self._mix = Mix()
        self._random = random.Random(seed)
        self._recent: deque[tuple[float, float]] = deque(maxlen=_MOST_SEEN)
        self.most_work = float("inf")  # that one request may bring, in mean requests
        self._ability = _START  # what all sites turned out to do, of what the profile says
        self._ended = self._missed = 0
        self._at: dict[float, _AtClock] = {}
        self._token_weights: tuple[float, float] | None = None
        self._parks_s: dict[int, float] = {}  # replicas that will be parked soon, and when
        self._top_mhz = engine.clocks_mhz[-1]

    def control(self, moment: Moment) -> Orders:
        """The best setting of each site, and the price of GPU time."""
        mix, capacity = self._mix, self._capacity
        mix.tick(moment.now_s)
        if capacity.learn(mix.prompt_tokens, mix.output_tokens):
            self._at, self._token_weights = {}, None
        settings = [capacity.best(one.gpus, one.supply_w) for one in moment.sites]
        self._price(moment, sum(one.rate for one in settings))
        self._empty(moment, settings)
        return Orders(
            [
                SiteOrder(
                    weight=one.rate,
                    ceiling_mhz=self._engine.clocks_mhz[one.clock],
                    awake=one.awake,
                )
                for one in settings
            ]
        )

    def route(self, request: RequestView, moment: Moment) -> int | None:
        """The replica that answers soonest, carbon counted, of those that can do so in time."""
        tokens = self._mix.answer(request)
        prompt_weight, token_weight = self._weights()
        work = prompt_weight * request.prompt_tokens + token_weight * tokens
        if not request.tried:
            self._mix.came(request)
            self._recent.append((moment.now_s, work))
        if work > self.most_work and not request.begun:
            return None
        best, least = None, (True, float("inf"))
        late, late_least = None, float("inf")
        left_s = _LATE * self._slo.ttft_s - request.waited_s
        own_s: dict[float, float] = {}
        for number, one in enumerate(moment.replicas):
            if not one.ready or number in request.tried:
                continue
            if request.sites is not None and one.site not in request.sites:
                continue
            mhz = one.clock_mhz or self._top_mhz
            at = self._at.get(mhz) or self._learn_clock(mhz)
            if mhz not in own_s:
                own_s[mhz] = self._engine.prompt_s(request.prompt_tokens, at.clock)
            site = moment.sites[one.site]
            # A step under way, the prompts ahead, its own, and the step that it joins.
            delay_s = site.rtt_s + at.steps_s + one.queued_tokens * at.prompt_token_s + own_s[mhz]
            score = delay_s + tokens * at.more_s * one.running
            if site.mu_g_per_kwh:
                score += _GRAM_S * site.mu_g_per_kwh * work * at.kwh
            score *= 1 + _JITTER * self._random.random()
            in_time = delay_s <= left_s and one.running - one.waiting < at.most
            parks_s = self._parks_s.get(number)
            # One that is to be parked may lose it: still better than to turn it away.
            lost = parks_s is not None and parks_s < moment.now_s + delay_s + tokens * (
                at.token_s + at.more_s * one.running
            )
            rank = (lost, score)
            if in_time and rank < least:
                best, least = number, rank
            elif score < late_least:
                late, late_least = number, score
        return late if best is None and request.begun else best

    def finished(
        self, request: RequestView, replica: int, ttft_s: float, tpot_s: float | None, tokens: int
    ) -> None:
        """Learn lengths, and whether it was in time."""
        self._mix.ended(request.prompt_tokens, tokens)
        self._ended += 1
        if ttft_s > self._slo.ttft_s or (tpot_s or 0.0) > self._slo.tpot_s:
            self._missed += 1

    def _weights(self) -> tuple[float, float]:
        """What a token of a prompt and one of an answer count, of the work of a mean request."""
        if self._token_weights is None:
            mix, capacity = self._mix, self._capacity
            clock = capacity.clocks[len(capacity.clocks) // 2]
            batch = capacity.batches.get(clock, 1)
            context = mix.prompt_tokens + mix.output_tokens / 2
            prompt_s = self._engine.prompt_s(round(mix.prompt_tokens), clock) / mix.prompt_tokens
            token_s = self._engine.time_s(Batch(batch, context), clock) / batch
            mean_s = prompt_s * mix.prompt_tokens + token_s * mix.output_tokens
            self._token_weights = (prompt_s / mean_s, token_s / mean_s)
        return self._token_weights

    def _learn_clock(self, mhz: float) -> _AtClock:
        engine, mix, capacity = self._engine, self._mix, self._capacity
        clock = engine.index(mhz)
        known = min(capacity.clocks, key=lambda one: abs(one - clock))
        most = capacity.batches[known]
        context = mix.prompt_tokens + mix.output_tokens / 2
        first_s, full_s = (engine.time_s(Batch(one, context), clock) for one in (1, most + 1))
        self._at[mhz] = _AtClock(
            clock=clock,
            prompt_token_s=engine.prompt_s(round(mix.prompt_tokens), clock) / mix.prompt_tokens,
            steps_s=0.75 * (first_s + full_s),
            token_s=first_s,
            more_s=(full_s - first_s) / most,
            most=max(2, round(_FULL * most)),
            kwh=capacity.peak_w[known] / capacity.rates[known] / JOULES_PER_KWH,
        )
        return self._at[mhz]

    def _price(self, moment: Moment, rate: float) -> None:
        """The most work that one request may bring, so that all admitted fit."""
        recent = self._recent
        while recent and recent[0][0] < moment.now_s - _WINDOW_S:
            recent.popleft()
        if self._ended >= 40:
            share = self._missed / self._ended
            self._ability += min(max(_GAIN * (_MISSED - share), -0.08), 0.02)
            self._ability = min(max(self._ability, 0.5), 1.1)
            self._ended = self._missed = 0
        span_s = max(moment.now_s - recent[0][0], 2.0) if recent else _WINDOW_S
        self.most_work = cutoff([one for _, one in recent], self._ability * rate * span_s)

    def _empty(self, moment: Moment, settings: Sequence[Setting]) -> None:
        """Replicas that a drop of power will park soon are for what ends before."""
        self._parks_s = {}
        for number, (site, setting) in enumerate(zip(moment.sites, settings, strict=True)):
            here = [
                one
                for one, view in enumerate(moment.replicas)
                if view.site == number and view.ready
            ]
            here.sort(key=lambda one: -moment.replicas[one].running)
            for step in site.outlook:
                if moment.now_s < step.start_s <= moment.now_s + _AHEAD_S:
                    awake = self._capacity.best(site.gpus, step.supply_w).awake
                    if awake < setting.awake:
                        for one in here[awake:]:
                            self._parks_s.setdefault(one, step.start_s)


def cutoff(works: Sequence[float], room: float) -> float:
    """The largest work up to which all of `works` together fit into `room`; inf if all do."""
    rising = sorted(works)
    sums = list(accumulate(rising))
    fits = bisect_right(sums, room)
    return float("inf") if fits == len(rising) else rising[fits]
