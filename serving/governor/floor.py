# SPDX-License-Identifier: Apache-2.0
"""The clock below which slower costs more energy, for each kind of iteration. Pure.

An iteration at clock f takes T(f) at P(f) watts; whoever is done earlier waits, or computes the
next one, at no less than the parked power. What counts is T(f) (P(f) - parked).
"""

import bisect

from serving.governor.engine import Batch, EngineModel

__all__ = ["Floor"]

_DECODES = (1, 2, 4, 8, 16, 32, 64, 128, 256)
_CONTEXTS = (128.0, 512.0, 1024.0, 2048.0, 4096.0, 8192.0)
_PROMPTS = (64, 256, 1024, 2048)
_SLACK = 1e-3  # energy is flat at its least: a thousandth of it may buy several steps of speed


class Floor:
    """Tables of the most frugal clock, made once."""

    def __init__(self, engine: EngineModel) -> None:
        self._decode = [
            [_frugal(engine, Batch(decodes, context)) for context in _CONTEXTS]
            for decodes in _DECODES
        ]
        self._prompt = [_frugal(engine, Batch(chunks=[(0, tokens)])) for tokens in _PROMPTS]

    def clock(self, batch: Batch) -> int:
        """The most frugal clock for an iteration."""
        if batch.chunks and not batch.decodes:
            tokens = sum(new for _, new in batch.chunks)
            return self._prompt[min(bisect.bisect_left(_PROMPTS, tokens), len(_PROMPTS) - 1)]
        i = min(bisect.bisect_left(_DECODES, batch.decodes), len(_DECODES) - 1)
        j = min(bisect.bisect_left(_CONTEXTS, batch.context), len(_CONTEXTS) - 1)
        return self._decode[i][j]


def _frugal(engine: EngineModel, batch: Batch) -> int:
    costs = []
    for clock in range(len(engine.clocks_mhz)):
        duration_s, watts = engine.time_and_power(batch, clock)
        costs.append(duration_s * max(watts - engine.parked_w, 1e-9))
    least = min(costs)
    return max(k for k, cost in enumerate(costs) if cost <= least * (1 + _SLACK))
