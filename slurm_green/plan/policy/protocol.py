# SPDX-License-Identifier: Apache-2.0
"""What a policy sees and what it answers. Pure.

A policy is asked when something happened: a job arrived, ended, failed or became eligible, a
forecast was issued, or the time came for which it had asked. It sees nothing of the future but
forecasts. Times are seconds of the replay's or the site's clock.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

from slurm_green.plan.problem import Floats, Problem, Shapes, Site
from slurm_green.plan.schedule import Schedule

__all__ = [
    "Decision",
    "Done",
    "Job",
    "Outlook",
    "Policy",
    "Run",
    "Setup",
    "Start",
    "Truth",
    "View",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """A job as its user described it; `work` is what its time limit allows for."""

    job_id: str
    class_index: int
    work: float
    submit_s: float
    earliest_s: float
    deadline_s: float
    preemptible: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """A job that runs: in which shape (an index into Shapes), since when, until when at most.

    It is the same object from start to end, so what is left is asked for.
    """

    job: Job
    shape: int
    since_s: float
    ends_by_s: float
    rate: float  # of its shape
    work: float  # left when it started, by the limit

    def work_left(self, now_s: float) -> float:
        """Work that is left by the limit; what a restart costs is over first."""
        return min(self.work, max(self.ends_by_s - now_s, 0.0) * self.rate)


@dataclass(frozen=True, slots=True, kw_only=True)
class Done:
    """A job that ended since the policy was last asked, and what it really took."""

    job: Job
    work: float
    end_s: float
    failed: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Outlook:
    """What is expected of the slots from the current one on; the same object until that changes.

    `site` begins with the slot that holds `now` (at `site.start_s`, seconds of the same clock),
    which is known; past the forecast's end it holds what is usual there. It ends some days ahead,
    jobs may have later deadlines. The quantiles have its slots, or are None where nobody knows
    them.
    """

    site: Site
    issued_s: float
    carbon_p10: Floats | None = None
    carbon_p90: Floats | None = None
    renewable_p10_w: Floats | None = None
    renewable_p90_w: Floats | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class View:
    """All that is known now. `waiting` holds paused jobs too, with the work that they still need.

    Jobs wait from their submission on, also before their earliest start. `work_left` is keyed by
    job id, for every waiting job, not to be changed. `arrived` and `done` are news since the
    policy was last asked.
    """

    now_s: float
    outlook: Outlook
    waiting: Sequence[Job]
    work_left: dict[str, float]
    running: Sequence[Run]
    free_gpus: int
    arrived: Sequence[Job] = ()
    done: Sequence[Done] = ()


@dataclass(frozen=True, slots=True)
class Start:
    """Start a waiting job now in this shape, or change a running preemptible one to it."""

    job_id: str
    shape: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """What to do now. Pauses and shape changes are for preemptible jobs only.

    Pauses come first, then starts in order. `wake_s` asks to be asked again then; the last
    decision's counts, and without one the next event will do. A pause costs `Setup.pause_cost_s`
    when the job runs again, and so does a change of shape: so long it draws power and does no
    work.
    """

    starts: Sequence[Start] = ()
    pauses: Sequence[str] = ()
    wake_s: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Setup:
    """What is known before anything happens: shapes, GPUs, limits, and the policy's own options."""

    shapes: Shapes
    gpus: int
    step_s: float
    pause_cost_s: float = 0.0
    power_cap_w: float = float("inf")
    ramp_w_per_slot: float = float("inf")
    seed: int = 0
    options: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Truth:
    """What nobody can know: real work, earliest = when a job may start and is known, all slots.

    `schedule` is the planner's for `problem`. Only a policy that says that it knows gets it.
    """

    problem: Problem
    schedule: Schedule


class Policy(Protocol):
    """One policy in one run; it may remember what it has seen."""

    def decide(self, view: View) -> Decision:
        """What to do now."""
        ...
