# SPDX-License-Identifier: Apache-2.0
"""What two policies share: on arrival, the start and shape that cost least by some signal. Pure."""

from collections.abc import Sequence

from slurm_green.plan.policy.backfill import Option
from slurm_green.plan.policy.protocol import Job, Setup, View
from slurm_green.plan.policy.queued import Queued
from slurm_green.plan.policy.windows import Ahead

__all__ = ["Cheapest"]


class Cheapest(Queued):
    """Keeps to the chosen shape while it is in time, and takes what ends first afterwards."""

    urgent_first = True

    def __init__(self, setup: Setup) -> None:
        super().__init__(setup)
        self._chosen: dict[str, Option] = {}

    def signal(self, view: View) -> Ahead:
        """What a unit of energy is expected to cost."""
        raise NotImplementedError

    def release_s(self, view: View, job: Job) -> float:
        """The cheapest start of all shapes that are in time."""
        ahead = self.signal(view)
        begin_s = max(view.now_s, job.earliest_s)
        best: tuple[float, float, Option] | None = None
        for option in self.shapes(job):
            length_s = job.work / option.rate
            latest_s = job.deadline_s - length_s
            if latest_s < begin_s:
                continue
            start_s, cost = ahead.cheapest(begin_s, latest_s, length_s)
            if best is None or (cost * option.power_w, start_s) < best[:2]:
                best = cost * option.power_w, start_s, option
        if best is None:
            return begin_s
        self._chosen[job.job_id] = best[2]
        return best[1]

    def shapes(self, job: Job) -> Sequence[Option]:
        """The shapes to choose from."""
        return self.all_shapes[job.class_index]

    def options(self, job: Job, now_s: float) -> Sequence[Option]:
        """The chosen shape while there is time for it."""
        chosen = self._chosen.get(job.job_id)
        if chosen is not None and now_s + job.work / chosen.rate <= job.deadline_s + 1e-3:
            return (chosen,)
        return self.own[job.class_index]
