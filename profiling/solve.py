# SPDX-License-Identifier: Apache-2.0
"""Least squares for many small problems that share a few unknowns. Pure.

Levenberg-Marquardt on `|r(common, own)|^2` plus quadratic priors. Each problem's own unknowns meet
the others only through the common ones, so the normal equations are an arrow and are solved
blockwise (Schur complement): a step costs a few small inverses, not one large one.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np

from profiling.law import Floats

__all__ = ["Prior", "Solution", "solve"]

Residuals: TypeAlias = Callable[[Floats, Floats], Floats]

_STEP = 1e-6
_LONGEST = 1.5  # no unknown moves further at once: all are logarithms or of their size
_TRIES = 10


@dataclass(frozen=True, kw_only=True)
class Prior:
    """A normal distribution: mean (k,) and precision (k, k)."""

    mean: Floats
    precision: Floats


@dataclass(frozen=True, kw_only=True)
class Solution:
    """The unknowns at the least, with the spread of each problem's own given the common ones."""

    common: Floats  # (m,)
    own: Floats  # (problems, k)
    own_spread: Floats  # (problems, k, k)
    common_spread: Floats  # (m, m)
    cost: float


def solve(
    residuals: Residuals,
    common: Floats,
    own: Floats,
    common_prior: Prior,
    own_prior: Prior,
    *,
    steps: int = 60,
    tolerance: float = 1e-6,
) -> Solution:
    """Find the least from a start; `residuals` maps (m,), (problems, k) to (problems, r)."""
    rows = residuals(common, own)
    cost = _cost(rows, common, own, common_prior, own_prior)
    damping = 1e-3
    for _ in range(steps):
        system = _System.at(residuals, rows, common, own, common_prior, own_prior)
        for _ in range(_TRIES):
            common_step, own_step = system.step(damping)
            tried = (common + common_step, own + own_step)
            tried_rows = residuals(*tried)
            tried_cost = _cost(tried_rows, *tried, common_prior, own_prior)
            if tried_cost < cost:
                break
            damping *= 5
        else:
            break
        gained = cost - tried_cost
        (common, own), rows, cost = tried, tried_rows, tried_cost
        damping = max(damping / 5, 1e-9)
        if gained < tolerance * cost:
            break
    system = _System.at(residuals, rows, common, own, common_prior, own_prior)
    own_spread, common_spread = system.spreads()
    return Solution(
        common=common, own=own, own_spread=own_spread, common_spread=common_spread, cost=cost
    )


def _cost(rows: Floats, common: Floats, own: Floats, on_common: Prior, on_own: Prior) -> float:
    off_common, off_own = common - on_common.mean, own - on_own.mean
    cost = (
        np.sum(rows**2)
        + off_common @ on_common.precision @ off_common
        + np.einsum("pk,kl,pl->", off_own, on_own.precision, off_own)
    )
    return float(cost) if np.isfinite(cost) else np.inf


@dataclass(frozen=True, kw_only=True)
class _System:
    """The normal equations: an arrow of blocks, and the gradient."""

    corner: Floats  # (m, m)
    side: Floats  # (problems, k, m)
    blocks: Floats  # (problems, k, k)
    down_common: Floats  # (m,)
    down_own: Floats  # (problems, k)

    @classmethod
    def at(
        cls,
        residuals: Residuals,
        rows: Floats,
        common: Floats,
        own: Floats,
        on_common: Prior,
        on_own: Prior,
    ) -> "_System":
        by_own = _slopes(lambda move: residuals(common, own + move), rows, own.shape[1])
        by_common = _slopes(lambda move: residuals(common + move, own), rows, len(common))
        return cls(
            corner=np.einsum("prm,prn->mn", by_common, by_common) + on_common.precision,
            side=np.einsum("prk,prm->pkm", by_own, by_common),
            blocks=np.einsum("prk,prl->pkl", by_own, by_own) + on_own.precision,
            down_common=-np.einsum("prm,pr->m", by_common, rows)
            - on_common.precision @ (common - on_common.mean),
            down_own=-np.einsum("prk,pr->pk", by_own, rows)
            - (own - on_own.mean) @ on_own.precision,
        )

    def step(self, damping: float) -> tuple[Floats, Floats]:
        """A damped step, in common and own unknowns."""
        inverse = np.linalg.inv(self.blocks + damping * _diagonal(self.blocks))
        folded = np.einsum("pkm,pkl->pml", self.side, inverse)
        corner = self.corner + damping * _diagonal(self.corner)
        corner = corner - np.einsum("pml,pln->mn", folded, self.side)
        down = self.down_common - np.einsum("pml,pl->m", folded, self.down_own)
        common = np.linalg.solve(corner, down).clip(-_LONGEST, _LONGEST)
        own = np.einsum("pkl,pl->pk", inverse, self.down_own - self.side @ common)
        return common, own.clip(-_LONGEST, _LONGEST)

    def spreads(self) -> tuple[Floats, Floats]:
        inverse: Floats = np.linalg.inv(self.blocks).astype(np.float64)
        folded = np.einsum("pkm,pkl->pml", self.side, inverse)
        corner = self.corner - np.einsum("pml,pln->mn", folded, self.side)
        return inverse, np.linalg.inv(corner).astype(np.float64)


def _slopes(moved: Callable[[Floats], Floats], rows: Floats, count: int) -> Floats:
    return np.stack([(moved(_STEP * unit) - rows) / _STEP for unit in np.eye(count)], axis=-1)


def _diagonal(blocks: Floats) -> Floats:
    return blocks * np.eye(blocks.shape[-1])
