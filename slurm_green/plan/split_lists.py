# SPDX-License-Identifier: Apache-2.0
"""The jobs that may be split, all of them: a list, then prices of GPU-hours that fall. Pure.

Each job in turn is split where it is cheapest. At a price of GPU-hours above that of the
relaxation jobs run narrower than they will, and GPUs stay free; while it falls, whoever gains most
from more GPUs takes them first. The trap: on the way down carbon is far above what was, so that
the best plan so far is kept.
"""

import math
from collections.abc import Callable

import numpy as np

from slurm_green.plan.as_before import expected_splits
from slurm_green.plan.make_room import make_room
from slurm_green.plan.outcome import Prices
from slurm_green.plan.pieces import Piece, Pieces
from slurm_green.plan.pool import Expected
from slurm_green.plan.prices import standing_g
from slurm_green.plan.problem import JOULES_PER_KWH, SECONDS_PER_HOUR, Floats, Ints
from slurm_green.plan.schedule import Schedule
from slurm_green.plan.split import split_response
from slurm_green.plan.squeaky import bumped, places
from slurm_green.plan.steering import STEER_EVERY, Steering

__all__ = ["place_splits", "place_splits_again"]

# Times the price of the relaxation: in small steps where many jobs want to change.
_FALLING = (1.3, 1.2, 1.1, 1.05, 1.0, 0.95, 0.9, 0.85, 0.8, 0.7, 0.6, 0.5, 0.4, 0.0, 0.0)
_FALLING_FAST = (1.2, 1.0, 0.8, 0.5, 0.0)
_FALLING_AGAIN = (1.2, 1.05, 0.9, 0.7)
_SHARE_AGAIN = 0.3  # of the jobs, those that pay most beyond their least: the others stay
_FAR_AGAIN = 0.01  # from the bound: what has to be planned anew
_MANY = 3_000  # jobs: their time is better spent in fewer passes
_AFTER = (0.3, 0.0)
_BUMP = 0.25  # of the list: who waits for nobody's seconds can come early without harm


def place_splits(
    pieces: Pieces,
    splits: Ints,
    prices: Prices,
    expected: Expected,
    *,
    lists: int,
    thorough: bool = True,
    expired: Callable[[], bool],
    progress: Callable[[float], None],
) -> list[int]:
    """Places these jobs (the problem's numbers); returns those without room before the deadline.

    `expected` is what they, and only they, are expected to use. Not `thorough` is for a plan
    after a plan. Keeping jobs where they were would leave new ones the dirty hours: 4 % more.
    """
    if not len(splits):
        return []
    board, problem = pieces.board, pieces.board.problem
    jobs, lam = problem.jobs, prices.lam
    slack = (jobs.deadline_s - jobs.earliest_s) / problem.fastest_s
    order = splits[np.argsort(slack[splits], kind="stable")].tolist()
    state = _State(pieces, 1 / np.maximum(slack - 1, 0.01))
    _best_list(pieces, state, order, prices, expected, lists=lists, expired=expired)
    guides: tuple[float, ...] = _FALLING if len(order) <= _MANY else _FALLING_FAST
    look_at = len(order)
    if not thorough:
        guides, look_at = _FALLING_AGAIN, math.ceil(_SHARE_AGAIN * len(order))
    make_room(pieces, order, lam, runs=False, expired=expired)
    state.remember(order)
    least = _least_g(pieces, prices, order)
    for number, share in enumerate(guides):
        progress((number + 1) / (len(guides) + 1))
        if expired():
            break
        board.guide(share * lam)
        pieces.put_all(order, jobs.deadline_s)
        # Who pays too much is first to take what got cheaper.
        regret = {job: _paid_g(pieces, prices, job) - least[job] for job in pieces.of}
        blamed = sorted(regret, key=regret.__getitem__, reverse=True)
        pieces.settle(blamed[:look_at], jobs.deadline_s)
        state.remember(order)
    state.recall()
    missing = len(order) - len(pieces.of)
    make_room(pieces, order, lam, runs=True, expired=expired)
    for share in _AFTER if len(order) - len(pieces.of) < missing else ():
        board.guide(share * lam)
        if not expired():
            pieces.settle(order, jobs.deadline_s)
    board.guide(0.0 * lam)
    return [job for job in order if job not in pieces.of]


