# SPDX-License-Identifier: Apache-2.0
"""Lists, moves and splits in C: some thirty times faster than board.py, improve.py, pieces.py.

Where it was not compiled, or a cap or a ramp holds, those do the work; what they find differs,
what is allowed does not. A board's arrays are shared, so both can work on one in turn.
"""

import ctypes
import logging
from collections.abc import Sequence
from ctypes import POINTER, Structure, c_double, c_int64, c_uint64, c_void_p
from functools import cache
from importlib.machinery import EXTENSION_SUFFIXES
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "CBoard",
    "CLists",
    "CMoves",
    "CQuestion",
    "CSmooth",
    "CSplits",
    "CSteeredEnergy",
    "address",
    "compiled",
    "library",
]


_LOG = logging.getLogger(__name__)


class CBoard(Structure):
    """`Board` of board.h."""

    _fields_ = [
        *[(name, c_int64) for name in ("slots", "gpus", "count", "green", "guided")],
        *[(name, c_double) for name in ("step", "weight_g", "cost_g")],
        *[
            (name, c_void_p)
            for name in (
                *(
                    "per_joule",
                    "sum",
                    "lam",
                    "lam_sum",
                    "supply",
                    "supply_sum",
                    "unsure",
                    "net_j",
                    "scratch",
                    "times",
                    "used",
                    "steps",
                ),
                *("first", "option_gpus", "power", "duration", "early", "until", "fastest"),
                *("option", "start", "end", "head", "after", "before"),
            )
        ],
        ("longest", c_int64),
    ]


class CLists(Structure):
    """`Lists` of lists.c."""

    _fields_ = [
        *[(name, c_void_p) for name in ("lam", "guide", "guide_sum", "gpu_h")],
        *[(name, c_double) for name in ("hours", "usual", "strength")],
        ("every", c_int64),
        *[
            (f"{table}_{part}", c_void_p)
            for table in ("gpu", "energy")
            for part in ("first", "slot", "value")
        ],
        *[(name, c_void_p) for name in ("number_of", "ranked", "option_g")],
        *[(name, c_void_p) for name in ("stay_option", "stay_start")],
    ]


class CMoves(Structure):
    """`Moves` of state.c."""

    _fields_ = [
        ("b", POINTER(CBoard)),
        ("seed", c_uint64),
        *[(name, c_int64) for name in ("jobs", "n_movable", "n_absent")],
        *[
            (name, c_void_p)
            for name in (
                *("movable", "absent", "target_first", "target_option", "target_start"),
                *("regret", "penalty", "ease", "size", "least_g", "ranked", "option_g"),
                *("energy", "busy", "guide", "guide_sum", "supply", "supply_sum", "nothing"),
                *("others", "weight", "moment", "lack"),
            )
        ],
        ("impatience", c_double),
        ("heat_g", c_double),
        ("free", c_int64),
        ("haste", c_int64),
        ("rise_g", c_double),
    ]


class CSplits(Structure):
    """`Splits` of rooms.c; what comes after `steps` is the kernel's own."""

    _fields_ = [
        *[
            (name, c_void_p)
            for name in (
                *("opens", "closes", "own_first", "own", "size_first", "sizes"),
                *("gpus", "rate", "power", "class_of", "work", "early", "until"),
                *("first", "count", "row"),
            )
        ],
        *[(name, c_int64) for name in ("rows", "most_rows", "most_rooms", "most_ways", "steps")],
        *[(name, c_void_p) for name in ("mu", "stretch", "room", "heap", "offer")],
        *[(name, c_int64) for name in ("stretches", "most_stretches", "rooms")],
    ]


class CSteeredEnergy(Structure):
    """`SteeredEnergy` of splits.c."""

    _fields_ = [
        *[(name, c_void_p) for name in ("mu", "carbon", "green", "steered")],
        *[(name, c_double) for name in ("usual_j", "strength")],
    ]


class CQuestion(Structure):
    """`Question` of respond.c."""

    _fields_ = [
        *[(name, c_int64) for name in ("slots", "ways", "jobs")],
        ("step", c_double),
        *[
            (name, c_void_p)
            for name in (
                *("per_joule", "per_gpu_s", "rate", "gpus", "power", "early", "late", "work"),
                *("cost_g", "count", "slot", "gpu_s", "energy_j"),
            )
        ],
    ]


class CSmooth(Structure):
    """`Smooth` of smooth.c."""

    _fields_ = [
        *[(name, c_int64) for name in ("slots", "classes", "ways")],
        ("step", c_double),
        *[
            (name, c_void_p)
            for name in (
                *("per_joule", "per_gpu_s", "own_first", "own", "rate", "gpus", "power"),
                *("job_first", "temperature", "early", "late", "work", "price"),
                *("cost_g", "count", "slot", "gpu_s", "energy_j"),
            )
        ],
    ]


def address(array: NDArray[np.generic]) -> int:
    """Where the entries of an array lie; the caller keeps it alive."""
    assert array.flags.c_contiguous
    return array.ctypes.data


def compiled(package: str, *shared: type[Structure]) -> ctypes.CDLL | None:
    """What was compiled for a package, whose file is given; None where this installation has none.

    It lies beside its source, in no package: nobody may take the library for a module. One whose
    `shared` structures are others was left behind by an older source, and would compute nonsense.
    """
    for suffix in EXTENSION_SUFFIXES:
        path = Path(package).parent / "c" / f"_kernel{suffix}"
        if path.exists():
            found = ctypes.CDLL(str(path))
            if _fits(found, shared):
                return found
            _LOG.warning("%s is of another source, and not used: install slurm-green again", path)
    return None


def _fits(found: ctypes.CDLL, shared: Sequence[type[Structure]]) -> bool:
    wanted = [*map(ctypes.sizeof, shared), 0]
    try:
        told = (c_int64 * len(wanted)).in_dll(found, "sg_sizes")
    except ValueError:
        return False
    return list(told) == wanted


@cache
def library() -> ctypes.CDLL | None:
    """The compiled kernel; None where this installation has none."""
    found = compiled(__file__, CBoard, CLists, CMoves, CSplits, CSteeredEnergy, CQuestion, CSmooth)
    if found is None:
        return None
    board, lists, moves = POINTER(CBoard), POINTER(CLists), POINTER(CMoves)
    found.sg_place_all.argtypes = [board, lists, c_int64, c_void_p, c_void_p]
    found.sg_moves.argtypes = [moves, c_int64]
    found.sg_settle.argtypes = [moves, c_void_p, c_int64]
    found.sg_open.argtypes = [board, c_int64]
    found.sg_close.argtypes, found.sg_close.restype = [board], None
    splits, energy = POINTER(CSplits), POINTER(CSteeredEnergy)
    found.sg_split_put.argtypes = [board, splits, c_int64, c_void_p]
    found.sg_split_settle.argtypes = [board, splits, c_int64, c_void_p, c_void_p]
    found.sg_split_list.argtypes = [
        *(board, splits, lists, energy),
        *(c_int64, c_int64, c_void_p),
    ]
    found.sg_split_respond.argtypes = [POINTER(CQuestion)]
    found.sg_split_smooth.argtypes = [POINTER(CSmooth)]
    for function in (
        *(found.sg_place_all, found.sg_moves),
        *(found.sg_split_put, found.sg_split_settle, found.sg_split_list),
        *(found.sg_split_respond, found.sg_split_smooth),
    ):
        function.restype = c_int64
    found.sg_settle.restype = None
    return found
