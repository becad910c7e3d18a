# SPDX-License-Identifier: Apache-2.0
"""The jobs that may be split, all of them: a list, then prices that fall. Pure.

Each job in turn is split where it is cheapest. At a price of GPU-hours above that of the
relaxation jobs run narrower than they will, and GPUs stay free; while it falls, whoever gains most
from more GPUs takes them first. Renewable supply has a price, too, though it costs nothing: else
whoever comes first wastes it, and others draw from the grid. The trap: on the way down carbon is
far above what was, so that the best plan so far is kept.
"""

import math
from collections.abc import Callable, Iterable
from typing import NamedTuple

import numpy as np

from slurm_green.plan.board import Board
from slurm_green.plan.make_room import make_room
from slurm_green.plan.outcome import Prices
from slurm_green.plan.pieces import Pieces
from slurm_green.plan.pool import Expected
from slurm_green.plan.problem import Floats, Ints, Problem
from slurm_green.plan.split import split_response
from slurm_green.plan.squeaky import bumped, places
from slurm_green.plan.steering import STEER_EVERY, Steering

__all__ = ["MANY", "Start", "place_splits"]

# Times the price of the relaxation: in small steps where many jobs want to change.
_FALLING = (1.3, 1.2, 1.1, 1.05, 1.0, 0.95, 0.9, 0.85, 0.8, 0.7, 0.6, 0.5, 0.4, 0.0, 0.0)
# By the kernel, where steps cost little.
_FALLING_FINE = (*np.arange(1.3, 0.28, -0.045).round(3).tolist(), 0.0, 0.0)
_FALLING_FAST = (1.2, 1.0, 0.8, 0.5, 0.0)
_FALLING_QUICK = (1.2, 1.1, 1.05, 1.0, 0.95, 0.9, 0.8, 0.6)
# Without the kernel: fewer, and only those of the jobs that pay most beyond their least move.
_FALLING_AGAIN, _SHARE_AGAIN = (1.2, 1.05, 0.9, 0.7), 0.3
MANY = 3_000  # jobs: their time is better spent in fewer passes
_AFTER = (0.3, 0.0)
_BUMP = 0.25  # of the list: who waits for nobody's seconds can come early without harm


class Start(NamedTuple):
    """Prices, and what the jobs that may be split, and only they, are expected to use at them."""

    prices: Prices
    expected: Expected


def place_splits(
    pieces: Pieces,
    splits: Ints,
    starts: Iterable[Start],
    *,
    lists: int,
    thorough: bool = True,
    good_g: float = -math.inf,
    expired: Callable[[], bool],
    progress: Callable[[float], None],
) -> list[int]:
    """Places these jobs (the problem's numbers); returns those without room before the deadline.

    The best of what comes of each of the `starts`, a few, up to one that is no dearer than
    `good_g`. Not `thorough` is for a plan after a plan.
    Keeping jobs where they were would leave new ones the dirty hours: 4 % more.
    """
    if not len(splits):
        return []
    board, problem = pieces.board, pieces.board.problem
    jobs = problem.jobs
    first: Start | None = None
    slack = (jobs.deadline_s - jobs.earliest_s) / problem.fastest_s
    order = splits[np.argsort(slack[splits], kind="stable")].tolist()
    hardness = 1 / np.maximum(slack - 1, 0.01)
    best = _State(pieces, hardness)
    for number, start in enumerate(starts, 1):

        def told(done: float, number: int = number) -> None:
            progress(1 - (2 - done) / 2**number)  # how many there are is not known

        best.clear()
        least_g = _least_g(problem, start.prices, splits)
        _place_at(
            pieces,
            _State(pieces, hardness),
            order,
            start,
            least_g[order],
            lists=lists,
            thorough=thorough,
            expired=expired,
            progress=told,
        )
        best.remember(order)
        first = first or start
        if expired() or best.score() <= (0.0, good_g - board.bare_g):
            break
    best.recall()
    missing = len(order) - len(pieces.of)
    assert first is not None
    make_room(pieces, order, first.prices.lam, runs=True, expired=expired)
    for share in _AFTER if len(order) - len(pieces.of) < missing else ():
        _guide(board, first.prices, share)
        if not expired():
            pieces.settle(order, jobs.deadline_s)
    _guide(board, first.prices, 0.0)
    return [job for job in order if job not in pieces.of]