def place_splits_again(
    pieces: Pieces,
    splits: Ints,
    prices: Prices,
    previous: Schedule,
    *,
    expired: Callable[[], bool],
    progress: Callable[[float], None],
) -> list[int] | None:
    """Places jobs of a problem without others, much as in an earlier plan, at its prices.

    None where somebody has no room then, or the whole is far from the bound at these prices, and
    all is taken off again.
    """
    board, problem = pieces.board, pieces.board.problem
    found = split_response(problem, prices, splits, problem.jobs.deadline_s[splits])
    bound_g = standing_g(problem, prices) + float(found.cost_g[np.isfinite(found.cost_g)].sum())
    missing = place_splits(
        pieces,
        splits,
        prices,
        expected_splits(problem, previous, found, splits),
        lists=1,
        thorough=False,
        expired=expired,
        progress=progress,
    )
    near = board.cost_g + board.bare_g - bound_g <= _FAR_AGAIN * abs(bound_g)
    if expired() or (near and not missing):
        return missing
    for job in list(pieces.of):
        pieces.take(job)
    board.clear()
    return None


def _least_g(pieces: Pieces, prices: Prices, order: list[int]) -> dict[int, float]:
    """What each job's best response costs at the prices; nothing where there is none."""
    problem = pieces.board.problem
    jobs = np.array(order)
    cost = split_response(problem, prices, jobs, problem.jobs.deadline_s[jobs]).cost_g
    return dict(zip(order, np.where(np.isfinite(cost), cost, 0.0).tolist(), strict=True))


def _best_list(
    pieces: Pieces,
    state: "_State",
    order: list[int],
    prices: Prices,
    expected: Expected,
    *,
    lists: int,
    expired: Callable[[], bool],
) -> None:
    """Places the jobs as the best of some lists does; whoever paid too much comes earlier."""
    board, problem = pieces.board, pieces.board.problem
    jobs, splits = problem.jobs, np.array(order)
    least = np.array(list(_least_g(pieces, prices, order).values()))
    # Early come those with little slack, and those whose last start is early.
    last_start = jobs.deadline_s[splits] - problem.fastest_s[splits]
    position = places(np.minimum(np.arange(len(order)), places(last_start)))
    for number in range(lists):
        state.clear()
        _place_list(pieces, splits[np.argsort(position, kind="stable")].tolist(), prices, expected)
        # Loads that were only expected have been among what was added up.
        board.cost_g = board.carbon_g() - board.bare_g if board.green else board.cost_g
        state.remember(order)
        if expired() or number + 1 == lists:
            break
        missing = [row for row, job in enumerate(order) if job not in pieces.of]
        blame = np.array([_paid_g(pieces, prices, job) for job in order]) - least
        position = bumped(position, blame, missing, strength=_BUMP, strength_absent=1.0)
    state.recall()


def _place_list(pieces: Pieces, order: list[int], prices: Prices, expected: Expected) -> None:
    board = pieces.board
    jobs, shapes = board.problem.jobs, board.problem.shapes
    board.guide(prices.lam)
    steering = Steering(board, prices.lam, expected)
    for number, job in enumerate(order):
        if number % STEER_EVERY == 0:
            steering.guide()
            pieces.mu = steering.mu(prices.mu)
        steering.leaves(job)
        if pieces.put(job, float(jobs.deadline_s[job])) is not None:
            for piece in pieces.of[job]:
                steering.takes(piece.start_s, piece.end_s, int(shapes.gpus[piece.shape]))
    pieces.mu = None


def _paid_g(pieces: Pieces, prices: Prices, job: int) -> float:
    """What a job pays at the prices; nothing if it has no place."""
    slot, energy_j, gpu_s = pieces.uses(pieces.of.get(job, []))
    per_j = (prices.mu + prices.nu)[slot] / JOULES_PER_KWH
    return float(energy_j @ per_j + gpu_s @ prices.lam[slot] / SECONDS_PER_HOUR)


class _State:
    """The board without pieces, and the best that was placed on it so far."""

    def __init__(self, pieces: Pieces, hardness: Floats) -> None:
        self._pieces = pieces
        self._hardness = hardness
        board = pieces.board
        self._cost_g = board.cost_g
        self._net_j = board.net_j.copy()
        self._energy_j = None if board.limits is None else board.limits.energy_j.copy()
        self._best: tuple[tuple[float, float], dict[int, list[Piece]]] | None = None

    def clear(self) -> None:
        """Takes all pieces off, and with them what adding and taking has left in the sums."""
        pieces, board = self._pieces, self._pieces.board
        for job in list(pieces.of):
            pieces.take(job)
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

    def recall(self) -> None:
        """Places the best again."""
        assert self._best is not None
        if self._best[1] == self._pieces.of:
            return
        self.clear()
        for job, stretches in self._best[1].items():
            self._pieces.put_back(job, stretches)
