# SPDX-License-Identifier: Apache-2.0
"""Policy `feasibility`: the renewable energy won, where a move fits. Pure.

After Tomei et al. 2025 (arXiv 2511.16182): moves stay in the feasible domain. How those in it are
ranked is our reading: the kWh of the window that the job would use and does not get here, those
per carried GB first.
"""

from dataclasses import dataclass

import numpy as np

from slurm_green.migration.board import Board, Reach
from slurm_green.migration.rules import Rules
from slurm_green.plan.problem import JOULES_PER_KWH, Floats, Ints

__all__ = ["Feasibility"]


@dataclass(frozen=True, slots=True)
class Feasibility:
    """Renewable kWh per GB; a job that carries nothing counts as one of 1 GB."""

    rules: Rules
    name: str = "feasibility"

    def wish(self, board: Board, jobs: Ints, site: int, reach: Reach) -> Floats:
        """What the window is worth to each job."""
        level = board.curves.level[jobs]
        usable_s = np.minimum(reach.window_s, board.remaining_s[jobs] + reach.migration_s)
        dark_s = board.curves.dark_s(board.site[jobs], level, board.outside[jobs], usable_s)
        won_kwh = board.power_w[jobs] * (dark_s - reach.migration_s) / JOULES_PER_KWH
        return np.asarray(won_kwh / (1.0 + board.bytes[jobs] / 1e9))
