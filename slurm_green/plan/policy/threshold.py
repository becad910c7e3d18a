# SPDX-License-Identifier: Apache-2.0
"""Threshold of Ecovisor: run while carbon is low for the day ahead, or time is up. Pure.

Source: Souza and others, Ecovisor (ASPLOS 2023), as GAIA (ASPLOS 2024) compares with it: jobs run
in a slot whose carbon is at most the 30th percentile of the next 24 hours, or once their wait is
exhausted. Our reading: the latest start by the limit stands for the longest wait; jobs that may
not be paused only start by it; shapes and queue as in `fifo`. `--option percentile=P` changes it.
"""

import heapq
from collections.abc import Iterable, Sequence

import numpy as np

from slurm_green.plan.policy.backfill import Option
from slurm_green.plan.policy.lowest_window import Windowed
from slurm_green.plan.policy.protocol import Decision, Job, Outlook, Policy, Setup, View
from slurm_green.plan.policy.stepped import Stepped

__all__ = ["make"]

_DAY_S = 86_400.0


class _Threshold(Windowed, Stepped):
    _judged: Outlook | None = None
    _low = False

    def decide(self, view: View) -> Decision:
        if self._judged is not view.outlook:
            self._judged, ahead = view.outlook, self.ahead(view)
            day = ahead.values[: max(1, round(_DAY_S / ahead.step_s))]
            share = self.setup.options.get("percentile", 30.0)
            self._low = bool(ahead.values[0] <= np.percentile(day, share))
        decision = super().decide(view)
        site = view.outlook.site
        next_s = site.start_s + site.step_s
        if not self.later or next_s <= view.now_s:
            return decision
        wake_s = next_s if decision.wake_s is None else min(next_s, decision.wake_s)
        return Decision(starts=decision.starts, pauses=decision.pauses, wake_s=wake_s)

    def release_s(self, view: View, job: Job) -> float:
        return self.bounds(view, job)[1]

    def release(self, view: View, arrived: Iterable[Job]) -> None:
        super().release(view, arrived)
        if self._low:
            ready = [one for one in self.later if one[2].earliest_s <= view.now_s]
            if ready:
                self.later = [one for one in self.later if one[2].earliest_s > view.now_s]
                heapq.heapify(self.later)
                for _, _, job in sorted(ready, key=lambda one: one[1]):
                    self.join(job)

    def wanted(self, view: View, job: Job, work_left: float) -> Sequence[Option]:
        return self.own[job.class_index] if self._low else ()


def make(setup: Setup) -> Policy:
    """The policy for one run."""
    return _Threshold(setup)
