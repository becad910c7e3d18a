# SPDX-License-Identifier: Apache-2.0
"""MAX of CA-RM: every job at once, with all workers and the highest clock. Pure.

Source: the comparator MAX of Kang and Moon (2026), whose definition is not published in what we
could read. Our reading: the fastest shape that fits the site, first come, first served.
"""

from collections.abc import Sequence

from slurm_green.plan.policy.backfill import Option
from slurm_green.plan.policy.protocol import Job, Policy, Setup
from slurm_green.plan.policy.queued import Queued

__all__ = ["make"]


class _Max(Queued):
    def options(self, job: Job, now_s: float) -> Sequence[Option]:
        return self.own[job.class_index][-1:]


def make(setup: Setup) -> Policy:
    """The policy for one run."""
    return _Max(setup)
