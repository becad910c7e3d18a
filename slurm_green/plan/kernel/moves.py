# SPDX-License-Identifier: Apache-2.0
"""Moves by the kernel: what improve.py's Improver does."""

import math
from collections.abc import Callable
from ctypes import byref, pointer

import numpy as np

from slurm_green.plan.board import Board
from slurm_green.plan.kernel import CMoves, address
from slurm_green.plan.kernel.board import lent
from slurm_green.plan.problem import Floats, Ints

__all__ = ["KernelMoves"]

_AT_ONCE = 512
_SETTLED_AT_ONCE = 4096


class KernelMoves:
    """The moves of one Improver; keeps the arrays that the kernel works on."""

    def __init__(
        self,
        board: Board,
        *,
        seed: int,
        arrays: dict[str, Floats | Ints],
        impatience: float,
        haste: bool,
    ) -> None:
        jobs = len(board.option)
        room = 2 * jobs + len(board.profile.times) + 8
        self._board = board
        self._seed = seed
        self._impatience = impatience
        self._haste = haste
        slots = board.problem.site.slots
        self._chains = [np.zeros(size, dtype=np.int64) for size in (slots, jobs, jobs)]
        longest_s = max(board.duration_s, default=0.0)
        self._longest = 1 + int(longest_s / board.problem.site.step_s)
        self._arrays = {
            **{name: np.ascontiguousarray(array) for name, array in arrays.items()},
            "others": np.zeros(jobs, dtype=np.int64),
            "weight": np.zeros(jobs),
            "absent": np.zeros(jobs, dtype=np.int64),
            "moment": np.zeros(4 * room + 4 * jobs),
            "lack": np.zeros(2 * room + 2 * jobs, dtype=np.int64),
            "nothing": np.zeros(board.problem.site.slots + 1),
        }

    def settle(self, order: Ints, enough: Callable[[], bool]) -> None:
        """Every job in turn goes where it is cheapest at the board's guide."""
        for low in range(0, len(order), _SETTLED_AT_ONCE):
            if enough():
                return
            part = np.ascontiguousarray(order[low : low + _SETTLED_AT_ONCE])
            with lent(self._board) as (kernel, it):
                kernel.sg_settle(byref(self._moves(pointer(it), [])), address(part), len(part))

    def eject(
        self,
        absent: list[int],
        moves: int,
        enough: Callable[[], bool],
        *,
        free: bool,
        heat_g: float,
        rise_g: float,
    ) -> list[int]:
        """Tries so many moves, the heat falling; those without a place afterwards."""
        for done in range(0, moves, _AT_ONCE):
            if enough():
                break
            cooled_g = heat_g * (1 - done / moves) ** 2
            with lent(self._board) as (kernel, it):
                it.head, it.after, it.before = (address(array) for array in self._chains)
                it.longest = self._longest
                state = self._moves(pointer(it), absent, free=free, heat_g=cooled_g, rise_g=rise_g)
                kernel.sg_moves(byref(state), min(moves - done, _AT_ONCE))
            self._seed = int(state.seed)
            absent = [int(job) for job in self._arrays["absent"][: state.n_absent]]
        return absent

    def _moves(
        self,
        board: object,
        absent: list[int],
        *,
        free: bool = False,
        heat_g: float = 0.0,
        rise_g: float = math.inf,
    ) -> CMoves:
        self._arrays["absent"][: len(absent)] = absent
        return CMoves(
            b=board,
            seed=self._seed,
            jobs=len(self._board.option),
            n_movable=len(self._arrays["movable"]),
            n_absent=len(absent),
            impatience=self._impatience,
            heat_g=heat_g,
            free=free,
            haste=self._haste,
            rise_g=rise_g,
            **{name: address(array) for name, array in self._arrays.items()},
        )
