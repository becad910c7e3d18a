# SPDX-License-Identifier: Apache-2.0
"""The figures of a replay, from what happened alone. Pure."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from slurm_green.migration.replay.inputs import Inputs
from slurm_green.migration.replay.state import Ride, Trace
from slurm_green.plan.problem import JOULES_PER_KWH, Floats

__all__ = ["PolicyResult", "Replay", "result_of"]

_TOLERANCE_S = 1e-3


@dataclass(frozen=True, kw_only=True)
class PolicyResult:
    """What one policy did; arrays (site, slot) are averages, base included.

    A move fails when it breaks, or when a kWh there emits no less than at the site it left by the
    time it computes again.
    `completion_s` counts from submission; a job that did not end counts to the last slot.
    """

    name: str
    trace: Trace
    slot_w: Floats
    net_w: Floats
    nonrenewable_j: float
    carbon_g: float
    energy_j: float
    completion_s: Floats
    late_jobs: int
    failed_moves: int
    overdue_moves: int
    wall_s: float

    def json(self) -> dict[str, Any]:
        """The contract's keys first."""
        rides, times = self.trace.rides, self.completion_s
        return {
            "nonrenewable_j": self.nonrenewable_j,
            "carbon_g": self.carbon_g,
            "energy_j": self.energy_j,
            "mean_completion_s": float(times.mean()) if len(times) else None,
            "p95_completion_s": float(np.quantile(times, 0.95)) if len(times) else None,
            "moves": len(rides),
            "moved_bytes": sum(ride.data_bytes for ride in rides),
            "failed_moves": self.failed_moves,
            "late_jobs": self.late_jobs,
            "wall_s": round(self.wall_s, 3),
            "overdue_moves": self.overdue_moves,
            "given_up_moves": sum(ride.given_up for ride in rides),
            "unfinished_jobs": int(np.isnan(self.trace.done_s).sum()),
            "cycles": self.trace.cycles,
        }


@dataclass(frozen=True, kw_only=True)
class Replay:
    """All policies on the same inputs."""

    inputs: Inputs
    results: dict[str, PolicyResult]

    def json(self) -> dict[str, Any]:
        """The contract's object, then what the figures rest on."""
        return {
            "policies": {name: one.json() for name, one in self.results.items()},
            "jobs": len(self.inputs.jobs),
            "sites": [site.name for site in self.inputs.sites],
            "start_s": self.inputs.start_s,
            "step_s": self.inputs.step_s,
            "slots": self.inputs.slots,
            "cycle_s": self.inputs.cycle_s,
        }


def result_of(name: str, inputs: Inputs, trace: Trace, wall_s: float) -> PolicyResult:
    """Count what one policy did."""
    supply_w = np.array([site.supply_w for site in inputs.sites])
    carbon = np.array([site.carbon_g_per_kwh for site in inputs.sites])
    base_w = np.array([site.base_w for site in inputs.sites])
    jobs_w = _jobs_w(inputs, trace)
    network_j = _network_j(inputs, trace)
    slot_w = base_w + jobs_w
    net_w = np.maximum(slot_w - supply_w, 0.0)
    done_s = np.where(np.isnan(trace.done_s), inputs.end_s, trace.done_s)
    deadline_s = np.array(
        [np.inf if job.deadline_s is None else job.deadline_s for job in inputs.jobs]
    )
    return PolicyResult(
        name=name,
        trace=trace,
        slot_w=slot_w,
        net_w=net_w,
        nonrenewable_j=float(net_w.sum() * inputs.step_s + network_j.sum()),
        carbon_g=float(((net_w * inputs.step_s + network_j) * carbon).sum() / JOULES_PER_KWH),
        energy_j=float(jobs_w.sum() * inputs.step_s + network_j.sum()),
        completion_s=done_s - np.array([job.submit_s for job in inputs.jobs]),
        late_jobs=int((done_s > deadline_s + _TOLERANCE_S).sum()),
        failed_moves=sum(_failed(ride, inputs, slot_w, supply_w) for ride in trace.rides),
        overdue_moves=sum(
            ride.arrived_s is not None and ride.arrived_s > ride.due_s + _TOLERANCE_S
            for ride in trace.rides
            if not ride.broken
        ),
        wall_s=wall_s,
    )


def _jobs_w(inputs: Inputs, trace: Trace) -> Floats:
    """Average power of the jobs, (site, slot)."""
    # Rising and falling edges: the energy up to a border is a sum of ramps.
    energy_j = np.zeros((len(inputs.sites), inputs.slots + 1))
    for site in range(len(inputs.sites)):
        some = [one for one in trace.draws if one.site == site]
        at_s = np.array([one.start_s for one in some] + [one.end_s for one in some])
        power_w = np.array([one.power_w for one in some] + [-one.power_w for one in some])
        order = np.argsort(at_s, kind="stable")
        at_s, power_w = at_s[order], power_w[order]
        level_w = np.concatenate([[0.0], power_w.cumsum()])
        before = np.searchsorted(at_s, inputs.edges_s, side="right")
        moment_w = np.concatenate([[0.0], (power_w * at_s).cumsum()])
        energy_j[site] = level_w[before] * inputs.edges_s - moment_w[before]
    return np.diff(energy_j, axis=1) / inputs.step_s


def _network_j(inputs: Inputs, trace: Trace) -> Floats:
    """What the network drew for the data, in the slot of the decision, at the source's grid."""
    drawn_j = np.zeros((len(inputs.sites), inputs.slots))
    for ride in trace.rides:
        slot = min(int(ride.decided_s / inputs.step_s), inputs.slots - 1)
        drawn_j[ride.source, slot] += inputs.costs.network_j_per_gb * ride.data_bytes / 1e9
    return drawn_j


def _failed(ride: Ride, inputs: Inputs, slot_w: Floats, supply_w: Floats) -> bool:
    """Whether a move was in vain; a job that carried nothing went for the GPUs there."""
    if ride.broken:
        return True
    if ride.arrived_s is None or ride.data_bytes <= 0:
        return False
    slot = min(int(ride.arrived_s / inputs.step_s), inputs.slots - 1)
    here, there = ride.source, ride.destination
    back_w = slot_w[here, slot] + inputs.jobs[ride.job].power_w
    dark = back_w > supply_w[here, slot], slot_w[there, slot] > supply_w[there, slot]
    g_here, g_there = (
        lit * inputs.sites[site].carbon_g_per_kwh[slot]
        for lit, site in zip(dark, (here, there), strict=True)
    )
    return bool(g_there >= g_here)
