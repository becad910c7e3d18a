# SPDX-License-Identifier: Apache-2.0
"""A board lent to the kernel: it works on the same arrays, and what it counted is read back."""

from collections.abc import Iterator
from contextlib import contextmanager
from ctypes import CDLL, byref

import numpy as np

from slurm_green.plan.board import Board
from slurm_green.plan.kernel import CBoard, address, library

__all__ = ["lendable", "lent"]

_PER_LIST = 16  # steps of the profile


def lendable(board: Board) -> bool:
    """Whether there is a kernel, and it can work on this board: it knows neither cap nor ramp."""
    return board.limits is None and library() is not None


@contextmanager
def lent(board: Board, steps: int = 0) -> Iterator[tuple[CDLL, CBoard]]:
    """The kernel, and the board with room for all its jobs; it keeps the board's guide.

    `steps` is how many more its profile may need for others.
    """
    kernel = library()
    assert kernel is not None and board.limits is None
    jobs, slots = len(board.option), board.problem.site.slots
    board.profile.reserve(2 * jobs + 4 + steps)
    times, used = board.profile.arrays
    option = np.array(board.option, dtype=np.int64)
    lam, lam_sum = board.guides
    supply, supply_sum = board.supply_guides
    scratch = np.zeros(slots + 2)
    arrays = {
        **board.arrays,
        "lam": lam,
        "lam_sum": lam_sum,
        "supply": supply,
        "supply_sum": supply_sum,
        "net_j": board.net_j,
        "scratch": scratch,
        "times": times,
        "used": used,
        "option": option,
        "start": board.start_s,
        "end": board.end_s,
    }
    it = CBoard(
        slots=slots,
        gpus=board.problem.site.gpus,
        count=len(board.profile.times),
        green=board.green,
        guided=bool(lam.any()),
        step=board.problem.site.step_s,
        weight_g=board.weights.performance_g,
        cost_g=board.cost_g,
        **{name: address(array) for name, array in arrays.items()},
    )
    if not kernel.sg_open(byref(it), 1 + len(times) // _PER_LIST):
        raise MemoryError
    try:
        yield kernel, it
    finally:
        kernel.sg_close(byref(it))
        board.profile.adopt(int(it.count))
        board.option[:] = option.tolist()
        board.cost_g = float(it.cost_g)
