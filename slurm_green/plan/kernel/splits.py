# SPDX-License-Identifier: Apache-2.0
"""Jobs that may be split, placed by the kernel: what pieces.py and `_place_list` do."""

from collections.abc import Iterator
from contextlib import contextmanager
from ctypes import CDLL, byref, c_int64

import numpy as np

from slurm_green.plan.board import Board
from slurm_green.plan.kernel import CBoard, CSplits, CSteeredEnergy, address
from slurm_green.plan.kernel.board import lent
from slurm_green.plan.kernel.lists import steered
from slurm_green.plan.outcome import Prices
from slurm_green.plan.pool import Expected
from slurm_green.plan.problem import Floats, Ints
from slurm_green.plan.profile import rounded_down, rounded_up
from slurm_green.plan.steering import STRENGTH_MU, Steering

__all__ = ["KernelSplits"]

_Lent = tuple[CDLL, CBoard, CSplits]


class KernelSplits:
    """What the kernel has to know of a board's problem; keeps the arrays that it works on.

    `of` is in all of this where each job is: its stretches, shape (n, 3).
    """

    def __init__(self, board: Board, opens_s: Floats, closes_s: Floats) -> None:
        problem = board.problem
        shapes, jobs, own = problem.shapes, problem.jobs, problem.fitting
        classes = len(own)
        sizes = [np.unique(shapes.gpus[ways]) for ways in own]
        self._board = board
        self._slots = problem.site.slots
        self._most_rooms = max(map(len, sizes), default=0) * self._slots + 1
        self._most_ways = 2 * max(map(len, own), default=0) + 1
        nothing = [np.zeros(0, dtype=np.int64)]
        self._arrays: dict[str, Floats | Ints] = {
            "opens": np.ascontiguousarray(opens_s),
            "closes": np.ascontiguousarray(closes_s),
            "own_first": np.cumsum([0, *map(len, own)], dtype=np.int64)[: classes + 1],
            "own": np.concatenate([*own, *nothing]).astype(np.int64),
            "size_first": np.cumsum([0, *map(len, sizes)], dtype=np.int64)[: classes + 1],
            "sizes": np.concatenate(sizes + nothing).astype(np.int64),
            "gpus": shapes.gpus.astype(np.int64),
            "rate": np.ascontiguousarray(shapes.rate, dtype=np.float64),
            "power": np.ascontiguousarray(shapes.power_w, dtype=np.float64),
            "class_of": jobs.class_index.astype(np.int64),
            "work": np.ascontiguousarray(jobs.work, dtype=np.float64),
            "early": rounded_up(jobs.earliest_s),
        }

    def put(self, of: dict[int, Floats], jobs: list[int], until_s: Floats) -> None:
        """Places those of the jobs that have no place, each before its `until_s`."""
        order, done = np.array(jobs, dtype=np.int64), 0
        while done < len(order):
            with self._lent(of, until_s) as (kernel, board, it):
                rest = order[done:]
                done += _told(
                    kernel.sg_split_put(byref(board), byref(it), len(rest), address(rest))
                )

    def settle(self, of: dict[int, Floats], jobs: list[int], until_s: Floats) -> int:
        """Every job in turn is split anew where that is cheaper; how many changed."""
        order, done, moved = np.array(jobs, dtype=np.int64), 0, c_int64()
        while done < len(order):
            with self._lent(of, until_s) as (kernel, board, it):
                rest = order[done:]
                done += _told(
                    kernel.sg_split_settle(
                        byref(board), byref(it), len(rest), address(rest), byref(moved)
                    )
                )
        return moved.value

    def place_list(
        self,
        of: dict[int, Floats],
        jobs: Ints,
        until_s: Floats,
        prices: Prices,
        expected: Expected,
    ) -> None:
        """Places these jobs, which have no place, in this order and at prices that are steered."""
        site = self._board.problem.site
        order, done = np.ascontiguousarray(jobs, dtype=np.int64), 0
        steering = Steering(self._board, prices.lam, expected)
        guide, mu = np.zeros((2, self._slots + 1)), np.zeros(self._slots)
        green = site.green.astype(np.int64)
        carbon, before, lam = (
            np.ascontiguousarray(one, dtype=np.float64)
            for one in (site.carbon_g_per_kwh, prices.mu, prices.lam)
        )
        lists = steered(steering, lam, expected, guide)
        energy = CSteeredEnergy(
            mu=address(before),
            carbon=address(carbon),
            green=address(green),
            steered=address(mu),
            usual_j=steering.usual_j,
            strength=STRENGTH_MU,
        )
        while done < len(order):
            with self._lent(of, until_s) as (kernel, board, it):
                done = _told(
                    kernel.sg_split_list(
                        *(byref(board), byref(it), byref(lists), byref(energy)),
                        *(done, len(order), address(order)),
                    )
                )

    @contextmanager
    def _lent(self, of: dict[int, Floats], until_s: Floats) -> Iterator[_Lent]:
        """The kernel, the board and where the jobs are; what it changed goes back into `of`."""
        board, jobs = self._board, len(until_s)
        first, count = np.zeros(jobs, dtype=np.int64), np.zeros(jobs, dtype=np.int64)
        placed = np.fromiter(of, dtype=np.int64, count=len(of))
        count[placed] = [len(stretches) for stretches in of.values()]
        rows = int(count.sum())
        first[placed] = np.cumsum(count[placed]) - count[placed]
        # A job may need a row for each stretch that is free; the kernel comes back for more.
        steps = len(board.profile.times) + 2 * len(board.option) + 4
        row = np.empty((2 * (3 * rows + steps + self._slots + 2), 3))
        if rows:
            row[:rows] = np.concatenate(list(of.values()))
        arrays = {
            **self._arrays,
            "until": rounded_down(until_s),
            "first": first,
            "count": count,
            "row": row,
        }
        it = CSplits(
            rows=rows,
            most_rows=len(row),
            most_rooms=self._most_rooms,
            most_ways=self._most_ways,
            steps=steps,
            **{name: address(array) for name, array in arrays.items()},
        )
        with lent(board, 2 * len(row)) as (kernel, lent_board):
            yield kernel, lent_board, it
        for job in np.flatnonzero((count > 0) & (first >= rows)).tolist():
            of[job] = row[first[job] : first[job] + count[job]].copy()


def _told(count: int) -> int:
    """How far the kernel came."""
    if count < 0:
        raise MemoryError
    return count
