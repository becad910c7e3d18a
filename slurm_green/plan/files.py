# SPDX-License-Identifier: Apache-2.0
"""The planner's files: jobs, shapes and signal come in, the plan goes out.

The trap: files carry the caller's time, the planner's begins with the signal. Here alone is
`start_s` taken off and put back.
"""

import csv
import math
from collections.abc import Hashable, Iterable, Sequence
from pathlib import Path

import numpy as np

from profiling.whole import whole_file
from slurm_green.errors import BadInputError
from slurm_green.plan.csv_table import LEAST, MOST, CsvTable, read_table
from slurm_green.plan.problem import Floats, Ints, Jobs, Problem, Shapes, Site
from slurm_green.plan.schedule import Schedule
from slurm_green.plan.services_file import read_services

__all__ = ["read_problem", "read_site", "write_schedule"]

_JOBS = ("job_id", "class", "work", "earliest_s", "deadline_s")
_SHAPES = ("class", "workers", "clock_mhz", "rate", "power_w")
_SIGNAL = ("start_s", "carbon_g_per_kwh")
_PLAN = ("job_id", "start_s", "end_s", "workers", "clock_mhz", "energy_j")
_SINGLE_ROW_STEP_S = 3600.0
_TOLERANCE_S = 1e-3
_TOLERANCE = 1e-6
_MOST_S = 1e12  # beyond this a time in seconds cannot tell a millisecond
_MOST_COUNT = 1e9  # workers, and GPUs of one worker


def read_problem(
    jobs: Path | CsvTable,
    classes: Path,
    signal: Path | CsvTable,
    *,
    gpus: int,
    power_cap_w: float = math.inf,
    ramp_w_per_slot: float = math.inf,
    services: Path | None = None,
) -> Problem:
    """Read J.csv, C.csv, S.csv and V.csv; BadInputError names file, line and column.

    `jobs` and `signal` may have been read before: a pipe can be read but once.
    """
    if not 0 <= gpus <= MOST:
        raise BadInputError(f"{gpus} GPUs: wanted a whole number from 0 to {MOST:g}")
    for name, value in (("power cap", power_cap_w), ("ramp", ramp_w_per_slot)):
        if not value >= 0:  # also NaN
            raise BadInputError(f"a {name} of {value:g} W: wanted a number from 0, or none")
    table = signal if isinstance(signal, CsvTable) else read_table(signal, ",".join(_SIGNAL))
    site = _site(table, int(gpus), power_cap_w, ramp_w_per_slot)
    _check_base(table, site)
    shape_table = read_table(classes, ",".join(_SHAPES))
    job_table = jobs if isinstance(jobs, CsvTable) else read_table(jobs, ",".join(_JOBS))
    shapes = _shapes(shape_table)
    return Problem(
        site=site,
        shapes=shapes,
        jobs=_jobs(job_table, shapes, site, classes),
        services=() if services is None else read_services(services, table),
    )


def read_site(signal: Path) -> Site:
    """Read S.csv alone, for a site without GPUs; BadInputError names file, line and column."""
    return _site(read_table(signal, ",".join(_SIGNAL)), 0, math.inf, math.inf)


def write_schedule(path: Path, schedule: Schedule, problem: Problem) -> None:
    """Write plan.csv in the caller's time, by start, then job; whole or not at all."""
    order = np.lexsort((schedule.job, schedule.start_s))
    job, shape = schedule.job[order], schedule.shape[order]
    shapes, ids = problem.shapes, problem.jobs.ids
    rows = zip(
        map(ids.__getitem__, job.tolist()),
        _times(schedule.start_s[order], problem.site.start_s),
        _times(schedule.end_s[order], problem.site.start_s),
        shapes.workers[shape].tolist(),
        shapes.clock_mhz[shape].tolist(),
        map("{:.12g}".format, schedule.energy_j(problem)[order].tolist()),
        strict=True,
    )
    try:
        if path.exists() and not path.is_file():
            raise BadInputError(f"{path}: is not a plain file; name a file for the plan")
        with whole_file(path, newline="", sync=True) as file:
            # Before Python 3.13 a carriage return in an id is no reason for the writer to quote it.
            writer = (
                csv.writer(file, lineterminator="\n", quoting=csv.QUOTE_ALL)
                if any("\r" in one for one in ids)
                else csv.writer(file, lineterminator="\n")
            )
            writer.writerow(_PLAN)
            writer.writerows(rows)
    except OSError as exc:
        raise BadInputError(f"{path}: cannot be written: {exc.strerror or exc}") from exc


