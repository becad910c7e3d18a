# SPDX-License-Identifier: Apache-2.0
"""CA-RM's objectives for one replica: what speed beyond the SLO is worth by its carbon. Pure.

Speed is the time of an iteration at the highest clock over that at its own; performance sums it
over requests and the time that they would take at the highest clock, in request-seconds. A gram
buys 1/mu kWh, so a worth in grams per request-second is one in watts per request:

- performance-constrained: nothing, the least carbon that keeps the SLO;
- carbon-constrained: what paces the carbon to its budget, nothing once that is overspent;
- ppc: carbon over performance of the last minutes, Dinkelbach's step towards the greatest ratio.

With mu 0 carbon is no reason for any clock, and the fastest is right under all of them; with mu
unknown the first one's rule holds. No objective ever asks for less than the SLO needs.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, field

from serving.governor.engine import Batch, EngineModel
from serving.governor.protocol import Moment
from slurm_green.plan.outcome import Objective
from slurm_green.plan.problem import JOULES_PER_KWH

__all__ = ["Budget", "Steering"]

_MEMORY_S = 120.0  # of carbon over performance
_PURSE = 1 / 40  # of the budget's span: unspent carbon that raises the worth e-fold
_MOST_PURSES = 4.0
_RESERVE = 0.03  # of a budget, held back at first: what the SLO will need is not known
_IDLE_SHARE = 0.12  # of the power under full load, as real GPUs idle


@dataclass
class Budget:
    """Grams for each span of seconds, of one replica; what is not spent may be spent later.

    Where the mean of mu over the span is known, dirty hours get more of them: what the SLO needs
    costs more then.
    """

    grams: float
    span_s: float
    mean_mu: Callable[[], float | None] = lambda: None
    elapsed_s: float = field(default=0.0, init=False)
    left_g: float = field(default=0.0, init=False)

    def __post_init__(self) -> None:
        self.left_g = -_RESERVE * self.grams

    def passed(self, duration_s: float, mu: float, spent_g: float) -> None:
        """So much time, and what it emitted; no more than one span's grams are ever saved up."""
        mean_mu = self.mean_mu()
        share = mu / mean_mu if mean_mu else 1.0
        if self.elapsed_s < self.span_s:
            share *= 1 + _RESERVE
        self.elapsed_s += duration_s
        self.left_g += share * self.grams * duration_s / self.span_s - spent_g
        self.left_g = min(self.left_g, self.grams)

    def worth_g(self, mu: float, idle_w: float) -> float:
        """Grams for a request-second: 0 once overspent, and rising with what is left."""
        purse_g = self.grams * _PURSE
        if self.left_g <= 0 or purse_g <= 0:
            return 0.0
        usual_g = idle_w * (self.mean_mu() or mu) / JOULES_PER_KWH
        return usual_g * math.expm1(min(self.left_g / purse_g, _MOST_PURSES))


class Steering:
    """What one more unit of speed is worth now, for the governor of one replica.

    `mu_g_per_kwh` tells the marginal carbon at a time, None where nobody knows.
    """

    def __init__(
        self,
        engine: EngineModel,
        objective: Objective,
        mu_g_per_kwh: Callable[[float], float | None],
        budget: Budget | None = None,
    ) -> None:
        self.objective = objective
        self.budget = budget
        self._engine = engine
        self._mu = mu_g_per_kwh
        self._high = len(engine.clocks_mhz) - 1
        _, full_w = engine.time_and_power(Batch(engine.max_num_seqs), self._high)
        # A made-up GPU that idles at nothing would make a budget worth nothing.
        self._idle_w = engine.idle_w or _IDLE_SHARE * full_w
        self._carbon_g = self._performance = 0.0

    def worth_w(self, moment: Moment) -> float:
        """Watts that full speed is worth to this iteration, all its requests together."""
        mu = self._mu(moment.now_s)
        if mu is None:
            return 0.0
        if mu <= 0:
            return math.inf
        return self._requests(moment) * self._worth_g(mu) * JOULES_PER_KWH / mu

    def ran(self, moment: Moment, duration_s: float, idle_s: float) -> None:
        """An iteration, and how long nothing ran before it."""
        engine, mu = self._engine, self._mu(moment.now_s)
        _, watts = engine.time_and_power(moment.batch, moment.clock)
        energy_j = watts * duration_s + engine.parked_w * idle_s
        spent_g = (mu or 0.0) * energy_j / JOULES_PER_KWH
        if self.budget is not None and mu is not None:
            self.budget.passed(duration_s + idle_s, mu, spent_g)
        fade = math.exp(-(duration_s + idle_s) / _MEMORY_S)
        fastest_s = min(engine.time_s(moment.batch, self._high), duration_s)
        reached = self._requests(moment) * fastest_s * fastest_s / max(duration_s, 1e-9)
        self._carbon_g = self._carbon_g * fade + spent_g
        self._performance = self._performance * fade + reached

    def _worth_g(self, mu: float) -> float:
        """Grams that a request-second at full speed is worth."""
        if self.objective is Objective.PPC:
            return self._carbon_g / self._performance if self._performance else 0.0
        if self.objective is Objective.CARBON_CONSTRAINED and self.budget is not None:
            return self.budget.worth_g(mu, self._idle_w)
        return 0.0

    @staticmethod
    def _requests(moment: Moment) -> int:
        return moment.batch.decodes + len(moment.batch.chunks) + moment.waiting
