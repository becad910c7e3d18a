# SPDX-License-Identifier: Apache-2.0
"""Policy `prices`: the grams that a move saves beyond what it costs, in the feasible domain. Pure.

What one more kWh costs is 0 while the supply covers it and the grid's intensity beyond, expected
over the errors of the forecast, here and there, to the end of the job or of the outlook. A kWh that
is sure to be saved or lost costs much more. Its windows last as long as power there is greener than
here, whoever makes it.
"""

from dataclasses import dataclass, replace

import numpy as np

from slurm_green.migration.board import Board, Reach
from slurm_green.migration.rules import Rules
from slurm_green.migration.savings import stay_and_save_g
from slurm_green.migration.sure import surely_saved_kwh
from slurm_green.migration.tail import p95_density
from slurm_green.plan.problem import JOULES_PER_KWH, Floats, Ints

__all__ = ["Prices", "own_rules"]

# Clean power of a grid is missed elsewhere, where about this much is emitted for it (assumed).
_GRID_G_PER_KWH = 400.0
_LONG = 0.9  # rank from which on a job is long


def own_rules(rules: Rules) -> Rules:
    """The rules with windows of this policy, and its price of clean power from a grid."""
    return replace(rules, greener=True, grid_g_per_kwh=_GRID_G_PER_KWH)


@dataclass(frozen=True, slots=True)
class Prices:
    """`hysteresis` is the share of its cost here that a move must save at least.

    A second of delay costs as much as `delay_weight` seconds of the job's power from the average
    grid, `long_weight` seconds where it is of the tenth of all jobs that take longest. Where p95
    may be that of the job, it costs more: `p95_weight` seconds on average over all jobs.
    A kWh from a grid that is saved or lost for sure, at a quantile of `sure_quantile` of the supply
    on the worse side, costs `sure_g_per_kwh` on top.
    """

    rules: Rules
    name: str = "prices"
    hysteresis: float = 0.05
    delay_weight: float = 10.0
    long_weight: float = 200.0
    p95_weight: float = 120.0
    sure_g_per_kwh: float = 10_000.0
    sure_quantile: float = 0.35

    def wish(self, board: Board, jobs: Ints, site: int, reach: Reach) -> Floats:
        """Grams saved, those of a second of a watt first."""
        moving_s, power_w = reach.migration_s, board.power_w[jobs]
        stays_g, saves_g = stay_and_save_g(board, jobs, site, moving_s)
        delay_s = moving_s - np.where(board.runs[jobs], 0.0, board.wait_s[board.site[jobs]])
        delay_g = power_w * delay_s * board.grid_g_per_kwh.mean() / JOULES_PER_KWH
        rank = board.rank[jobs]
        weight = np.where(rank > _LONG, self.long_weight, self.delay_weight)
        weight = np.maximum(weight, self.p95_weight * p95_density(rank, board.known))
        sure_kwh = surely_saved_kwh(board, jobs, site, moving_s, self.sure_quantile)
        worth_g = saves_g + self.sure_g_per_kwh * sure_kwh - weight * delay_g
        enough = worth_g > self.hysteresis * stays_g
        return np.where(enough, worth_g, 0.0) / np.maximum(power_w, 1e-9)
