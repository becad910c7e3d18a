# SPDX-License-Identifier: Apache-2.0
"""Jobs that cannot be in time run as early as they can, in what the others left. Pure."""

import numpy as np

from slurm_green.plan.board import Board
from slurm_green.plan.offers import Piece, joined
from slurm_green.plan.profile import GRID, rounded_up

__all__ = ["place_overdue"]


def place_overdue(board: Board, job: int) -> list[Piece]:
    """How this job (the problem's number) ends first; none if it never fits.

    In one stretch, or with pauses where it may have them and neither cap nor ramp is in the way.
    """
    pauses = bool(board.problem.jobs.preemptible[job]) and board.limits is None
    pieces = _with_pauses(board, job) if pauses else _in_one_go(board, job)
    power, gpus = board.problem.shapes.power_w, board.problem.shapes.gpus
    for shape, start, end in pieces:
        board.cost_g += board.book(float(power[shape]), int(gpus[shape]), start, end, 1)
    return pieces


def _with_pauses(board: Board, job: int) -> list[Piece]:
    """As much as is free from its earliest start on, always in the fastest shape that fits."""
    site, shapes, jobs = board.problem.site, board.problem.shapes, board.problem.jobs
    early = float(rounded_up(jobs.earliest_s[job]))
    if early >= site.horizon_s:
        return []
    begin, used = board.profile.within(early, site.horizon_s)
    begin[0] = early
    end = np.append(begin[1:], site.horizon_s)
    numbers = np.array(shapes.of(int(jobs.class_index[job])))
    fits = shapes.gpus[numbers] <= (site.gpus - used)[:, None]
    rates = np.where(fits, shapes.rate[numbers], 0.0)
    shape, rate = numbers[rates.argmax(axis=1)], rates.max(axis=1)
    done = np.cumsum(rate * (end - begin))
    last = int(np.searchsorted(done, jobs.work[job]))
    if last == len(done):
        return []
    left = jobs.work[job] - (done[last - 1] if last else 0.0)
    end[last] = min(end[last], begin[last] + np.ceil(left / rate[last] * GRID) / GRID)
    some = np.flatnonzero(rate[: last + 1])
    rows = joined(np.stack([shape[some], begin[some], end[some]], axis=1).astype(np.float64))
    return [Piece(int(number), start, stop) for number, start, stop in rows.tolist()]


def _in_one_go(board: Board, job: int) -> list[Piece]:
    """The stretch in which it ends first."""
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
    return [] if best is None else [best]
