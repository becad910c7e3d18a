# SPDX-License-Identifier: Apache-2.0
"""`sgreen plan` beside the same model given whole to HiGHS as a time-indexed MILP.

`python benchmarks/plan_milp.py` prints, for rigid and moldable instances of 200 and 1,000 jobs
(`--jobs 3000` for more), the carbon of both at the planner's time and at 2, 5 and 20 times that,
and how much longer HiGHS needs for the same carbon. Needs `highspy`.

One binary for each job, shape and start. Starts are the borders of slots (`hours`) or of half
slots (`halves`), and each job's earliest and latest start. Carbon is exact: energy falls where the
job runs, brown energy is a continuous variable in slots with renewables. Durations are continuous,
so a job keeps its GPUs in every slot, or half slot, that it touches: all that comes out is a plan
that can be run. `optimistic` counts GPUs by the average of a slot instead: such a solution may use
more GPUs than there are for a part of a slot; it shows what the rounding costs HiGHS. Neither value
bounds the continuous problem. A job may be left out at a price beyond any carbon; solutions with
jobs left out never count as equal.

HiGHS's time starts when the model is ready to be handed over, the planner's with its process.
"""

import argparse
import csv
import math
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import highspy
import numpy as np
from numpy.typing import NDArray
from plan import Case, instance, plan  # type: ignore[import-not-found, unused-ignore]
from scipy.sparse import coo_array, csc_array

__all__ = ["FORMULATIONS", "Model", "build", "solve"]

# Name -> (parts of a slot, whether GPUs are held for the whole of a touched part).
FORMULATIONS = {"hours": (1, True), "halves": (2, True), "optimistic": (1, False)}
_TIMES = (1, 2, 5, 20)
_MOST_NONZEROS = 60_000_000
_EPSILON_S = 1e-6

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


@dataclass(frozen=True, kw_only=True)
class Model:
    """The MILP, and what its binaries mean: one entry each, those of left-out jobs last.

    `carbon` is gCO2e of each variable, `fixed_g` what the base power costs beside them.
    """

    matrix: csc_array
    row_low: Floats
    row_high: Floats
    carbon: Floats
    penalty: Floats
    binaries: int
    fixed_g: float
    job: Ints
    shape: Ints
    start_s: Floats
    end_s: Floats


@dataclass(kw_only=True)
class Trace:
    """Incumbents as (s, gCO2e, jobs left out), and where it ended."""

    found: list[tuple[float, float, int]] = field(default_factory=list)
    status: str = ""
    gap: float = math.inf
    solve_s: float = 0.0
    solution: Floats | None = None

    def at(self, time_s: float) -> tuple[float, int] | None:
        """The incumbent at this time."""
        known = [one for one in self.found if one[0] <= time_s]
        return known[-1][1:] if known else None

    def reaches(self, carbon_g: float) -> float | None:
        """When a solution with all jobs first had this little carbon."""
        return next((t for t, g, out in self.found if not out and g <= carbon_g), None)


