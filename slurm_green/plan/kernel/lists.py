# SPDX-License-Identifier: Apache-2.0
"""List schedules by the kernel: what squeaky.py's `_place_slowly` does."""

from ctypes import byref

import numpy as np

from slurm_green.plan.board import Board
from slurm_green.plan.kernel import CLists, address
from slurm_green.plan.kernel.board import lent
from slurm_green.plan.pool import Expected
from slurm_green.plan.problem import Floats, Ints
from slurm_green.plan.steering import STEER_EVERY, STRENGTH, Steering

__all__ = ["place_all", "steered"]


def place_all(
    board: Board,
    ranked: Ints,
    option_g: Floats,
    order: Ints,
    lam: Floats,
    expected: Expected,
    stay: tuple[Ints, Floats] | None = None,
    spare: float = 0.0,
) -> list[int]:
    """Places jobs on an empty board in this order; those without a place.

    `ranked` are each job's options, the cheapest first, and `option_g` what each costs at least.
    With `stay` (an option, or -1, and a start for each job) jobs stay there if there is room.
    """
    steering = Steering(board, lam, expected, spare)
    number_of = board.number_of
    absent = np.zeros(len(order), dtype=np.int64)
    order = np.ascontiguousarray(order)
    stay_option, stay_start = stay or (np.full(len(board.option), -1), board.start_s)
    guide = np.zeros((2, len(lam) + 1))
    lists = steered(steering, lam, expected, guide)
    lists.number_of, lists.ranked = address(number_of), address(ranked)
    lists.option_g = address(option_g)
    lists.stay_option, lists.stay_start = address(stay_option), address(stay_start)
    with lent(board) as (kernel, it):
        count = kernel.sg_place_all(
            byref(it), byref(lists), len(order), address(order), address(absent)
        )
    return [int(job) for job in absent[:count]]


def steered(steering: Steering, lam: Floats, expected: Expected, guide: Floats) -> CLists:
    """What the kernel has to know to steer; `guide` is room for the prices, shape (2, slots + 1).

    The caller keeps all of it alive.
    """
    tables = {
        f"{name}_{part}": address(array)
        for name, table in (("gpu", expected.gpu_h), ("energy", expected.energy_j))
        for part, array in (("first", table.first), ("slot", table.slot), ("value", table.value))
    }
    return CLists(
        lam=address(lam),
        guide=address(guide[0]),
        guide_sum=address(guide[1]),
        gpu_h=address(steering.gpu_h),
        hours=steering.hours,
        usual=steering.usual,
        strength=STRENGTH,
        every=STEER_EVERY,
        **tables,
    )
