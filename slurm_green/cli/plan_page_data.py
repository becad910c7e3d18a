# SPDX-License-Identifier: Apache-2.0
"""What the page of a plan draws: arrays by slot, and jobs in lanes of GPUs. Pure.

The trap: a page must open anywhere, so it holds no more than a browser likes: few stretches are
drawn one by one, many as GPUs used by group; many slots are averaged in groups.
"""

from typing import Any

import numpy as np

from slurm_green.cli.plan_facts import Facts
from slurm_green.plan.problem import Floats, Ints
from slurm_green.plan.start_now import slot_average
from slurm_green.words import clean

__all__ = ["MOST_BARS", "MOST_GROUPS", "MOST_SLOTS", "lanes", "page_data"]

MOST_BARS = 20_000
MOST_SLOTS = 4_000
MOST_GROUPS = 8  # as many as there are colours that eyes tell apart
_MOST_LANES = 20_000
_MOST_NAME = 60


def page_data(facts: Facts) -> dict[str, Any]:
    """Everything the page's script needs, ready for JSON. Unknown is None."""
    site, found = facts.problem.site, facts.outcome
    group = -(-site.slots // MOST_SLOTS)
    group_of, names = _groups(facts)
    bars = _bars(facts, group_of) if len(found.schedule) <= MOST_BARS else None
    limits = {"cap_w": site.power_cap_w}

    def slots(values: Floats) -> list[float]:
        return _short(_grouped(values, group))

    return {
        "start_s": site.start_s,
        "dated": facts.clock.dated,
        "horizon_s": site.horizon_s,
        "step_s": site.step_s * group,
        "gpus": site.gpus,
        "intensity": slots(site.carbon_g_per_kwh),
        "renewable_w": slots(site.renewable_w) if site.renewable_w.any() else None,
        "base_w": slots(site.base_power_w),
        "services_w": slots(facts.services_w) if facts.problem.services else None,
        "jobs_w": slots(facts.jobs_w),
        "gpus_used": slots(facts.gpus_used),
        "mu": slots(found.prices.mu),
        "lam": slots(found.prices.lam),
        "nu": slots(found.prices.nu),
        "group_names": names,
        "by_group": [slots(one) for one in _by_group(facts, group_of, len(names))],
        "bars": bars,
        **{name: limit if np.isfinite(limit) else None for name, limit in limits.items()},
    }


def lanes(start_s: Floats, end_s: Floats, gpus: Ints, total: int) -> list[list[int]]:
    """Rectangles that show which GPUs each stretch could hold: [stretch, first lane, lanes].

    GPUs side by side where there are some; otherwise a stretch has several rectangles.
    """
    until_s = np.full(max(total, 1), -np.inf)
    found: list[list[int]] = []
    # A stretch may begin within rounding of another's end.
    slack_s = 1e-3
    for one in np.lexsort((-gpus, start_s)).tolist():
        need = min(int(gpus[one]), total)
        free = until_s <= start_s[one] + slack_s
        if int(free.sum()) < need:
            free = np.zeros(len(until_s), dtype=np.bool_)
            free[np.argpartition(until_s, need - 1)[:need]] = True
        for first, count in _runs(free, need):
            until_s[first : first + count] = end_s[one]
            found.append([one, first, count])
    return found


def _runs(free: np.ndarray[Any, np.dtype[np.bool_]], need: int) -> list[tuple[int, int]]:
    """The tightest run of free lanes that holds all, else the largest runs first."""
    edges = np.flatnonzero(np.diff(np.concatenate(([False], free, [False])).astype(np.int8)))
    first, size = edges[::2], edges[1::2] - edges[::2]
    holding = np.flatnonzero(size >= need)
    if len(holding):
        best = int(holding[np.argmin(size[holding])])
        return [(int(first[best]), need)]
    taken: list[tuple[int, int]] = []
    for one in np.argsort(-size, kind="stable").tolist():
        count = min(int(size[one]), need)
        if count:
            taken.append((int(first[one]), count))
        need -= count
    return taken


def _bars(facts: Facts, group_of: Ints) -> dict[str, Any] | None:
    """Rectangles, and what is said about the job under the mouse."""
    plan, problem, site = facts.outcome.schedule, facts.problem, facts.problem.site
    shapes, jobs = problem.shapes, problem.jobs
    if site.gpus > _MOST_LANES:
        return None
    boxes = lanes(plan.start_s, plan.end_s, shapes.gpus[plan.shape], site.gpus)
    shown, place = np.unique(plan.job, return_inverse=True)
    used, shape = np.unique(plan.shape, return_inverse=True)
    late = set(facts.late)
    return {
        "boxes": boxes,
        "start_s": np.round(plan.start_s, 1).tolist(),
        "end_s": np.round(plan.end_s, 1).tolist(),
        "job": place.tolist(),
        "shape": shape.tolist(),
        "ids": [_name(jobs.ids[one]) for one in shown.tolist()],
        "deadline_s": np.round(jobs.deadline_s[shown], 1).tolist(),
        "late": [at for at, one in enumerate(shown.tolist()) if one in late],
        "colour": group_of.tolist(),
        "slow": np.flatnonzero(_slow(facts)).tolist(),
        "class": jobs.class_index[shown].tolist(),
        "classes": [_name(one) for one in shapes.class_names],
        "shapes": [
            [
                int(shapes.workers[one]),
                int(shapes.gpus[one]),
                int(shapes.clock_mhz[one]),
                float(shapes.power_w[one]),
            ]
            for one in used.tolist()
        ],
    }


def _groups(facts: Facts) -> tuple[Ints, list[str]]:
    """A group for each stretch, of few enough that each has a colour, and the groups' names.

    Classes where they are few, else how many GPUs a stretch holds, in powers of two if need be.
    """
    plan, shapes = facts.outcome.schedule, facts.problem.shapes
    if len(shapes.class_names) <= MOST_GROUPS:
        names = [_name(one) for one in shapes.class_names]
        return facts.problem.jobs.class_index[plan.job], names
    sizes, group = np.unique(shapes.gpus[plan.shape], return_inverse=True)
    if len(sizes) <= MOST_GROUPS:
        return group, [_gpus(size, size) for size in sizes.tolist()]
    power = np.ceil(np.log2(np.maximum(sizes, 1))).astype(np.int64)
    low = max(int(power.max()) - MOST_GROUPS + 1, 0)
    groups, which = np.unique(np.maximum(power, low), return_inverse=True)
    names = [_gpus(1 if one == low else 2 ** (one - 1) + 1, 2**one) for one in groups.tolist()]
    return np.asarray(which[group]), names


def _gpus(least: int, most: int) -> str:
    if least == most:
        return f"{most} {'GPU' if most == 1 else 'GPUs'}"
    return f"{least} to {most} GPUs"


def _slow(facts: Facts) -> np.ndarray[Any, np.dtype[np.bool_]]:
    """Which stretches run below the highest clock of their class."""
    shapes = facts.problem.shapes
    highest = np.maximum.reduceat(shapes.clock_mhz, shapes.first[:-1])
    below = shapes.clock_mhz < np.repeat(highest, np.diff(shapes.first))
    return np.asarray(below[facts.outcome.schedule.shape])


def _by_group(facts: Facts, group_of: Ints, groups: int) -> list[Floats]:
    """GPUs used per slot, for each group."""
    plan, problem = facts.outcome.schedule, facts.problem
    gpus = problem.shapes.gpus[plan.shape]
    parts = [group_of == one for one in range(groups)]
    return [
        slot_average(problem.site, plan.start_s[part], plan.end_s[part], gpus[part])
        for part in parts
    ]


def _grouped(values: Floats, group: int) -> Floats:
    """Averages of so many slots each; the last group may be shorter."""
    if group == 1:
        return values
    first = np.arange(0, len(values), group)
    return np.asarray(np.add.reduceat(values, first) / np.diff([*first, len(values)]))


def _short(values: Floats) -> list[float]:
    """Five digits: more than a screen shows, less than a page may weigh."""
    return [float(f"{one:.5g}") for one in values.tolist()]


def _name(text: str) -> str:
    shown = clean(text)
    return shown if len(shown) <= _MOST_NAME else f"{shown[: _MOST_NAME - 1]}…"
