# SPDX-License-Identifier: Apache-2.0
"""Where each job stands among all by its time from submission to end. Pure.

The p95 of these times is that of one job. Which one is not known before all have ended: of `count`
jobs that are known, its rank has the error of a share that is counted in a sample.
"""

import numpy as np

from slurm_green.plan.problem import Floats

__all__ = ["LATELY_S", "among_all", "p95_density", "ranks"]

LATELY_S = 7 * 86_400.0  # all jobs are those that were submitted within it
_P95 = 0.95


def ranks(times_s: Floats, everybody_s: Floats) -> Floats:
    """The share of everybody that takes less time, of those that take as long half."""
    sorted_s = np.sort(everybody_s)
    below = np.searchsorted(sorted_s, times_s, side="left")
    upto = np.searchsorted(sorted_s, times_s, side="right")
    return np.asarray((below + upto) / (2.0 * max(len(sorted_s), 1)))


def among_all(times_s: Floats) -> Floats:
    """As many times as they are among all jobs that end, from those of the jobs of one moment.

    A job is seen the more often the longer it takes, so each counts one over its time.
    """
    sorted_s = np.sort(times_s)
    upto = (1.0 / np.maximum(sorted_s, 1.0)).cumsum()
    parts = (np.arange(len(sorted_s)) + 0.5) / max(len(sorted_s), 1)
    return np.asarray(sorted_s[np.searchsorted(upto, parts * upto[-1:])])


def p95_density(rank: Floats, count: int) -> Floats:
    """How likely p95 is at that rank; 1 on average over all ranks, where many are known.

    Normal, with the standard error of a share: sqrt(p (1 - p) / count).
    """
    error = np.sqrt(_P95 * (1.0 - _P95) / max(count, 1))
    z = (rank - _P95) / error
    return np.asarray(np.exp(-0.5 * z * z) / (error * np.sqrt(2.0 * np.pi)))
