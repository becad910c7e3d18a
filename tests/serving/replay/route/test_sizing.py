# SPDX-License-Identifier: Apache-2.0
"""Right-sizing: what grows with more GPUs, what a router adds, and what it costs."""

from itertools import pairwise

import numpy as np
import pytest

from serving.governor.engine import EngineModel
from serving.governor.protocol import Slo
from serving.replay.route.sizing import Costs, Size, sizes
from serving.replay.route.supply import Supply
from serving.router.policy.capacity import Capacity
from tests.serving.made import profile

CAPACITY = Capacity(EngineModel(profile()), Slo(ttft_s=1.0, tpot_s=0.05))
CAPACITY.learn(1000, 100)
COSTS = Costs(per_kwh=0.03, grid_per_kwh=0.08, per_gpu=30_000, life_years=5)


def found(watts: np.ndarray, *percentiles: float, costs: Costs = COSTS) -> list[Size]:
    supply = Supply(start_s=3600.0 * np.arange(watts.shape[1]), watts=watts)
    return sizes(supply, CAPACITY, percentiles, tp=1, load=0.8, tokens=100, costs=costs)


def test_steady_power_is_used_at_once_and_a_router_adds_nothing() -> None:
    (one,) = found(np.full((2, 50), 100 * CAPACITY.peak_w[-1] + 1), 50)
    assert one.gpus == [100, 100]
    assert one.utilisation == pytest.approx(1.0)
    assert one.goodput_rps == pytest.approx(one.goodput_alone_rps)
    assert one.payback_years == pytest.approx(0.0, abs=1e-6)


def test_more_gpus_serve_more_and_stand_still_more_often() -> None:
    rng = np.random.default_rng(2)
    every = found(1e5 * rng.beta(1, 2, (3, 2000)), 10, 30, 50, 70)
    for less, more in pairwise(every):
        assert sum(more.gpus) > sum(less.gpus)
        assert more.goodput_rps > less.goodput_rps
        assert (more.utilisation or 0) < (less.utilisation or 0)
        assert more.used_share > less.used_share
    for one in every:
        assert one.goodput_rps > one.goodput_alone_rps
        assert 0 < one.used_share <= 1


def test_sites_that_complement_each_other_need_the_router() -> None:
    watts = np.zeros((2, 100))
    watts[0, ::2] = watts[1, 1::2] = 1e6
    (one,) = found(watts, 60)
    assert one.goodput_rps > 1.2 * one.goodput_alone_rps


def test_a_percentile_is_of_the_time_and_not_of_the_rows() -> None:
    """Power that stays may be one row, and power that changes many."""
    peak_w = CAPACITY.peak_w[-1]
    minutes = [(9 * peak_w, 1440), *((0.5 * number * peak_w, 1) for number in range(60))]
    start_s = 60.0 * np.cumsum([0, *(lasts for _, lasts in minutes[:-1])])
    short = Supply(start_s=start_s, watts=np.array([[one for one, _ in minutes]] * 2))
    whole = np.array([[one for one, lasts in minutes for _ in range(lasts)]] * 2)
    long = Supply(start_s=60.0 * np.arange(1500), watts=whole)
    for percentile in (0, 1, 50, 99, 100):
        one, other = (
            sizes(it, CAPACITY, [percentile], tp=1, load=0.8, tokens=100, costs=COSTS)[0]
            for it in (short, long)
        )
        assert one.gpus == other.gpus, percentile
        assert one.goodput_rps == pytest.approx(other.goodput_rps)
        assert one.worst_hours == pytest.approx(other.worst_hours)


def test_no_power_is_no_gpus_and_no_figures() -> None:
    (one,) = found(np.zeros((2, 10)), 50)
    assert sum(one.gpus) == 0
    assert one.utilisation is None
    assert one.cost_per_mtoken is None


def test_energy_that_is_not_cheaper_never_pays() -> None:
    dear = Costs(per_kwh=0.1, grid_per_kwh=0.08, per_gpu=30_000, life_years=5)
    (one,) = found(np.full((1, 10), 1e5), 50, costs=dear)
    assert one.payback_years is None
