# SPDX-License-Identifier: Apache-2.0
"""What a site can serve with the power it has, by profile: replicas awake, and their clock. Pure.

A replica that always decodes `b` requests gives each a token every `tau(b) / (1 - x * prompt)`
seconds, where prompts take the share `x * prompt` of its time, and serves
`x = 1 / (prompt + output * tau(b) / b)` requests a second. Its rate at a clock is the best `x`
whose time per token keeps the SLO. Its draw is what it may draw at most at that clock.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise

import numpy as np

from serving.governor.engine import Batch, EngineModel
from serving.governor.protocol import Slo

__all__ = ["Capacity", "Setting", "peaks_w"]

_BATCHES = (1, 2, 4, 8, 12, 16, 24, 32, 48, 64, 96, 128, 160, 192, 224, 256, 320, 384, 512, 768)
_SPARE = 0.9  # of the SLO for time per token, as load is never even
_SAME = 0.05
_CLOCKS = 22  # looked at, evenly spread


@dataclass(frozen=True, slots=True)
class Setting:
    """So many replicas awake at one clock (an index), and what they serve; requests a second."""

    awake: int
    clock: int
    rate: float


class Capacity:
    """Rates by clock for a mix of requests, which may change."""

    def __init__(self, engine: EngineModel, slo: Slo) -> None:
        self._engine = engine
        self._slo = slo
        high = len(engine.clocks_mhz) - 1
        self.clocks: Sequence[int] = sorted({round(one) for one in np.linspace(0, high, _CLOCKS)})
        self.peak_w = peaks_w(engine)
        self.parked_w = engine.parked_w
        self._mix = (0.0, 0.0)
        self.rates: dict[int, float] = {}
        self.batches: dict[int, int] = {}
        self._best: dict[tuple[int, float], Setting] = {}

    def learn(self, prompt_tokens: float, output_tokens: float) -> bool:
        """Requests are like these, on average; False where the change is not worth the work."""
        old_prompt, old_output = self._mix
        if abs(prompt_tokens - old_prompt) <= _SAME * old_prompt and (
            abs(output_tokens - old_output) <= _SAME * old_output
        ):
            return False
        self._mix = (prompt_tokens, output_tokens)
        self._best = {}
        for clock in self.clocks:
            self.rates[clock], self.batches[clock] = self._rate(clock, prompt_tokens, output_tokens)
        return True

    def best(self, gpus: int, supply_w: float | None) -> Setting:
        """The setting of so many replicas that serves most within this supply."""
        if supply_w is None:
            supply_w = np.inf
        key = (gpus, supply_w)
        if key not in self._best:
            found = Setting(0, 0, 0.0)
            for awake in range(1, gpus + 1):
                on = self._on(gpus, awake, supply_w)
                for clock in self.clocks:
                    if on < awake or self.need_w(on, awake, clock) > supply_w:
                        break
                    rate = awake * self.rates[clock]
                    if rate > found.rate * (1 + 1e-9):
                        found = Setting(awake, clock, rate)
            if len(self._best) > 4096:
                self._best.clear()
            self._best[key] = found
        return self._best[key]

    def need_w(self, gpus: int, awake: int, clock: int) -> float:
        """What they may draw at most, the others parked."""
        return awake * self.peak_w[clock] + (gpus - awake) * self.parked_w

    def _on(self, gpus: int, awake: int, supply_w: float) -> int:
        """How many are not turned off when so many are awake at the lowest clock."""
        spare_w = supply_w - awake * self.peak_w[0]
        if spare_w < 0:
            return 0
        if not self.parked_w or spare_w >= (gpus - awake) * self.parked_w:
            return gpus
        return awake + int(spare_w / self.parked_w)

    def _rate(self, clock: int, prompt: float, output: float) -> tuple[float, int]:
        engine = self._engine
        context = prompt + output / 2
        least_s = engine.time_s(Batch(1, 0.0), clock)
        prompt_s = max(engine.time_s(Batch(chunks=[(0, round(prompt))]), clock) - least_s, 0.0)
        best, best_batch = 0.0, 1
        for batch in _BATCHES:
            if batch > engine.max_num_seqs or batch * (context + output / 2) > engine.kv_tokens:
                break
            step_s = engine.time_s(Batch(batch, context), clock)
            rate = 1 / (prompt_s + output * step_s / batch)
            if step_s > _SPARE * self._slo.tpot_s * (1 - rate * prompt_s):
                break
            if rate > best:
                best, best_batch = rate, batch
        if not best:  # not even alone within its SLO; it still serves
            best = 1 / (prompt_s + output * engine.time_s(Batch(1, context), clock))
        return best, best_batch


@lru_cache(maxsize=16)
def peaks_w(engine: EngineModel) -> Sequence[float]:
    """By clock, the most that a replica draws whatever it runs; never less than at a lower one."""
    contexts = (0.0, 512.0, 2048.0, 8192.0)
    prompts = (128, 512, 2048, engine.max_batched_tokens)
    found = []
    for clock in range(len(engine.clocks_mhz)):
        batches = [Batch(one, context) for one in _BATCHES for context in contexts]
        batches += [Batch(chunks=[(0, tokens)]) for tokens in prompts]
        watts = [engine.time_and_power(one, clock)[1] for one in batches]
        found.append(max(*watts, engine.idle_power_w(clock)))
    for low, high in pairwise(range(len(found))):
        found[high] = max(found[high], found[low])
    return tuple(found)
