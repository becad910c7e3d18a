# SPDX-License-Identifier: Apache-2.0
"""A deferred job keeps its place: on release it gets the age it would have had. Pure.

Slurm's multifactor priority lets a job age only once it is eligible, unless the site sets
`PriorityFlags=ACCRUE_ALWAYS`. The missing age is added as site factor, in the same points:
PriorityWeightAge * min(waited, PriorityMaxAge) / PriorityMaxAge (slurm.conf, PriorityMaxAge).
"""

import math
from datetime import datetime

from slurm_green.controller.observed import Credit
from slurm_green.slurm.records import ClusterInfo, Job

__all__ = ["credit_for", "shape_of"]


def shape_of(job: Job) -> tuple[object, ...]:
    """What a user must not change and keep the credit: size, time, QOS, partition."""
    return (job.nodes, job.cpus, job.gpus, job.time_limit_s, job.qos, job.partition)


def credit_for(
    job: Job, info: ClusterInfo, *, now_utc: datetime, max_credit_s: float
) -> Credit | None:
    """The credit for the time the job was held back, or None where age accrues or counts nothing.

    Under `priority/basic` jobs keep the place they got at submission anyway.
    """
    if "multifactor" not in info.priority_type or info.priority_weight_age <= 0:
        return None
    if "ACCRUE_ALWAYS" in info.priority_flags or job.submit_utc is None:
        return None
    # In whole seconds, as the record keeps the release: the points must follow from it later.
    waited_s = math.floor((now_utc - job.submit_utc).total_seconds())
    counted_s = min(waited_s, max_credit_s, float(info.priority_max_age_s))
    points = int(info.priority_weight_age * counted_s / max(info.priority_max_age_s, 1))
    if points <= 0:
        return None
    return Credit(points=points, shape=shape_of(job))
