# SPDX-License-Identifier: Apache-2.0
"""What work costs where time may be shared between ways to run and standing still. Pure.

In each slot that is the lower convex hull of the ways' points (work, cost), and of no work at no
cost. Whoever buys the hulls' edges, the cheapest work first, pays least: an edge of a slot is never
cheaper than the one before it.
"""

from typing import NamedTuple

import numpy as np

from slurm_green.plan.problem import Floats, Ints

__all__ = ["ENOUGH", "Edges", "hull_edges"]

ENOUGH = 1 - 1e-9  # of a job's work: the rest is rounding


class Edges(NamedTuple):
    """Edges of hulls, the cheapest work first: the slot, and the ways at both ends."""

    slot: Ints
    old: Ints
    new: Ints


def hull_edges(work: Floats, cost: Floats) -> Edges:
    """All edges of all slots' hulls; of equals the earlier slot, the lower corner.

    Both have the shape (slots, ways), `work` may have one row for all slots. Way 0 is standing
    still, without work and cost.
    """
    at = np.zeros(len(cost), dtype=np.int64)
    active = np.arange(len(cost))
    least = np.full(len(cost), -np.inf)
    found: list[tuple[Floats, Ints, Ints, Ints]] = []
    with np.errstate(divide="ignore", invalid="ignore"):
        while len(active):
            # From each corner of a hull the next one is where work costs least per unit.
            here, row = at[active], np.arange(len(active))
            own, done = cost[active], work if len(work) == 1 else work[active]
            more = done - (work[0, here] if len(work) == 1 else done[row, here])[:, None]
            slope = (own - own[row, here, None]) / more
            slope[more <= 0] = np.inf
            ahead = slope.argmin(axis=1)
            # Never less than the edge before, which rounding makes of equals.
            steep = np.maximum(slope[row, ahead], least[active])
            further = np.isfinite(steep)
            active, ahead, steep = active[further], ahead[further], steep[further]
            found.append((steep, active, here[further], ahead))
            at[active], least[active] = ahead, steep
    steep, slot, old, new = (np.concatenate(column) for column in zip(*found, strict=True))
    order = np.argsort(steep, kind="stable")
    return Edges(slot[order], old[order], new[order])
