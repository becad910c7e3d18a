# SPDX-License-Identifier: Apache-2.0
"""Prices that are steered while jobs are placed one after the other. Pure.

At the prices of the relaxation many jobs are indifferent between some places; taking the first
of equals would fill one place and leave another empty. So a GPU-hour gets dearer where what is
placed and what is still expected exceed the GPUs, and cheaper where they fall short.
"""

import numpy as np

from slurm_green.plan.board import Board
from slurm_green.plan.overlap import seconds_by_slot
from slurm_green.plan.pool import Expected
from slurm_green.plan.problem import SECONDS_PER_HOUR, Floats

__all__ = ["STEER_EVERY", "STRENGTH", "STRENGTH_MU", "Steering"]

STRENGTH = 3.0  # times the usual price, for an overload of all GPUs
STRENGTH_MU = 0.25  # times the intensity, for an excess of a usual load
STEER_EVERY = 10  # jobs


class Steering:
    """Steers the guide of a board, and keeps expected loads on it until their jobs come."""

    def __init__(self, board: Board, lam: Floats, expected: Expected, spare: float = 0.0) -> None:
        site = board.problem.site
        self._board = board
        self._lam = lam
        self.hours = (1 - spare) * site.gpus * site.step_s / SECONDS_PER_HOUR
        self.usual = float(lam[lam > 0].mean()) if (lam > 0).any() else 0.0
        self._expected = expected
        self.gpu_h = expected.gpu_h.by_slot()
        energy_j = expected.energy_j.by_slot()
        self.usual_j = float(energy_j.mean())
        if board.green:
            board.add_energy(energy_j, 1.0)

    def guide(self) -> None:
        """Gives the board the prices of the moment."""
        if self.usual:
            over = np.maximum(self.gpu_h - self.hours, -self.hours) / max(self.hours, 1e-9)
            over[(over < 0) & (self._lam <= 0)] = 0.0
            self._board.guide(np.maximum(0.0, self._lam + STRENGTH * self.usual * over))

    def mu(self, mu: Floats) -> Floats:
        """The price of a kWh, steered likewise by what exceeds the renewable supply."""
        board, site = self._board, self._board.problem.site
        if not board.green or self.usual_j <= 0:
            return mu
        over = board.net_j[:-1] / self.usual_j
        carbon = site.carbon_g_per_kwh
        steered = np.clip(mu + STRENGTH_MU * carbon * over, 0.0, carbon)
        return np.where(site.green, steered, carbon)

    def leaves(self, job: int) -> None:
        """The job (the problem's number) is no longer expected, it is being placed."""
        tables = [(self._expected.gpu_h, self.gpu_h)]
        if self._board.green:
            tables.append((self._expected.energy_j, self._board.net_j))
        for table, load in tables:
            low, high = table.first[job], table.first[job + 1]
            np.subtract.at(load, table.slot[low:high], table.value[low:high])

    def takes(self, start_s: float, end_s: float, gpus: int) -> None:
        """So many GPUs are now really used."""
        step, slots = self._board.problem.site.step_s, len(self.gpu_h)
        met, seconds = seconds_by_slot(start_s, end_s, step_s=step, slots=slots)
        self.gpu_h[met] += seconds * (gpus / SECONDS_PER_HOUR)
