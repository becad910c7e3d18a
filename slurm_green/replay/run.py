# SPDX-License-Identifier: Apache-2.0
"""Replays several policies on the same inputs, one after another or in processes of their own."""

import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from slurm_green.plan import planner
from slurm_green.plan.outcome import Outcome
from slurm_green.plan.policy.protocol import Setup, Truth
from slurm_green.plan.policy.registry import Entry, check_options, entry
from slurm_green.plan.problem import SECONDS_PER_HOUR, Shapes, Site
from slurm_green.replay.builtin import EVERY_S, built_in
from slurm_green.replay.forecasts import Forecasts
from slurm_green.replay.inputs import Inputs
from slurm_green.replay.outlook import Outlooks
from slurm_green.replay.result import PolicyResult, Replay, result_of
from slurm_green.replay.simulator import simulate

__all__ = ["replay"]

_TOLERANCE = 1e-9

Progress = Callable[[str, float], None]


def replay(
    inputs: Inputs,
    policies: Sequence[str],
    *,
    bound: bool = True,
    bound_limit_s: float | None = None,
    options: dict[str, float] | None = None,
    issue_every_s: float = EVERY_S,
    seed: int = 0,
    processes: int = 1,
    progress: Progress = lambda what, share: None,
) -> Replay:
    """Replay each policy; the planner solves the truth where the bound or a policy asks for it.

    `options` go to all policies. Raises BadInputError for a policy that is not there, and for an
    option that none of them has.
    """
    entries = [entry(name) for name in dict.fromkeys(policies)]
    check_options(entries, options or {})
    outcome: Outcome | None = None
    if bound or any(one.knows for one in entries):
        outcome = planner.solve(
            inputs.problem,
            seed=seed,
            time_limit_s=bound_limit_s,
            progress=lambda phase, done, best: progress(f"bound: {phase}", done),
        )
    forecasts = inputs.forecasts
    if forecasts is None:
        progress("forecasts", 0.0)
        forecasts = built_in(inputs.problem.site, issue_every_s)
    truth = None
    if outcome is not None:
        truth = Truth(problem=inputs.problem, schedule=outcome.schedule)
    setup = _setup(inputs, options or {}, seed)
    results: dict[str, PolicyResult] = {}
    if processes > 1 and len(entries) > 1:
        with ProcessPoolExecutor(min(processes, len(entries))) as pool:
            found = [
                pool.submit(_one, one.name, inputs, forecasts, setup, truth if one.knows else None)
                for one in entries
            ]
            for at, (one, future) in enumerate(zip(entries, found, strict=True)):
                progress(one.name, at / len(entries))
                results[one.name] = future.result()
    else:
        for one in entries:
            results[one.name] = _run(one, inputs, forecasts, setup, truth, progress)
    for one in entries:
        if one.knows and outcome is not None:
            # What it costs to know everything: the plan is a part of that policy.
            known = results[one.name]
            results[one.name] = replace(known, wall_s=known.wall_s + outcome.solve_s)
    return Replay(
        inputs=inputs,
        results=results,
        lower_bound_g=outcome.lower_bound_g if outcome is not None and bound else None,
    )


def _setup(inputs: Inputs, options: dict[str, float], seed: int) -> Setup:
    site = inputs.problem.site
    return Setup(
        shapes=_below_cap(inputs.problem.shapes, site),
        gpus=site.gpus,
        step_s=site.step_s,
        pause_cost_s=inputs.pause_cost_s,
        power_cap_w=site.power_cap_w,
        ramp_w_per_slot=site.ramp_w_per_slot,
        seed=seed,
        options=options,
    )


def _below_cap(shapes: Shapes, site: Site) -> Shapes:
    """The shapes as policies are to see them: one that the cap leaves no room for is too wide.

    Policies take the fastest shape that fits, and would wait for such a one for ever. They keep
    room for the largest base of the next days: here that of the 24 h in which it is least. It is
    as slow as the slowest of its class that fits; where none does all stay as they are.
    """
    day = min(max(1, round(24 * SECONDS_PER_HOUR / site.step_s)), site.slots)
    base_w = sliding_window_view(site.base_power_w, day).max(axis=1).min()
    room_w = site.power_cap_w - float(base_w)
    over = shapes.power_w > room_w * (1 + _TOLERANCE)
    if not over.any():
        return shapes
    like = np.arange(len(over))
    for one in range(len(shapes.class_names)):
        own = np.array(shapes.of(one))
        fits = own[~over[own] & (shapes.gpus[own] <= site.gpus)]
        if len(fits):
            like[own[over[own]]] = fits[np.argmin(shapes.rate[fits])]
    return replace(
        shapes,
        gpus=np.where(like == np.arange(len(over)), shapes.gpus, site.gpus + 1),
        rate=shapes.rate[like],
    )


def _one(
    name: str, inputs: Inputs, forecasts: Forecasts, setup: Setup, truth: Truth | None
) -> PolicyResult:
    """In another process, which finds the policy by its name."""
    return _run(entry(name), inputs, forecasts, setup, truth, lambda what, share: None)


def _run(
    one: Entry,
    inputs: Inputs,
    forecasts: Forecasts,
    setup: Setup,
    truth: Truth | None,
    progress: Progress,
) -> PolicyResult:
    progress(one.name, 0.0)
    began_s = time.monotonic()
    trace = simulate(
        inputs,
        one.made(setup, truth),
        Outlooks(inputs.problem.site, forecasts),
        progress=lambda share: progress(one.name, share),
    )
    return result_of(one.name, inputs, trace, time.monotonic() - began_s)
