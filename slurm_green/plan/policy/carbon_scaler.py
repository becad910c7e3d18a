# SPDX-License-Identifier: Apache-2.0
"""CarbonScaler: more workers where a gram buys more work, slot by slot. Pure.

Source: Hanafy and others, CarbonScaler (SIGMETRICS 2024): of all pairs of a slot and one worker
more, those with the greatest marginal throughput / (marginal power x carbon) until the work is
done. Our reading: shapes on the upper hull of rate over power are the workers, clocks included; a
plan is made on arrival and again whenever the job is behind it; a job that may not be paused takes
the start and shape of least carbon.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from slurm_green.plan.policy.backfill import Option
from slurm_green.plan.policy.cheapest import Cheapest
from slurm_green.plan.policy.protocol import Job, Outlook, Policy, Setup, View
from slurm_green.plan.policy.stepped import Stepped
from slurm_green.plan.policy.windows import Ahead, carbon_ahead
from slurm_green.plan.problem import Ints

__all__ = ["make"]

_BEHIND = 1e-6


class _Plan(NamedTuple):
    """How many steps up the hull in each slot from the first on, and the work left before each."""

    first: int
    levels: Ints
    left: list[float]


class _CarbonScaler(Stepped, Cheapest):
    def __init__(self, setup: Setup) -> None:
        super().__init__(setup)
        self._hulls = [_hull(own) for own in self.all_shapes]
        self._plans: dict[str, _Plan] = {}
        self._outlook: Outlook | None = None
        self._ahead: Ahead

    def signal(self, view: View) -> Ahead:
        if self._outlook is not view.outlook:
            self._outlook, self._ahead = view.outlook, carbon_ahead(view.outlook, self.setup)
        return self._ahead

    def wanted(self, view: View, job: Job, work_left: float) -> Sequence[Option]:
        ahead = self.signal(view)
        slot = round(ahead.start_s / ahead.step_s)
        plan = self._plans.get(job.job_id)
        if plan is None or self._behind(plan, slot, view.now_s, job, work_left):
            plan = self._plans[job.job_id] = self._planned(ahead, slot, view.now_s, job, work_left)
        at = slot - plan.first
        level = int(plan.levels[at]) if at < len(plan.levels) else 0
        hull = self._hulls[job.class_index]
        # Fewer workers where not all find a GPU.
        return hull[:level]

    def _behind(self, plan: _Plan, slot: int, now_s: float, job: Job, work_left: float) -> bool:
        at = slot - plan.first
        if at >= len(plan.levels):
            return True
        return work_left > plan.left[at] + _BEHIND * job.work

    def _planned(self, ahead: Ahead, slot: int, now_s: float, job: Job, work_left: float) -> _Plan:
        hull = self._hulls[job.class_index]
        slots = int((job.deadline_s - ahead.start_s) / ahead.step_s + 1e-9)
        slots = min(max(slots, 1), len(ahead.values))
        seconds = np.full(slots, ahead.step_s)
        seconds[0] -= now_s - ahead.start_s
        rate = np.diff([0.0, *(option.rate for option in hull)])
        power_w = np.diff([0.0, *(option.power_w for option in hull)])
        dear = np.maximum(ahead.values[:slots], 1e-9)[:, None] * power_w
        order = np.argsort(dear / rate, axis=None, kind="stable")
        work = (seconds[:, None] * rate).ravel()[order]
        count = int(np.searchsorted(np.cumsum(work), work_left * (1 - 1e-9))) + 1
        levels = np.bincount(order[:count] // len(hull), minlength=slots)
        total = np.concatenate([[0.0], np.cumsum(rate)])[levels] * seconds
        left = work_left - np.concatenate([[0.0], np.cumsum(total)[:-1]])
        return _Plan(slot, levels, left.tolist())


def _hull(own: Sequence[Option]) -> tuple[Option, ...]:
    """Shapes of which each step up gives less work per watt than the one before."""
    hull: list[Option] = []
    for option in sorted(own, key=lambda one: (one.power_w, -one.rate)):
        if hull and option.rate <= hull[-1].rate:
            continue
        while hull:
            low = hull[-2] if len(hull) > 1 else None
            low_w, low_rate = (low.power_w, low.rate) if low is not None else (0.0, 0.0)
            last = hull[-1]
            before = (last.rate - low_rate) * (option.power_w - last.power_w)
            after = (option.rate - last.rate) * (last.power_w - low_w)
            if after < before:
                break
            hull.pop()
        hull.append(option)
    return tuple(hull)


def make(setup: Setup) -> Policy:
    """The policy for one run."""
    return _CarbonScaler(setup)
