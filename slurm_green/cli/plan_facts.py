# SPDX-License-Identifier: Apache-2.0
"""What is worth saying about a plan, for its table and its page: sums by slot, jobs in trouble.

Pure.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cached_property

import numpy as np

from slurm_green.plan.outcome import Objective, Outcome
from slurm_green.plan.problem import Floats, Problem
from slurm_green.plan.schedule import Schedule
from slurm_green.plan.start_now import full_clocks, slot_average, start_now
from slurm_green.plan.verify import carbon_g, service_power_w
from slurm_green.words import length

__all__ = [
    "GOALS",
    "Clock",
    "Facts",
    "StartNow",
    "Trouble",
    "amount",
    "kwh",
    "start_now_of",
    "watts",
]

GOALS = {
    Objective.PERFORMANCE_CONSTRAINED: "least carbon, every deadline kept that can be",
    Objective.CARBON_CONSTRAINED: "most performance within a carbon budget",
    Objective.PPC: "most performance per carbon",
}
# Seconds from a common zero that lie beyond this are taken for POSIX seconds, as
# `sgreen forecast --csv` prints them: the other reading is a plan 30 years from its zero.
_POSIX_FROM_S = 1e9
_TOLERANCE_S = 1e-3


@dataclass(frozen=True, slots=True)
class Clock:
    """Writes a moment, in seconds from the first slot's start, as people read it."""

    start_s: float

    @property
    def dated(self) -> bool:
        """Whether times are dates in UTC, else days and hours from the signal's start."""
        return _POSIX_FROM_S <= self.start_s <= 1e11

    @property
    def about(self) -> str:
        """What the times are."""
        return "times in UTC" if self.dated else "times from the signal's start"

    def text(self, at_s: float) -> str:
        """`24 Nov 16:30`, or `2 d 04:00`."""
        minutes = round(at_s / 60)
        if self.dated:
            moment = datetime.fromtimestamp(self.start_s, UTC) + timedelta(seconds=at_s)
            moment += timedelta(seconds=30)
            return f"{moment.day} {moment:%b %H:%M}"
        return f"{minutes // 1440} d {minutes % 1440 // 60:02d}:{minutes % 60:02d}"


@dataclass(frozen=True, slots=True, kw_only=True)
class StartNow:
    """What the same jobs do when each starts as soon as it can, cap and ramp ignored."""

    carbon_g: float
    late_jobs: int
    unplaced_jobs: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Trouble:
    """A job that ends late, or has no place (`end_s` None), and what would help."""

    job_id: str
    class_name: str
    deadline_s: float
    end_s: float | None
    advice: str

    @property
    def late_s(self) -> float | None:
        """By how much; None for a job without a place."""
        return None if self.end_s is None else self.end_s - self.deadline_s


def start_now_of(problem: Problem, blind: Schedule | None = None) -> StartNow:
    """The counterfactual's figures, of that schedule if it is known."""
    blind = start_now(problem) if blind is None else blind
    return StartNow(
        carbon_g=carbon_g(problem, blind, full_clocks(problem)),
        late_jobs=int(blind.late(problem).sum()),
        unplaced_jobs=int((~blind.placed(problem)).sum()),
    )


