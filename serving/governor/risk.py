# SPDX-License-Identifier: Apache-2.0
"""How many requests a slower iteration is likely to make late. Pure.

A decoding request that prompts have stalled beyond its bank is late if it ends before it has won
that back; how long answers are is known from those that ended. What stalls it is this iteration,
the prompts that wait, and those that are still to come: prompts come in bursts, so what came
lately after an arrival tells what may come after the last one. What comes all the time slows the
winning back.

The trap: this runs in front of iterations. Tables are made when something ends or arrives.
"""

import math
from collections import deque
from collections.abc import Sequence
from itertools import pairwise

import numpy as np

from profiling.law import Floats
from serving.governor.engine import Batch, EngineModel
from serving.governor.protocol import Moment, Slo

__all__ = ["Answers", "Bursts", "Risk"]

_AHEAD = 1.0  # times the TTFT: so far bursts are looked at
_LEAST_S = 1e-3  # that an iteration wins back
_SHARE_S = 10.0  # over which the share of prompts in the time is averaged
_MOST_SHARE = 0.8
_MOST_TOKENS = 4096  # longer answers count as that long
_ANSWERS = 1000.0  # beyond that the past counts half
_USUAL = 64.0  # tokens of an answer before any ended
_PRIOR = 4.0  # answers that this counts for
_ARRIVALS = 128  # remembered
_AGES_S = (0.0, 0.2, 1.0, 4.0)  # since the last arrival, from which on there are other samples
_SAMPLES = 8  # of the work of a burst, each as likely
_SHARES = (np.arange(_SAMPLES) + 0.5) / _SAMPLES
_FEWEST = 4  # arrivals that samples are taken from


class Answers:
    """Lengths of the answers that ended, in tokens."""

    def __init__(self) -> None:
        tokens = np.arange(_MOST_TOKENS + 1)
        self._ended: Floats = _PRIOR * -np.expm1(-tokens / _USUAL)  # how many had at most so many
        self._all = _PRIOR

    def add(self, tokens: int) -> None:
        """One more."""
        self._ended[min(tokens, _MOST_TOKENS) :] += 1.0
        self._all += 1.0
        if self._all > _ANSWERS:
            self._ended *= 0.5
            self._all *= 0.5

    def end_within(self, made: Floats, further: Floats) -> Floats:
        """Chance that an answer with more than `made` tokens has at most so many more."""
        top = np.minimum(made + further, _MOST_TOKENS - 1.0)
        whole = top.astype(np.intp)
        chance: Floats = self._ended.take(whole)
        rise = self._ended.take(whole + 1)
        # In place: these may be a thousand numbers, several times in front of an iteration.
        rise -= chance
        top -= whole
        rise *= top
        chance += rise
        lower = self._ended.take(np.minimum(made, _MOST_TOKENS - 1).astype(np.intp))
        chance -= lower
        chance /= np.maximum(self._all - lower, 1e-9)
        return chance


class Bursts:
    """How much more prefill than usual comes within a while after an arrival.

    In seconds at the highest clock.
    """

    def __init__(self, engine: EngineModel, within_s: float) -> None:
        self._engine = engine
        self._high = len(engine.clocks_mhz) - 1
        self._within_s = within_s
        self._at_s: deque[float] = deque(maxlen=_ARRIVALS)
        self._work_s: deque[float] = deque(maxlen=_ARRIVALS)
        self._last_s = float("-inf")
        self._samples = [np.zeros(_SAMPLES) for _ in _AGES_S]
        self._per_s = [0.0 for _ in _AGES_S]

    def see(self, queue: Sequence[tuple[float, int]]) -> None:
        """Note what arrived since the last look."""
        # In the order of service, which need not be that of arrival.
        new = sorted(one for one in queue if one[0] > self._last_s)
        if not new:
            return
        for at_s, tokens in new:
            self._at_s.append(at_s)
            self._work_s.append(self._engine.prompt_s(tokens, self._high))
        self._last_s = new[-1][0]
        self._sample()

    def to_come(self, now_s: float) -> tuple[Floats, float]:
        """Samples, rising, each as likely; and arrivals a second."""
        age_s = now_s - self._last_s
        kind = sum(age_s >= one for one in _AGES_S[1:])
        return self._samples[kind], self._per_s[kind]

    def _sample(self) -> None:
        count = len(self._at_s)
        at_s = np.fromiter(self._at_s, np.float64, count)
        summed_s = np.zeros(count + 1)
        np.fromiter(self._work_s, np.float64, count).cumsum(out=summed_s[1:])
        gaps_s = at_s[1:] - at_s[:-1]
        longest_s = gaps_s.max(initial=0.0)
        # What comes all the time is won back meanwhile.
        usual_s = summed_s[-1] * self._within_s / max(self._last_s - at_s[0], self._within_s)
        for kind, age_s in enumerate(_AGES_S):
            if longest_s <= age_s:
                break
            begin_s = at_s[:-1][gaps_s > age_s] + age_s
            begin_s = begin_s[begin_s + self._within_s <= self._last_s]
            if len(begin_s) < _FEWEST:
                continue
            first = at_s.searchsorted(begin_s, side="right")
            last = at_s.searchsorted(begin_s + self._within_s, side="right")
            work_s = np.maximum(summed_s[last] - summed_s[first] - usual_s, 0.0)
            work_s.sort()
            self._samples[kind] = work_s[(_SHARES * len(work_s)).astype(np.intp)]
            self._per_s[kind] = float((last - first).mean()) / self._within_s


