# SPDX-License-Identifier: Apache-2.0
"""One cycle: from what is known now to a list of moves, and why every other job stays. Pure.

The move that is wanted most is made first, and what it changes (loads, rooms, links) is looked at
before the next. The order of the jobs given makes no difference.
"""

import heapq
from dataclasses import dataclass, field

import numpy as np

from slurm_green.migration.board import Board, Reach
from slurm_green.migration.moves import Decision, Kept, Moment, Move
from slurm_green.migration.policy.protocol import MovePolicy
from slurm_green.migration.rules import Obstacle
from slurm_green.migration.savings import stay_and_save_g
from slurm_green.plan.problem import Floats, Ints
from slurm_green.words import length, saving

__all__ = ["MOST_MOVES", "decide"]

MOST_MOVES = 256  # of one cycle: links are busy with these until the next one anyway
_ROUNDS = 2 * MOST_MOVES
_AT_ONCE = 64  # candidates that are judged again together: that takes hardly longer than one

_Candidate = tuple[float, int]  # minus its rank, number of the job


def decide(moment: Moment, policy: MovePolicy) -> Decision:
    """What to move now; raises BadInputError where jobs and sites do not fit together."""
    cycle = _Cycle(Board(moment, policy.rules), policy)
    moves = cycle.moves()
    gone = {move.job.id for move in moves}
    words = [[one.words.format(site=site.name) for site in moment.sites] for one in Obstacle]
    kept = tuple(
        Kept(job=job, why=words[code][site])
        for job, code, site in zip(
            cycle.board.jobs, cycle.furthest.tolist(), cycle.where.tolist(), strict=True
        )
        if job.id not in gone
    )
    return Decision(moves=tuple(moves), kept=kept)


@dataclass(slots=True)
class _Cycle:
    """The candidates of each destination in a heap, the one wanted most on top.

    Moves change what others are worth: a candidate is judged again before it is taken, and put
    back where another one is wanted more by now. `furthest` and `where` are, for each job, the last
    obstacle that it came to, and at which site.
    """

    board: Board
    policy: MovePolicy
    furthest: Ints = field(init=False)
    where: Ints = field(init=False)

    def moves(self) -> list[Move]:
        """The moves to make, each counted in the board."""
        everyone = np.arange(len(self.board.jobs))
        self.furthest = np.full(len(everyone), int(Obstacle.HERE))
        self.where = np.zeros(len(everyone), dtype=np.int64)
        heaps = [self._first(everyone, site) for site in range(len(self.board.sites))]
        found: list[Move] = []
        gone: set[int] = set()
        for _ in range(_ROUNDS):
            site = min(range(len(heaps)), key=lambda at: heaps[at][:1] or [(np.inf, at)])
            if not heaps[site] or len(found) == MOST_MOVES:
                break
            some = _popped(heaps[site], gone)
            reach, wish = self._judged(some, site)
            fails = reach.obstacle != Obstacle.NONE
            self.furthest[some[fails]], self.where[some[fails]] = reach.obstacle[fails], site
            again = sorted(_candidates(some, reach, wish))
            beaten = again and any(heap[0] < again[0] for heap in heaps if heap)
            if again and not beaten:
                job = again.pop(0)[1]
                at = int(np.flatnonzero(some == job)[0])
                found.append(_move(self.board, job, site, reach, at))
                self.board.choose(job, site, float(reach.most_s[at]))
                gone.add(job)
            for one in again:
                heapq.heappush(heaps[site], one)
        return found

    def _first(self, everyone: Ints, site: int) -> list[_Candidate]:
        reach, wish = self._judged(everyone, site)
        further = reach.obstacle > self.furthest
        self.furthest[further], self.where[further] = reach.obstacle[further], site
        heap = _candidates(everyone, reach, wish)
        heapq.heapify(heap)
        return heap

    def _judged(self, jobs: Ints, site: int) -> tuple[Reach, Floats]:
        """Obstacles and wishes of some jobs; who is not wanted has the obstacle WORTH."""
        reach = self.board.reach(jobs, site)
        wish = self.policy.wish(self.board, jobs, site, reach)
        reach.obstacle[(reach.obstacle == Obstacle.NONE) & ~(wish > 0)] = Obstacle.WORTH
        return reach, wish


def _candidates(jobs: Ints, reach: Reach, wish: Floats) -> list[_Candidate]:
    wanted = reach.obstacle == Obstacle.NONE
    return list(zip((-wish[wanted]).tolist(), jobs[wanted].tolist(), strict=True))


def _popped(heap: list[_Candidate], gone: set[int]) -> Ints:
    """The best of those that have not moved."""
    some: list[int] = []
    while heap and len(some) < _AT_ONCE:
        job = heapq.heappop(heap)[1]
        if job not in gone:
            some.append(job)
    return np.array(some, dtype=np.int64)


def _move(board: Board, job: int, site: int, reach: Reach, at: int) -> Move:
    one, there = board.jobs[job], board.sites[site].name
    migration_s, window_s = float(reach.migration_s[at]), float(reach.window_s[at])
    most_s = float(reach.most_s[at])
    moving_s = reach.migration_s[at : at + 1]
    _, saved_g = stay_and_save_g(board, np.array([job]), site, moving_s, plain=True)
    saves_g = float(saved_g[0])
    allowed = f" of the {length(most_s)} it may" if np.isfinite(most_s) else ""
    return Move(
        job=one,
        source=one.site,
        destination=there,
        why=f"power at {there} is greener for {length(window_s)}; the move takes at most"
        f" {length(migration_s)}{allowed} and {saving(saves_g)}",
        migration_s=migration_s,
        due_s=board.moment.now_s + most_s,
        window_s=window_s,
        lost_work_s=float(board.lost_s[job]),
        saves_g=saves_g,
    )
