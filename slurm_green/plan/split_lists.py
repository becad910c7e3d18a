# SPDX-License-Identifier: Apache-2.0
"""Lists of the jobs that may be split, each split in turn where it is cheapest. Pure.

As in `squeaky`, whoever paid too much or found no room goes earlier in the next list.
"""

from collections.abc import Callable

import numpy as np

from slurm_green.plan.board import Board
from slurm_green.plan.outcome import Prices
from slurm_green.plan.pieces import Piece, Pieces
from slurm_green.plan.pool import Expected
from slurm_green.plan.problem import JOULES_PER_KWH, SECONDS_PER_HOUR, Floats, Ints, Problem
from slurm_green.plan.split import split_response
from slurm_green.plan.squeaky import bumped, places
from slurm_green.plan.steering import STEER_EVERY, Steering

__all__ = ["place_splits"]

_GUIDES = (0.6, 0.3, 0.0, 0.0)
_BUMP = 0.25  # of the list: who waits for nobody's seconds can come early without harm
_ABSENT = 3.0
_DEAR = 10.0  # times the usual GPU-hour
_BATCH, _MOST_MOVED = 4, 32
_AFTER = (0.3, 0.0)
_FEW = 0.02  # of the jobs: when fewer change, more rounds are of no use


def place_splits(
    pieces: Pieces,
    splits: Ints,
    prices: Prices,
    expected: Expected,
    *,
    lists: int,
    expired: Callable[[], bool],
    progress: Callable[[float], None],
) -> list[int]:
    """Places these jobs (the problem's numbers); returns those without room before the deadline.

    `expected` is what they, and only they, are expected to use.
    """
    if not len(splits):
        return []
    board, problem = pieces.board, pieces.board.problem
    jobs = problem.jobs
    slack = (jobs.deadline_s[splits] - jobs.earliest_s[splits]) / problem.fastest_s[splits]
    least = split_response(problem, prices, splits, jobs.deadline_s[splits]).cost_g
    least = np.where(np.isfinite(least), least, 0.0)
    # Early come those with little slack, and those whose last start is early.
    last_start = jobs.deadline_s[splits] - problem.fastest_s[splits]
    position = places(np.minimum(places(slack), places(last_start)))
    empty = _Sums(board)
    best: tuple[float, dict[int, list[Piece]]] | None = None
    dear = _ABSENT * float(least.mean())  # room for them is made later, at a price
    for number in range(lists):
        empty.restore(pieces)
        order = splits[np.argsort(position, kind="stable")].tolist()
        absent = _place_all(pieces, order, prices, expected)
        paid = np.array([_paid_g(problem, prices, pieces.of.get(job, [])) for job in splits])
        missing = [row for row, job in enumerate(splits.tolist()) if job in absent]
        carbon = board.carbon_g() if board.green else board.cost_g
        score = carbon + float((least[missing] + dear).sum())
        if best is None or score < best[0]:
            best = score, dict(pieces.of)
        progress(0.6 * (number + 1) / lists)
        if expired():
            break
        blame = np.where(paid > 0, paid - least, 0.0)
        position = bumped(position, blame, missing, strength=_BUMP, strength_absent=1.0)
    assert best is not None
    empty.restore(pieces)
    for job, stretches in best[1].items():
        pieces.put_back(job, stretches)
    order = splits[np.argsort(slack, kind="stable")].tolist()
    for number, share in enumerate(_GUIDES):
        board.guide(share * prices.lam)
        moved = 0 if expired() else pieces.settle(order, jobs.deadline_s)
        progress(0.6 + 0.4 * (number + 1) / len(_GUIDES))
        if share == 0 and moved < _FEW * len(order):
            break
    board.guide(0.0 * prices.lam)
    waiting = [job for job in order if job not in pieces.of]
    rank = dict(zip(splits.tolist(), slack.tolist(), strict=True))
    much = _DEAR * problem.usual_gpu_hour_g
    left = [job for job in waiting if not _make_room(pieces, job, rank, prices.lam, much)]
    for share in _AFTER if len(left) < len(waiting) else ():
        board.guide(share * prices.lam)
        if not expired():
            pieces.settle(order, jobs.deadline_s)
    board.guide(0.0 * prices.lam)
    return left


