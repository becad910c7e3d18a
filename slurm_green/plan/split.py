# SPDX-License-Identifier: Apache-2.0
"""The best responses of preemptible jobs: the cheapest seconds of the cheapest shapes. Pure.

A job buys edges of the slots' hulls (see hull.py), from the cheapest on, until its work is done.
The hulls belong to a class, not to a job.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from slurm_green.plan.hull import ENOUGH, hull_edges
from slurm_green.plan.kernel import library
from slurm_green.plan.kernel.respond import respond
from slurm_green.plan.outcome import Prices
from slurm_green.plan.problem import JOULES_PER_KWH, SECONDS_PER_HOUR, Floats, Ints, Problem
from slurm_green.plan.slot_table import SlotTable

__all__ = ["Buy", "Splits", "slow_response", "split_response"]

# By a job's class, the work of each edge from the cheapest on, what a unit of it costs, and the
# work that is to be done: the share that is bought of each, and what the job costs beside.
Buy = Callable[[int, Floats, Floats, float], tuple[Floats, float]]


@dataclass(frozen=True, kw_only=True)
class Splits:
    """One row per job asked for: its least cost in g, and what it uses per slot.

    A job whose work does not fit into its window costs infinity.
    """

    cost_g: Floats
    gpu_h: SlotTable
    energy_kwh: SlotTable


@dataclass(frozen=True, kw_only=True)
class _Pieces:
    """Pieces of a class's hulls from the cheapest work on, per second of a slot."""

    slot: Ints
    rate: Floats
    cost_g: Floats
    gpus: Floats
    power_w: Floats


def split_response(problem: Problem, prices: Prices, jobs: Ints, deadline_s: Floats) -> Splits:
    """The cheapest way to split each of these jobs in time, with these deadlines."""
    if library() is not None:
        told = respond(problem, prices, jobs, deadline_s)
        cells, slots = (told.first, told.slot), problem.site.slots
        return Splits(
            cost_g=told.cost_g,
            gpu_h=SlotTable.of(*cells, told.gpu_s / SECONDS_PER_HOUR, slots),
            energy_kwh=SlotTable.of(*cells, told.energy_j / JOULES_PER_KWH, slots),
        )
    return slow_response(problem, prices, jobs, deadline_s, _cheapest)


def slow_response(
    problem: Problem, prices: Prices, jobs: Ints, deadline_s: Floats, buy: Buy
) -> Splits:
    """What each of these jobs uses that buys its edges in this way."""
    site, all_jobs = problem.site, problem.jobs
    cost = np.zeros(len(jobs))
    parts: list[tuple[Ints, Ints, Floats, Floats]] = []
    border = site.edges_s
    for number in np.unique(all_jobs.class_index[jobs]).tolist():
        rows = np.flatnonzero(all_jobs.class_index[jobs] == number)
        pieces = _pieces(problem, prices, number)
        for row in rows.tolist():
            early, late = all_jobs.earliest_s[jobs[row]], min(deadline_s[row], site.horizon_s)
            low, high = int(early // site.step_s), int(np.ceil(late / site.step_s))
            inside = np.flatnonzero((pieces.slot >= low) & (pieces.slot < high))
            slot = pieces.slot[inside]
            seconds = np.minimum(border[slot + 1], late) - np.maximum(border[slot], early)
            work = np.maximum(seconds, 0.0) * pieces.rate[inside]
            steep_g = pieces.cost_g[inside] / pieces.rate[inside]
            share, cost[row] = buy(number, work, steep_g, float(all_jobs.work[jobs[row]]))
            bought = np.flatnonzero(share)
            taken, chosen = (share * seconds)[bought], inside[bought]
            cost[row] += float(taken @ pieces.cost_g[chosen])
            parts.append(
                (np.full(len(bought), row), slot[bought], taken * pieces.gpus[chosen],
                 taken * pieces.power_w[chosen])
            )  # fmt: skip
    if parts:
        owner, slots, gpu_s, energy = (np.concatenate(part) for part in zip(*parts, strict=True))
    else:
        owner = slots = np.zeros(0, dtype=np.int64)
        gpu_s = energy = np.zeros(0)
    shape = (len(jobs), site.slots)
    return Splits(
        cost_g=cost,
        gpu_h=SlotTable.of_cells(owner, slots, gpu_s / SECONDS_PER_HOUR, shape),
        energy_kwh=SlotTable.of_cells(owner, slots, energy / JOULES_PER_KWH, shape),
    )


def _cheapest(class_index: int, work: Floats, steep_g: Floats, need: float) -> tuple[Floats, float]:
    """The first edges that suffice, of the last one as much as it takes; none if all do not."""
    share, total = np.zeros(len(work)), np.cumsum(work)
    if not len(total) or total[-1] < need * ENOUGH:
        return share, np.inf
    last = int(np.searchsorted(total, need * ENOUGH))
    share[: last + 1] = 1.0
    if work[last] > 0:
        share[last] -= max(0.0, float(total[last]) - need) / work[last]
    return share, 0.0


def _pieces(problem: Problem, prices: Prices, class_index: int) -> _Pieces:
    shapes = problem.shapes
    own = problem.fitting[class_index]
    rate = np.append(0.0, shapes.rate[own])
    gpus, power = np.append(0, shapes.gpus[own]), np.append(0.0, shapes.power_w[own])
    # What a second of each shape costs in each slot, shape (slots, shapes).
    price = np.outer((prices.mu + prices.nu) / JOULES_PER_KWH, power)
    price += np.outer(prices.lam / SECONDS_PER_HOUR, gpus)
    slot, low, high = hull_edges(rate[None, :], price)
    return _Pieces(
        slot=slot,
        rate=rate[high] - rate[low],
        cost_g=price[slot, high] - price[slot, low],
        gpus=(gpus[high] - gpus[low]).astype(np.float64),
        power_w=power[high] - power[low],
    )
