# SPDX-License-Identifier: Apache-2.0
"""Jobs that cannot be in time run as early as they can, in what the others left. Pure."""

import numpy as np

from slurm_green.plan.board import Board
from slurm_green.plan.offers import Piece
from slurm_green.plan.profile import GRID, rounded_up

__all__ = ["place_overdue"]


def place_overdue(board: Board, job: int) -> list[Piece]:
    """The stretch in which this job (the problem's number) ends first; none if it never fits."""
    problem = board.problem
    site, shapes, jobs = problem.site, problem.shapes, problem.jobs
    early = float(rounded_up(jobs.earliest_s[job]))
    slot = min(int(early // site.step_s), site.slots)
    border = site.edges_s[slot:]
    best: Piece | None = None
    for shape in shapes.of(int(jobs.class_index[job])):
        gpus = int(shapes.gpus[shape])
        duration = float(np.ceil(jobs.work[job] / shapes.rate[shape] * GRID) / GRID)
        if gpus > site.gpus or early + duration > site.horizon_s:
            continue
        begin, end = board.profile.free(gpus, early, site.horizon_s)
        wide = end - begin >= duration
        starts, latest = begin[wide], end[wide] - duration
        power = float(shapes.power_w[shape])
        if board.limits is not None and len(starts):
            starts = board.starts(power, duration, starts, latest, border, slot)
            starts = np.sort(starts[board.limits.allow(power, starts, starts + duration)])
        if len(starts) and (best is None or starts[0] + duration < best.end_s):
            best = Piece(shape, float(starts[0]), float(starts[0] + duration))
    if best is None:
        return []
    power, gpus = float(shapes.power_w[best.shape]), int(shapes.gpus[best.shape])
    board.cost_g += board.book(power, gpus, best.start_s, best.end_s, 1)
    return [best]
