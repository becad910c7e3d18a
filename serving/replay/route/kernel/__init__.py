# SPDX-License-Identifier: Apache-2.0
"""The fleet in C: iteration by iteration as `serving.replay.replica`, some hundred times faster.

Unlike there, clocks change also within an iteration, and a replica can lose what it runs.
"""

import ctypes
from ctypes import POINTER, Structure, c_double, c_int32, c_int64, c_void_p
from functools import cache

from slurm_green.errors import BadInputError
from slurm_green.plan.kernel import compiled

__all__ = ["CModel", "CRequests", "library"]


class CModel(Structure):
    """`Model` of fleet.h."""

    _fields_ = [
        *[(name, c_int64) for name in ("clocks", "batches", "contexts", "points", "powers")],
        *[(name, c_int64) for name in ("blocks", "max_batched", "max_seqs")],
        *[(name, c_double) for name in ("switch_s", "parked_w")],
        *[
            (name, c_void_p)
            for name in (
                *("batch", "context", "log_batch", "log_context", "times", "watts"),
                *("tokens", "added", "fixed", "log_tokens", "prompt_w", "least", "idle_w"),
            )
        ],
    ]


class CRequests(Structure):
    """`Requests` of fleet.h."""

    _fields_ = [
        ("count", c_int64),
        ("patience", c_double),
        *[(name, c_void_p) for name in ("arrival", "prompt", "output", "first", "end", "produced")],
    ]


@cache
def library() -> ctypes.CDLL:
    """The compiled kernel; BadInputError where this installation has none."""
    found = compiled(__file__, CModel, CRequests)
    if found is None:
        raise BadInputError(
            "the routing replay is compiled when slurm-green is installed, and here it was not; "
            "install a C compiler and slurm-green again"
        )
    whole, real, address = c_int64, c_double, c_void_p
    found.sr_open.argtypes = [
        POINTER(CModel), POINTER(CRequests), whole, real, address, address, address,
    ]  # fmt: skip
    found.sr_open.restype = address
    lists = POINTER(POINTER(c_int32))
    found.sr_advance.argtypes, found.sr_advance.restype = [address, real, lists, lists], whole
    found.sr_send.argtypes, found.sr_send.restype = [address, whole, c_int32, real], whole
    found.sr_lose.argtypes, found.sr_lose.restype = [address, whole, real, address], whole
    for function in (found.sr_clock, found.sr_state):
        function.argtypes, function.restype = [address, whole, whole, real], None
    found.sr_close.argtypes, found.sr_close.restype = [address], None
    return found
