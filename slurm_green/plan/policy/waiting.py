# SPDX-License-Identifier: Apache-2.0
"""What it costs to wait, beside what the hours ahead are forecast to emit. Pure.

What is planned for later turns out dearer than it looked: who comes meanwhile wants the same
hours, and the hour that looks best is often one that was forecast too low. By how much hangs on
how intensities differ, not on how high they are: with a constant on all of them the same starts
are best. It is less where room is left for others, and where all may pause: they give way.
"""

import numpy as np

from slurm_green.plan.problem import SECONDS_PER_HOUR, Floats

__all__ = ["waiting_g_per_kwh"]

_PER_H, _WITH_ROOM_PER_H = 0.02, 0.01  # of the spread of intensities
_LEAST_PER_H = 0.0003  # of their mean: nobody waits for next to nothing
_UNTIL_H = 24.0


def waiting_g_per_kwh(
    carbon_g_per_kwh: Floats, step_s: float, *, spread: float, room: float
) -> Floats:
    """What each slot counts for beyond its intensity, in g/kWh.

    `spread` is that of intensities in g/kWh, `room` from 0 (none is left) to 1.
    """
    share = _PER_H + room * (_WITH_ROOM_PER_H - _PER_H)
    per_h = max(share * spread, _LEAST_PER_H * float(carbon_g_per_kwh.mean()))
    ahead_h = np.arange(len(carbon_g_per_kwh)) * (step_s / SECONDS_PER_HOUR)
    return np.asarray(per_h * np.minimum(ahead_h, _UNTIL_H))
