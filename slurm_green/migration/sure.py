# SPDX-License-Identifier: Apache-2.0
"""The grid energy that a move is sure to save or to cost, whatever errs in forecasts. Pure.

A slot counts for as much as is saved even where little comes there and much here, or is lost even
where much comes there and little here; what the forecast leaves open counts for nothing.
"""

import numpy as np

from slurm_green.migration.board import Board
from slurm_green.plan.problem import JOULES_PER_KWH, Floats, Ints

__all__ = ["surely_saved_kwh"]


def surely_saved_kwh(
    board: Board, jobs: Ints, site: int, moving_s: Floats, quantile: float
) -> Floats:
    """What a move of each job to the site saves for sure, less than 0 what it costs for sure.

    From its start there to its end or that of the outlook; the network's energy is among the costs.
    `quantile` is the low one of each supply, the high one lies as far above the middle.
    """
    curves, here = board.curves, board.site[jobs]
    shape = (2, len(board.sites), len(curves.levels_w))
    keys = np.ravel_multi_index((board.outside[jobs], here, curves.level[jobs]), shape)
    some, back = np.unique(keys, return_inverse=True)
    outside, places, levels = np.unravel_index(some, shape)
    low_w, high_w = board.supply_w(quantile), board.supply_w(1.0 - quantile)
    step_s = board.sites[0].outlook.step_s
    job_w = np.maximum(curves.levels_w[levels], 1e-9)[:, np.newaxis]
    # A running job is part of the load here, one that waits would come on top.
    load_w = board.load_w[places, np.newaxis] + outside[:, np.newaxis] * job_w
    there_w = board.load_w[site] + job_w
    least = _dark(load_w, high_w[places], job_w) - _dark(there_w, low_w[site], job_w)
    most = _dark(load_w, low_w[places], job_w) - _dark(there_w, high_w[site], job_w)
    saved = np.maximum(least, 0.0) + np.minimum(most, 0.0)
    edges = np.zeros((len(saved), saved.shape[1] + 1))
    edges[:, 1:] = saved.cumsum(axis=1) * step_s

    def upto_s(until_s: Floats) -> Floats:
        slot = np.clip(until_s / step_s, 0.0, edges.shape[1] - 1.0)
        left = np.minimum(slot.astype(np.int64), edges.shape[1] - 2)
        below = edges[back, left]
        return np.asarray(below + (slot - left) * (edges[back, left + 1] - below))

    sure_s = upto_s(moving_s + board.remaining_s[jobs]) - upto_s(moving_s)
    network_j = board.moment.network_j_per_gb * board.bytes[jobs] / 1e9
    return np.asarray((board.power_w[jobs] * sure_s - network_j) / JOULES_PER_KWH)


def _dark(load_w: Floats, supply_w: Floats, job_w: Floats) -> Floats:
    """The share of a job's power that the supply does not cover, where `load_w` includes it."""
    # Of so small arrays cheaper than `clip`.
    return np.minimum(np.maximum((load_w - supply_w) / job_w, 0.0), 1.0)
