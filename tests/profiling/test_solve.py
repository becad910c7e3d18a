# SPDX-License-Identifier: Apache-2.0
"""Blockwise least squares against a dense solver."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from profiling.solve import Prior, solve


def prior(size, seed):
    rng = np.random.default_rng(seed)
    half = rng.normal(size=(size, size))
    return Prior(mean=rng.normal(size=size), precision=half @ half.T + np.eye(size))


@given(st.integers(0, 1000), st.integers(1, 5))
@settings(max_examples=25)
def test_a_linear_problem_is_solved_as_a_dense_solver_does(seed, problems):
    rng = np.random.default_rng(seed)
    by_own = rng.normal(size=(problems, 4, 2))
    by_common = rng.normal(size=(problems, 4, 3))
    wanted = rng.normal(size=(problems, 4))
    on_common, on_own = prior(3, seed), prior(2, seed + 1)

    def residuals(common, own):
        return by_common @ common + np.einsum("prk,pk->pr", by_own, own) - wanted

    found = solve(
        residuals, np.zeros(3), np.zeros((problems, 2)), on_common, on_own, tolerance=1e-14
    )
    rows = [
        np.hstack([by_common[at], np.kron(np.eye(problems)[at], by_own[at])])
        for at in range(problems)
    ]
    half_common = np.linalg.cholesky(on_common.precision).T
    half_own = np.linalg.cholesky(on_own.precision).T
    rows.append(np.hstack([half_common, np.zeros((3, 2 * problems))]))
    rows += [
        np.hstack([np.zeros((2, 3)), np.kron(np.eye(problems)[at], half_own)])
        for at in range(problems)
    ]
    right = [*wanted, half_common @ on_common.mean, *[half_own @ on_own.mean] * problems]
    dense = np.linalg.lstsq(np.vstack(rows), np.concatenate(right), rcond=None)[0]
    assert found.common == pytest.approx(dense[:3], abs=1e-4)
    assert found.own.ravel() == pytest.approx(dense[3:], abs=1e-4)
    whole = np.linalg.inv(np.vstack(rows).T @ np.vstack(rows))
    assert found.common_spread == pytest.approx(whole[:3, :3], abs=1e-4)


def test_a_start_from_which_nothing_can_be_computed_comes_back():
    found = solve(
        lambda common, own: np.full((1, 2), np.nan),
        np.zeros(1),
        np.zeros((1, 1)),
        Prior(mean=np.zeros(1), precision=np.eye(1)),
        Prior(mean=np.zeros(1), precision=np.eye(1)),
    )
    assert found.cost == np.inf
    assert found.own == 0
