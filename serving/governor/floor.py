# SPDX-License-Identifier: Apache-2.0
"""The clock below which slower costs more energy, for each kind of iteration. Pure.

A replica with c requests in it on average is without work for a share of about exp(-c) of the
time (M/G/inf). With few, whoever is done earlier parks earlier: of a clock counts the time T of an
iteration times (power - parked power). With many it never parks, slower iterations only make
larger batches, and power alone counts. Between: (1 - exp(-c T / T_highest)) (power - parked).
"""

import bisect
import math

from serving.governor.engine import Batch, EngineModel

__all__ = ["Floor"]

_DECODES = (1, 2, 4, 8, 16, 32, 64, 128, 256)
_CONTEXTS = (256.0, 1024.0, 4096.0)
_PROMPTS = (64, 256, 1024, 2048)
_CROWDS = (0.25, 0.5, 1.0, 2.0, 4.0)
_SLACK = 1e-3  # energy is flat at its least: a thousandth of it may buy several steps of speed


class Floor:
    """The most frugal clocks, each looked for once."""

    def __init__(self, engine: EngineModel) -> None:
        self._engine = engine
        self._known: dict[tuple[int, int, int], int] = {}

    def clock(self, batch: Batch, crowd: float) -> int:
        """The most frugal clock for an iteration of a replica with so many requests."""
        if batch.decodes:
            size, context = _at(_DECODES, batch.decodes), 1 + _at(_CONTEXTS, batch.context)
        else:
            size, context = _at(_PROMPTS, sum(new for _, new in batch.chunks)), 0
        key = (size, context, _at(_CROWDS, crowd))
        if key not in self._known:
            self._known[key] = self._frugal(*key)
        return self._known[key]

    def _frugal(self, size: int, context: int, crowd: int) -> int:
        if context:
            batch = Batch(_DECODES[size], _CONTEXTS[context - 1])
        else:
            batch = Batch(chunks=[(0, _PROMPTS[size])])
        high = len(self._engine.clocks_mhz) - 1
        fastest_s = self._engine.time_s(batch, high)
        costs = []
        for clock in range(high + 1):
            duration_s, watts = self._engine.time_and_power(batch, clock)
            busy = -math.expm1(-_CROWDS[crowd] * duration_s / fastest_s)
            costs.append(busy * max(watts - self._engine.parked_w, 1e-9))
        least = min(costs)
        return max(k for k, cost in enumerate(costs) if cost <= least * (1 + _SLACK))


def _at(axis: tuple[float, ...] | tuple[int, ...], value: float) -> int:
    return min(bisect.bisect_left(axis, value), len(axis) - 1)
