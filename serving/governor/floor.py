# SPDX-License-Identifier: Apache-2.0
"""The clock below which slower costs more energy, and what faster costs beyond it. Pure.

A replica with c requests in it on average is without work for a share of about exp(-c) of the
time (M/G/inf). With few, whoever is done earlier parks earlier: of a clock counts the time T of an
iteration times (power - parked power). With many it never parks, slower iterations only make
larger batches, and power alone counts. Between: (1 - exp(-c T / T_highest)) (power - parked).

What speed may cost is told in watts per request at the highest clock; the clocks that are the best
for some such worth are the corners of the convex hull of cost over speed.
"""

import bisect
import math
from dataclasses import dataclass
from itertools import product

from serving.governor.engine import Batch, EngineModel

__all__ = ["Floor"]

_DECODES = (1, 2, 4, 8, 16, 32, 64, 128, 256)
_CONTEXTS = (256.0, 1024.0, 4096.0)
_PROMPTS = (64, 256, 1024, 2048)
_CROWDS = (0.25, 0.5, 1.0, 2.0, 4.0)
_SLACK = 1e-3  # energy is flat at its least: a thousandth of it may buy several steps of speed


@dataclass(frozen=True, slots=True)
class _Kind:
    """One kind of iteration: `slopes[i]` is what a worth must reach for `corners[i + 1]`."""

    frugal: int
    corners: list[int]
    slopes: list[float]


class Floor:
    """The most frugal clocks, all looked for beforehand: some 50 ms, and none in a decision."""

    def __init__(self, engine: EngineModel) -> None:
        self._engine = engine
        kinds = [(size, 0) for size in range(len(_PROMPTS))]
        kinds += product(range(len(_DECODES)), range(1, len(_CONTEXTS) + 1))
        keys = product(kinds, range(len(_CROWDS)))
        self._known = {(*kind, crowd): self._kind(*kind, crowd) for kind, crowd in keys}

    def clock(self, batch: Batch, crowd: float, worth_w: float = 0.0) -> int:
        """The most frugal clock for an iteration of a replica with so many requests.

        With a worth, the one that has the most of speed x worth - power; with an infinite one the
        highest.
        """
        if batch.decodes:
            size, context = _at(_DECODES, batch.decodes), 1 + _at(_CONTEXTS, batch.context)
        else:
            size, context = _at(_PROMPTS, sum(new for _, new in batch.chunks)), 0
        key = (size, context, _at(_CROWDS, crowd))
        kind = self._known[key]
        if not worth_w:
            return kind.frugal
        worth = worth_w * _CROWDS[key[2]]
        return max(kind.frugal, kind.corners[bisect.bisect_right(kind.slopes, worth)])

    def _kind(self, size: int, context: int, crowd: int) -> _Kind:
        if context:
            batch = Batch(_DECODES[size], _CONTEXTS[context - 1])
        else:
            batch = Batch(chunks=[(0, _PROMPTS[size])])
        high = len(self._engine.clocks_mhz) - 1
        fastest_s = self._engine.time_s(batch, high)
        costs, speeds = [], []
        for clock in range(high + 1):
            duration_s, watts = self._engine.time_and_power(batch, clock)
            busy = -math.expm1(-_CROWDS[crowd] * duration_s / fastest_s)
            costs.append(busy * max(watts - self._engine.parked_w, 1e-9))
            speeds.append(fastest_s / duration_s)
        least = min(costs)
        frugal = max(k for k, cost in enumerate(costs) if cost <= least * (1 + _SLACK))
        return _Kind(frugal, *_hull(costs, speeds, frugal))


def _hull(costs: list[float], speeds: list[float], first: int) -> tuple[list[int], list[float]]:
    """Corners of the lower hull from a clock on, and the slopes between them, which rise."""
    corners: list[int] = [first]
    slopes: list[float] = []
    for clock in range(first + 1, len(costs)):
        if speeds[clock] <= speeds[corners[-1]]:
            continue
        while True:
            last = corners[-1]
            slope = (costs[clock] - costs[last]) / (speeds[clock] - speeds[last])
            if not slopes or slope > slopes[-1]:
                break
            slopes.pop()
            corners.pop()
        slopes.append(slope)
        corners.append(clock)
    return corners, slopes


def _at(axis: tuple[float, ...] | tuple[int, ...], value: float) -> int:
    return min(bisect.bisect_left(axis, value), len(axis) - 1)
