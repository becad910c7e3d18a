# SPDX-License-Identifier: Apache-2.0
"""An earlier plan, as far as it is about jobs and shapes that there still are."""

from pathlib import Path

import numpy as np

from slurm_green.plan.csv_table import MOST, read_table
from slurm_green.plan.problem import Problem
from slurm_green.plan.schedule import Schedule

__all__ = ["read_previous"]

_COLUMNS = ("job_id", "start_s", "end_s", "workers", "clock_mhz")


def read_previous(path: Path, problem: Problem) -> Schedule:
    """The rows of a plan.csv that fit this problem; jobs that are gone or changed are left out.

    Raises BadInputError where the file is no plan.
    """
    table = read_table(path, ",".join(_COLUMNS))
    table.require(*_COLUMNS)
    shapes, jobs, site = problem.shapes, problem.jobs, problem.site
    number = {job: at for at, job in enumerate(jobs.ids)}
    shape_of = {
        (name, int(shapes.workers[shape]), int(shapes.clock_mhz[shape])): shape
        for at, name in enumerate(shapes.class_names)
        for shape in shapes.of(at)
    }
    job = np.array([number.get(text, -1) for text in table.texts("job_id")], dtype=np.int64)
    workers = table.numbers("workers", 1, whole=True).astype(np.int64)
    clock = table.numbers("clock_mhz", 0, whole=True).astype(np.int64)
    start = table.numbers("start_s", -MOST) - site.start_s
    end = table.numbers("end_s", -MOST) - site.start_s
    shape = np.array(
        [
            -1 if one < 0 else shape_of.get((shapes.class_names[jobs.class_index[one]], w, c), -1)
            for one, w, c in zip(job.tolist(), workers.tolist(), clock.tolist(), strict=True)
        ],
        dtype=np.int64,
    )
    fits = (shape >= 0) & (start >= 0) & (end <= site.horizon_s)
    return Schedule(job=job[fits], shape=shape[fits], start_s=start[fits], end_s=end[fits])
