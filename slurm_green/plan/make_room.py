# SPDX-License-Identifier: Apache-2.0
"""Places for split jobs that found none: others make room, if they can go elsewhere. Pure."""

from collections.abc import Callable

import numpy as np

from slurm_green.plan.board import Place
from slurm_green.plan.pieces import Pieces
from slurm_green.plan.problem import Floats

__all__ = ["make_room"]

_DEAR = 10.0  # times the usual GPU-hour
_BATCH = 4
_PATIENCE = 30  # jobs for which no room can be made


def make_room(
    pieces: Pieces, order: list[int], lam: Floats, *, runs: bool, expired: Callable[[], bool]
) -> None:
    """Places those of the jobs (the problem's numbers) that have no place and can get one.

    With `runs`, jobs in one go move aside, too. `order` is that in which jobs are placed again,
    `lam` what a GPU-hour is worth.
    """
    board, jobs = pieces.board, pieces.board.problem.jobs
    board.guide(lam)
    pieces.put_all(order, jobs.deadline_s)
    failures = 0
    for job in [job for job in order if job not in pieces.of]:
        if expired() or failures == _PATIENCE:
            break
        early, late = float(jobs.earliest_s[job]), float(jobs.deadline_s[job])
        # Within the window a GPU is now worth a lot: who can leaves it, or runs with fewer workers.
        edges = board.problem.site.edges_s
        inside = (edges[:-1] < late) & (edges[1:] > early)
        board.guide(lam + np.where(inside, _DEAR * board.problem.usual_gpu_hour_g, 0.0))
        failures += not _Attempt(pieces, order, early, late, runs).succeeds(job)


class _Attempt:
    """Takes others out of a window, more and more of them, until a job has its place and they."""

    def __init__(
        self, pieces: Pieces, order: list[int], early: float, late: float, runs: bool
    ) -> None:
        self._pieces = pieces
        self._order = order
        self._until_s = pieces.board.problem.jobs.deadline_s
        board = pieces.board
        self._others = [
            job
            for job, stretches in pieces.of.items()
            if ((stretches[:, 1] < late) & (stretches[:, 2] > early)).any()
        ]
        self._others.sort(key=lambda job: float(self._until_s[job]), reverse=True)
        # Runs are counted from -1 down; those that have to be moved last come last.
        met = np.flatnonzero((board.start_s < late) & (board.end_s > early)) if runs else ()
        ease = board.options.ease()
        self._others += sorted((~int(row) for row in met), key=lambda at: -float(ease[~at]))
        self._ease = ease
        self._pieces_out: dict[int, Floats] = {}
        self._runs_out: dict[int, Place] = {}

    def succeeds(self, job: int) -> bool:
        """Whether the job has a place now; if not, all others are where they were."""
        pieces, board = self._pieces, self._pieces.board
        while self._others:
            batch = max(_BATCH, len(self._pieces_out) + len(self._runs_out))
            self._take(self._others[:batch])
            del self._others[:batch]
            if pieces.put(job, float(self._until_s[job])) is None:
                continue
            if self._others_placed() and board.holds():
                return True
            for other in [job, *self._pieces_out]:
                if other in pieces.of:
                    pieces.take(other)
            for row in self._runs_out:
                if board.option[row] >= 0:
                    board.take(row)
        for other, stretches in self._pieces_out.items():
            pieces.put_back(other, stretches)
        for row, place in self._runs_out.items():
            board.put(row, place.option, place.start_s)
        return False

    def _take(self, others: list[int]) -> None:
        for other in others:
            if other < 0:
                self._runs_out[~other] = self._pieces.board.take(~other)
            else:
                self._pieces_out[other] = self._pieces.take(other)

    def _others_placed(self) -> bool:
        board = self._pieces.board
        for row in sorted(self._runs_out, key=lambda row: float(self._ease[row])):
            place = board.best(row)
            if place is None:
                return False
            board.put(row, place.option, place.start_s)
        again = [other for other in self._order if other in self._pieces_out]
        return self._pieces.put_all(again, self._until_s)