@dataclass(frozen=True, kw_only=True)
class Facts:
    """A plan and what it was made for; sums are made when first asked for."""

    problem: Problem
    outcome: Outcome
    carbon_budget_g: float | None = None

    @property
    def clock(self) -> Clock:
        """Writes this plan's times."""
        return Clock(self.problem.site.start_s)

    @cached_property
    def start_now(self) -> StartNow:
        """What the plan is compared with."""
        return start_now_of(self.problem, self.outcome.start_now)

    @cached_property
    def jobs_w(self) -> Floats:
        """Watts of the jobs, the average of each slot."""
        plan = self.outcome.schedule
        power_w = self.problem.shapes.power_w[plan.shape]
        return slot_average(self.problem.site, plan.start_s, plan.end_s, power_w)

    @cached_property
    def services_w(self) -> Floats:
        """Watts of the services, per slot."""
        slots = np.arange(self.problem.site.slots)
        total_w = np.zeros(len(slots))
        for service, clock in zip(self.problem.services, self.outcome.service_clock, strict=True):
            total_w += service_power_w(service)[clock, slots]
        return total_w

    @cached_property
    def gpus_used(self) -> Floats:
        """GPUs that jobs hold, the average of each slot."""
        plan = self.outcome.schedule
        gpus = self.problem.shapes.gpus[plan.shape]
        return slot_average(self.problem.site, plan.start_s, plan.end_s, gpus)

    @property
    def gpu_share(self) -> float | None:
        """Share of all GPU-hours that jobs hold; None without GPUs."""
        gpus = self.problem.site.gpus
        return float(self.gpus_used.mean() / gpus) if gpus else None

    @cached_property
    def late(self) -> list[int]:
        """Jobs that end after their deadline, the latest first."""
        ends_s, deadlines_s = self._ends_s, self.problem.jobs.deadline_s
        found = np.flatnonzero(self.outcome.schedule.late(self.problem))
        return [int(one) for one in found[np.argsort(deadlines_s[found] - ends_s[found])]]

    @cached_property
    def unplaced(self) -> list[int]:
        """Jobs without a place, in the order they were given."""
        return [int(one) for one in np.flatnonzero(~self.outcome.schedule.placed(self.problem))]

    def troubles(self) -> Iterator[Trouble]:
        """Jobs without a place, then late ones."""
        jobs, names = self.problem.jobs, self.problem.shapes.class_names
        for one in (*self.unplaced, *self.late):
            end_s = float(self._ends_s[one])
            yield Trouble(
                job_id=jobs.ids[one],
                class_name=names[int(jobs.class_index[one])],
                deadline_s=float(jobs.deadline_s[one]),
                end_s=None if np.isnan(end_s) else end_s,
                advice=self._advice(one),
            )

    @cached_property
    def _ends_s(self) -> Floats:
        return self.outcome.schedule.ends_s(self.problem)

    def _advice(self, job: int) -> str:
        """Why it is in trouble, and what to do."""
        jobs, shapes, site = self.problem.jobs, self.problem.shapes, self.problem.site
        own = shapes.of(int(jobs.class_index[job]))
        fitting = [one for one in own if shapes.gpus[one] <= site.gpus]
        if not fitting:
            least = min(int(shapes.gpus[one]) for one in own)
            return f"needs {least} GPUs of {site.gpus}: offer a smaller shape, or more GPUs"
        least_w = min(float(shapes.power_w[one]) for one in fitting)
        room_w = site.power_cap_w - float(site.base_power_w.min())
        if least_w > room_w:
            return f"draws {watts(least_w)}, the cap leaves {watts(max(room_w, 0))}: raise the cap"
        earliest_s, deadline_s = float(jobs.earliest_s[job]), float(jobs.deadline_s[job])
        run_s = float(jobs.work[job]) / max(float(shapes.rate[one]) for one in fitting)
        if earliest_s + run_s > site.horizon_s + _TOLERANCE_S:
            left_s = max(site.horizon_s - earliest_s, 0.0)
            return (
                f"runs {length(run_s)}, the signal ends in {length(left_s)}: give a longer signal"
            )
        if earliest_s + run_s > deadline_s + _TOLERANCE_S:
            allowed_s = max(deadline_s - earliest_s, 0.0)
            return f"runs {length(run_s)} at least, may take {length(allowed_s)}: later deadline"
        if np.isnan(self._ends_s[job]):
            return "no room before the signal ends: more GPUs, or a longer signal"
        cap = ", higher cap" if np.isfinite(site.power_cap_w) else ""
        return f"no room in time: later deadline, more GPUs{cap}"


def watts(power_w: float) -> str:
    """Power for people, three digits of it."""
    return _scaled(power_w, ((1e9, "GW"), (1e6, "MW"), (1e3, "kW")), "W")


def kwh(energy_j: float) -> str:
    """Energy for people, three digits of it."""
    return _scaled(energy_j / 3.6e6, ((1e6, "GWh"), (1e3, "MWh")), "kWh")


def amount(value: float) -> str:
    """A bare number for people: three digits, thousands set apart."""
    if value == 0 or abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.{2 if abs(value) < 10 else 1}f}" if abs(value) >= 0.1 else f"{value:.2g}"


def _scaled(value: float, units: tuple[tuple[float, str], ...], plain: str) -> str:
    for unit, name in units:
        if abs(value) >= 0.9995 * unit:
            return f"{amount(value / unit)} {name}"
    return f"{amount(value)} {plain}"
