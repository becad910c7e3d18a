# SPDX-License-Identifier: Apache-2.0
"""The grams that moves save: what the jobs would emit here less what they and the moves do. Pure.

Expected over the errors of the forecast, to the end of the job; past the outlook as on average in
it.
"""

import numpy as np

from slurm_green.migration.board import Board
from slurm_green.plan.problem import JOULES_PER_KWH, Floats, Ints

__all__ = ["stay_and_save_g"]


def stay_and_save_g(
    board: Board, jobs: Ints, site: int, moving_s: Floats, *, plain: bool = False
) -> tuple[Floats, Floats]:
    """What each job emits if it stays, and what a move to the site saves of it.

    `plain` leaves out what the rules put on top of the grid's intensity.
    """
    here, level, power_w = board.site[jobs], board.curves.level[jobs], board.power_w[jobs]
    runs, left_s = board.runs[jobs], board.remaining_s[jobs]
    waits_s = np.where(runs, 0.0, board.wait_s[here])
    stays_g = power_w * board.curves.g_per_w(
        here, level, board.outside[jobs], waits_s, waits_s + left_s, plain=plain
    )
    there, upon = np.full(len(jobs), site), np.ones(len(jobs), dtype=np.int64)
    # Restart and what is done again draw power there as well.
    again_s = board.lost_s[jobs] + np.where(runs, board.moment.restart_s, 0.0)
    goes_g = power_w * board.curves.g_per_w(
        there, level, upon, np.maximum(moving_s - again_s, 0.0), moving_s + left_s, plain=plain
    )
    snapshot_j = power_w * np.where(runs, board.moment.snapshot_s, 0.0)
    network_j = board.moment.network_j_per_gb * board.bytes[jobs] / 1e9
    way_g = (snapshot_j + network_j) * board.grid_g_per_kwh[here] / JOULES_PER_KWH
    return np.asarray(stays_g), np.asarray(stays_g - goes_g - way_g)
