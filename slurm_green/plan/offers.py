# SPDX-License-Identifier: Apache-2.0
"""What is free within a window, and the cheapest of it that does a job's work. Pure.

The trap: seconds on offer are multiples of the board's grid, so that whoever takes all of them is
not rounded beyond what is free, or beyond a cap.
"""

from typing import NamedTuple

import numpy as np

from slurm_green.plan.hull import ENOUGH, hull_edges
from slurm_green.plan.problem import Floats, Ints
from slurm_green.plan.profile import GRID, Profile

__all__ = ["CRUMB", "TOLERANCE_S", "Offers", "Piece", "Rooms", "buy", "joined", "rooms_of"]

CRUMB = 1e-2  # of a slot: so little is not worth a stretch of its own
TOLERANCE_S = 5e-4  # of work; half of what a checker allows


class Piece(NamedTuple):
    """A stretch of a job in one shape (index into `Shapes`)."""

    shape: int
    start_s: float
    end_s: float


class Rooms(NamedTuple):
    """Free stretches; a room is the time of one slot in which a job may use up to so many GPUs.

    Stretches are in the order of the rooms, and then of time; `slot` and `gpus` have one entry
    per room.
    """

    room: Ints
    begin_s: Floats
    end_s: Floats
    slot: Ints
    gpus: Ints


class Offers(NamedTuple):
    """What rooms offer, shape (rooms, ways); a way is a shape (-1: none) for some seconds.

    Way 0 is standing still.
    """

    rooms: Rooms
    shape: Ints  # (ways,)
    seconds: Floats
    work: Floats
    cost_g: Floats


def rooms_of(
    profile: Profile, sizes: Ints, early: float, late: float, opens_s: Floats, closes_s: Floats
) -> Rooms | None:
    """What is free from early to late for one of these numbers of GPUs; None if nothing is.

    The slots are from `opens_s` (which has an entry more) to `closes_s`, on the grid.
    """
    if late <= early or not len(sizes):
        return None
    first = int(opens_s.searchsorted(early, "right"))
    border = opens_s[first : max(first, int(opens_s.searchsorted(late)))]
    times, used = profile.within(early, late)
    times[0] = early
    begin = np.concatenate([times, border])
    used = np.concatenate([used, used[times.searchsorted(border, "right") - 1]])
    order = begin.argsort(kind="stable")
    begin, used = begin[order], used[order]
    slot = np.minimum(border.searchsorted(begin, "right") + first - 1, len(closes_s) - 1)
    end = np.minimum(np.append(begin[1:], late), closes_s[slot])
    level = sizes.searchsorted(profile.gpus - used, "right")  # how many of the sizes fit
    change = (slot[1:] != slot[:-1]) | (level[1:] != level[:-1])
    low = np.flatnonzero(np.append(True, change))
    begin, end = begin[low], end[np.append(low[1:], len(level)) - 1]
    slot, level = slot[low], level[low]
    free = np.flatnonzero((level > 0) & (end > begin))
    if not len(free):
        return None
    levels = len(sizes) + 1
    key, room = np.unique(slot[free] * levels + level[free], return_inverse=True)
    order = room.argsort(kind="stable")
    return Rooms(
        room=room[order],
        begin_s=begin[free][order],
        end_s=end[free][order],
        slot=key // levels,
        gpus=sizes[key % levels - 1],
    )


def buy(
    offers: Offers, work: float, rate: Floats, *, capped: bool, ramped: bool
) -> list[Piece] | None:
    """The cheapest pieces that do the work, in order of time; None if all do too little.

    `rate` has one entry per shape. A piece lies within one slot. With `capped`, which
    stands for a ramp, too, seconds are rounded down, and the work is what a checker lets pass.
    """
    room, old, new = hull_edges(offers.work, offers.cost_g)
    more = offers.work[room, new] - offers.work[room, old]
    total = np.cumsum(more)
    last = int(np.searchsorted(total, work * ENOUGH))
    if last == len(total):
        if not last or total[-1] < work - TOLERANCE_S * float(rate[offers.shape[1:]].min()):
            return None
        last -= 1
    way = np.zeros(len(offers.work), dtype=np.int64)
    way[room[:last]] = new[:last]  # of the edges of one room the last one stays
    used = np.flatnonzero(way)
    columns = used, offers.shape[way[used]], offers.seconds[used, way[used]]
    chosen = {
        row: [(shape, seconds)]
        for row, shape, seconds in zip(*(one.tolist() for one in columns), strict=True)
    }
    row, low, high = int(room[last]), int(old[last]), int(new[last])
    share = min(1.0, 1 - (float(total[last]) - work) / float(more[last]))
    if last:
        share = 1.0 if share > 1 - CRUMB else max(share, CRUMB)
    rounding = np.floor if capped else np.ceil
    most = offers.seconds[row]
    quick = min(max(float(rounding(share * most[high] * GRID)), 1.0) / GRID, float(most[high]))
    slow = min(float(rounding((1 - share) * most[low] * GRID)) / GRID, float(most.max()) - quick)
    chosen[row] = [(int(offers.shape[high]), quick), (int(offers.shape[low]), slow)]
    pieces = _cut(offers.rooms, chosen)
    return pieces if ramped else _ended(pieces, work, rate)


def joined(pieces: Floats) -> Floats:
    """Pieces in order of time, shape (n, 3), those that touch in the same shape as one."""
    goes_on = (pieces[1:, 0] == pieces[:-1, 0]) & (pieces[1:, 1] == pieces[:-1, 2])
    low = np.flatnonzero(np.append(True, ~goes_on)[: len(pieces)])
    found = pieces[low]
    found[:, 2] = pieces[np.append(low[1:], len(pieces)) - 1, 2] if len(low) else 0.0
    return found


def _ended(pieces: list[Piece], work: float, rate: Floats) -> list[Piece]:
    """The pieces, the last one only until the work is done: a crumb's worth may be too much.

    Under a ramp that is not asked: less power in one slot is more of a rise to the next.
    """
    last, done = pieces[-1], 0.0
    for piece in pieces:  # not sum(), which later Pythons round otherwise than the kernel
        done += (piece.end_s - piece.start_s) * float(rate[piece.shape])
    spare_s = float(np.floor((done - work) / float(rate[last.shape]) * GRID)) / GRID
    if not 0 < spare_s < last.end_s - last.start_s:
        return pieces
    return [*pieces[:-1], last._replace(end_s=last.end_s - spare_s)]


def _cut(rooms: Rooms, chosen: dict[int, list[tuple[int, float]]]) -> list[Piece]:
    """The first stretches of each room for these shapes and seconds."""
    found: list[Piece] = []
    first = rooms.room.searchsorted(np.arange(len(rooms.slot) + 1)).tolist()
    spans = list(zip(rooms.begin_s.tolist(), rooms.end_s.tolist(), strict=True))
    for room, ways in chosen.items():
        at = first[room]
        begin, end = spans[at]
        for shape, seconds in ways:
            left = seconds
            while left > 0 and shape >= 0:
                if begin == end:
                    at += 1
                    begin, end = spans[at]
                until = min(end, begin + left)
                found.append(Piece(shape, begin, until))
                left -= until - begin
                begin = until
    return sorted(found, key=lambda piece: piece.start_s)
