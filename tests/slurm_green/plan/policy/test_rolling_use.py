# SPDX-License-Identifier: Apache-2.0
"""What takers cost and use: the kernel against the same sums without it, and both against need."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from slurm_green.plan.policy.kernel import library
from slurm_green.plan.policy.rolling_use import Uses
from slurm_green.plan.policy.rolling_ways import Items, Ways, ways_of
from slurm_green.plan.problem import Shapes

SLOTS, STEP_S, GPUS = 30, 3600.0, 4
SHAPES = Shapes(
    class_names=("rigid", "elastic"),
    first=np.array([0, 1, 4]),
    workers=np.array([1, 1, 2, 4]),
    clock_mhz=np.zeros(4, dtype=np.int64),
    gpus=np.array([1, 1, 2, 4]),
    rate=np.array([1.0, 1.0, 1.9, 3.4]),
    power_w=np.array([300.0, 250.0, 560.0, 1200.0]),
)


def drawn(seed: int) -> tuple[Ways, np.ndarray, np.ndarray, np.ndarray]:
    """Some ways, their heat, and prices of a watt and of a GPU."""
    random = np.random.default_rng(seed)
    count = 12
    early = random.uniform(0, 20, count) * STEP_S
    items = Items(
        class_index=random.integers(0, 2, count),
        work=random.uniform(0.05, 9, count) * STEP_S,
        earliest_s=early,
        deadline_s=early + random.uniform(0, 24, count) * STEP_S,
        weight=random.uniform(0.1, 2, count),
        pieces=random.integers(1, 5, count),
    )
    ways = ways_of(items, SHAPES, GPUS, STEP_S, SLOTS)
    return (
        ways,
        random.uniform(1.0, 20.0, len(ways)),
        random.uniform(0.01, 0.5, SLOTS),
        random.uniform(0.0, 40.0, SLOTS) * (random.random(SLOTS) < 0.5),
    )


@pytest.mark.skipif(library() is None, reason="no compiled kernel: no C compiler?")
@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10_000))
def test_the_kernel_finds_what_numpy_finds(seed: int) -> None:
    """Costs and uses are the same but for rounding and for starts of no account."""
    ways, heat_g, per_w, per_gpu = drawn(seed)
    row = np.arange(len(ways)) % 3
    one, other = (
        Uses(ways, SLOTS, heat_g, compiled=compiled).by(per_w, per_gpu, row, 3)
        for compiled in (True, False)
    )

    assert one[0] == pytest.approx(other[0], rel=1e-9)
    np.testing.assert_allclose(one[1], other[1], atol=1e-8)
    np.testing.assert_allclose(one[2], other[2], atol=1e-5)


@pytest.mark.parametrize("compiled", [True, False])
@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 10_000))
def test_uses_are_how_costs_change_with_prices(compiled: bool, seed: int) -> None:
    """The slope that L-BFGS-B climbs by is that of the value."""
    ways, heat_g, per_w, per_gpu = drawn(seed)
    uses = Uses(ways, SLOTS, heat_g, compiled=compiled)
    _, gpus, watts = uses.at(per_w, per_gpu)
    little = np.eye(SLOTS)[seed % SLOTS] * 1e-6

    more_w = uses.at(per_w + little, per_gpu)[0] - uses.at(per_w - little, per_gpu)[0]
    more_gpu = uses.at(per_w, per_gpu + little)[0] - uses.at(per_w, per_gpu - little)[0]

    assert more_w / 2e-6 == pytest.approx(watts[seed % SLOTS], abs=0.1)
    assert more_gpu / 2e-6 == pytest.approx(gpus[seed % SLOTS], abs=1e-2)


@pytest.mark.parametrize("compiled", [True, False])
def test_what_is_used_is_what_the_work_needs(compiled: bool) -> None:
    """One shape: GPU-hours are those of all takers, whatever the prices."""
    ways, heat_g, per_w, per_gpu = drawn(1)
    rigid = np.flatnonzero(np.diff(ways.first) == 1)
    alone = np.where(np.isin(np.arange(len(ways)), rigid), ways.weight, 0.0)
    uses = Uses(replace(ways, weight=alone), SLOTS, heat_g, compiled=compiled)

    gpus = uses.at(per_w, per_gpu)[1]

    rows = ways.first[rigid]
    assert len(rows)
    assert gpus.sum() == pytest.approx(alone[rigid] @ (ways.gpus * ways.length)[rows])
