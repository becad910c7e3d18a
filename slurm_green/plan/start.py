# SPDX-License-Identifier: Apache-2.0
"""Choose when a job starts: the cleanest window for its length that still has room.

The carbon of a run that starts at s is C(s + length) - C(s), with C the signal's integral. It is
piecewise linear in s, so its minimum lies where the start or the end of the run meets an edge of
the signal or of a room, or at a border of what is allowed: only those starts are compared.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from slurm_green.plan.room import Room
from slurm_green.signals.series import Series

__all__ = ["Start", "carbon_g", "choose_start"]

_JOULES_PER_KWH = 3.6e6


@dataclass(frozen=True, slots=True, kw_only=True)
class Start:
    """A chosen start and what it emits, next to starting at the earliest moment."""

    start_s: float
    carbon_g: float
    earliest_carbon_g: float

    @property
    def saved_g(self) -> float:
        """Grams expected to be saved against the earliest start."""
        return self.earliest_carbon_g - self.carbon_g


def choose_start(
    *,
    signal: Series,
    earliest_s: float,
    latest_s: float,
    length_s: float,
    power_w: float,
    rooms: Sequence[tuple[Room, Sequence[float]]] = (),
    tolerance: float = 0.002,
    earliest_needs_room: bool = False,
) -> Start | None:
    """The start in [earliest, latest] (POSIX s) with the least carbon; None if the signal ends.

    `rooms` pairs each room with what the run needs of it while it runs. Starting at the earliest
    moment is always allowed, whether there is room then is for Slurm to say; with
    `earliest_needs_room` only where no other start has room, so that a herd of held jobs does not
    go all at once. Of starts within `tolerance` (relative) of the least carbon the first is taken:
    delay is worth something too.
    """
    begin, end = float(signal.edges_s[0]), float(signal.edges_s[-1])
    if earliest_s < begin - 1e-6 or earliest_s + length_s > end + 1e-6:
        return None
    last = max(earliest_s, min(latest_s, end - length_s))
    # Mostly there is room at the cleanest of all starts, and rooms need no closer look.
    starts = _candidates(signal, earliest_s, last, length_s, ())
    grams = carbon_g(signal, starts, length_s, power_w)
    near = grams <= grams.min() * (1 + tolerance) + 1e-12
    start_s = float(starts[near].min())
    free = start_s == earliest_s and not earliest_needs_room
    if free or all(room.fits(need, start_s, start_s + length_s) for room, need in rooms):
        chosen = int(np.flatnonzero(starts == start_s)[0])
        return Start(
            start_s=start_s,
            carbon_g=float(grams[chosen]),
            earliest_carbon_g=float(grams[0]),
        )
    starts = _candidates(signal, earliest_s, last, length_s, rooms)
    allowed = np.ones(len(starts), dtype=np.bool_)
    for room, need in rooms:
        allowed &= room.fitting(need, starts, length_s)
    if not (earliest_needs_room and allowed.any()):
        allowed[0] = True
    grams = carbon_g(signal, starts, length_s, power_w)
    least = float(grams[allowed].min())
    good = allowed & (grams <= least * (1 + tolerance) + 1e-12)
    chosen = int(np.flatnonzero(good)[np.argmin(starts[good])])
    return Start(
        start_s=float(starts[chosen]),
        carbon_g=float(grams[chosen]),
        earliest_carbon_g=float(grams[0]),
    )


def carbon_g(
    signal: Series, starts_s: NDArray[np.float64], length_s: float, power_w: float
) -> NDArray[np.float64]:
    """Grams a run of `length_s` at `power_w` emits for each start, in the signal's own time."""
    area = signal.integral_to(starts_s + length_s) - signal.integral_to(starts_s)
    return np.asarray(area * (power_w * signal.time_scale / _JOULES_PER_KWH))


def _candidates(
    signal: Series,
    earliest_s: float,
    last_s: float,
    length_s: float,
    rooms: Sequence[tuple[Room, Sequence[float]]],
) -> NDArray[np.float64]:
    """The earliest start first; the others in no order, some twice."""
    starts = [np.array([earliest_s, last_s])]
    for edges in (signal.edges_s, *(room.edges_s for room, _ in rooms)):
        for lead_s in (0.0, length_s):
            low, high = np.searchsorted(edges, (earliest_s + lead_s, last_s + lead_s))
            starts.append(edges[low:high] - lead_s)
    found = np.concatenate(starts)
    # Subtracting may have left an edge a rounding before the earliest start.
    return np.asarray(np.clip(found, earliest_s, last_s))
