# SPDX-License-Identifier: Apache-2.0
"""How long stretches of time lie in each slot. Pure."""

import math
from typing import NamedTuple

import numpy as np

from slurm_green.plan.problem import Floats, Ints

__all__ = ["Overlap", "overlap", "seconds_by_slot"]

_ROUNDING = 1e-9  # of a slot: an end on a border is not in the slot after it


class Overlap(NamedTuple):
    """One entry per pair of a stretch and a slot it meets, in the order of the stretches."""

    stretch: Ints
    slot: Ints
    seconds: Floats
    first: Ints  # where the entries of each stretch begin, and their number at the end


def seconds_by_slot(
    start_s: float, end_s: float, *, step_s: float, slots: int
) -> tuple[slice, Floats]:
    """The slots that one stretch meets, and its seconds in each."""
    first = int(start_s // step_s)
    final = min(max(math.ceil(end_s / step_s), first + 1), slots)
    seconds = np.full(final - first, step_s)
    seconds[0] -= start_s - first * step_s
    seconds[-1] -= final * step_s - end_s
    return slice(first, final), seconds


def overlap(start_s: Floats, end_s: Floats, *, step_s: float, slots: int) -> Overlap:
    """The seconds of each stretch in each slot; stretches lie within the slots."""
    low = np.minimum((start_s / step_s + _ROUNDING).astype(np.int64), slots - 1)
    high = np.ceil(end_s / step_s - _ROUNDING).astype(np.int64)
    count = np.minimum(np.maximum(high, low + 1), slots) - low
    first = np.concatenate([[0], np.cumsum(count)])
    stretch = np.repeat(np.arange(len(start_s)), count)
    slot = low[stretch] + np.arange(first[-1]) - first[stretch]
    until = np.minimum(end_s[stretch], (slot + 1) * step_s)
    seconds = np.maximum(until - np.maximum(start_s[stretch], slot * step_s), 0.0)
    return Overlap(stretch, slot, seconds, first)
