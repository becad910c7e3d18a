# SPDX-License-Identifier: Apache-2.0
"""The jobs that run in one go: lists, then moves. Pure."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from slurm_green.plan.as_before import expected_of, places_of, stay_of
from slurm_green.plan.board import Board
from slurm_green.plan.improve import Improver
from slurm_green.plan.kernel.board import lendable
from slurm_green.plan.outcome import Prices
from slurm_green.plan.pool import Expected
from slurm_green.plan.prices import Found, standing_g
from slurm_green.plan.problem import Floats, Ints
from slurm_green.plan.schedule import Schedule
from slurm_green.plan.spare import TRIES, place_with_spare
from slurm_green.plan.squeaky import Aim, PriceTags, build
from slurm_green.plan.urgent import most_urgent_first

__all__ = ["Effort", "improve_again", "place_again", "place_runs"]

_NEAR_ENOUGH = 1e-4  # of the bound: nothing left worth looking for
_NEAR_LIST = 1e-3  # of the bound: moves do the rest
_NEAR_AGAIN, _FAR_AGAIN = 2.5e-3, 4e-3  # the same after a plan, and what has to be planned anew
_GUIDES, _GUIDES_AGAIN = (0.5, 0.2, 0.0), (0.3,)
_LISTS_AGAIN, _PATIENCE_AGAIN = 4, 1000
_PRIZE_AGAIN = 8.0  # at once: cheap places were looked for by the earlier plan
_MOVES_PER_JOB = 120
_HEAT = 0.02
_STRETCH, _STRETCHES = 5_000, 8  # so many moves at a time at least, so many times at most
_GAIN = 3e-5  # of the bound: what a stretch must gain for another
_ROUNDS = 20
_CAREFUL_ROUNDS = 10
_PRIZE, _DEARER = 1.0, 2.0  # of a job's least cost: what a place is worth beside it
_RISE, _STEEPER = 1.0, 1.2  # of a job's usual cost: what a place may cost others, later more


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


def place_runs(
    board: Board,
    tags: PriceTags,
    found: Found,
    expected: Expected,
    splits: Ints,
    effort: Effort,
    *,
    all_priced: bool,
    previous: Schedule | None,
    seed: int,
    expired: Callable[[], bool],
    progress: Callable[[str, float], None],
) -> list[int]:
    """Places the board's jobs beside what is expected of `splits`; rows of those without a place.

    `all_priced` where prices were found for the board's jobs and no others.
    """
    if not len(board.option):
        return []
    # The kernel's lists are quicker and better than those around what was.
    kept = []
    if previous is not None and not lendable(board):
        kept = list(zip(*(part.tolist() for part in places_of(board, previous)), strict=True))
    option, start_s = tags.option, tags.start_s
    # Prices found with other jobs beside count options otherwise: their places mean nothing here.
    if all_priced:
        option = np.concatenate([found.option, option])
        start_s = np.concatenate([found.start_s, start_s])
    # Beside what is expected of the jobs that may be split.
    beside_j = expected.energy_j.rows(splits).by_slot()
    improver = Improver(
        board,
        tags,
        [],
        option=option,
        start_s=start_s,
        lam=found.prices.lam,
        mu=found.prices.mu,
        seed=seed,
    )
    guides = _GUIDES[-1:] if kept else _GUIDES
    if lendable(board):
        place_with_spare(
            board,
            tags,
            found,
            expected,
            improver,
            rounds=-(-effort.lists // TRIES),
            good_g=found.value_g + _NEAR_LIST * abs(found.value_g) - board.bare_g,
            beside_j=beside_j,
            settle=lambda: _settle(improver, guides, expired),
            expired=expired,
            progress=lambda done: progress("lists", done),
        )
    else:
        built = build(
            board,
            Aim(tags=tags, lam=found.prices.lam, expected=expected),
            board.options.ease(),
            rounds=effort.lists,
            kept=kept,
            enough=expired,
            progress=lambda done: progress("lists", done),
        )
        board.restore(built.option, built.start_s, beside_j)
        improver.begin_anew(built.absent)
        _settle(improver, guides, expired)
    progress("settling", 1.0)
    return _improve(
        board,
        improver,
        effort,
        guides=guides,
        patience=max(200, effort.moves // 4),
        urgent=lendable(board),
        good_g=found.value_g + _NEAR_ENOUGH * abs(found.value_g) - board.bare_g,
        expired=expired,
        progress=progress,
    )


def place_again(
    board: Board,
    tags: PriceTags,
    prices: Prices,
    previous: Schedule,
    effort: Effort,
    *,
    seed: int,
    expired: Callable[[], bool],
    progress: Callable[[str, float], None],
) -> list[int] | None:
    """Places the board's jobs much as in an earlier plan, at its prices.

    Rows of those without a place when time is over; None where it is not and somebody has none,
    or the whole is far from the bound at these prices.
    """
    if not len(board.option):
        return None
    bound_g = standing_g(board.problem, prices) + float(tags.least_g.sum())
    before = places_of(board, previous)
    row = np.searchsorted(board.options.first, tags.option, "right") - 1
    new = ~np.isin(row, before.row)
    option = np.concatenate([before.option, tags.option[new]])
    start_s = np.concatenate([before.start_s, tags.start_s[new]])
    built = build(
        board,
        Aim(tags=tags, lam=prices.lam, expected=expected_of(board, option, start_s)),
        board.options.ease(),
        rounds=_LISTS_AGAIN,
        stay=stay_of(board, before),
        enough=expired,
        progress=lambda done: progress("lists", done),
    )
    board.restore(built.option, built.start_s)
    improver = Improver(
        board,
        tags,
        built.absent,
        option=np.concatenate([before.option, tags.option]),
        start_s=np.concatenate([before.start_s, tags.start_s]),
        lam=prices.lam,
        mu=prices.mu,
        seed=seed,
        haste=True,
    )
    good_g = bound_g + _NEAR_AGAIN * abs(bound_g) - board.bare_g
    if built.absent or board.cost_g >= good_g:
        _settle(improver, _GUIDES_AGAIN, expired)
    absent = _improve(
        board,
        improver,
        effort,
        guides=_GUIDES_AGAIN,
        patience=_PATIENCE_AGAIN,
        prize=_PRIZE_AGAIN,
        good_g=good_g,
        expired=expired,
        progress=progress,
    )
    near = board.cost_g + board.bare_g - bound_g <= _FAR_AGAIN * abs(bound_g)
    return absent if expired() or (near and not absent) else None


def improve_again(
    board: Board,
    tags: PriceTags,
    absent: list[int],
    lam: Floats,
    moves: int,
    seed: int,
    expired: Callable[[], bool],
) -> list[int]:
    """Runs move once more, around pieces that are now placed; rows of those without a place."""
    improver = Improver(
        board, tags, absent, option=tags.option, start_s=tags.start_s, lam=lam, seed=seed
    )
    improver.settle(0.0, expired)
    if improver.absent:
        improver.eject(moves, lambda: expired() or not improver.absent)
    return improver.absent


def _improve(
    board: Board,
    improver: Improver,
    effort: Effort,
    *,
    guides: tuple[float, ...],
    good_g: float,
    patience: int,
    prize: float = _PRIZE,
    urgent: bool = False,
    expired: Callable[[], bool],
    progress: Callable[[str, float], None],
) -> list[int]:
    """Moves until the cost is good or all is tried; rows of those without a place."""

    def near() -> bool:
        return expired() or (not improver.absent and board.cost_g < good_g)

    # On such a site a move costs more time and gains less.
    full = bool(improver.absent)
    # Somebody without a place is worth more patience than a little carbon.
    for number in range(_ROUNDS):
        if not improver.absent or expired():
            break
        if number < _CAREFUL_ROUNDS:
            improver.prize(prize * _DEARER**number)
        elif number == _CAREFUL_ROUNDS:
            improver.calm()
        improver.eject(
            patience,
            lambda: expired() or not improver.absent,
            rise=math.inf if number < _CAREFUL_ROUNDS else _RISE * _STEEPER**number,
        )
        progress("moves", 0.5 * (number + 1) / _ROUNDS)
    if urgent and improver.absent and not expired():
        _fewer_absent(board, improver, lambda: _settle(improver, guides, expired))
    if full and not effort.heat:
        _eject_while_it_gains(improver, effort.moves, near, _GAIN * abs(good_g + board.bare_g))
    else:
        improver.eject(effort.moves, near, heat=effort.heat)
    progress("moves", 1.0)
    improver.settle(0.0, expired)
    return improver.absent


def _eject_while_it_gains(
    improver: Improver, moves: int, near: Callable[[], bool], gain_g: float
) -> None:
    """So many moves, fewer where everybody has a place and a stretch of them gains too little."""
    stretch = max(moves // _STRETCHES, _STRETCH)
    while moves > 0 and not near():
        before_g = improver.board.cost_g
        improver.eject(min(stretch, moves), near)
        moves -= stretch
        if not improver.absent and before_g - improver.board.cost_g < gain_g:
            break


def _settle(improver: Improver, guides: tuple[float, ...], expired: Callable[[], bool]) -> None:
    for share in guides:
        improver.settle(share, expired)


def _fewer_absent(board: Board, improver: Improver, settle: Callable[[], None]) -> None:
    """Begins anew from a list of who must start first, where that leaves fewer without a place.

    Carbon is far above the bound then, so this is for who finds no other way.
    """
    best = min(most_urgent_first(board), key=lambda one: len(one.absent))
    if len(best.absent) < len(improver.absent):
        board.restore(best.option, best.start_s)
        improver.begin_anew(best.absent)
        settle()
