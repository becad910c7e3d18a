# SPDX-License-Identifier: Apache-2.0
"""Carbon of spans of power over slots."""

import numpy as np
import pytest

from serving.replay.carbon import carbon_g, check_covers
from slurm_green.errors import BadInputError
from slurm_green.plan.problem import Site


def site(carbon: list[float], renewable_w: list[float] | None = None) -> Site:
    zeros = np.zeros(len(carbon))
    return Site(
        gpus=0,
        start_s=0.0,
        step_s=3600.0,
        carbon_g_per_kwh=np.array(carbon, dtype=np.float64),
        renewable_w=zeros if renewable_w is None else np.array(renewable_w),
        base_power_w=zeros,
    )


def test_each_slot_counts_at_its_own_intensity() -> None:
    spans = [(1800.0, 5400.0, 1000.0), (1800.0, 3600.0, 500.0)]
    assert carbon_g(spans, site([300, 100])) == pytest.approx(0.75 * 300 + 0.5 * 100)


def test_renewable_supply_is_netted_over_the_slot() -> None:
    spans = [(0.0, 3600.0, 1000.0), (3600.0, 7200.0, 1000.0)]
    assert carbon_g(spans, site([100, 100], [400.0, 2000.0])) == pytest.approx(60)


def test_after_the_last_slot_it_counts_as_within_it() -> None:
    assert carbon_g([(0.0, 7200.0, 1000.0)], site([200])) == pytest.approx(400)


def test_nothing_drawn_is_nothing_emitted() -> None:
    assert carbon_g([], site([200])) == 0.0


def test_a_signal_that_does_not_cover_the_arrivals_is_refused() -> None:
    check_covers(site([1, 1]), 0.0, 7200.0)
    with pytest.raises(BadInputError, match="covers them"):
        check_covers(site([1, 1]), 0.0, 7201.0)