def _place_at(
    pieces: Pieces,
    state: "_State",
    order: list[int],
    start: Start,
    least_g: Floats,
    *,
    lists: int,
    thorough: bool,
    expired: Callable[[], bool],
    progress: Callable[[float], None],
) -> None:
    """Places the jobs in this order: a list, then passes at falling prices; the best of them."""
    board, prices = pieces.board, start.prices
    until_s = board.problem.jobs.deadline_s
    fast, few = pieces.kernel is not None, len(order) <= MANY
    guides: tuple[float, ...] = _FALLING if fast or few else _FALLING_FAST
    guides = _FALLING_FINE if fast and few else guides
    look_at = len(order)
    if not thorough:
        guides = _FALLING_QUICK if fast else _FALLING_AGAIN
        look_at = look_at if fast else math.ceil(_SHARE_AGAIN * look_at)
    _best_list(pieces, state, order, least_g, start, lists=lists, expired=expired)
    make_room(pieces, order, prices.lam, runs=False, expired=expired)
    state.remember(order)
    for number, share in enumerate(guides):
        progress((number + 1) / (len(guides) + 1))
        if expired():
            break
        _guide(board, prices, share)
        pieces.put_all(order, until_s)
        # Who pays too much is first to take what got cheaper.
        regret = pieces.paid_g(prices, order) - least_g
        blamed = [order[row] for row in np.argsort(-regret, kind="stable").tolist()]
        pieces.settle([job for job in blamed if job in pieces.of][:look_at], until_s)
        state.remember(order)
    state.recall()


def _guide(board: Board, prices: Prices, share: float) -> None:
    """Asks for a share of the prices; supply is never dearer than what the grid adds."""
    mu = np.minimum(share * prices.mu, board.problem.site.carbon_g_per_kwh)
    board.guide(share * prices.lam, mu)


def _least_g(problem: Problem, prices: Prices, splits: Ints) -> Floats:
    """What each of the problem's jobs costs at least, 0 for others."""
    found = split_response(problem, prices, splits, problem.jobs.deadline_s[splits])
    least_g = np.zeros(len(problem.jobs))
    least_g[splits] = np.where(np.isfinite(found.cost_g), found.cost_g, 0.0)
    return least_g


def _best_list(
    pieces: Pieces,
    state: "_State",
    order: list[int],
    least_g: Floats,
    start: Start,
    *,
    lists: int,
    expired: Callable[[], bool],
) -> None:
    """Places the jobs as the best of some lists does; whoever paid too much comes earlier."""
    board, problem = pieces.board, pieces.board.problem
    jobs, splits = problem.jobs, np.array(order)
    # Early come those with little slack, and those whose last start is early.
    last_start = jobs.deadline_s[splits] - problem.fastest_s[splits]
    position = places(np.minimum(np.arange(len(order)), places(last_start)))
    for number in range(lists):
        state.clear()
        _place_list(pieces, splits[np.argsort(position, kind="stable")].tolist(), start)
        # Loads that were only expected have been among what was added up.
        board.cost_g = board.carbon_g() - board.bare_g if board.green else board.cost_g
        state.remember(order)
        if expired() or number + 1 == lists:
            break
        missing = [row for row, job in enumerate(order) if job not in pieces.of]
        blame = pieces.paid_g(start.prices, order) - least_g
        position = bumped(position, blame, missing, strength=_BUMP, strength_absent=1.0)
    state.recall()


def _place_list(pieces: Pieces, order: list[int], start: Start) -> None:
    board, prices, expected = pieces.board, start.prices, start.expected
    jobs, shapes = board.problem.jobs, board.problem.shapes
    board.guide(prices.lam)
    if pieces.kernel is not None:
        pieces.kernel.place_list(pieces.of, np.array(order), jobs.deadline_s, prices, expected)
        return
    steering = Steering(board, prices.lam, expected)
    for number, job in enumerate(order):
        if number % STEER_EVERY == 0:
            steering.guide()
            pieces.mu = steering.mu(prices.mu)
        steering.leaves(job)
        if pieces.put(job, float(jobs.deadline_s[job])) is not None:
            for shape, start_s, end_s in pieces.of[job].tolist():
                steering.takes(start_s, end_s, int(shapes.gpus[int(shape)]))
    pieces.mu = None


class _State:
    """The board without pieces, and the best that was placed on it so far."""

    def __init__(self, pieces: Pieces, hardness: Floats) -> None:
        self._pieces = pieces
        self._hardness = hardness
        board = pieces.board
        self._cost_g = board.cost_g
        self._net_j = board.net_j.copy()
        self._steps = board.profile.times.copy(), board.profile.used.copy()
        self._energy_j = None if board.limits is None else board.limits.energy_j.copy()
        self._best: tuple[tuple[float, float], dict[int, Floats]] | None = None

    def clear(self) -> None:
        """Takes all pieces off, and with them what adding and taking has left in the sums."""
        board = self._pieces.board
        self._pieces.of.clear()
        board.profile.reset(*self._steps)
        board.cost_g = self._cost_g
        board.net_j[:] = self._net_j
        if board.limits is not None and self._energy_j is not None:
            board.limits.energy_j[:] = self._energy_j

    def remember(self, order: list[int]) -> None:
        """Keeps what is placed now, if it is the best: few and easy ones missing, then cost."""
        missing = [job for job in order if job not in self._pieces.of]
        score = float(self._hardness[missing].sum()), self._pieces.board.cost_g
        if self._best is None or score < self._best[0]:
            self._best = score, dict(self._pieces.of)

    def score(self) -> tuple[float, float]:
        """How hard the jobs are that the best has no place for, and its cost."""
        assert self._best is not None
        return self._best[0]

    def recall(self) -> None:
        """Places the best again."""
        assert self._best is not None
        self.clear()
        self._pieces.put_all_back(self._best[1])
