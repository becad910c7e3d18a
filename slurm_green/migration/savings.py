# SPDX-License-Identifier: Apache-2.0
"""The grams that moves save: what the jobs would emit here less what they and the moves do. Pure.

Expected over the errors of the forecast, to the end of the job; past the outlook as on average in
it. A job that runs may come back when the window there has closed.
"""

from functools import partial

import numpy as np

from slurm_green.migration.board import Board, Reach
from slurm_green.plan.problem import JOULES_PER_KWH, Floats, Ints

__all__ = ["stay_and_save_g"]


def stay_and_save_g(
    board: Board,
    jobs: Ints,
    site: int,
    reach: Reach,
    *,
    delay_g_per_s: Floats | float = 0.0,
    plain: bool = False,
) -> tuple[Floats, Floats]:
    """What each job emits if it stays, and what a move to the site saves of it.

    A second on the way back costs `delay_g_per_s`; one on the way there is the caller's to count.
    `plain` leaves out what the rules put on top of the grid's intensity.
    """
    here, level, power_w = board.site[jobs], board.curves.level[jobs], board.power_w[jobs]
    runs, left_s = board.runs[jobs], board.remaining_s[jobs]
    g_per_w = partial(board.curves.g_per_w, plain=plain)
    waits_s = np.where(runs, 0.0, board.wait_s[here])
    stays_g = power_w * g_per_w(here, level, board.outside[jobs], waits_s, waits_s + left_s)
    there, upon = np.full(len(jobs), site), np.ones(len(jobs), dtype=np.int64)
    # Restart and what is done again draw power there as well.
    again_s = board.lost_s[jobs] + np.where(runs, board.moment.restart_s, 0.0)
    from_s, ends_s = np.maximum(reach.migration_s - again_s, 0.0), reach.migration_s + left_s
    closes_s = np.clip(reach.window_s, from_s, ends_s)
    goes_g = power_w * g_per_w(there, level, upon, from_s, closes_s)
    after_g = power_w * g_per_w(there, level, upon, closes_s, ends_s)
    back_s = board.fixed_s(jobs) + board.links.carries_s(there, here, board.bytes[jobs])
    back_g = power_w * g_per_w(here, level, board.outside[jobs], closes_s, ends_s)
    back_g += _way_g(board, jobs, there, plain=plain) + delay_g_per_s * back_s
    after_g = np.where(runs, np.minimum(after_g, back_g), after_g)
    way_g = _way_g(board, jobs, here, plain=plain)
    return np.asarray(stays_g), np.asarray(stays_g - goes_g - after_g - way_g)


def _way_g(board: Board, jobs: Ints, source: Ints, *, plain: bool) -> Floats:
    """What the snapshot and the network draw for a move from there, on the grid."""
    runs = board.runs[jobs]
    snapshot_j = board.power_w[jobs] * np.where(runs, board.moment.snapshot_s, 0.0)
    network_j = board.moment.network_j_per_gb * board.bytes[jobs] / 1e9
    extra_g = 0.0 if plain else board.rules.grid_g_per_kwh
    g_per_kwh = board.grid_g_per_kwh[source] + extra_g
    return np.asarray((snapshot_j + network_j) * g_per_kwh / JOULES_PER_KWH)
