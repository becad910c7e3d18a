# SPDX-License-Identifier: Apache-2.0
"""The feasibility domain of a window: which checkpoints fit over which link. Pure."""

import numpy as np

from slurm_green.migration.feasibility import Move, migration_s
from slurm_green.plan.problem import SECONDS_PER_HOUR, Floats

__all__ = ["fractions", "largest_gb", "limits"]

_SHOWN_GBPS = (1, 10, 100)


def fractions(move: Move, checkpoint_gb: Floats, bandwidth_gbps: Floats) -> Floats:
    """Share of the window that a move takes, shape (checkpoints, bandwidths)."""
    moving_s = migration_s(
        checkpoint_gb[:, np.newaxis],
        bandwidth_gbps[np.newaxis, :] / move.transfers,
        efficiency=move.efficiency,
        snapshot_s=move.snapshot_s,
        restart_s=move.restart_s + move.queue_wait_s,
    )
    return np.asarray(moving_s / max(move.window_h * SECONDS_PER_HOUR, 1e-9))


def largest_gb(move: Move, bandwidth_gbps: Floats, share: float) -> Floats:
    """The largest checkpoint whose move takes that share of the window; negative: none does."""
    for_data_s = share * move.window_h * SECONDS_PER_HOUR - migration_s(
        0.0, 1.0, snapshot_s=move.snapshot_s, restart_s=move.restart_s + move.queue_wait_s
    )
    return np.asarray(for_data_s * move.efficiency * bandwidth_gbps / move.transfers / 8)


def limits(move: Move) -> dict[str, float | None]:
    """The largest checkpoint that fits at 1, 10 and 100 Gbit/s; None where not even 0 GB does."""
    sizes = largest_gb(move, np.array(_SHOWN_GBPS, dtype=np.float64), move.alpha)
    return {
        str(gbps): None if size < 0 else float(size)
        for gbps, size in zip(_SHOWN_GBPS, sizes, strict=True)
    }
