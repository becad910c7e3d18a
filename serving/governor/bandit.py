# SPDX-License-Identifier: Apache-2.0
"""`bandit`: clocks learned online, after AGFT (arXiv 2508.01744). Pure.

LinUCB over a few clocks, one decision every 0.3 s; what it sees is how many requests run and
wait and how large the iterations are, its reward is less energy times delay. No model of latency
and no SLO: that is its authors' point. Assumed: eight clocks, the power of the profile for the
measured one, and their pruning of bad clocks left out.
"""

import math

import numpy as np

from profiling.law import Floats
from serving.governor.engine import EngineModel
from serving.governor.protocol import Ended, Moment, Policy, Slo

__all__ = ["Bandit"]

_PERIOD_S = 0.3
_ARMS = 8
_CURIOSITY = 0.5
_FEATURES = 4


class Bandit(Policy):
    """Learns which clock has the least energy-delay product in which load."""

    park_after_s: float | None = None

    def __init__(self, engine: EngineModel, slo: Slo) -> None:
        self._engine = engine
        self._slo = slo
        high = len(engine.clocks_mhz) - 1
        self._arms = sorted({round(one) for one in np.linspace(0, high, _ARMS)})
        self._inverse = [np.eye(_FEATURES) for _ in self._arms]
        self._sums = [np.zeros(_FEATURES) for _ in self._arms]
        self._arm = len(self._arms) - 1
        self._features = np.zeros(_FEATURES)
        self._since_s = float("-inf")
        self._energy_j = self._time_s = self._tokens = 0.0
        self._usual: float | None = None

    def choose(self, moment: Moment) -> int:
        """The arm in force; every 0.3 s the one with the best upper confidence bound."""
        if moment.now_s >= self._since_s + _PERIOD_S:
            self._reward()
            self._since_s = moment.now_s
            self._features = self._seen(moment)
            self._arm = int(np.argmax([self._bound(one) for one in range(len(self._arms))]))
        return int(self._arms[self._arm])

    def saw(self, moment: Moment, duration_s: float) -> None:
        """Add up energy and time of the period."""
        batch = moment.batch
        _, watts = self._engine.time_and_power(batch, moment.clock)
        self._energy_j += watts * duration_s
        self._time_s += duration_s
        self._tokens += batch.decodes + sum(new for _, new in batch.chunks)

    def finished(self, one: Ended) -> None:
        """Nothing to learn."""

    def _seen(self, moment: Moment) -> Floats:
        batch = moment.batch
        chunk = sum(new for _, new in batch.chunks) / self._engine.max_batched_tokens
        running = batch.decodes / self._engine.max_num_seqs
        return np.array([1.0, running, min(moment.waiting / 8, 1.0), chunk])

    def _bound(self, arm: int) -> float:
        mean = self._features @ self._inverse[arm] @ self._sums[arm]
        spread = self._features @ self._inverse[arm] @ self._features
        return float(mean) + _CURIOSITY * math.sqrt(max(float(spread), 0.0))

    def _reward(self) -> None:
        if not self._tokens:
            return
        delay = self._time_s / self._tokens
        good = -math.log(max(self._energy_j / self._tokens * delay, 1e-12))
        # Against the usual one: an arm that was never tried counts as average.
        self._usual = good if self._usual is None else self._usual + 0.05 * (good - self._usual)
        reward = good - self._usual
        inverse, seen = self._inverse[self._arm], self._features
        along = inverse @ seen
        inverse -= np.outer(along, along) / (1 + seen @ along)
        self._sums[self._arm] += reward * seen
        self._energy_j = self._time_s = self._tokens = 0.0
