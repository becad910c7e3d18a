# SPDX-License-Identifier: Apache-2.0
"""How much of a partition a job takes, and for how long: arrays run in waves. Pure."""

import math
from dataclasses import dataclass

from slurm_green.hook.request import Request

__all__ = ["Extent", "extent_of", "waves"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Extent:
    """`width` tasks at a time, `rounds` times.

    `need` is (GPUs, CPUs) of one round; `run_s` is all rounds at the limit, `expected_s` all
    rounds as long as they will probably take.
    """

    rounds: int
    width: int
    limit_s: float
    run_s: float
    expected_s: float
    need: tuple[float, float]


def extent_of(request: Request, *, limit_s: float, task_s: float, room: tuple[int, int]) -> Extent:
    """The extent of a job whose tasks take `task_s` each, `limit_s` at most, on `room`'s size."""
    rounds = waves(
        request.tasks,
        gpus=request.gpus,
        cpus=request.cpus,
        max_running=request.max_running_tasks,
        room=room,
    )
    width = math.ceil(request.tasks / rounds)
    return Extent(
        rounds=rounds,
        width=width,
        limit_s=limit_s,
        run_s=rounds * limit_s,
        expected_s=max(rounds * min(task_s, limit_s), 1.0),
        need=(float(request.gpus * width), float(request.cpus * width)),
    )


def waves(
    tasks: int, *, gpus: int, cpus: int, max_running: int | None, room: tuple[int, int]
) -> int:
    """How many rounds an array takes on `room` = (GPUs, CPUs) of its partition, `%N` counted."""
    width = tasks if max_running is None else min(tasks, max_running)
    if gpus > 0:
        width = min(width, room[0] // gpus)
    if cpus > 0:
        width = min(width, room[1] // cpus)
    return math.ceil(tasks / max(width, 1))
