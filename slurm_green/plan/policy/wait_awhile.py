# SPDX-License-Identifier: Apache-2.0
"""Let's Wait Awhile: in the cheapest slots before the deadline, or in the cheapest window. Pure.

Source: Wiesner and others, Let's Wait Awhile (Middleware 2021); GAIA calls it Wait-Awhile. A job
that may be paused runs in as many of the slots with least carbon as its work needs; another one
takes the window with least carbon. Our reading: slots are chosen again in every slot, with the
newest forecast and what is left by the limit; shapes and queue as in `fifo`.
"""

from collections.abc import Sequence

import numpy as np

from slurm_green.plan.policy.backfill import Option
from slurm_green.plan.policy.lowest_window import Windowed
from slurm_green.plan.policy.protocol import Job, Outlook, Policy, Setup, View
from slurm_green.plan.policy.stepped import Stepped
from slurm_green.plan.problem import Floats

__all__ = ["make"]


class _WaitAwhile(Windowed, Stepped):
    _sorted_of: Outlook | None = None
    _sorted: dict[int, Floats]

    def bounds(self, view: View, job: Job) -> tuple[float, float, float]:
        begin_s, latest_s, _ = super().bounds(view, job)
        return begin_s, latest_s, job.work / self.own[job.class_index][-1].rate

    def wanted(self, view: View, job: Job, work_left: float) -> Sequence[Option]:
        own = self.own[job.class_index]
        ahead = self.ahead(view)
        if self._sorted_of is not view.outlook:
            self._sorted_of, self._sorted = view.outlook, {}
        slots = int((job.deadline_s - ahead.start_s) / ahead.step_s + 1e-9)
        slots = min(max(slots, 1), len(ahead.values))
        if slots not in self._sorted:
            self._sorted[slots] = np.sort(ahead.values[:slots])
        need = int(np.ceil(work_left / own[-1].rate / ahead.step_s - 1e-9))
        worst = self._sorted[slots][min(max(need, 1), slots) - 1]
        return own if ahead.values[0] <= worst else ()


def make(setup: Setup) -> Policy:
    """The policy for one run."""
    return _WaitAwhile(setup)