def _times(own_s: Floats, start_s: float) -> Iterable[str]:
    """Times as the caller writes them: microseconds, no digit more than needed.

    Equal times give equal text and later ones never less: who starts when another ends still does.
    """
    rounded = np.round(own_s + start_s, 6) + 0.0  # + 0.0 turns -0.0 into 0.0
    return (text.removesuffix(".0") for text in map(repr, rounded.tolist()))


def _site(table: CsvTable, gpus: int, cap_w: float, ramp_w: float) -> Site:
    table.require(*_SIGNAL)
    if not len(table):
        raise BadInputError(f"{table.path}: has a header but no rows; wanted one row per step")
    starts = table.numbers("start_s", -_MOST_S, _MOST_S)
    step_s = _step_s(table, starts)
    if step_s * len(starts) > _MOST_S:
        # Beyond it moments on the planner's grid are no whole numbers of it any more.
        raise BadInputError(
            f"{table.path}: spans {step_s * len(starts):g} s; wanted at most {_MOST_S:g} s"
        )
    return Site(
        gpus=gpus,
        start_s=float(starts[0]),
        step_s=step_s,
        carbon_g_per_kwh=table.numbers("carbon_g_per_kwh", 0),
        renewable_w=table.numbers("renewable_w", 0, empty=0.0),
        base_power_w=table.numbers("base_power_w", 0, empty=0.0),
        price_per_kwh=_prices(table),
        power_cap_w=float(cap_w),
        ramp_w_per_slot=float(ramp_w),
    )


def _prices(table: CsvTable) -> Floats | None:
    """A price in every row or in none: an unknown one is not free."""
    name = "price_per_kwh"
    if name not in table.names or not any(map(str.strip, table.texts(name))):
        return None
    return table.numbers(name, -MOST)


