# SPDX-License-Identifier: Apache-2.0
"""Ways to run what wants to run within some days: shapes, and starts at slot borders. Pure.

A job that may be split counts as pieces of about a slot, one after the other.
"""

from dataclasses import dataclass

import numpy as np

from slurm_green.plan.problem import Floats, Ints, Shapes

__all__ = ["Items", "Ways", "ways_of"]

_TOLERANCE_S = 1e-3


@dataclass(frozen=True, kw_only=True)
class Items:
    """What wants to run, one entry each; times in seconds from the first slot.

    `weight` is how many of it there are: a share for jobs that may come. What may pause counts as
    `pieces` at most, of a slot or longer; others are one piece.
    """

    class_index: Ints
    work: Floats
    earliest_s: Floats
    deadline_s: Floats
    weight: Floats
    pieces: Ints


@dataclass(frozen=True, kw_only=True)
class Ways:
    """A taker is an item or a piece of one; it has the rows from `first` on, a shape in each.

    A row may start at `begin`, at `between` slot borders from `border` on, and at `last`.
    Positions and `length` are in slots. Takers without a row are left out: `item` counts in those
    asked for.
    """

    item: Ints
    first: Ints
    weight: Floats
    gpus: Floats
    power_w: Floats
    length: Floats
    begin: Floats
    last: Floats
    border: Ints
    between: Ints

    def __len__(self) -> int:
        """Number of takers."""
        return len(self.item)


def ways_of(items: Items, shapes: Shapes, gpus: int, step_s: float, slots: int) -> Ways:
    """The starts at slot borders, at the first and at the last moment, of every shape that fits."""
    owner, work, early, late = _pieces(items, shapes, step_s)
    late = np.minimum(late, slots * step_s)
    number = items.class_index[owner]
    many = shapes.first[number + 1] - shapes.first[number]
    piece = np.repeat(np.arange(len(owner)), many)
    shape = shapes.first[number[piece]] + np.arange(len(piece)) - np.repeat(
        np.cumsum(many) - many, many)  # fmt: skip
    duration = work[piece] / shapes.rate[shape]
    begin, last = early[piece], late[piece] - duration
    fits = (last >= begin - _TOLERANCE_S) & (shapes.gpus[shape] <= gpus)
    piece, shape, length = piece[fits], shape[fits], duration[fits] / step_s
    begin, last = begin[fits] / step_s, np.maximum(last[fits], begin[fits]) / step_s
    # The borders strictly between the first and the last start.
    border = np.floor(begin + 1e-6).astype(np.int64) + 1
    between = np.maximum(np.ceil(last - 1e-6).astype(np.int64) - border, 0)
    new = np.flatnonzero(np.diff(piece, prepend=-1))
    item = owner[piece[new]]
    return Ways(
        item=item,
        first=np.append(new, len(piece)),
        weight=items.weight[item],
        gpus=shapes.gpus[shape].astype(np.float64),
        power_w=shapes.power_w[shape],
        length=length,
        begin=begin,
        last=last,
        border=border,
        between=between,
    )


def _pieces(items: Items, shapes: Shapes, step_s: float) -> tuple[Ints, Floats, Floats, Floats]:
    """Owner, work, earliest start and deadline of each piece; most items are one piece."""
    fastest = items.work / shapes.fastest_rate[items.class_index]
    count = np.clip(np.ceil(fastest / step_s - 1e-6).astype(np.int64), 1, items.pieces)
    owner = np.repeat(np.arange(len(count)), count)
    rank = np.arange(len(owner)) - np.repeat(np.cumsum(count) - count, count)
    length = (fastest / count)[owner]
    early = items.earliest_s[owner] + rank * length
    late = items.deadline_s[owner] - (count[owner] - 1 - rank) * length
    return owner, items.work[owner] / count[owner], early, late