def build(folder: Path, made: dict[str, Any], formulation: str) -> Model | None:
    """The MILP of an instance of plan_instances; None where it would not fit in memory."""
    parts, whole = FORMULATIONS[formulation]
    signal = _read(folder / "signal.csv")
    began, step_s, slots = float(signal[0]["start_s"]), float(made["step_s"]), len(signal)
    carbon = np.array([float(row["carbon_g_per_kwh"]) for row in signal])
    base_w = np.array([float(row["base_power_w"] or 0) for row in signal])
    renewable_w = np.array([float(row["renewable_w"] or 0) for row in signal])
    job, shape, start_s, end_s, gpus, power_w, jobs = _columns(folder, began, step_s, slots, parts)
    grid_s = step_s / parts
    first = np.floor(start_s / grid_s + 1e-9).astype(np.int64)
    touched = np.maximum(1, np.ceil((end_s - _EPSILON_S) / grid_s).astype(np.int64) - first)
    if int(touched.sum()) * 2 > _MOST_NONZEROS:
        return None

    # One entry per binary and grid slot that it touches.
    column = np.repeat(np.arange(len(job)), touched)
    slot = np.arange(len(column)) - np.repeat(np.cumsum(touched) - touched, touched) + first[column]
    inside_s = np.minimum(end_s[column], (slot + 1) * grid_s)
    inside_s -= np.maximum(start_s[column], slot * grid_s)
    held = gpus[column] * (1.0 if whole else inside_s / grid_s)
    hour = np.minimum(slot // parts, slots - 1)
    kwh = power_w[column] * inside_s / 3.6e6
    green = renewable_w > 0
    cost = np.zeros(len(job))
    np.add.at(cost, column, np.where(green[hour], 0.0, kwh * carbon[hour]))

    # Variables: the starts, who is left out, brown kWh of slots with renewables.
    # Rows: each job once; GPUs of a grid slot; planned - brown <= renewable - base of a slot.
    count, brown = len(job), np.flatnonzero(green)
    row_of = np.full(slots, -1)
    row_of[brown] = jobs + slots * parts + np.arange(len(brown))
    some = green[hour]
    rows = [job, np.arange(jobs), jobs + slot, row_of[hour[some]], row_of[brown]]
    columns = [
        np.arange(count),
        count + np.arange(jobs),
        column,
        column[some],
        count + jobs + np.arange(len(brown)),
    ]
    values = [np.ones(count), np.ones(jobs), held, kwh[some], -np.ones(len(brown))]
    shape_of = (jobs + slots * parts + len(brown), count + jobs + len(brown))
    matrix = csc_array(
        coo_array(
            (np.concatenate(values), (np.concatenate(rows), np.concatenate(columns))),
            shape=shape_of,
        )
    )
    room_kwh = (renewable_w - base_w)[brown] * step_s / 3.6e6
    free = np.full(slots * parts, float(made["gpus"]))
    dearest = np.zeros(jobs)
    np.maximum.at(dearest, job, power_w * (end_s - start_s) / 3.6e6 * carbon.max())
    return Model(
        matrix=matrix,
        row_low=np.concatenate([np.ones(jobs), np.full(shape_of[0] - jobs, -np.inf)]),
        row_high=np.concatenate([np.ones(jobs), free, room_kwh]),
        carbon=np.concatenate([cost, np.zeros(jobs), carbon[brown]]),
        penalty=np.concatenate([np.zeros(count), 10 * dearest + 1, np.zeros(len(brown))]),
        binaries=count + jobs,
        fixed_g=float((carbon * base_w)[~green].sum() * step_s / 3.6e6),
        job=job,
        shape=shape,
        start_s=start_s,
        end_s=end_s,
    )


def _columns(
    folder: Path, began: float, step_s: float, slots: int, parts: int
) -> tuple[Ints, Ints, Floats, Floats, Floats, Floats, int]:
    """Job, row of classes.csv, start, end, GPUs, watts of each binary; and the number of jobs."""
    shapes: dict[str, list[tuple[int, float, float, float]]] = {}
    for number, row in enumerate(_read(folder / "classes.csv")):
        gpus = float(row["workers"]) * float(row["gpus_per_worker"])
        one = (number, gpus, float(row["rate"]), float(row["power_w"]))
        shapes.setdefault(row["class"], []).append(one)
    borders = np.arange(slots * parts) * (step_s / parts)
    found: list[tuple[int, int, Floats, float, float, float]] = []
    table = _read(folder / "jobs.csv")
    for index, row in enumerate(table):
        early = max(0.0, float(row["earliest_s"]) - began)
        end = float(row["deadline_s"]) - began if row["deadline_s"] else slots * step_s
        for number, gpus, rate, power_w in shapes[row["class"]]:
            length = float(row["work"]) / rate
            late = min(end, slots * step_s) - length
            if late >= early - 1e-3:
                late = max(early, late)
                inside = borders[np.searchsorted(borders, early) : np.searchsorted(borders, late)]
                starts = np.unique(np.concatenate([[early, late], inside]))
                found.append((index, number, starts, length, gpus, power_w))
    counts = [len(one[2]) for one in found]
    start_s = np.concatenate([one[2] for one in found])
    job, shape, length_s, gpus_of, power_of = (
        np.repeat([one[place] for one in found], counts) for place in (0, 1, 3, 4, 5)
    )
    return job, shape, start_s, start_s + length_s, gpus_of, power_of, len(table)


def solve(model: Model, limit_s: float, threads: int) -> Trace:
    """HiGHS with its own settings, and each incumbent as it comes."""
    began = time.perf_counter()
    solver = highspy.Highs()  # type: ignore[no-untyped-call]
    solver.silent()
    lp = highspy.HighsLp()
    rows, columns = model.matrix.shape
    lp.num_row_, lp.num_col_ = rows, columns
    lp.col_cost_ = model.carbon + model.penalty
    lp.col_lower_ = np.zeros(columns)
    upper = np.full(columns, np.inf)
    upper[: model.binaries] = 1.0
    lp.col_upper_ = upper
    lp.row_lower_, lp.row_upper_ = model.row_low, model.row_high
    lp.a_matrix_.format_ = highspy.MatrixFormat.kColwise
    lp.a_matrix_.start_ = model.matrix.indptr
    lp.a_matrix_.index_ = model.matrix.indices
    lp.a_matrix_.value_ = model.matrix.data
    kinds = [highspy.HighsVarType.kInteger] * model.binaries
    lp.integrality_ = kinds + [highspy.HighsVarType.kContinuous] * (columns - model.binaries)
    solver.passModel(lp)
    solver.setOptionValue("threads", threads)
    trace = Trace()

    def improved(event: Any) -> None:
        values = np.asarray(event.data_out.mip_solution)
        out = round(float(values[model.penalty > 0].sum()))
        carbon_g = float(model.carbon @ values) + model.fixed_g
        trace.found.append((time.perf_counter() - began, carbon_g, out))

    solver.cbMipImprovingSolution.subscribe(improved)
    solver.setOptionValue("time_limit", max(0.1, limit_s - (time.perf_counter() - began)))
    solver.run()
    trace.solve_s = time.perf_counter() - began
    trace.status = solver.modelStatusToString(solver.getModelStatus())
    trace.gap = float(solver.getInfo().mip_gap)
    if trace.found:
        trace.solution = np.asarray(solver.getSolution().col_value)
    return trace


def _read(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def compare(
    case: Case, seed: int, names: Sequence[str], command: Sequence[str], threads: int, most_s: float
) -> None:
    """Rows of one instance, one for each formulation."""
    with tempfile.TemporaryDirectory(prefix="plan-milp-") as name:
        folder = Path(name)
        made = instance(case, seed, folder)
        ours = plan(command, folder, made["options"])
        ours_g = float(ours.said["carbon_g"])
        late = ours.said["late_jobs"] + ours.said["unplaced_jobs"]
        head = f"| {case.name} | {seed} | {ours.wall_s:.2f} s, {ours_g / 1e3:,.1f} kg"
        head += f"{f' ({late} late)' if late else ''}, gap {ours.gap_percent:.2f} % "
        for formulation in names:
            model = build(folder, made, formulation)
            if model is None:
                print(f"{head}| {formulation} | too large {'| - ' * (len(_TIMES) + 2)}|")
                continue
            limit_s = min(most_s, _TIMES[-1] * ours.wall_s)
            trace = solve(model, limit_s, threads)
            cells = [_cell(trace, times * ours.wall_s, limit_s, ours_g) for times in _TIMES]
            equal_s = trace.reaches(ours_g)
            if equal_s is not None:
                ratio = f"{equal_s / ours.wall_s:.2f}"
            elif trace.solve_s < 0.98 * limit_s:
                ratio = f"never: ended after {trace.solve_s:.1f} s"
            else:
                ratio = f"> {limit_s / ours.wall_s:.0f}"
            print(
                f"{head}| {formulation} | {model.binaries:,} | {' | '.join(cells)} "
                f"| {100 * trace.gap:.2f} % | {ratio} |",
                flush=True,
            )
            del model


def _cell(trace: Trace, time_s: float, limit_s: float, ours_g: float) -> str:
    """Carbon of HiGHS at a time, over ours."""
    if time_s > limit_s * 1.001:
        return "-"
    known = trace.at(time_s)
    if known is None:
        return "nothing"
    carbon_g, out = known
    if out:
        return f"{out} jobs left out"
    return f"{100 * (carbon_g / ours_g - 1):+.2f} %"


def main() -> None:
    """The table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--kind", action="append", choices=("rigid", "moldable"))
    parser.add_argument(
        "--jobs", action="append", type=int, help="200 and 1000 where none is given"
    )
    parser.add_argument("--formulation", action="append", choices=list(FORMULATIONS))
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--threads", type=int, default=0, help="of HiGHS; 0: as it likes")
    parser.add_argument("--most-s", type=float, default=1200.0, help="never longer than this")
    parser.add_argument("--sgreen", help="another command than the one beside this Python")
    options = parser.parse_args()
    command = (options.sgreen or str(Path(sys.executable).with_name("sgreen"))).split()
    highspy.Highs()  # type: ignore[no-untyped-call]  # the first one prints a banner: not in a table
    head = ["instance", "seed", "sgreen plan", "MILP", "binaries"]
    head += [f"carbon over ours at {times}x the time" for times in _TIMES]
    head += ["its own gap", "times ours to equal carbon"]
    print(f"| {' | '.join(head)} |\n|{'---|' * len(head)}")
    for kind in options.kind or ("rigid", "moldable"):
        for jobs in options.jobs or (200, 1000):
            # 200 jobs fill a site of some size only in fewer days.
            days = ("--days", "7") if jobs < 500 else ()
            case = Case(name=f"{kind}-{jobs}", kind=kind, jobs=jobs, options=days)
            for seed in range(options.seeds):
                names = options.formulation or list(FORMULATIONS)
                compare(case, seed, names, command, options.threads, options.most_s)


if __name__ == "__main__":
    main()
