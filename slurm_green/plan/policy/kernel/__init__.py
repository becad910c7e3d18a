# SPDX-License-Identifier: Apache-2.0
"""What takers cost and use at some prices, in C; without a compiler rolling_use.py does it."""

import ctypes
from ctypes import POINTER, Structure, c_double, c_int64, c_void_p
from functools import cache

from slurm_green.plan.kernel import compiled

__all__ = ["CRolling", "library"]


class CRolling(Structure):
    """`Rolling` of kernel.c."""

    _fields_ = [
        *[(name, c_int64) for name in ("slots", "takers")],
        *[
            (name, c_void_p)
            for name in (
                *("first", "weight", "heat", "target"),
                *("gpus", "power", "length", "begin", "last", "border", "between"),
                *("per_w", "per_w_sum", "per_gpu", "per_gpu_sum", "cost"),
            )
        ],
    ]


@cache
def library() -> ctypes.CDLL | None:
    """The compiled kernel; None where this installation has none."""
    found = compiled(__file__, CRolling)
    if found is not None:
        found.sr_use.argtypes = [POINTER(CRolling), c_void_p, c_void_p]
        found.sr_use.restype = c_double
    return found