def _place_all(pieces: Pieces, order: list[int], prices: Prices, expected: Expected) -> set[int]:
    board = pieces.board
    jobs, shapes = board.problem.jobs, board.problem.shapes
    board.guide(prices.lam)
    steering = Steering(board, prices.lam, expected)
    absent = set()
    for number, job in enumerate(order):
        if number % STEER_EVERY == 0:
            steering.guide()
            pieces.mu = steering.mu(prices.mu)
        steering.leaves(job)
        if pieces.put(job, float(jobs.deadline_s[job])) is None:
            absent.add(job)
            continue
        for piece in pieces.of[job]:
            steering.takes(piece.start_s, piece.end_s, int(shapes.gpus[piece.shape]))
    pieces.mu = None
    return absent


def _make_room(pieces: Pieces, job: int, slack: dict[int, float], lam: Floats, dear: float) -> bool:
    """Places a job, if need be by letting others in its window go elsewhere, those who can."""
    jobs = pieces.board.problem.jobs
    early, late = float(jobs.earliest_s[job]), float(jobs.deadline_s[job])
    if pieces.put(job, late) is not None:
        return True
    others = [
        other
        for other, stretches in pieces.of.items()
        if any(piece.start_s < late and piece.end_s > early for piece in stretches)
    ]
    others.sort(key=lambda other: float(jobs.deadline_s[other]), reverse=True)
    # Within the window a GPU is now worth a lot: who can leaves it, or runs with fewer workers.
    board = pieces.board
    step, slots = board.problem.site.step_s, np.arange(board.problem.site.slots)
    inside = (slots * step < late) & ((slots + 1) * step > early)
    board.guide(lam + np.where(inside, dear, 0.0))
    moved: list[tuple[int, list[Piece]]] = []
    while others and len(moved) < _MOST_MOVED:
        batch, others = others[:_BATCH], others[_BATCH:]
        moved += [(other, pieces.take(other)[0]) for other in batch]
        if pieces.put(job, late) is None:
            continue
        again = sorted((other for other, _ in moved), key=slack.__getitem__)
        done = all(pieces.put(other, float(jobs.deadline_s[other])) is not None for other in again)
        if done and board.holds():
            return True
        for other in [job, *again]:
            if other in pieces.of:
                pieces.take(other)
    for other, stretches in moved:
        pieces.put_back(other, stretches)
    return False


def _paid_g(problem: Problem, prices: Prices, stretches: list[Piece]) -> float:
    """What stretches, each within one slot, pay at the prices."""
    shapes, step = problem.shapes, problem.site.step_s
    total = 0.0
    for piece in stretches:
        slot = int(piece.start_s // step)
        per_s = float(prices.mu[slot] + prices.nu[slot]) * float(shapes.power_w[piece.shape])
        per_s = per_s / JOULES_PER_KWH
        per_s += float(prices.lam[slot]) * float(shapes.gpus[piece.shape]) / SECONDS_PER_HOUR
        total += per_s * (piece.end_s - piece.start_s)
    return total


class _Sums:
    """The loads of a board without pieces, exactly: what was added and taken leaves crumbs."""

    def __init__(self, board: Board) -> None:
        self._net_j = board.net_j.copy()
        self._energy_j = None if board.limits is None else board.limits.energy_j.copy()

    def restore(self, pieces: Pieces) -> None:
        """Takes all pieces off the board again."""
        for job in list(pieces.of):
            pieces.take(job)
        pieces.board.net_j[:] = self._net_j
        if pieces.board.limits is not None and self._energy_j is not None:
            pieces.board.limits.energy_j[:] = self._energy_j
