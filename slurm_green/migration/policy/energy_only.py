# SPDX-License-Identifier: Apache-2.0
"""Policy `energy-only`: to the greenest site there is, whatever the way there takes. Pure.

The comparison of Tomei et al. 2025 (arXiv 2511.16182); its definition is ours: the greenest site
is the one with the largest renewable share of what it draws now.
"""

from dataclasses import dataclass

import numpy as np

from slurm_green.migration.board import Board, Reach
from slurm_green.migration.rules import Rules
from slurm_green.plan.problem import Floats, Ints

__all__ = ["EnergyOnly", "green_shares"]


@dataclass(frozen=True, slots=True)
class EnergyOnly:
    """The most that a site's share grows comes first; no test of time or energy."""

    rules: Rules
    name: str = "energy-only"

    def wish(self, board: Board, jobs: Ints, site: int, reach: Reach) -> Floats:
        """How much greener it is there than here, now."""
        del reach
        shares = green_shares(board)
        return np.asarray(shares[site] - shares[board.site[jobs]])


def green_shares(board: Board) -> Floats:
    """Renewable share of what each site draws now, with the moves chosen so far."""
    found = []
    for site, load_w in zip(board.sites, board.load_w.tolist(), strict=True):
        drawn_w = load_w + float(site.outlook.base_w[0])
        found.append(min(float(site.outlook.supply_w[0]) / max(drawn_w, 1e-9), 1.0))
    return np.array(found)
