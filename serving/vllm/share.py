# SPDX-License-Identifier: Apache-2.0
"""How the work of one iteration is split between its requests, and what it draws. Pure.

A prompt's chunk is worth the time it adds; a decode its part of what all decodes add, by the
tokens it reads; the fixed part (weights, host) is everybody's in equal parts. Without a model a
token is a token.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

from serving.governor.engine import Batch, EngineModel

__all__ = ["Iteration", "shares"]


@dataclass(slots=True)
class Iteration:
    """What ran from `begin_s` to `end_s`, all at one clock (an index of the engine's).

    `decodes` are (request, tokens it holds), `chunks` (request, cached, new).
    """

    begin_s: float
    end_s: float
    clock: int
    batch: Batch
    decodes: Sequence[tuple[str, int]] = field(default_factory=tuple)
    chunks: Sequence[tuple[str, int, int]] = field(default_factory=tuple)


def shares(one: Iteration, engine: EngineModel | None) -> list[tuple[str, float]]:
    """Each request and its part of the work; parts sum to 1."""
    if engine is None:
        parts = [(name, 1.0) for name, _ in one.decodes]
        parts += [(name, float(new)) for name, _, new in one.chunks]
    else:
        parts = _modelled(one, engine)
    whole = sum(part for _, part in parts)
    if whole <= 0:
        return [(name, 1.0 / len(parts)) for name, _ in parts]
    return [(name, part / whole) for name, part in parts]


def _modelled(one: Iteration, engine: EngineModel) -> list[tuple[str, float]]:
    clock, count = one.clock, len(one.decodes)
    fixed_s = engine.time_s(Batch(decodes=1), clock)
    equal_s = fixed_s / (count + len(one.chunks))
    parts = []
    if count:
        bare_s = engine.time_s(Batch(decodes=count), clock)
        read_s = max(engine.time_s(Batch(count, one.batch.context), clock) - bare_s, 0.0)
        each_s = equal_s + max(bare_s - fixed_s, 0.0) / count
        per_token_s = read_s / max(count * one.batch.context, 1.0)
        parts = [(name, each_s + per_token_s * held) for name, held in one.decodes]
    for name, cached, new in one.chunks:
        added_s = engine.prompt_s(cached + new, clock) - engine.prompt_s(cached, clock)
        parts.append((name, equal_s + max(added_s, 0.0)))
    return parts
