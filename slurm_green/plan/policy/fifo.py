# SPDX-License-Identifier: Apache-2.0
"""First come, first served with EASY backfill by time limits, blind to carbon and deadlines. Pure.

Source: what Slurm does when nobody looks at carbon (sched/backfill). Our reading: a job that may
run in several shapes gets the one that ends first, as the comparison in `sgreen plan` does.
"""

from slurm_green.plan.policy.protocol import Policy, Setup
from slurm_green.plan.policy.queued import Queued

__all__ = ["make"]


def make(setup: Setup) -> Policy:
    """The policy for one run."""
    return Queued(setup)
