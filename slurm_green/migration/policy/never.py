# SPDX-License-Identifier: Apache-2.0
"""Policy `never`: jobs run where they were submitted. Pure."""

from dataclasses import dataclass

import numpy as np

from slurm_green.migration.board import Board, Reach
from slurm_green.migration.rules import Rules
from slurm_green.plan.problem import Floats, Ints

__all__ = ["Never"]


@dataclass(frozen=True, slots=True)
class Never:
    """Nothing moves."""

    rules: Rules
    name: str = "never"

    def wish(self, board: Board, jobs: Ints, site: int, reach: Reach) -> Floats:
        """None is wanted."""
        del board, site, reach
        return np.zeros(len(jobs))
