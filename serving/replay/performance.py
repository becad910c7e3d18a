# SPDX-License-Identifier: Apache-2.0
"""How fast requests were served, against each alone at the highest clock. Pure."""

from collections.abc import Iterable

from serving.governor.engine import Batch, EngineModel
from serving.replay.replica import Served
from serving.replay.requests import Request

__all__ = ["alone_s", "performance"]


def performance(served: Iterable[Served], engine: EngineModel) -> float | None:
    """Mean over answered requests of the least possible time over that from arrival to end."""
    shares = [
        min(alone_s(one.request, engine) / max(one.end_s - one.request.arrival_s, 1e-9), 1.0)
        for one in served
        if one.end_s is not None
    ]
    return sum(shares) / len(shares) if shares else None


def alone_s(request: Request, engine: EngineModel) -> float:
    """Seconds of a request in an empty replica at the highest clock, to its last token."""
    high = len(engine.clocks_mhz) - 1
    first_s = engine.time_s(Batch(chunks=[(0, request.prompt_tokens)]), high)
    further = request.output_tokens - 1
    return first_s + further * engine.time_s(Batch(1, request.prompt_tokens + further / 2), high)
