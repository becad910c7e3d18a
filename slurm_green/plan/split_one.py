# SPDX-License-Identifier: Apache-2.0
"""The cheapest way to split one job in time at given prices, stretch by stretch. Pure.

See hull.py for why it is. split.py does the same for many jobs, but keeps only what they use.
"""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from slurm_green.plan.hull import ENOUGH, Edges, hull_edges
from slurm_green.plan.problem import Floats

__all__ = ["Hulls", "Part", "Split", "hulls_of", "split_along", "split_one"]

_SLIVER = 1e-9  # of a slot


class Part(NamedTuple):
    """An uninterrupted stretch, in slots, and the row of its shape."""

    begin: float
    end: float
    row: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Split:
    """The parts in order of time, and what they cost together."""

    cost_g: float
    parts: tuple[Part, ...]


class Hulls(NamedTuple):
    """What work costs in each slot from `first` on, for every job with the same shapes.

    `rates` of work per second, shape (ways,), and `cost` in g per second, shape (slots, ways); way
    0 is standing still. The slots of `edges` count from `first`.
    """

    first: int
    rates: Floats
    cost: Floats
    edges: Edges


def hulls_of(price: Floats, need: Floats, rate: Floats, first: int = 0) -> Hulls:
    """The hulls of some shapes at prices of the slots from `first` on, as for `split_one`."""
    rates = np.append(0.0, rate)
    cost = np.concatenate([np.zeros((1, price.shape[1])), need @ price]).T
    return Hulls(first, rates, cost, hull_edges(rates[None, :], cost))


def split_one(
    price: Floats,
    need: Floats,
    rate: Floats,
    *,
    step_s: float,
    work: float,
    early: float,
    until: float,
) -> Split | None:
    """The cheapest split between `early` and `until` (in slots); None if the work does not fit.

    `price` is g per second of what is needed, shape (things, slots); `need` how much of each
    thing a shape needs, shape (shapes, things); `rate` its work per second, shape (shapes,).
    """
    low, high = _slots(early, until, price.shape[1])
    if high <= low:
        return None
    hulls = hulls_of(price[:, low:high], need, rate, low)
    return split_along(hulls, step_s=step_s, work=work, early=early, until=until)


def _slots(early: float, until: float, slots: int) -> tuple[int, int]:
    """The first slot that is met, and the one after the last."""
    return int(early), min(slots, int(np.ceil(until - _SLIVER)))


def split_along(
    hulls: Hulls, *, step_s: float, work: float, early: float, until: float
) -> Split | None:
    """The same, by hulls that have the slots from `early` on, or more."""
    low, high = _slots(early, until, hulls.first + len(hulls.cost))
    if high <= low:
        return None
    slot, old, new = hulls.edges
    rates, cost = hulls.rates, hulls.cost[low - hulls.first : high - hulls.first]
    if len(cost) < len(hulls.cost):
        slot = slot - (low - hulls.first)
        met = (slot >= 0) & (slot < high - low)
        slot, old, new = slot[met], old[met], new[met]
    edges = np.clip(np.arange(low, high + 1, dtype=np.float64), early, until)
    seconds = np.diff(edges) * step_s
    done = np.cumsum(seconds[slot] * (rates[new] - rates[old]))
    last = int(np.searchsorted(done, work * ENOUGH))
    if last == len(done):
        return None
    state = np.zeros(high - low, dtype=np.int64)
    state[slot[:last]] = new[:last]  # of the steps of one slot the last one stays
    before = float(done[last - 1]) if last else 0.0
    share = min(1.0, (work - before) / (float(done[last]) - before))
    mixed, lower, upper = int(slot[last]), int(old[last]), int(new[last])
    total = float(seconds @ cost[np.arange(high - low), state])
    total += share * float(seconds[mixed] * (cost[mixed, upper] - cost[mixed, lower]))
    found: list[Part] = []
    border, states = edges.tolist(), state.tolist()
    for number, one in enumerate(states):
        begin, end = border[number], border[number + 1]
        if number != mixed:
            _append(found, begin, end, one)
            continue
        joins = bool(found) and found[-1].end == begin
        follows = number + 1 < high - low and states[number + 1] > 0
        # In the order that interrupts least.
        goes_on = joins and found[-1].row == lower - 1
        if goes_on or (lower == 0 and follows and not joins):
            middle = end - share * (end - begin)
            _append(found, begin, middle, lower)
            _append(found, middle, end, upper)
        else:
            middle = begin + share * (end - begin)
            _append(found, begin, middle, upper)
            _append(found, middle, end, lower)
    return Split(cost_g=total, parts=tuple(found))


def _append(found: list[Part], begin: float, end: float, state: int) -> None:
    """Adds a part, to the one before where it goes on in the same shape; state 0 is none."""
    if state == 0 or end <= begin:
        return
    if found and found[-1].end == begin and found[-1].row == state - 1:
        found[-1] = found[-1]._replace(end=end)
    else:
        found.append(Part(begin, end, state - 1))
