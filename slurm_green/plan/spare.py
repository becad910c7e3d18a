# SPDX-License-Identifier: Apache-2.0
"""Lists that leave some GPUs spare, as many as it takes to have room for everybody. Pure.

The relaxation fills a busy site to its last second; runs that are not cut in fractions cannot.
Lists at its prices leave jobs without a place, and what it costs to find them one afterwards is
most of the gap. At the prices of a site with a few GPUs less, whoever can wait cheaply does.
"""

from collections.abc import Callable, Iterator

import numpy as np

from slurm_green.plan.board import Board
from slurm_green.plan.improve import Improver
from slurm_green.plan.pool import Expected
from slurm_green.plan.prices import Found
from slurm_green.plan.problem import Floats
from slurm_green.plan.squeaky import Aim, PriceTags, build

__all__ = ["TRIES", "place_with_spare"]

_SPARES = (0.01, 0.02, 0.04, 0.08)
TRIES = 4  # usually: for so many all lists are enough
_ROOT = 0.5  # of a job's duration, by which long ones come earlier
_TIGHT = 0.05  # of its duration: less slack than that counts the same


def place_with_spare(
    board: Board,
    tags: PriceTags,
    found: Found,
    expected: Expected,
    improver: Improver,
    *,
    rounds: int,
    good_g: float,
    beside_j: Floats,
    settle: Callable[[], None],
    expired: Callable[[], bool],
    progress: Callable[[float], None],
) -> None:
    """Leaves the best of some such lists on the board, settled; `rounds` are made each time.

    One that places everybody at a cost of `good_g` is good enough. `beside_j` is what else the
    site is expected to use.
    """
    options = board.options
    duration_s = options.by_job(np.minimum, options.duration_s)
    ease = options.ease()
    # Who has little slack first, or among those the long ones.
    ranks = [ease, (ease + _TIGHT) / np.maximum(duration_s, 1.0) ** _ROOT]
    seen: dict[tuple[int, float], tuple[float, int]] = {}
    best: tuple[float, list[int], Floats, list[int]] | None = None
    for number, (kind, spare) in enumerate(_tries(seen)):
        aim = Aim(tags=tags, lam=found.prices.lam, expected=expected)
        if spare:
            prices = found.tighter(spare)
            more = found.pool.expected(prices, found.temperature_g)
            aim = Aim(tags=PriceTags(board, prices), lam=prices.lam, expected=more, spare=spare)
        built = build(board, aim, ranks[kind], rounds=rounds, enough=expired)
        ranks[kind] = built.rank
        board.restore(built.option, built.start_s, beside_j)
        improver.begin_anew(built.absent)
        settle()
        score = board.cost_g + tags.dear_g(built.absent)
        seen[kind, spare] = score, len(built.absent)
        if best is None or score < best[0]:
            best = score, list(board.option), board.start_s.copy(), built.absent
        progress(min(1.0, (number + 1) / TRIES))
        if expired() or (not built.absent and score <= good_g):
            break
    assert best is not None
    board.restore(best[1], best[2], beside_j)
    improver.begin_anew(best[3])


def _tries(seen: dict[tuple[int, float], tuple[float, int]]) -> Iterator[tuple[int, float]]:
    """Which order and spare to try next, by what the earlier ones came to (score, absent)."""
    yield 0, 0.0
    yield 1, 0.0
    kind = min((0, 1), key=lambda one: seen[one, 0.0][0])
    before = 0.0
    for spare in _SPARES:
        yield kind, spare
        if not seen[kind, spare][1] and seen[kind, spare][0] >= seen[kind, before][0]:
            break
        before = spare
