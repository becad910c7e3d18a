# SPDX-License-Identifier: Apache-2.0
"""What the orchestrator asks a policy. Pure."""

from typing import Protocol

from slurm_green.migration.board import Board, Reach
from slurm_green.migration.rules import Rules
from slurm_green.plan.problem import Floats, Ints

__all__ = ["MovePolicy"]


class MovePolicy(Protocol):
    """A policy: rules that the orchestrator keeps, and wishes among what they allow."""

    @property
    def name(self) -> str:
        """How it is asked for."""
        ...

    @property
    def rules(self) -> Rules:
        """What its moves must keep to."""
        ...

    def wish(self, board: Board, jobs: Ints, site: int, reach: Reach) -> Floats:
        """How much a move of these jobs to the site is wanted, at the board's present loads.

        The largest comes first, what is at most 0 never.
        """
        ...
