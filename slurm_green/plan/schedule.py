# SPDX-License-Identifier: Apache-2.0
"""A plan: uninterrupted stretches of jobs, and the sums that follow from them. Pure."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from slurm_green.plan.problem import Floats, Ints, Problem

__all__ = ["Schedule"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Schedule:
    """One entry per stretch: which job runs, in which shape (index into `Shapes`), and when.

    Seconds from the start of the first slot. A job without a stretch is unplaced; a preemptible
    one may have several, never two at once.
    """

    job: Ints
    shape: Ints
    start_s: Floats
    end_s: Floats

    def __len__(self) -> int:
        """Number of stretches."""
        return len(self.job)

    def ends_s(self, problem: Problem) -> Floats:
        """When each job ends, shape (jobs,); NaN for one that is not placed."""
        ends = np.full(len(problem.jobs), -np.inf)
        np.maximum.at(ends, self.job, self.end_s)
        ends[np.isneginf(ends)] = np.nan
        return ends

    def energy_j(self, problem: Problem) -> Floats:
        """Joules of each stretch."""
        return (self.end_s - self.start_s) * problem.shapes.power_w[self.shape]

    def late(self, problem: Problem, tolerance_s: float = 1e-3) -> NDArray[np.bool_]:
        """Which jobs end after their deadline, shape (jobs,); not those that are not placed."""
        with np.errstate(invalid="ignore"):
            return self.ends_s(problem) > problem.jobs.deadline_s + tolerance_s

    def placed(self, problem: Problem) -> NDArray[np.bool_]:
        """Which jobs have at least one stretch, shape (jobs,)."""
        placed = np.zeros(len(problem.jobs), dtype=np.bool_)
        placed[self.job] = True
        return placed
