# SPDX-License-Identifier: Apache-2.0
"""One plan for one set of weights: prices, lists, moves, pieces, and what is late. Pure.

How much is tried depends on the jobs, the shapes and what came of it so far, so that the same input
gives the same plan on any machine; a time limit is for who cannot wait.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from slurm_green.plan.board import Board
from slurm_green.plan.kernel.board import lendable
from slurm_green.plan.offers import Piece, joined
from slurm_green.plan.options import options_of
from slurm_green.plan.outcome import Prices, Weights
from slurm_green.plan.overdue import place_overdue
from slurm_green.plan.pieces import Pieces
from slurm_green.plan.prices import Found, PriceSearch, idle_prices, inside
from slurm_green.plan.problem import Floats, Ints, Problem
from slurm_green.plan.runs import Effort, improve_again, place_again, place_runs
from slurm_green.plan.schedule import Schedule
from slurm_green.plan.split_lists import Start, place_splits
from slurm_green.plan.split_plan import plan_splits, split_prices
from slurm_green.plan.squeaky import PriceTags

__all__ = ["Draft", "draft", "prices_for"]

_TOLERANCE_S = 1e-3
_FEW_JOBS = 500
_SOFTER, _FAR = (0.01, 0.03), 0.01
_SOFT_JOBS = 2_000  # of more it takes too long
_TIGHT = 0.7  # of its window: where a ramp binds, such a job is not split


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
    board = Board(problem, options_of(problem, kinds.runs, kinds.deadline_s[kinds.runs]), weights)
    pieces = Pieces(board)
    if warm is not None:
        warm = inside(problem, warm)
    if len(kinds.splits) and not len(kinds.runs):
        late, prices = plan_splits(
            pieces,
            kinds.splits,
            kinds.overdue,
            kinds.deadline_s,
            warm,
            expired=expired,
            progress=lambda done: progress("splits", done),
        )
        board.guide(np.zeros(problem.site.slots))
    else:
        late, prices = _place_runs_first(
            pieces, kinds, warm, previous, seed=seed, expired=expired, progress=progress
        )
    extra: dict[int, list[Piece]] = {}
    waiting = late + kinds.overdue.tolist()
    for job in sorted(waiting, key=lambda job: float(problem.jobs.earliest_s[job])):
        extra[job] = place_overdue(board, job)
        if not extra[job] and kinds.may_split[job]:
            pieces.put(job, problem.site.horizon_s)
    progress("done", 1.0)
    return Draft(schedule=_schedule(board, kinds, pieces, extra), prices=prices)


def _place_runs_first(
    pieces: Pieces,
    kinds: _Kinds,
    warm: Prices | None,
    previous: Schedule | None,
    *,
    seed: int,
    expired: Callable[[], bool],
    progress: Callable[[str, float], None],
) -> tuple[list[int], Prices]:
    """Places jobs in one go, then those that may be split; who has no room in time, the prices."""
    board = pieces.board
    problem, weights, options = board.problem, board.weights, board.options
    in_price = np.sort(np.concatenate([kinds.runs, kinds.overdue]))
    priced = options if not len(kinds.overdue) else options_of(
        problem, in_price, kinds.deadline_s[in_price])  # fmt: skip
    search = PriceSearch(problem, weights, priced, kinds.splits, kinds.deadline_s)
    per_job = len(options) / max(len(kinds.runs), 1)
    fast = lendable(board)
    absent: list[int] | None = None
    # Earlier prices for other weights say little, and pieces are placed after runs.
    again = fast and not weights.performance_g and not len(kinds.splits)
    if again and warm is not None and previous is not None:
        prices, tags = warm, PriceTags(board, warm)
        effort = Effort.little(len(kinds.runs), per_job, fast=True)
        absent = place_again(
            board,
            tags,
            prices,
            previous,
            effort,
            seed=seed,
            expired=expired,
            progress=progress,
        )
    if absent is None:
        found = search.search(
            warm, enough=expired, progress=lambda done, best: progress("prices", done)
        )
        prices = found.prices
        tags = PriceTags(board, prices)
        if previous is None or again:
            effort = Effort.usual(len(kinds.runs), per_job, len(kinds.splits), fast=fast)
        else:
            effort = Effort.little(len(kinds.runs), per_job, fast=fast)

        def place(start: Found) -> list[int]:
            return place_runs(
                board,
                tags if start is found else PriceTags(board, start.prices),
                start,
                start.expected,
                kinds.splits,
                effort,
                all_priced=not len(kinds.overdue),
                previous=previous,
                seed=seed,
                expired=expired,
                progress=progress,
            )

        absent = place(found)
        soft = fast and board.green and not weights.performance_g
        if soft and not len(kinds.splits) and len(kinds.runs) <= _SOFT_JOBS:
            absent = _place_softer(board, tags, found, absent, place, expired)
    # From here on without loads that were only expected.
    board.restore(board.option, board.start_s)
    board.guide(np.zeros(problem.site.slots))
    late_splits: list[int] = []
    if len(kinds.splits):
        late_splits = place_splits(
            pieces,
            kinds.splits,
            [Start(prices, found.expected.only(kinds.splits))],
            lists=effort.split_lists,
            thorough=previous is None,
            expired=expired,
            progress=lambda done: progress("splits", done),
        )
        moves = effort.moves
        absent = improve_again(board, tags, absent, prices.lam, moves, seed + 1, expired)
    return [int(kinds.runs[row]) for row in absent] + late_splits, prices


def _place_softer(
    board: Board,
    tags: PriceTags,
    found: Found,
    absent: list[int],
    place: Callable[[Found], list[int]],
    expired: Callable[[], bool],
) -> list[int]:
    """Where plans are far from the bound the best of those from softer prices, and this one.

    Supply that just suffices has a price of nothing at the best prices; where jobs are less sure
    of it, it has one.
    """

    def score() -> float:
        return board.cost_g + tags.dear_g(absent)

    best = score(), list(board.option), board.start_s.copy(), absent
    for share in _SOFTER:
        far = best[0] + board.bare_g - found.value_g > _FAR * abs(found.value_g)
        if expired() or not far:
            break
        absent = place(found.softer(share))
        if score() < best[0]:
            best = score(), list(board.option), board.start_s.copy(), absent
    board.restore(best[1], best[2])
    return best[3]


def prices_for(
    problem: Problem, late: NDArray[np.bool_], unplaced: NDArray[np.bool_], warm: Prices | None
) -> list[Prices]:
    """Prices that may prove more once it is known who is late and who has no place."""
    kinds = _kinds(problem, Weights())
    keep = ~unplaced
    deadline = np.where(late, problem.site.horizon_s, kinds.deadline_s)
    runs = np.sort(np.concatenate([kinds.runs, kinds.overdue]))
    runs, splits = runs[keep[runs]], kinds.splits[keep[kinds.splits]]
    if len(splits) and not len(runs):
        again = split_prices(problem, splits, deadline, warm)
    else:
        options = options_of(problem, runs, deadline[runs])
        again = PriceSearch(problem, Weights(), options, splits, deadline).search(warm).prices
    return [again, idle_prices(problem.site)]


def _kinds(problem: Problem, weights: Weights) -> _Kinds:
    jobs, site, shapes = problem.jobs, problem.site, problem.shapes
    fits = shapes.gpus <= site.gpus
    rate = np.where(fits, shapes.rate, 0.0)
    fastest = (
        np.maximum.reduceat(rate, shapes.first[:-1])[jobs.class_index] if len(jobs) else np.zeros(0)
    )
    with np.errstate(divide="ignore"):
        shortest = np.where(fastest > 0, jobs.work / np.maximum(fastest, 1e-280), np.inf)
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


def _schedule(
    board: Board, kinds: _Kinds, pieces: Pieces, extra: dict[int, list[Piece]]
) -> Schedule:
    chosen = np.array(board.option, dtype=np.int64)
    placed = np.flatnonzero(chosen >= 0)
    options = board.options
    tables = {job: joined(stretches) for job, stretches in pieces.of.items()}
    tables |= {job: np.array(one, dtype=np.float64) for job, one in extra.items() if one}
    count = np.array([len(one) for one in tables.values()], dtype=np.int64)
    owner = np.repeat(np.array(list(tables), dtype=np.int64), count)
    rows = np.concatenate([np.zeros((0, 3)), *tables.values()])
    job = np.concatenate([kinds.runs[placed], owner])
    shape = np.concatenate([options.shape[chosen[placed]], rows[:, 0].astype(np.int64)])
    start = np.concatenate([board.start_s[placed], rows[:, 1]])
    end = np.concatenate([board.end_s[placed], rows[:, 2]])
    order = np.lexsort((start, job))
    return Schedule(job=job[order], shape=shape[order], start_s=start[order], end_s=end[order])