class Risk:
    """What the governor knows of answers and bursts, and what follows for a slower iteration."""

    def __init__(self, engine: EngineModel, slo: Slo) -> None:
        self._engine = engine
        self._tpot_s = slo.tpot_s
        self._high = len(engine.clocks_mhz) - 1
        self._answers = Answers()
        self._bursts = Bursts(engine, _AHEAD * slo.ttft_s)
        self._share = 0.0  # of the time that prompts take at the highest clock

    def look(self, moment: Moment) -> None:
        """Note what arrived."""
        self._bursts.see(moment.queue)

    def ended(self, tokens: int) -> None:
        """Note how long an answer was."""
        self._answers.add(tokens)

    def ran(self, batch: Batch, lasted_s: float) -> None:
        """Note an iteration that ended, so long after the one before it."""
        prompts_s = 0.0
        if batch.chunks:
            prompts_s = self._engine.time_s(batch, self._high)
            prompts_s -= self._engine.time_s(Batch(batch.decodes, batch.context), self._high)
        share = min(prompts_s / max(lasted_s, 1e-9), 1.0)
        self._share -= math.expm1(-lasted_s / _SHARE_S) * (share - self._share)

    def stalled(self, moment: Moment, stalls_s: Sequence[float], correction: float) -> list[float]:
        """Requests that decode now and are likely late if they are stalled for so long; of each."""
        over_s = np.subtract.outer(stalls_s, np.array(moment.banks_s) + self._tpot_s)
        stall, one = (over_s > 0).nonzero()
        if not len(one):
            return [0.0] * len(stalls_s)
        made = np.array(moment.made, dtype=np.float64)[one]
        won_s = self._won_s(moment.batch, correction)
        chance = self._answers.end_within(made, 1 + over_s[stall, one] / won_s)
        ends = stall.searchsorted(range(len(stalls_s) + 1))
        return [float(chance[begin:end].sum()) for begin, end in pairwise(ends)]

    def late(
        self, moment: Moment, durations_s: Floats, correction: float, left_s: float = 0.0
    ) -> Floats | None:
        """Requests that are likely late if the iteration lasts so long, for each duration.

        None where none is. Prompts that wait or come later run at the highest clock. Those that
        come later, and those that wait while none is in the batch, give others `left_s` before.
        """
        batch, tpot_s = moment.batch, self._tpot_s
        samples_s, per_s = self._bursts.to_come(moment.now_s)
        won_s = self._won_s(batch, correction)
        wait_s = self._waiting_s(moment)
        stalls_s = (wait_s + samples_s) * correction
        if left_s > 0 and batch.decodes:
            sure_s = wait_s * correction if batch.chunks else 0.0
            won_before_s = left_s / self._plain_s(batch, correction) * won_s
            stalls_s = sure_s + np.maximum(stalls_s - sure_s - won_before_s, 0.0)
        banks_s = np.array(moment.banks_s) + tpot_s
        if not moment.queue and banks_s.min(initial=np.inf) >= stalls_s[-1] + durations_s.max():
            return None
        # Banks rise: the rest can stand the longest of it.
        some = int(banks_s.searchsorted(stalls_s[-1] + durations_s.max()))
        made = np.array(moment.made[:some], dtype=np.float64)[:, None]
        over_s = durations_s[:, None, None] + stalls_s - banks_s[:some, None]
        chance = self._answers.end_within(made, 1 + over_s / won_s)
        chance *= over_s > 0
        found: Floats = chance.sum(axis=2).sum(axis=1) / _SAMPLES
        if moment.queue and per_s and stalls_s[-1] > tpot_s:
            # Who arrives meanwhile stalls those that get their first token now.
            over_s = stalls_s[samples_s > 0] - tpot_s
            chance = self._answers.end_within(np.ones(1), 1 + over_s / won_s)
            each = float(np.where(over_s > 0, chance, 0.0).mean()) if len(over_s) else 0.0
            found = found + durations_s * per_s * len(moment.queue) * each
        return found

    def _won_s(self, batch: Batch, correction: float) -> float:
        """What an iteration at the highest clock wins back."""
        won_s = self._tpot_s
        if batch.decodes:
            won_s -= self._plain_s(batch, correction) / (1 - min(self._share, _MOST_SHARE))
        return max(won_s, _LEAST_S)

    def _plain_s(self, batch: Batch, correction: float) -> float:
        """Those who decode alone, at the highest clock."""
        return self._engine.time_s(Batch(batch.decodes, batch.context), self._high) * correction

    def _waiting_s(self, moment: Moment) -> float:
        """What is left of the prompts after this iteration takes at the highest clock."""
        left = sum(left for _, left in moment.queue) - sum(new for _, new in moment.batch.chunks)
        return self._engine.prompt_s(left, self._high) if left > 0 else 0.0
