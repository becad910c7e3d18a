# SPDX-License-Identifier: Apache-2.0
"""Carbon-Saving-per-Time of GAIA: on arrival, the start that saves most per second of it. Pure.

Source: Hanafy and others, Going Green for Less Green (ASPLOS 2024): of all starts the one with the
greatest (carbon now - carbon then) / (wait + length). Lengths, bounds and queue as `lowest-window`.
"""

import numpy as np

from slurm_green.plan.policy.lowest_window import Windowed
from slurm_green.plan.policy.protocol import Job, Policy, Setup, View

__all__ = ["make"]


class _SavingPerTime(Windowed):
    def release_s(self, view: View, job: Job) -> float:
        begin_s, latest_s, length_s = self.bounds(view, job)
        starts_s, costs = self.ahead(view).windows(begin_s, latest_s, length_s)
        gain = (costs[0] - costs) / (starts_s - begin_s + length_s)
        return float(starts_s[int(np.argmax(gain))])


def make(setup: Setup) -> Policy:
    """The policy for one run."""
    return _SavingPerTime(setup)
