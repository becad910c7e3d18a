# SPDX-License-Identifier: Apache-2.0
"""MIN of CA-RM: every job at once, at the lowest clock with the fewest workers in time. Pure.

Source: the comparator MIN of Kang and Moon (2026), whose definition is not published in what we
could read. Our reading: of the shapes that still meet the deadline the one of the lowest clock, of
those the one with the fewest GPUs; the fastest where none is in time.
"""

from collections.abc import Sequence

from slurm_green.plan.policy.backfill import Option
from slurm_green.plan.policy.protocol import Job, Policy, Setup
from slurm_green.plan.policy.queued import Queued

__all__ = ["make"]


class _Min(Queued):
    def __init__(self, setup: Setup) -> None:
        super().__init__(setup)
        clock_mhz = setup.shapes.clock_mhz
        self._slowest_first = [
            sorted(own, key=lambda option: (int(clock_mhz[option.shape]), option.gpus))
            for own in self.all_shapes
        ]

    def options(self, job: Job, now_s: float) -> Sequence[Option]:
        for option in self._slowest_first[job.class_index]:
            if now_s + job.work / option.rate <= job.deadline_s:
                return (option,)
        return self.own[job.class_index][-1:]


def make(setup: Setup) -> Policy:
    """The policy for one run."""
    return _Min(setup)
