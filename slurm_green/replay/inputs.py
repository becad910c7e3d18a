# SPDX-License-Identifier: Apache-2.0
"""What a replay is made of: what really happens, and what of it is known before. Pure.

The trap: `problem` holds the truth (real work, all slots); policies see limits and forecasts.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from slurm_green.errors import BadInputError
from slurm_green.plan.problem import Floats, Problem, Shapes
from slurm_green.replay.forecasts import Forecasts

__all__ = ["Inputs", "prepared"]

_TOLERANCE_S = 1e-3


@dataclass(frozen=True, kw_only=True)
class Inputs:
    """The truth in `problem`: `work` is the real one, `earliest_s` not before the submission.

    `limit_work` is what the time limits allow for, at least the real work. `known_s` is when each
    job becomes known, `fails` says which ones fail at their end, `possible` which could end before
    the last slot does. Without `forecasts` the built-in forecaster sees the past.
    """

    problem: Problem
    limit_work: Floats
    known_s: Floats
    fails: NDArray[np.bool_]
    possible: NDArray[np.bool_]
    forecasts: Forecasts | None = None
    pause_cost_s: float = 0.0
    notes: tuple[str, ...] = ()


def prepared(
    problem: Problem,
    *,
    submit_s: Floats | None = None,
    actual_work: Floats | None = None,
    fails_at_work: Floats | None = None,
    failure_share: float = 0.0,
    idle_w_per_gpu: float = 0.0,
    pause_cost_s: float = 0.0,
    forecasts: Forecasts | None = None,
    seed: int = 0,
    notes: Sequence[str] = (),
) -> Inputs:
    """Inputs from a problem whose work is what the limits allow for.

    Without `submit_s` jobs become known at their earliest start. `actual_work` is cut to the
    limit, as Slurm kills what runs longer; NaN stands for the limit. A job that reaches
    `fails_at_work` (NaN: never) ends there, failed; `failure_share` of the others fail at a point
    drawn from `seed`. Raises BadInputError where idle GPUs alone break the power cap.
    """
    jobs, site = problem.jobs, problem.site
    said = list(notes)
    submit = jobs.earliest_s if submit_s is None else submit_s
    work = jobs.work.copy()
    if actual_work is not None:
        longer = int((actual_work > jobs.work * (1 + 1e-9)).sum())
        if longer:
            said.append(f"{_jobs(longer)} would run past the limit and end there")
        work = np.fmin(work, actual_work)
    fails = np.zeros(len(jobs), dtype=np.bool_)
    if fails_at_work is not None:
        fails = fails_at_work < work
        work = np.where(fails, fails_at_work, work)
    if failure_share > 0:
        random = np.random.default_rng(seed)
        drawn, where = random.random((2, len(jobs)))
        more = ~fails & (drawn < failure_share)
        work = np.where(more, work * np.maximum(where, 1e-6), work)
        fails = fails | more
        said.append(f"{_jobs(int(more.sum()))} drawn to fail, with seed {seed}")
    if idle_w_per_gpu > 0:
        base = site.base_power_w + idle_w_per_gpu * site.gpus
        if (base > site.power_cap_w * (1 + 1e-6)).any():
            raise BadInputError(
                f"idle GPUs and base power draw {base.max():g} W, the cap is "
                f"{site.power_cap_w:g} W: raise the cap"
            )
        site = replace(site, base_power_w=base)
    earliest = np.maximum(jobs.earliest_s, submit)
    truth = Problem(
        site=site,
        shapes=_fitting(problem.shapes, site.gpus),
        jobs=replace(jobs, work=work, earliest_s=earliest),
    )
    possible = earliest + work / _fastest_rate(truth) <= site.horizon_s + _TOLERANCE_S
    if not possible.all():
        said.append(
            f"{_jobs(int((~possible).sum()))} cannot end before the last slot does, or fit no "
            "shape: left out, counted as late and unplaced for every policy"
        )
    return Inputs(
        problem=truth,
        limit_work=jobs.work,
        known_s=np.maximum(submit, 0.0),
        fails=fails,
        possible=possible,
        forecasts=forecasts,
        pause_cost_s=pause_cost_s,
        notes=tuple(said),
    )


def _fitting(shapes: Shapes, gpus: int) -> Shapes:
    """The shapes that the site has GPUs for, and all of a class that has none of them.

    Policies take a job to be as short as in its fastest shape.
    """
    fits = shapes.gpus <= gpus
    if fits.all():
        return shapes
    none = ~np.logical_or.reduceat(fits, shapes.first[:-1])
    kept = fits | np.repeat(none, np.diff(shapes.first))
    sizes = np.add.reduceat(kept.astype(np.int64), shapes.first[:-1])
    return Shapes(
        class_names=shapes.class_names,
        first=np.append(0, np.cumsum(sizes)),
        workers=shapes.workers[kept],
        clock_mhz=shapes.clock_mhz[kept],
        gpus=shapes.gpus[kept],
        rate=shapes.rate[kept],
        power_w=shapes.power_w[kept],
    )


def _fastest_rate(problem: Problem) -> Floats:
    """Of each job, among the shapes that fit the site; hardly any where none does."""
    shapes = problem.shapes
    rate = np.where(shapes.gpus <= problem.site.gpus, shapes.rate, 1e-280)
    best = np.maximum.reduceat(rate, shapes.first[:-1]) if len(rate) else rate
    return np.asarray(best[problem.jobs.class_index])


def _jobs(count: int) -> str:
    return "1 job" if count == 1 else f"{count:,} jobs"
