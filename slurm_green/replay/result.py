# SPDX-License-Identifier: Apache-2.0
"""The figures of a replay, counted from what happened alone by the planner's verifier. Pure."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from slurm_green.plan import certificate
from slurm_green.plan.problem import JOULES_PER_KWH, Floats
from slurm_green.replay.inputs import Inputs
from slurm_green.replay.simulator import Trace

__all__ = ["PolicyResult", "Replay", "result_of"]

_TOLERANCE_S = 1e-3


@dataclass(frozen=True, kw_only=True)
class PolicyResult:
    """What one policy did.

    Arrays of jobs have NaN where one never started or ended; `late` are the jobs that were not
    done by their deadline, whether they ended or not. Arrays of slots are averages, base included.
    """

    name: str
    trace: Trace
    start_s: Floats
    late: NDArray[np.bool_]
    slot_w: Floats
    slot_g: Floats
    energy_j: float
    performance: float
    wait_s: Floats
    failed_jobs: int
    wall_s: float

    @property
    def carbon_g(self) -> float:
        """Of the site: what it draws beyond its renewable supply, netted in each slot."""
        return float(self.slot_g.sum())

    @property
    def unplaced_jobs(self) -> int:
        """Jobs that were not done when the last slot ended."""
        return int(np.isnan(self.trace.done_s).sum())

    def json(self) -> dict[str, Any]:
        """The contract's keys first; waits are None where no job started."""
        waits = self.wait_s[~np.isnan(self.wait_s)]
        carbon_g = self.carbon_g
        return {
            "carbon_g": carbon_g,
            "energy_j": self.energy_j,
            "mean_wait_s": float(waits.mean()) if len(waits) else None,
            "p95_wait_s": float(np.quantile(waits, 0.95)) if len(waits) else None,
            "late_jobs": int(self.late.sum()),
            "peak_w": float(self.slot_w.max()),
            "ppc": self.performance / max(carbon_g / 1000, 1e-9),
            "wall_s": round(self.wall_s, 3),
            "performance": self.performance,
            "unplaced_jobs": self.unplaced_jobs,
            "failed_jobs": self.failed_jobs,
            "pauses": self.trace.pauses,
            "decisions": self.trace.decisions,
            "refused": self.trace.refused,
        }


@dataclass(frozen=True, kw_only=True)
class Replay:
    """All policies on the same inputs; the bound is None where it was not asked for."""

    inputs: Inputs
    results: dict[str, PolicyResult]
    lower_bound_g: float | None

    def json(self) -> dict[str, Any]:
        """The contract's object, then what the figures rest on."""
        site = self.inputs.problem.site
        return {
            "policies": {name: one.json() for name, one in self.results.items()},
            "lower_bound_g": self.lower_bound_g,
            "jobs": len(self.inputs.problem.jobs),
            "gpus": site.gpus,
            "start_s": site.start_s,
            "step_s": site.step_s,
            "slots": site.slots,
            "forecast": "built-in" if self.inputs.forecasts is None else "file",
            "notes": list(self.inputs.notes),
        }


def result_of(name: str, inputs: Inputs, trace: Trace, wall_s: float) -> PolicyResult:
    """The figures of one policy's trace."""
    problem, schedule = inputs.problem, trace.schedule
    site, jobs = problem.site, problem.jobs
    start_s = np.full(len(jobs), np.inf)
    np.minimum.at(start_s, schedule.job, schedule.start_s)
    start_s[np.isinf(start_s)] = np.nan
    done = ~np.isnan(trace.done_s)
    slot_w = site.base_power_w + certificate.slot_energy_j(problem, schedule) / site.step_s
    net_w = np.maximum(slot_w - site.renewable_w, 0.0)
    with np.errstate(invalid="ignore"):
        late = ~(trace.done_s <= jobs.deadline_s + _TOLERANCE_S)
    took_s = np.fmax(trace.done_s - jobs.earliest_s, problem.fastest_s)
    return PolicyResult(
        name=name,
        trace=trace,
        start_s=start_s,
        late=late,
        slot_w=slot_w,
        slot_g=net_w * site.carbon_g_per_kwh * site.step_s / JOULES_PER_KWH,
        energy_j=float(schedule.energy_j(problem).sum()),
        performance=float((problem.fastest_s / took_s)[done].sum()),
        wait_s=np.asarray(start_s - jobs.earliest_s),
        failed_jobs=int((inputs.fails & done).sum()),
        wall_s=wall_s,
    )
