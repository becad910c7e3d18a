# SPDX-License-Identifier: Apache-2.0
"""A replay's files: those of `sgreen plan` with more columns, and forecasts with times of issue."""

import math
from pathlib import Path

import numpy as np

from slurm_green.plan.csv_table import LEAST, MOST, CsvTable, read_table
from slurm_green.plan.files import read_problem
from slurm_green.plan.problem import Floats
from slurm_green.replay.forecasts import COLUMNS, Forecasts
from slurm_green.replay.inputs import Inputs, prepared

__all__ = ["read_forecasts", "read_inputs"]

_JOBS = "job_id,class,work,earliest_s,deadline_s"
_FORECAST = ("issued_s", "start_s", "carbon_g_per_kwh")


def read_inputs(
    jobs: Path,
    classes: Path,
    signal: Path,
    *,
    gpus: int,
    forecast: Path | None = None,
    power_cap_w: float = math.inf,
    ramp_w_per_slot: float = math.inf,
    failure_share: float = 0.0,
    idle_w_per_gpu: float = 0.0,
    pause_cost_s: float = 0.0,
    seed: int = 0,
) -> Inputs:
    """Read J.csv, C.csv, S.csv and F.csv; BadInputError names file, line and column.

    Columns of J.csv beyond the planner's: `submit_s` (empty: the earliest start), `actual_work`
    (empty: all of `work`) and `fails_at_work` (empty: never).
    """
    table = read_table(jobs, _JOBS)
    problem = read_problem(
        table,
        classes,
        signal,
        gpus=gpus,
        power_cap_w=power_cap_w,
        ramp_w_per_slot=ramp_w_per_slot,
    )
    start_s = problem.site.start_s
    submit_s = _more(table, "submit_s", -MOST) - start_s
    return prepared(
        problem,
        submit_s=np.where(np.isnan(submit_s), problem.jobs.earliest_s, submit_s),
        actual_work=_more(table, "actual_work", LEAST),
        fails_at_work=_more(table, "fails_at_work", LEAST),
        failure_share=failure_share,
        idle_w_per_gpu=idle_w_per_gpu,
        pause_cost_s=pause_cost_s,
        forecasts=None if forecast is None else read_forecasts(forecast, start_s),
        seed=seed,
    )


def read_forecasts(path: Path, zero_s: float) -> Forecasts:
    """Read F.csv, rows in any order; `zero_s` is the caller's time of the trace's first slot."""
    table = read_table(path, ",".join(_FORECAST))
    table.require(*_FORECAST)
    issued_s = table.numbers("issued_s", -MOST) - zero_s
    start_s = table.numbers("start_s", -MOST) - zero_s
    order = np.lexsort((start_s, issued_s))
    issued_s, start_s = issued_s[order], start_s[order]
    issues, first = np.unique(issued_s, return_index=True)
    steps = np.diff(start_s)[np.diff(issued_s) == 0]
    if (steps <= 0).any():
        at = int(np.flatnonzero((np.diff(issued_s) == 0) & (np.diff(start_s) <= 0))[0]) + 1
        raise table.bad(
            int(order[at]), "start_s", "a second row of the same issue and start; leave one out"
        )
    columns = {name: _more(table, name, 0)[order] for name in COLUMNS if name in table.names}
    return Forecasts(
        issued_s=issues,
        first=np.append(first, len(issued_s)).astype(np.int64),
        start_s=start_s,
        step_s=float(np.median(steps)) if len(steps) else 3600.0,
        columns=columns,
    )


def _more(table: CsvTable, name: str, low: float) -> Floats:
    """A column that may be absent, or empty in places: NaN there."""
    if name not in table.names:
        return np.full(len(table), np.nan)
    return table.numbers(name, low, empty=np.nan)
