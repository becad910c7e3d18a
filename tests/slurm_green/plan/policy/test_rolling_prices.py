# SPDX-License-Identifier: Apache-2.0
"""Own supply of later hours is not sure: its price."""

import numpy as np
import pytest
from problems import NOBODY, make

from slurm_green.plan.policy.rolling_prices import look_ahead
from slurm_green.plan.problem import Problem

SLOTS, LATER, WIND_W, CARBON = 8, 5, 1000.0, 300.0
UNSURE = 1.5 * LATER / 12  # of what is forecast for later


def windy(power_w: float, *, pauses: bool) -> Problem:
    """A job that runs in the only hour with wind."""
    wind = [0.0] * SLOTS
    wind[LATER] = WIND_W
    job = (0, 1.0, float(LATER), LATER + 1.0, pauses)
    return make([[(1, 1.0, power_w)]], [job], [CARBON] * SLOTS, renewable_w=wind)


def wind_price(problem: Problem) -> float:
    """Of a kWh in the hour with wind, as a share of the grid's."""
    ahead = look_ahead(problem, 0.0, 0.0, np.full(SLOTS, 4.0), NOBODY, None)
    assert ahead.prices.mu[0] == CARBON
    return float(ahead.prices.mu[LATER]) / CARBON


@pytest.mark.parametrize("pauses", [True, False])
@pytest.mark.parametrize(
    ("wanted", "price"), [(-1.0, 0.0), (-0.5, 0.25), (0.0, 0.5), (0.5, 0.75), (1.0, 1.0)]
)
def test_a_price_grows_with_the_odds_that_a_kwh_more_is_the_grids(wanted, price, pauses):
    """Supply is wanted up to so much of what is unsure less or more than is expected of it."""
    problem = windy(WIND_W * (1 + UNSURE * wanted), pauses=pauses)

    assert wind_price(problem) == pytest.approx(price, abs=0.01)


@pytest.mark.parametrize("pauses", [True, False])
def test_lists_are_told_how_unsure_supply_is(pauses):
    """Not at all now, by 1.5 of what is forecast from twelve hours ahead on."""
    jobs = [(0, 1.0, 0.0, 1.0, pauses)]
    problem = make([[(1, 1.0, 500.0)]], jobs, [CARBON] * 18, renewable_w=WIND_W)

    ahead = look_ahead(problem, 0.0, 0.0, np.full(18, 4.0), NOBODY, None)

    hours = [0, 1, 6, 12, 17]
    assert ahead.unsure_w[hours] == pytest.approx([0.0, 125.0, 750.0, 1500.0, 1500.0])


def test_supply_is_sure_now():
    """All that is free now costs nothing, whatever may be free later."""
    power_w = 0.9 * WIND_W
    problem = make(
        [[(1, 1.0, power_w)]], [(0, 1.0, 0.0, 1.0, True)], [CARBON] * SLOTS, renewable_w=WIND_W
    )

    ahead = look_ahead(problem, 0.0, 0.0, np.full(SLOTS, 4.0), NOBODY, None)

    assert ahead.prices.mu[0] == pytest.approx(0.0, abs=0.01 * CARBON)
