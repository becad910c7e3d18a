# SPDX-License-Identifier: Apache-2.0
"""Own supply of later hours is not sure: its price, and what lists make of it."""

import numpy as np
import pytest
from problems import HOUR, make

from slurm_green.plan.policy.arrivals import Likely
from slurm_green.plan.policy.rolling import Busy, list_of
from slurm_green.plan.policy.rolling_prices import look_ahead, unsure_w
from slurm_green.plan.problem import Problem

SLOTS, LATER, WIND_W, CARBON = 8, 5, 1000.0, 300.0
NOBODY = Likely(
    class_index=np.zeros(0, int),
    work=np.zeros(0),
    earliest_s=np.zeros(0),
    deadline_s=np.zeros(0),
    weight=np.zeros(0),
    preemptible=np.zeros(0, int),
)
NOTHING = Busy(start_s=np.zeros(0), end_s=np.zeros(0), gpus=np.zeros(0, int), power_w=np.zeros(0))


def windy(power_w: float, earliest_h: float, now_g: float = CARBON) -> Problem:
    """A job of an hour until that of the wind ends; the grid's carbon now is another."""
    wind = [0.0] * SLOTS
    wind[LATER] = WIND_W
    job = (0, 1.0, earliest_h, LATER + 1.0, False)
    carbon = [now_g] + [CARBON] * (SLOTS - 1)
    return make([[(1, 1.0, power_w)]], [job], carbon, renewable_w=wind)


def test_own_supply_is_sure_only_now():
    site = windy(1.0, 0.0).site

    unsure = unsure_w(site)

    assert unsure[0] == 0
    assert 0 < unsure[LATER] < WIND_W
    assert not unsure[site.renewable_w == 0].any()


@pytest.mark.parametrize(
    ("wanted", "price"), [(-1.0, 0.0), (-0.5, 0.25), (0.0, 0.5), (0.5, 0.75), (1.0, 1.0)]
)
def test_a_price_grows_with_the_odds_that_a_kwh_more_is_the_grids(wanted, price):
    """Supply is wanted up to so much of what is unsure less or more than is expected of it."""
    power_w = WIND_W + wanted * float(unsure_w(windy(1.0, 0.0).site)[LATER])
    problem = windy(power_w, float(LATER))

    ahead = look_ahead(problem, 0.0, 0.0, np.full(SLOTS, 4.0), NOBODY, None)

    assert ahead.prices.mu[LATER] == pytest.approx(price * CARBON, abs=2.0)
    assert ahead.prices.mu[0] == CARBON


@pytest.mark.parametrize(("share", "start_h"), [(0.9, LATER), (0.02, 0)])
def test_wind_that_may_not_come_is_not_worth_waiting_for_at_any_price(share, start_h):
    """The job needs all that is expected, of which some must then be expected of the grid."""
    problem = windy(WIND_W, 0.0, now_g=share * CARBON)
    ahead = look_ahead(problem, 0.0, 0.0, np.full(SLOTS, 4.0), NOBODY, None)

    found = list_of(problem, 0.0, NOTHING, ahead, rounds=2)

    assert found["j0"].start_s == pytest.approx(start_h * HOUR)
