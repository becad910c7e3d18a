# SPDX-License-Identifier: Apache-2.0
"""What waiting costs."""

import numpy as np
import pytest

from slurm_green.plan.policy.waiting import waiting_g_per_kwh
from slurm_green.plan.problem import SECONDS_PER_HOUR

SPREAD = 100.0


@pytest.mark.parametrize(("room", "percent"), [(0.0, 2.0), (0.5, 1.5), (1.0, 1.0)])
@pytest.mark.parametrize("step_h", [0.5, 1.0])
def test_an_hour_costs_a_part_of_the_spread_by_room(room, percent, step_h):
    """Less where room is left; up to a day."""
    carbon = np.full(round(48 / step_h), 500.0)

    dearer = waiting_g_per_kwh(carbon, step_h * SECONDS_PER_HOUR, spread=SPREAD, room=room)

    ahead_h = np.minimum(np.arange(len(carbon)) * step_h, 24.0)
    assert dearer == pytest.approx(percent / 100 * SPREAD * ahead_h)


def test_it_is_never_next_to_nothing():
    """Where intensities hardly differ it is 0.03 % of their mean."""
    dearer = waiting_g_per_kwh(np.full(3, 500.0), SECONDS_PER_HOUR, spread=1.0, room=1.0)

    assert dearer == pytest.approx([0.0, 0.15, 0.3])
