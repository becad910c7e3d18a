# SPDX-License-Identifier: Apache-2.0
"""One plan for one set of weights: prices, lists, moves, pieces, and what is late. Pure.

How much is tried depends on the numbers of jobs and shapes alone, so that the same input gives
the same plan on any machine; a time limit is for who cannot wait.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from slurm_green.plan.board import Board
from slurm_green.plan.improve import Improver
from slurm_green.plan.kernel.board import lendable
from slurm_green.plan.offers import joined
from slurm_green.plan.options import options_of
from slurm_green.plan.outcome import Prices, Weights
from slurm_green.plan.overdue import place_overdue
from slurm_green.plan.pieces import Piece, Pieces
from slurm_green.plan.pool import Expected
from slurm_green.plan.prices import Found, PriceSearch
from slurm_green.plan.problem import Floats, Ints, Problem
from slurm_green.plan.schedule import Schedule
from slurm_green.plan.split_lists import place_splits
from slurm_green.plan.squeaky import PriceTags, build

__all__ = ["Draft", "Effort", "draft", "prices_for"]

_TOLERANCE_S = 1e-3
_FEW_JOBS = 500
_NEAR_ENOUGH = 1e-4  # of the bound: nothing left worth looking for
_TIGHT = 0.7  # of its window: where a ramp binds, such a job is not split
_GUIDES = (0.5, 0.2, 0.0)
_MOVES_PER_JOB = 120
_HEAT = 0.02
_ROUNDS = 20
_CAREFUL_ROUNDS = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Effort:
    """How much is tried: list schedules, moves, and lists of jobs to be split."""

    lists: int
    moves: int
    split_lists: int
    heat: float = 0.0

    @classmethod
    def usual(cls, jobs: int, shapes_per_job: float, splits: int, *, fast: bool) -> "Effort":
        """Enough for the gaps in docs/planner.md; time grows with the number of jobs, no faster.

        `fast` where the kernel makes the lists and moves.
        """
        many = max(jobs, 1)
        if fast:
            moves = int(np.clip(min(_MOVES_PER_JOB * many, 400_000_000 // many), 200, 120_000))
            return cls(
                lists=int(np.clip(120_000 // many, 3, 60)),
                moves=moves,
                split_lists=int(np.clip(3_000 // max(splits, 1), 1, 10)),
                heat=_HEAT if moves > 0.5 * _MOVES_PER_JOB * many else 0.0,
            )
        budget, most = (25_000, 25) if shapes_per_job < 2 else (60_000, 40)
        return cls(
            lists=min(most, 2 + budget // many),
            moves=int(np.clip(min(4 * many, 40_000_000 // many), 200, 4_000)),
            split_lists=int(np.clip(3_000 // max(splits, 1), 1, 10)),
        )

    @classmethod
    def little(cls, jobs: int, shapes_per_job: float, *, fast: bool) -> "Effort":
        """For a plan that mostly exists already."""
        if fast:
            few = shapes_per_job < 2
            moves = np.clip(jobs // 10, 200, 1_000) if few else np.clip(2 * jobs, 200, 15_000)
            return cls(lists=2 if few else 6, moves=int(moves), split_lists=1)
        return cls(lists=1, moves=int(np.clip(jobs // 10, 50, 400)), split_lists=1)


@dataclass(frozen=True, kw_only=True)
class Draft:
    """A plan before it is proven."""

    schedule: Schedule
    prices: Prices


@dataclass(frozen=True, kw_only=True)
class _Kinds:
    """Which jobs (the problem's numbers) go which way, and the deadlines that prices see."""

    runs: Ints
    splits: Ints
    overdue: Ints
    deadline_s: Floats
    may_split: NDArray[np.bool_]


def draft(
    problem: Problem,
    weights: Weights,
    *,
    warm: Prices | None = None,
    previous: Schedule | None = None,
    seed: int = 0,
    expired: Callable[[], bool] = lambda: False,
    progress: Callable[[str, float], None] = lambda phase, done: None,
) -> Draft:
    """A plan that minimises the weights' sum, jobs in time first.

    `warm` prices and a `previous` schedule of the same jobs are where the search starts. Once
    `expired` says so, the best plan so far is finished.
    """
    kinds = _kinds(problem, weights)
    if len(problem.jobs) < _FEW_JOBS:
        # Few jobs are planned anew in a moment, and better than from what was.
        warm = previous = None
    options = options_of(problem, kinds.runs, kinds.deadline_s[kinds.runs])
    in_price = np.sort(np.concatenate([kinds.runs, kinds.overdue]))
    priced = options if not len(kinds.overdue) else options_of(
        problem, in_price, kinds.deadline_s[in_price])  # fmt: skip
    search = PriceSearch(problem, weights, priced, kinds.splits, kinds.deadline_s)
    found = search.search(
        warm, enough=expired, progress=lambda done, best: progress("prices", done)
    )
    board = Board(problem, options, weights)
    tags = PriceTags(board, found.prices)
    expected = found.pool.expected(found.prices, found.temperature_g)
    fast = lendable(board)
    per_job = len(options) / max(len(kinds.runs), 1)
    if previous is None:
        effort = Effort.usual(len(kinds.runs), per_job, len(kinds.splits), fast=fast)
    else:
        effort = Effort.little(len(kinds.runs), per_job, fast=fast)
    absent = _place_runs(
        board, tags, found, expected, kinds, effort, previous, seed, expired, progress
    )
    # From here on without loads that were only expected.
    board.restore(board.option, board.start_s)
    board.guide(np.zeros(problem.site.slots))
    pieces = Pieces(board)
    late_splits = place_splits(
        pieces,
        kinds.splits,
        found.prices,
        expected.only(kinds.splits),
        lists=effort.split_lists,
        previous=previous,
        expired=expired,
        progress=lambda done: progress("splits", done),
    )
    if len(kinds.splits) and len(kinds.runs):
        absent = _improve_again(
            board, tags, absent, found.prices.lam, effort.moves, seed + 1, expired
        )
    extra: dict[int, list[Piece]] = {}
    waiting = [int(kinds.runs[row]) for row in absent] + late_splits + kinds.overdue.tolist()
    for job in sorted(waiting, key=lambda job: float(problem.jobs.earliest_s[job])):
        extra[job] = place_overdue(board, job)
        if not extra[job] and kinds.may_split[job]:
            pieces.put(job, problem.site.horizon_s)
    progress("done", 1.0)
    return Draft(schedule=_schedule(board, kinds, pieces, extra), prices=found.prices)


def prices_for(
    problem: Problem, late: NDArray[np.bool_], unplaced: NDArray[np.bool_], warm: Prices
) -> list[Prices]:
    """Prices that may prove more once it is known who is late and who has no place."""
    kinds = _kinds(problem, Weights())
    keep = ~unplaced
    deadline = np.where(late, problem.site.horizon_s, kinds.deadline_s)
    runs = np.sort(np.concatenate([kinds.runs, kinds.overdue]))
    runs, splits = runs[keep[runs]], kinds.splits[keep[kinds.splits]]
    options = options_of(problem, runs, deadline[runs])
    again = PriceSearch(problem, Weights(), options, splits, deadline).search(warm)
    nobody = options_of(problem, runs[:0], deadline[:0])
    idle = PriceSearch(problem, Weights(), nobody, splits[:0], deadline).search()
    return [again.prices, idle.prices]


def _kinds(problem: Problem, weights: Weights) -> _Kinds:
    jobs, site, shapes = problem.jobs, problem.site, problem.shapes
    fits = shapes.gpus <= site.gpus
    rate = np.where(fits, shapes.rate, 0.0)
    fastest = (
        np.maximum.reduceat(rate, shapes.first[:-1])[jobs.class_index] if len(jobs) else np.zeros(0)
    )
    with np.errstate(divide="ignore"):
        shortest = np.where(fastest > 0, jobs.work / np.maximum(fastest, 1e-300), np.inf)
    in_time = jobs.earliest_s + shortest <= jobs.deadline_s + _TOLERANCE_S
    deadline = np.where(in_time, jobs.deadline_s, site.horizon_s)
    # Where performance counts, a job in one go ends first: splitting is for carbon alone.
    whole = weights.performance_g != 0
    split: NDArray[np.bool_] = jobs.preemptible & (not whole)
    if np.isfinite(site.ramp_w_per_slot):
        # What is split climbs at every border: who has little slack does better in one go.
        split = split & (shortest < _TIGHT * (jobs.deadline_s - jobs.earliest_s))
    return _Kinds(
        runs=np.flatnonzero(in_time & ~split),
        splits=np.flatnonzero(in_time & split),
        overdue=np.flatnonzero(~in_time),
        deadline_s=deadline,
        may_split=split,
    )


def _place_runs(
    board: Board,
    tags: PriceTags,
    found: Found,
    expected: Expected,
    kinds: _Kinds,
    effort: Effort,
    previous: Schedule | None,
    seed: int,
    expired: Callable[[], bool],
    progress: Callable[[str, float], None],
) -> list[int]:
    """Places the jobs that run in one go; rows of those without a place."""
    if not len(kinds.runs):
        return []
    # The kernel's lists are quicker and better than those around what was.
    kept = [] if lendable(board) else _kept(board, kinds, previous)
    built = build(
        board,
        tags,
        board.options.ease(),
        lam=found.prices.lam,
        rounds=effort.lists,
        expected=expected,
        kept=kept,
        enough=expired,
        progress=lambda done: progress("lists", done),
    )
    # Beside what is expected of the jobs that may be split.
    board.restore(built.option, built.start_s, expected.energy_j[kinds.splits].sum(axis=0))
    option, start_s = tags.option, tags.start_s
    # Prices found with other jobs beside count options otherwise: their places mean nothing here.
    if not len(kinds.overdue):
        option = np.concatenate([found.option, option])
        start_s = np.concatenate([found.start_s, start_s])
    lam = found.prices.lam
    improver = Improver(
        board, tags, built.absent, option=option, start_s=start_s, lam=lam, seed=seed
    )
    for number, share in enumerate(_GUIDES[-1:] if kept else _GUIDES):
        improver.settle(share, expired)
        progress("settling", (number + 1) / len(_GUIDES))

    good_g = found.value_g + _NEAR_ENOUGH * abs(found.value_g) - board.bare_g

    def near() -> bool:
        return expired() or (not improver.absent and board.cost_g < good_g)

    # Somebody without a place is worth more patience than a little carbon.
    for number in range(_ROUNDS):
        if not improver.absent or expired():
            break
        if number == _CAREFUL_ROUNDS:
            improver.calm()
        patience = max(200, effort.moves // 4)
        improver.eject(
            patience, lambda: expired() or not improver.absent, free=number >= _CAREFUL_ROUNDS
        )
        progress("moves", 0.5 * (number + 1) / _ROUNDS)
    improver.eject(effort.moves, near, heat=effort.heat)
    progress("moves", 1.0)
    improver.settle(0.0, expired)
    return improver.absent


def _improve_again(
    board: Board,
    tags: PriceTags,
    absent: list[int],
    lam: Floats,
    moves: int,
    seed: int,
    expired: Callable[[], bool],
) -> list[int]:
    """Runs move once more, around the pieces that are now placed."""
    improver = Improver(
        board, tags, absent, option=tags.option, start_s=tags.start_s, lam=lam, seed=seed
    )
    improver.settle(0.0, expired)
    if improver.absent:
        improver.eject(moves, lambda: expired() or not improver.absent)
    return improver.absent


def _kept(board: Board, kinds: _Kinds, previous: Schedule | None) -> list[tuple[int, int, float]]:
    """Rows of this board with the option and start they had in an earlier plan."""
    if previous is None:
        return []
    problem = board.problem
    row_of = np.full(len(problem.jobs), -1)
    row_of[kinds.runs] = np.arange(len(kinds.runs))
    options = board.options
    found = []
    for job, shape, start in zip(
        previous.job.tolist(), previous.shape.tolist(), previous.start_s.tolist(), strict=True
    ):
        row = int(row_of[job])
        if row < 0:
            continue
        own = range(int(options.first[row]), int(options.first[row + 1]))
        found += [(row, option, start) for option in own if options.shape[option] == shape]
    return found


def _schedule(
    board: Board, kinds: _Kinds, pieces: Pieces, extra: dict[int, list[Piece]]
) -> Schedule:
    chosen = np.array(board.option, dtype=np.int64)
    placed = np.flatnonzero(chosen >= 0)
    options = board.options
    rows = [
        (job, piece.shape, piece.start_s, piece.end_s)
        for group in (pieces.of, extra)
        for job, stretches in group.items()
        for piece in joined(sorted(stretches, key=lambda piece: piece.start_s))
    ]
    job = np.concatenate([kinds.runs[placed], np.array([r[0] for r in rows], dtype=np.int64)])
    shape = np.concatenate(
        [options.shape[chosen[placed]], np.array([r[1] for r in rows], dtype=np.int64)]
    )
    start = np.concatenate([board.start_s[placed], np.array([r[2] for r in rows])])
    end = np.concatenate([board.end_s[placed], np.array([r[3] for r in rows])])
    order = np.lexsort((start, job))
    return Schedule(job=job[order], shape=shape[order], start_s=start[order], end_s=end[order])