def _step_s(table: CsvTable, starts: Floats) -> float:
    """The common step. Times rounded to a millisecond pass, errors that add up do not."""
    if len(starts) == 1:
        return _SINGLE_ROW_STEP_S
    steps = np.diff(starts)
    if not (steps > 0).all():
        row = int(np.argmax(steps <= 0)) + 1
        raise table.bad(row, "start_s", "not after the row before it; rows go forward in time")
    step_s = float(starts[-1] - starts[0]) / len(steps)
    off_s = np.abs(starts - (starts[0] + step_s * np.arange(len(starts))))
    if off_s.max() > _TOLERANCE_S + 1e-9:
        # Of an even number the lower one: between two there may be a step that no row has.
        usual_s = float(np.sort(steps)[(len(steps) - 1) // 2])
        row = int(np.argmax(np.abs(steps - usual_s) > _TOLERANCE_S)) + 1
        raise table.bad(
            row,
            "start_s",
            f"a step of {steps[row - 1]:.10g} s where most have {usual_s:.10g} s; steps must be "
            "uniform, fill in missing rows",
        )
    return step_s


def _check_base(table: CsvTable, site: Site) -> None:
    """Refuse a base power that breaks cap or ramp before a single job is planned."""
    base = site.base_power_w
    over = base > site.power_cap_w * (1 + _TOLERANCE)
    if over.any():
        row = int(np.argmax(over))
        raise table.bad(
            row,
            "base_power_w",
            f"{base[row]:g} W is above the power cap of {site.power_cap_w:g} W: no plan can keep "
            "it; raise the cap",
        )
    if math.isinf(site.ramp_w_per_slot):
        return
    rise = np.diff(base)
    steep = rise > site.ramp_w_per_slot + _TOLERANCE * base[1:]
    if steep.any():
        row = int(np.argmax(steep)) + 1
        raise table.bad(
            row,
            "base_power_w",
            f"rises by {rise[row - 1]:g} W, the ramp allows {site.ramp_w_per_slot:g} W per slot, "
            "before any job runs; allow a steeper ramp",
        )


def _shapes(table: CsvTable) -> Shapes:
    table.require(*_SHAPES)
    names, index = _classes(table)
    workers = table.numbers("workers", 1, _MOST_COUNT, whole=True).astype(np.int64)
    each = table.numbers("gpus_per_worker", 1, _MOST_COUNT, whole=True, empty=1.0)
    clock_mhz = table.numbers("clock_mhz", 0, whole=True).astype(np.int64)
    rate = table.numbers("rate", LEAST)
    power_w = table.numbers("power_w", 0)
    keys = list(zip(index.tolist(), workers.tolist(), clock_mhz.tolist(), strict=True))
    if (row := _repeated(keys)) is not None:
        raise table.bad(
            row,
            "clock_mhz",
            f"class {names[index[row]][:40]!r} has {workers[row]} workers at {clock_mhz[row]} MHz "
            "twice; leave one row out",
        )
    order = np.argsort(index, kind="stable")
    return Shapes(
        class_names=names,
        first=np.searchsorted(index[order], np.arange(len(names) + 1)).astype(np.int64),
        workers=workers[order],
        clock_mhz=clock_mhz[order],
        gpus=(workers * each.astype(np.int64))[order],
        rate=rate[order],
        power_w=power_w[order],
    )


def _classes(table: CsvTable) -> tuple[tuple[str, ...], Ints]:
    """The names in order of first appearance, and which of them each row is of."""
    cells = [cell.strip() for cell in table.texts("class")]
    if "" in cells:
        raise table.bad(cells.index(""), "class", "is empty; wanted the name of the class")
    place = {name: at for at, name in enumerate(dict.fromkeys(cells))}
    return tuple(place), np.fromiter(map(place.__getitem__, cells), np.int64, len(cells))


def _jobs(table: CsvTable, shapes: Shapes, site: Site, classes: Path) -> Jobs:
    table.require(*_JOBS)
    ids = table.texts("job_id")
    if not all(ids) or not all(map(str.strip, ids)):
        row = next(row for row, text in enumerate(ids) if not text.strip())
        raise table.bad(row, "job_id", "is empty; wanted an id of its own for every job")
    if (twice := _repeated(ids)) is not None:
        raise table.bad(
            twice,
            "job_id",
            f"{ids[twice][:40]!r} is that of line {table.line(ids.index(ids[twice]))} too; wanted "
            "an id of its own for every job",
        )
    place = {name: at for at, name in enumerate(shapes.class_names)}
    cells = table.texts("class")
    index = [place.get(cell, -1) for cell in cells]
    if -1 in index:
        index = [place.get(cell.strip(), -1) for cell in cells]
    if -1 in index:
        row = index.index(-1)
        raise table.bad(
            row,
            "class",
            f"{classes} has no class {cells[row][:40]!r}; wanted one of its classes, or add it "
            "there",
        )
    end_s = site.start_s + site.horizon_s
    deadline_s = table.numbers("deadline_s", -MOST, empty=end_s) - site.start_s
    earliest_s = table.numbers("earliest_s", -MOST, empty=site.start_s) - site.start_s
    return Jobs(
        ids=tuple(ids),
        class_index=np.array(index, dtype=np.int64),
        work=table.numbers("work", LEAST),
        earliest_s=np.maximum(earliest_s, 0.0),
        deadline_s=np.minimum(deadline_s, site.horizon_s),
        preemptible=table.numbers("preemptible", 0, 1, whole=True, empty=0.0).astype(np.bool_),
    )


def _repeated(keys: Sequence[Hashable]) -> int | None:
    """The first row whose key an earlier row has."""
    if len(set(keys)) == len(keys):
        return None
    seen: set[Hashable] = set()
    for row, key in enumerate(keys):
        if key in seen:
            return row
        seen.add(key)
    return None
