# SPDX-License-Identifier: Apache-2.0
"""Blockwise least squares against a dense solver."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import least_squares

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


@pytest.mark.parametrize("start", [0.4, 3.0, -2.0])
def test_a_curved_problem_is_solved_as_scipy_does(start):
    """Decays of one rate, each with its own height and floor; a far start needs damping."""
    rng = np.random.default_rng(0)
    at = np.linspace(0, 4, 15)
    true = np.array([[3.0, 1.0], [1.0, -0.5], [5.0, 0.2]])
    seen = true[:, :1] * np.exp(-0.5 * at) + true[:, 1:] + 0.05 * rng.normal(size=(3, 15))
    on_common = Prior(mean=np.array([0.7]), precision=np.array([[2.0]]))
    on_own = Prior(mean=np.array([1.0, 0.0]), precision=np.array([[0.5, 0.1], [0.1, 0.3]]))

    def residuals(common, own):
        return own[:, :1] * np.exp(-common[0] * at) + own[:, 1:] - seen

    def stacked(values):
        common, own = values[:1], values[1:].reshape(3, 2)
        half = np.linalg.cholesky(on_own.precision).T
        off = (own - on_own.mean) @ half.T
        prior = np.sqrt(2.0) * (common - 0.7)
        return np.concatenate([residuals(common, own).ravel(), prior, off.ravel()])

    found = solve(
        residuals, np.array([start]), np.zeros((3, 2)), on_common, on_own,
        steps=200, tolerance=1e-14,
    )  # fmt: skip
    theirs = least_squares(stacked, [0.5, *true.ravel()], xtol=1e-14, ftol=1e-14, gtol=1e-14)
    assert np.append(found.common, found.own) == pytest.approx(theirs.x, abs=1e-4)
    assert found.cost == pytest.approx(2 * theirs.cost, rel=1e-6)
    spread = np.linalg.inv(theirs.jac.T @ theirs.jac)
    assert found.common_spread == pytest.approx(spread[:1, :1], rel=1e-3)
    first = theirs.jac.T @ theirs.jac
    assert found.own_spread[0] == pytest.approx(np.linalg.inv(first[1:3, 1:3]), rel=1e-3)


def test_it_stops_where_a_step_gains_too_little():
    calls = []

    def residuals(common, own):
        calls.append(0)
        return own - 2 + common

    flat = Prior(mean=np.zeros(1), precision=np.eye(1))
    counts = []
    for tolerance in (1e-12, 0.5):
        calls.clear()
        solve(residuals, np.zeros(1), np.zeros((1, 1)), flat, flat, tolerance=tolerance)
        counts.append(len(calls))
    assert counts[1] < counts[0]


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
