# SPDX-License-Identifier: Apache-2.0
"""Plans of jobs that all may be split: prices, what is expected at them, lists from there. Pure.

What comes of a list hangs on chance, and on how sure jobs are of what they will use. So a few are
made, the surer the later, some of them with dearer GPU-hours, which leave a little room.
"""

import math
from collections.abc import Callable, Iterator
from dataclasses import replace

import numpy as np

from slurm_green.plan.kernel import library
from slurm_green.plan.outcome import Prices
from slurm_green.plan.pieces import Pieces
from slurm_green.plan.prices import first_prices, idle_prices
from slurm_green.plan.problem import Floats, Ints, Problem
from slurm_green.plan.smooth import SmoothDual, can_be_done
from slurm_green.plan.split_lists import MANY, Start, place_splits

__all__ = ["plan_splits", "split_prices"]

# Temperatures, and for each the times of the price of a GPU-hour that are tried.
_STARTS = ((0.03, (1.0,)), (0.01, (1.0, 1.02)), (0.003, (1.0, 1.02)), (0.001, (1.0,)))
_ONE_START = ((0.03, ()), (0.01, (1.0,)))
_AGAIN, _DEARER = 0.02, (1.03, 1.05, 1.0)
_ASKED, _ASKED_AGAIN = 300, 60  # questions to all jobs at each temperature
_ASKED_SLOW, _ASKED_SLOW_AGAIN = 40, 10  # without the kernel
_LISTS, _MOST_LISTS, _LISTS_AGAIN = 3_000, 10, 2
# Of the bound: no plan after a plan is farther, and from a start that ends twice as far nothing is
# expected of others.
_NEAR, _NEAR_SLOW, _HOPELESS = 4.5e-3, 0.01, 2.0
# What being unsure may be worth in a proof: of what is proven, and of what all work usually costs.
_UNSURE, _UNSURE_USUAL, _COOLER, _COLDEST = 1e-4, 1e-7, 0.3, 1e-6

Temperatures = tuple[tuple[float, tuple[float, ...]], ...]


def plan_splits(
    pieces: Pieces,
    splits: Ints,
    overdue: Ints,
    deadline_s: Floats,
    warm: Prices | None,
    *,
    expired: Callable[[], bool],
    progress: Callable[[float], None],
) -> tuple[list[int], Prices]:
    """Places `splits` (the problem's numbers); who has no room in time, and the prices.

    `overdue` jobs count in the prices, and are not placed; `deadline_s` is that of all jobs. From
    `warm` prices, those of an earlier plan, with as little as leads near the bound.
    """
    problem, fast = pieces.board.problem, pieces.kernel is not None
    dual = _dual(problem, splits, overdue, deadline_s, warm)
    good_g = -math.inf
    if warm is not None:
        found, good_g = _again(pieces, splits, dual, expired=expired, progress=progress)
        if found is not None:
            return found, max(warm, dual.prices, key=dual.proven_g)
    one = not fast or len(splits) > MANY
    missing = place_splits(
        pieces,
        splits,
        _starts(dual, _ONE_START if one else _STARTS, _asked(), expired),
        lists=int(np.clip(_LISTS // len(splits), 1, _MOST_LISTS)),
        good_g=good_g,
        expired=expired,
        progress=progress,
    )
    return missing, _proof(problem, dual, expired)


def split_prices(problem: Problem, splits: Ints, deadline_s: Floats, warm: Prices | None) -> Prices:
    """Prices for these jobs, which prove much."""
    dual = _dual(problem, splits, splits[:0], deadline_s, warm)
    for temperature, _ in _ONE_START:
        dual.climb(temperature, _asked())
    return _proof(problem, dual, lambda: False)


def _asked() -> int:
    """How many questions to all jobs are worth their time."""
    return _ASKED if library() is not None else _ASKED_SLOW


def _dual(
    problem: Problem, splits: Ints, overdue: Ints, deadline_s: Floats, warm: Prices | None
) -> SmoothDual:
    begin = first_prices(problem.site) if warm is None else warm
    if len(overdue):
        # One that fits nowhere would take all that there is, at any price.
        overdue = overdue[can_be_done(problem, overdue, deadline_s[overdue])]
    jobs = np.concatenate([splits, overdue])
    return SmoothDual(problem, jobs, deadline_s[jobs], begin)


def _again(
    pieces: Pieces,
    splits: Ints,
    dual: SmoothDual,
    *,
    expired: Callable[[], bool],
    progress: Callable[[float], None],
) -> tuple[list[int] | None, float]:
    """Who has no room, near the dual's first prices; and what is near enough, in g.

    None where somebody has no room then, or the whole is far from the bound at the prices, and all
    is taken off again.
    """
    board, fast = pieces.board, pieces.kernel is not None
    warm = dual.prices
    dual.climb(_AGAIN, _ASKED_AGAIN if fast else _ASKED_SLOW_AGAIN, expired)
    # Of the jobs that are placed here, alone.
    bound_g = max(dual.proven_g(prices, splits) for prices in (warm, dual.prices))
    far_g = (_NEAR if fast else _NEAR_SLOW) * abs(bound_g)

    def starts() -> Iterator[Start]:
        for times in _DEARER if fast else _DEARER[-1:]:
            yield _start(dual, times)
            # Here the board holds what came of that.
            far = board.cost_g + board.bare_g - bound_g > _HOPELESS * far_g
            if far or len(pieces.of) < len(splits):
                break

    missing = place_splits(
        pieces,
        splits,
        starts(),
        lists=_LISTS_AGAIN if fast else 1,
        thorough=False,
        good_g=bound_g + far_g,
        expired=expired,
        progress=progress,
    )
    near = board.cost_g + board.bare_g - bound_g <= far_g
    if expired() or (near and not missing):
        return missing, bound_g + far_g
    pieces.of.clear()
    board.clear()
    return None, bound_g + far_g


def _starts(
    dual: SmoothDual, temperatures: Temperatures, asked: int, expired: Callable[[], bool]
) -> Iterator[Start]:
    for temperature, dearer in temperatures:
        dual.climb(temperature, asked, expired)
        for times in dearer:
            yield _start(dual, times)


def _start(dual: SmoothDual, times: float) -> Start:
    return Start(replace(dual.prices, lam=times * dual.prices.lam), dual.expected())


def _proof(problem: Problem, dual: SmoothDual, expired: Callable[[], bool]) -> Prices:
    """Prices at which being unsure is worth hardly anything: they prove most."""
    tried = [idle_prices(problem.site), dual.prices]
    while not expired() and dual.temperature > _COLDEST:
        proven_g = dual.proven_g(dual.prices)
        enough_g = max(_UNSURE * abs(proven_g), _UNSURE_USUAL * dual.usual_g)
        if proven_g - dual.value_g <= enough_g:
            break
        dual.climb(_COOLER * dual.temperature, _asked(), expired)
        tried.append(dual.prices)
    return max(tried, key=dual.proven_g)
