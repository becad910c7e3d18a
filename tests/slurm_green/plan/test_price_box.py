# SPDX-License-Identifier: Apache-2.0
"""Prices as points, and how the dual rises there."""

import numpy as np
import pytest

from slurm_green.plan.price_box import PriceBox
from tests.slurm_green.plan.problems import make, prices

ONE = [(1, 1.0, 1000.0)]


def box(**limits: float) -> PriceBox:
    site = make([ONE], [], [400.0, 0.0, 200.0], renewable_w=[0.0, 9e3, 9e3], **limits).site
    return PriceBox(site=site, scale_g=50.0, limit_g=1000.0)


@pytest.mark.parametrize("limits", [{}, {"power_cap_w": 5000.0}])
def test_prices_come_back_from_where_they_are(limits: dict[str, float]) -> None:
    nu = np.array([1.0, 2.0, 3.0]) if limits else np.zeros(3)
    given = prices(3, mu=np.array([400.0, 0.0, 50.0]), lam=np.array([0.0, 5.0, 900.0]), nu=nu)
    point = box(**limits).point(given)
    assert len(point) == len(box(**limits).top) == (8 if limits else 5)
    there = box(**limits).prices(point)
    for name in ("mu", "lam", "nu"):
        assert getattr(there, name).tolist() == pytest.approx(getattr(given, name).tolist())


def test_the_dearest_corner() -> None:
    """A kWh is never dearer than the grid's; where there is no supply it is just that."""
    dearest = box(power_cap_w=5000.0).prices(box(power_cap_w=5000.0).top)
    assert dearest.lam.tolist() == [1000.0] * 3
    assert dearest.mu.tolist() == [400.0, 0.0, 200.0]
    assert box().prices(np.zeros(5)).mu.tolist() == [400.0, 0.0, 0.0]
    far = prices(3, mu=np.full(3, 9e9), lam=9e9)
    assert box().prices(np.minimum(box().point(far), box().top)).lam.tolist() == [1000.0] * 3


def test_a_slope_is_what_a_price_times_its_unit_gains() -> None:
    over = np.array([1.0, 2.0, 3.0])
    slope = box(power_cap_w=5000.0).slope(over, 10 * over, 100 * over)
    assert slope.tolist() == [50.0, 100.0, 150.0, 0.0, 6000.0, 20e3, 40e3, 60e3]
