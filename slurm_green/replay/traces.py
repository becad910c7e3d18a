# SPDX-License-Identifier: Apache-2.0
"""Jobs of the past as the replay's input files, and published traces that lack power and GPUs.

What a trace does not say is assumed, and every assumption is a sentence in its `notes`.
"""

import csv
import lzma
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from profiling.whole import whole_file
from slurm_green.errors import BadInputError
from slurm_green.replay.classes import Held, Shape, Watts, class_name, make_shapes

__all__ = [
    "GPU_MIX",
    "PastJob",
    "Trace",
    "gaia_slack_s",
    "read_gaia",
    "read_philly",
    "write_rows",
    "write_trace",
]

# GPUs of a job whose trace does not say: (GPUs, share of jobs). The mix that Gavel's authors
# generate their traces with.
GPU_MIX = ((1, 0.70), (2, 0.10), (4, 0.15), (8, 0.05))

_JOBS = (
    "job_id", "class", "work", "actual_work", "submit_s", "earliest_s", "deadline_s", "preemptible",
)  # fmt: skip
_CLASSES = ("class", "workers", "gpus_per_worker", "clock_mhz", "rate", "power_w")
_HOUR_S = 3600.0
_CORES_PER_GPU = 8


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

    `gpus` is the most that were in use at once, or that one job needs where nobody knows; `unit`
    is "core" where there are no GPUs and the column stands for cores. `idle_w` is the power of
    one of them that nobody uses.
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


def gaia_slack_s(length_s: float) -> float:
    """How long a job may wait: GAIA's two queues, 6 h for jobs of up to 2 h, 24 h for others."""
    return (6 if length_s <= 2 * _HOUR_S else 24) * _HOUR_S


def read_gaia(
    path: Path,
    *,
    unit_s: float,
    seed: int = 0,
    watts: Watts | None = None,
    slack_s: Callable[[float], float] = gaia_slack_s,
    limit_factor: float = 1.0,
) -> Trace:
    """A trace of GAIA's (arrival_time,length,cpus; .xz or plain), with GPUs drawn from GPU_MIX.

    `unit_s` is the length of the file's unit: 3600 for its 100k files, 1 for pai_1k. Its `cpus`
    are not GPUs and are left aside. The limit is `limit_factor` times the length.
    """
    random = np.random.default_rng(seed)
    rows = _rows(path, ("arrival_time", "length"))
    sizes, shares = zip(*GPU_MIX, strict=True)
    gpus = random.choice(sizes, size=len(rows), p=shares).tolist()
    lengths_s = [float(row["length"]) * unit_s for row in rows]
    return _trace(
        [
            (float(row["arrival_time"]) * unit_s, length_s, held)
            for row, length_s, held in zip(rows, lengths_s, gpus, strict=True)
        ],
        watts=watts or Watts(),
        slack_s=slack_s,
        limit_factor=limit_factor,
        notes=(
            f"GPUs are drawn (seed {seed}): "
            + ", ".join(f"{share:.0%} of jobs {size}" for size, share in GPU_MIX)
            + ".",
        ),
    )


def read_philly(
    path: Path,
    throughputs: Path,
    *,
    worker_type: str = "v100",
    watts: Watts | None = None,
    slack_s: Callable[[float], float] = gaia_slack_s,
    limit_factor: float = 1.0,
) -> Trace:
    """A Philly trace of Gavel's (job_type,total_steps,arrival_time_s,scale_factor).

    Lengths are steps over the measured steps per second of that GPU type in `throughputs`.
    """
    speed = {
        (row["job"], row["scale_factor"]): float(row["steps_per_s"])
        for row in _rows(throughputs, ("worker_type", "job", "scale_factor", "steps_per_s"))
        if row["worker_type"] == worker_type
    }
    found, slow = [], 0
    for row in _rows(path, ("job_type", "total_steps", "arrival_time_s", "scale_factor")):
        steps_per_s = speed.get((row["job_type"], row["scale_factor"]), 0.0)
        if not steps_per_s:
            slow += 1
            continue
        length_s = float(row["total_steps"]) / steps_per_s
        found.append((float(row["arrival_time_s"]), length_s, int(row["scale_factor"])))
    notes: tuple[str, ...] = (
        f"Lengths are those on {worker_type} GPUs; job types are drawn by Gavel's authors.",
    )
    if slow:
        notes += (f"{slow:,} jobs of a type that does not run on them are left out.",)
    return _trace(
        found,
        watts=watts or Watts(),
        slack_s=slack_s,
        limit_factor=limit_factor,
        notes=notes,
    )


def _trace(
    rows: Iterable[tuple[float, float, int]],
    *,
    watts: Watts,
    slack_s: Callable[[float], float],
    limit_factor: float,
    notes: tuple[str, ...],
) -> Trace:
    """Rigid jobs out of (arrival, length, GPUs); those without a length are no jobs."""
    jobs, held = [], []
    for at, (arrival_s, length_s, gpus) in enumerate(rows):
        if length_s <= 0:
            continue
        limit_s = length_s * max(limit_factor, 1.0)
        held.append(Held(gpus=gpus, cores=_CORES_PER_GPU * gpus))
        jobs.append(
            PastJob(
                job_id=str(at),
                class_name=class_name(held[-1]),
                work=limit_s,
                actual_work=length_s,
                submit_s=arrival_s,
                earliest_s=arrival_s,
                deadline_s=arrival_s + limit_s + slack_s(length_s),
            )
        )
    power = (
        f"A busy GPU draws {watts.gpu_w:g} W, an idle one {watts.gpu_idle_w:g} W; each comes with"
        f" {_CORES_PER_GPU} cores of {watts.cpu_core_w:g} W. Assumed, not measured."
    )
    return Trace(
        jobs=tuple(jobs),
        shapes=make_shapes(held, watts),
        gpus=max((one.gpus for one in held), default=0),
        idle_w=watts.idle_w,
        notes=(*notes, power),
    )


def _rows(path: Path, wanted: Sequence[str]) -> list[Mapping[str, str]]:
    """The rows of a CSV file, packed or not, with at least these columns."""
    try:
        opener = lzma.open if path.suffix == ".xz" else open
        with opener(path, "rt", encoding="utf-8", newline="") as file:
            reader = csv.DictReader(file)
            missing = [name for name in wanted if name not in (reader.fieldnames or ())]
            if missing:
                raise BadInputError(f"{path}: line 1: no column {missing[0]}; wanted {wanted}")
            return list(reader)
    except (OSError, lzma.LZMAError) as error:
        raise BadInputError(f"{path}: cannot be read: {error}") from error


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
