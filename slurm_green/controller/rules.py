# SPDX-License-Identifier: Apache-2.0
"""The part of the site's configuration a cycle decides by, as one value."""

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, tzinfo

from slurm_green.hook.policy import Policy
from slurm_green.plan.power import PowerModel

__all__ = ["Rules"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """Site rules. `policy_for(partition, qos)` gives the resolved policy of a job.

    `horizon_s` is how far ahead room is kept: the longest delay any policy allows, doubled.
    """

    policy_for: Callable[[str, str], Policy]
    power: PowerModel = field(default_factory=PowerModel)
    hold_s: float = 10.0
    prompt_s: float = 30.0
    interval_s: float = 30.0
    horizon_s: float = 2 * 86400.0
    record_field: str = "admin_comment"  # or "extra"
    comment_prefix: str = "green:"
    zone: tzinfo = UTC
    releases_per_cycle: int = 100
    ramp_w_per_min: float | None = None
    # Whether opted-in running jobs may be requeued in dirty hours, and what that costs each.
    pause: bool = False
    pause_cost_s: float = 300.0
    budget_gpus_percent: float = 100.0
    budget_w: float | None = None
    keep_place: bool = True
    max_credit_s: float = 7 * 86400.0
    stale_signal_s: float = 6 * 3600.0
    # The load that usually arrives is averaged over this time, taken as seen for at least the
    # other, and so many standard deviations above its mean are kept free for it.
    usual_over_s: float = 3 * 86400.0
    usual_least_s: float = 86400.0
    reserve_deviations: float = 1.0
