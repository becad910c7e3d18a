# SPDX-License-Identifier: Apache-2.0
# ruff: noqa: RUF009 - setting() and unset() are dataclass fields, not values shared by mistake
"""The settings of [plan]: one plan for all jobs that wait, in place of each job for itself."""

from dataclasses import dataclass
from pathlib import Path

from slurm_green.config import kinds
from slurm_green.config.setting import setting, unset

__all__ = ["PlanSection"]


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanSection:
    """How sgreend plans all waiting jobs together; promises and budgets bound every plan."""

    enabled: bool = setting(
        kinds.flag(),
        True,
        """Whether starts follow one plan for all jobs, and new jobs its prices. Off, each job is
        decided on alone; so it is whenever no fresh plan is there.""",
    )
    interval_s: float = setting(
        kinds.duration(1, 86_400),
        600.0,
        """Time between two plans; sooner (a tenth of it at the least) for a job that the last one
        did not know, after a new forecast, or when many jobs came or went.""",
        key="interval",
    )
    time_limit_s: float = setting(
        kinds.duration(1, 3_600),
        60.0,
        "A plan that takes longer is given up.",
        key="time_limit",
    )
    ramp_w_per_min: float | None = unset(
        kinds.number(1),
        """Most power that released jobs may add in a minute; left out, there is no limit. A job's
        latest start goes before it.""",
        unit="W/min",
    )
    pause: bool = setting(
        kinds.flag(),
        False,
        """Whether running jobs may be requeued in dirty hours, to go on from their checkpoint. Only
        those whose owner wrote green:checkpoint=DIR, and that Slurm may requeue (--requeue, or
        JobRequeue=1 and no --no-requeue).""",
    )
    pause_cost_s: float = setting(
        kinds.duration(1, 86_400),
        300.0,
        "What a pause is taken to cost a job: work since its checkpoint, and the restart.",
        key="pause_cost",
    )
    prices_out: Path | None = unset(
        kinds.path(),
        """File to which the prices of each plan are written, for whoever answers to them (a serving
        governor); with several pools of nodes those of the largest.""",
    )
