# SPDX-License-Identifier: Apache-2.0
"""What a load would be at a batch and context that nobody ran. Pure.

A transformer's iteration over `n` tokens computes in proportion to `n` and, in attention, to `n`
times the context; it reads its weights once, and the cache of every sequence; its host works per
sequence. Non-negative least squares finds the shares. The trap: what the shares do not explain is
carried over from the neighbours, nearer ones more, so that measured loads come back unchanged.
"""

from collections.abc import Sequence
from dataclasses import fields
from typing import TypeVar

import numpy as np
from scipy.optimize import nnls

from profiling.law import Floats, Load

__all__ = ["load_at", "tokens"]

T = TypeVar("T", float, Floats)

_NEAR = 1e-12
_LATER = 1e-6


def tokens(phase: str, batch: T, context: T) -> T:
    """Tokens that one iteration computes: whole prompts in prefill, one per sequence in decode."""
    return batch * context if phase == "prefill" else batch


def load_at(
    phase: str,
    known: Load,
    settings: Sequence[tuple[float, float]],
    wanted: Sequence[tuple[float, float]],
) -> Load:
    """Loads at wanted (batch, context), from known ones of the same phase at `settings`."""
    have, want = np.array(settings, dtype=np.float64), np.array(wanted, dtype=np.float64)
    near = _nearness(have, want)
    values = {}
    for name in (one.name for one in fields(Load)):
        seen = getattr(known, name)[:, 0]
        shares = _FEATURES[phase].get(name)
        if shares is None:
            values[name] = np.exp(near @ np.log(seen))[:, None]
            continue
        terms = _terms(phase, have)[:, shares]
        # Relative errors count: a large batch must not drown a small one.
        relative = terms / seen[:, None]
        # What grows alike in all loads, as everything does with one context, cannot be told apart:
        # of equals the solver takes the first, and a little more for it makes them unequal.
        size = np.linalg.norm(relative, axis=0) * (1 + _LATER * np.arange(len(shares)))
        size[size == 0] = 1.0  # nobody knows the context, or there is none
        share = nnls(relative / size, np.ones(len(seen)))[0] / size
        off = np.log(seen / np.maximum(terms @ share, _NEAR * seen))
        there = np.maximum(_terms(phase, want)[:, shares] @ share, _NEAR)
        values[name] = (there * np.exp(near @ off))[:, None]
    return Load(**values)


# Columns of `_terms` that each part of the time may grow with, the likeliest first. Compute that a
# decode shows is mostly its memory's, which slows down with the clock, and that hardly grows.
_MEMORY_AND_HOST = {"memory_s": [0, 3, 1], "host_s": [0, 4]}
_FEATURES = {
    "prefill": {"compute_s": [1, 0, 2], **_MEMORY_AND_HOST},
    "decode": {"compute_s": [0, 1, 2], **_MEMORY_AND_HOST},
}


def _terms(phase: str, settings: Floats) -> Floats:
    batch, context = settings.T
    work = tokens(phase, batch, context)
    return np.stack([np.ones_like(work), work, work * context, batch * context, batch], axis=1)


def _nearness(have: Floats, want: Floats) -> Floats:
    """Weights (wanted, known) by the inverse square of the distance in doublings; rows sum to 1."""
    apart = np.log2(want + 1)[:, None, :] - np.log2(have + 1)[None, :, :]
    square = (apart**2).sum(axis=2)
    weight = 1 / (square + _NEAR)
    return np.asarray(weight / weight.sum(axis=1, keepdims=True))
