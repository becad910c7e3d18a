# SPDX-License-Identifier: Apache-2.0
"""The top of a function in a box, against scipy's."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import optimize

from slurm_green.plan.climb import climb
from slurm_green.plan.problem import Floats


class Hill:
    """A concave quadratic whose top may lie outside the box; counts who asks."""

    def __init__(self, seed: int, size: int) -> None:
        rng = np.random.default_rng(seed)
        root = rng.normal(size=(size, size))
        self.curve = root @ root.T + 0.05 * np.eye(size)
        self.slope = rng.normal(size=size) * 3
        self.top = rng.uniform(0.5, 2.0, size)
        self.start = rng.uniform(-1.0, 3.0, size)
        self.asked: list[Floats] = []

    def __call__(self, at: Floats) -> tuple[float, Floats]:
        self.asked.append(at)
        value = float(self.slope @ at - at @ self.curve @ at / 2)
        return value, self.slope - self.curve @ at

    def best(self) -> float:
        found = optimize.minimize(
            lambda at: tuple(-part for part in Hill.__call__(self, at)),
            np.zeros(len(self.top)),
            jac=True,
            method="L-BFGS-B",
            bounds=optimize.Bounds(0.0, self.top),
            options={"maxiter": 10_000, "maxfun": 100_000, "ftol": 1e-15, "gtol": 1e-10},
        )
        return -float(found.fun)


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 10_000), size=st.integers(1, 30))
def test_it_ends_where_scipy_does(seed: int, size: int) -> None:
    hill = Hill(seed, size)
    found = climb(hill, hill.start, hill.top, most=400)
    assert all(((at >= 0) & (at <= hill.top)).all() for at in [*hill.asked, found])
    value, best = hill(found)[0], hill.best()
    assert value == pytest.approx(best, rel=1e-6, abs=1e-6)


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 10_000), most=st.integers(1, 12))
def test_it_asks_no_more_than_it_may_and_never_ends_lower(seed: int, most: int) -> None:
    hill = Hill(seed, 20)
    found = climb(hill, hill.start, hill.top, most=most)
    assert len(hill.asked) <= most
    assert hill(found)[0] >= hill(np.clip(hill.start, 0.0, hill.top))[0]


def test_it_ends_once_it_hardly_rises() -> None:
    long, short = Hill(3, 30), Hill(3, 30)
    climb(long, long.start, long.top, most=400)
    found = climb(short, short.start, short.top, most=400, settled_least=1e-3)
    assert len(short.asked) < 0.7 * len(long.asked)
    assert short(found)[0] == pytest.approx(long.best(), rel=0.02)


def test_at_the_top_it_stays() -> None:
    flat = np.zeros(3)
    assert climb(
        lambda at: (1.0, flat), np.array([0.5, 9.0, -1.0]), np.ones(3), most=9
    ).tolist() == [
        0.5,
        1.0,
        0.0,
    ]
