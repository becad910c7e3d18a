# SPDX-License-Identifier: Apache-2.0
"""`prices`: ours. Reactive signals, the power of each site, and a price on GPU time. Pure.

Each site runs the setting (replicas awake, clock) that serves most with its power. A request goes
where its first token is expected soonest, among replicas that can still give it and all those
there their tokens in time; a site's carbon counts as delay. GPU time has a price once requests
bring more work than all sites can do: one whose work costs more than it is worth is turned away
at once instead of making others late, unless a replica has time that nobody else would use. The
price follows from the work of recent arrivals and the power of now, and is corrected at once by
how many of those that it let in found no room; how much room replicas have is corrected by how
many missed their SLO.
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
from serving.router.policy.stalls import Stalls
from slurm_green.plan.problem import JOULES_PER_KWH

__all__ = ["Prices", "cutoff"]

_WINDOW_S = 15.0  # of arrivals that the price rests on
_MOST_SEEN = 2000
_AHEAD_S = 20.0  # a drop that is forecast within this time empties replicas beforehand
_LATE = 0.6  # of the SLO for a first token: expected later, it is too late, but where all is idle
_START = 0.7  # of what the profile says that all sites can do
_REFUSED = 0.02  # of those that the price lets in may find no room; more, and it rises
_GAIN = 0.5
_MISSED = 0.02  # of those answered may miss their SLO; more, and replicas take less
_MISSED_GAIN = 0.1
_FULL = 0.9  # times the batch that serves most: more requests, and their tokens are late
_SPARE = 0.85  # of the time per token that steps and prompts may take, as load is never even
_STALL = 0.42  # of the time that a short answer may take can be stalls that are still to come
_SHORT = 0.25  # the quantile of answers that are short
_SHORTEST = 6  # tokens; one of fewer is over so soon that hardly any prompt meets it
_ANSWERS = 500  # that it is taken of
_LOOKED = 16  # replicas with room among which a request finds the best
_IDLE = 0.85  # room that only what the price turns away would use, up to such a fill
_GRAM_S = 20.0  # a gram of carbon counts as so many seconds of delay


@dataclass(frozen=True, slots=True, kw_only=True)
class _AtClock:
    """What a replica does at a clock (an index) with requests as they are now."""

    clock: int
    prompt_token_s: float
    steps_s: float  # that pass before and after a prompt's own
    token_s: float  # of a request alone
    more_s: float  # by which one more request delays every token
    most: float  # requests that run at once
    kwh: float  # of a mean request


class Prices:
    """Admission and routing by prices for one model; `only`: requests come for one site only."""

    period_s = 2.0
    retry_after_s = 2.0

    def __init__(
        self, engine: EngineModel, slo: Slo, seed: int = 0, *, only: int | None = None
    ) -> None:
        self._engine, self._slo, self._only = engine, slo, only
        self._capacity = Capacity(engine, slo)
        self._mix = Mix()
        self._random = random.Random(seed)
        self._recent: deque[tuple[float, float]] = deque(maxlen=_MOST_SEEN)
        self.most_work = float("inf")  # that one request may bring, in mean requests
        self._ability = _START  # what all sites turned out to do, of what the profile says
        self._let_in = self._refused = 0
        self._room = 1.0  # what a replica turned out to take, of what the profile says
        self._ended = self._missed = 0
        self._stalls = Stalls()
        self._answers: deque[int] = deque(maxlen=_ANSWERS)
        self._short = _further(40)  # tokens after the first
        self._at: dict[float, _AtClock] = {}
        self._token_weights: tuple[float, float] | None = None
        self._parks_s: dict[int, float] = {}  # replicas that will be parked soon, and when
        self._top_mhz = engine.clocks_mhz[-1]
        self._order: list[int] = []

    def control(self, moment: Moment) -> Orders:
        """The best setting of each site, and the price of GPU time."""
        mix, capacity = self._mix, self._capacity
        mix.tick(moment.now_s)
        if capacity.learn(mix.prompt_tokens, mix.output_tokens):
            self._at, self._token_weights = {}, None
        settings = [capacity.best(one.gpus, one.supply_w) for one in moment.sites]
        mine = settings if self._only is None else [settings[self._only]]
        self._price(moment, sum(one.rate for one in mine))
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
        if not request.tried and not request.again:
            self._recent.append((moment.now_s, work))
        # A dear one gets only what would stand idle.
        dear = work > self.most_work and not request.begun
        fullest = _IDLE if dear else 1.0
        now_s, tpot_s = moment.now_s, self._slo.tpot_s
        best, least, best_stall_s = None, (True, float("inf")), 0.0
        late, late_least, late_stall_s = None, float("inf"), 0.0
        left_s = max(_LATE * self._slo.ttft_s - request.waited_s, 1e-9)
        # Where nothing is in its way what is expected comes true.
        idle_s = left_s if dear else max(self._slo.ttft_s - request.waited_s, 1e-9)
        stall_s = self._room * _STALL * tpot_s * self._short
        stalls = self._stalls
        stalls.fit(len(moment.replicas), now_s)
        by_clock: dict[float | None, tuple[_AtClock, float]] = {}
        replicas, views, allowed, tried = (
            moment.replicas,
            moment.sites,
            request.sites,
            request.tried,
        )
        chance, parks, room = self._random.random, self._parks_s, self._room
        looked = 0
        for number in self._to_look_at(len(replicas)):
            one = replicas[number]
            if not one.ready or number in tried:
                continue
            if allowed is not None and one.site not in allowed:
                continue
            known = by_clock.get(one.clock_mhz)
            if known is None:
                mhz = one.clock_mhz or self._top_mhz
                at = self._at.get(mhz) or self._learn_clock(mhz)
                known = at, self._engine.prompt_s(request.prompt_tokens, at.clock)
                by_clock[one.clock_mhz] = known
            at, own_s = known
            site, running = views[one.site], one.running
            # A step under way, the prompts ahead, its own, and the step that it joins.
            queue_s = one.queued_tokens * at.prompt_token_s
            free_s = site.rtt_s + at.steps_s + own_s
            delay_s = free_s + queue_s
            # Routers that see late what others send must not all pick the same replica.
            crowd_s = queue_s + tokens * at.more_s * running
            score = free_s + crowd_s * (0.5 + chance())
            if site.mu_g_per_kwh:
                score += _GRAM_S * site.mu_g_per_kwh * work * at.kwh
            step_s = at.token_s + at.more_s * running
            level_s = own_s
            within_s = left_s if running or one.queued_tokens else idle_s
            fill = max(delay_s / within_s, (running + 1) / (room * at.most))
            if running:
                drain = max(_SPARE - step_s / tpot_s, 0.02)
                level_s += stalls.level_s(number, now_s, drain)
                fill = max(fill, level_s / stall_s)
            parks_s = parks.get(number)
            # One that is to be parked may lose it: still better than to turn it away.
            lost = parks_s is not None and parks_s < now_s + delay_s + tokens * step_s
            rank = (lost, score)
            if fill <= fullest:
                looked += 1
                if rank < least:
                    best, least, best_stall_s = number, rank, level_s
                if looked == _LOOKED:
                    break
            elif score < late_least:
                late, late_least, late_stall_s = number, score, level_s
        if not dear and not request.again:
            self._let_in += 1
            self._refused += best is None
        if best is None and request.begun:
            best, best_stall_s = late, late_stall_s
        if best is not None:
            stalls.put(best, best_stall_s, now_s)
            if not request.tried and not request.placed:
                # What a replica can do depends on those that come in, not on those turned away.
                self._mix.came(request)
        return best

    def finished(
        self,
        request: RequestView,
        replica: int,
        ttft_s: float | None,
        tpot_s: float | None,
        tokens: int,
    ) -> None:
        """Learn lengths, and whether it was in time."""
        self._mix.ended(request.prompt_tokens, tokens)
        if tokens > 1:  # one token waits for no further one
            self._answers.append(tokens)
        if ttft_s is None:
            return
        self._ended += 1
        if ttft_s > self._slo.ttft_s or (tpot_s or 0.0) > self._slo.tpot_s:
            self._missed += 1

    def _to_look_at(self, replicas: int) -> Sequence[int]:
        """All, where there are few; else from anywhere on in an order of this router's own."""
        if replicas <= _LOOKED:
            return range(replicas)
        if len(self._order) != replicas:
            self._order = self._random.sample(range(replicas), replicas)
        start = int(self._random.random() * replicas)
        return self._order[start:] + self._order[:start]

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
            most=max(2.0, _FULL * most),
            kwh=capacity.peak_w[known] / capacity.rates[known] / JOULES_PER_KWH,
        )
        return self._at[mhz]

    def _price(self, moment: Moment, rate: float) -> None:
        """The most work that one request may bring, so that all admitted fit."""
        recent = self._recent
        while recent and recent[0][0] < moment.now_s - _WINDOW_S:
            recent.popleft()
        self._learn_room()
        span_s = max(moment.now_s - recent[0][0], 2.0) if recent else _WINDOW_S
        self.most_work = cutoff([one for _, one in recent], self._ability * rate * span_s)

    def _learn_room(self) -> None:
        if len(self._answers) >= 20:
            self._short = _further(sorted(self._answers)[int(_SHORT * len(self._answers))])
        if self._let_in >= 20:
            share = self._refused / self._let_in
            self._ability += min(max(_GAIN * (_REFUSED - share), -0.1), 0.05)
            self._ability = min(max(self._ability, 0.5), 1.5)
            self._let_in = self._refused = 0
        if self._ended >= 40:
            share = self._missed / self._ended
            self._room += min(max(_MISSED_GAIN * (_MISSED - share), -0.08), 0.02)
            self._room = min(max(self._room, 0.5), 1.0)
            self._ended = self._missed = 0

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


def _further(tokens: int) -> float:
    return max(tokens, _SHORTEST) - 1.0


def cutoff(works: Sequence[float], room: float) -> float:
    """The largest work up to which all of `works` together fit into `room`; inf if all do."""
    rising = sorted(works)
    sums = list(accumulate(rising))
    fits = bisect_right(sums, room)
    return float("inf") if fits == len(rising) else rising[fits]
