# SPDX-License-Identifier: Apache-2.0
"""Jobs of the past as the replay's input files.

What is not known of them is assumed, and every assumption is a sentence in a trace's `notes`.
"""

import csv
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from profiling.whole import whole_file
from slurm_green.errors import BadInputError
from slurm_green.replay.classes import Shape

__all__ = ["PastJob", "Trace", "write_rows", "write_trace"]

_JOBS = (
    "job_id", "class", "work", "actual_work", "submit_s", "earliest_s", "deadline_s", "preemptible",
)  # fmt: skip
_CLASSES = ("class", "workers", "gpus_per_worker", "clock_mhz", "rate", "power_w")


@dataclass(frozen=True, slots=True, kw_only=True)
class PastJob:
    """One job: `work` by its limit and `actual_work` in seconds at its class's full speed."""

    job_id: str
    class_name: str
    work: float
    actual_work: float
    submit_s: float
    earliest_s: float
    deadline_s: float
    preemptible: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Trace:
    """Jobs, the classes they belong to, and what was assumed to make them.

    `gpus` is the most that were in use at once; `unit` is "core" where there are no GPUs and the
    column stands for cores. `idle_w` is the power of one of them that nobody uses.
    """

    jobs: tuple[PastJob, ...]
    shapes: tuple[Shape, ...]
    gpus: int
    unit: str = "GPU"
    idle_w: float = 0.0
    notes: tuple[str, ...] = ()

    @property
    def span_s(self) -> tuple[float, float]:
        """From the first job's earliest start to the last deadline."""
        first_s = min((min(job.submit_s, job.earliest_s) for job in self.jobs), default=0.0)
        return first_s, max((job.deadline_s for job in self.jobs), default=first_s)


def write_trace(trace: Trace, jobs: Path, classes: Path) -> None:
    """Write J.csv and C.csv, each whole or not at all; raises BadInputError."""
    write_rows(
        jobs,
        _JOBS,
        (
            (
                job.job_id,
                job.class_name,
                f"{job.work:.10g}",
                f"{job.actual_work:.10g}",
                f"{job.submit_s:.16g}",
                f"{job.earliest_s:.16g}",
                f"{job.deadline_s:.16g}",
                int(job.preemptible),
            )
            for job in trace.jobs
        ),
    )
    write_rows(
        classes,
        _CLASSES,
        (
            (
                one.class_name,
                one.workers,
                one.gpus_per_worker,
                one.clock_mhz,
                f"{one.rate:.10g}",
                f"{one.power_w:.10g}",
            )
            for one in trace.shapes
        ),
    )


def write_rows(path: Path, header: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Write a CSV file, whole or not at all; raises BadInputError."""
    try:
        with whole_file(path, newline="") as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow(header)
            writer.writerows(rows)
    except OSError as exc:
        raise BadInputError(f"{path}: cannot be written: {exc.strerror or exc}") from exc
