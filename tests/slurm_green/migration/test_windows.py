# SPDX-License-Identifier: Apache-2.0
"""Windows of uncertain supply, what of a load is not covered, and links that are shared."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import norm

from slurm_green.migration.links import LinkBook
from slurm_green.migration.moves import Link
from slurm_green.migration.windows import Outlook


def outlook(supply_w, sd_w=0.0, base_w=0.0):
    count = len(supply_w)
    return Outlook(
        step_s=900.0,
        supply_w=np.array(supply_w, dtype=float),
        supply_sd_w=np.zeros(count) + sd_w,
        carbon_g_per_kwh=np.full(count, 400.0),
        base_w=np.zeros(count) + base_w,
    )


def test_a_window_ends_where_the_supply_falls_below_the_load():
    some = outlook([100, 90, 80, 120], base_w=10)
    loads = np.array([0.0, 70.0, 75.0, 90.0, 91.0])
    assert some.window_s(loads, 0.5).tolist() == [3600, 3600, 1800, 900, 0]


def test_a_low_quantile_shortens_it():
    some = outlook([100, 90, 80], sd_w=[0, 5, 5])
    assert some.window_s(82, 0.5) == 1800
    assert some.window_s(82, 0.06) == 1800
    assert some.window_s(82, 0.04) == 900


@given(st.floats(0, 200), st.floats(0.1, 50), st.floats(0, 150), st.floats(1, 100))
def test_shortfall_is_the_mean_over_the_normal_distribution(supply, sd, load, extra):
    found = outlook([supply], sd_w=sd).shortfall(np.array([load]), np.array([extra]))[0, 0]
    draws = norm.ppf((np.arange(4000) + 0.5) / 4000, supply, sd)
    uncovered = np.maximum(load + extra - draws, 0) - np.maximum(load - draws, 0)
    assert found == pytest.approx(uncovered.mean() / extra, abs=2e-3)


def test_a_known_supply_covers_to_the_watt():
    known = outlook([100.0])
    share = known.shortfall(np.array([50.0, 50.0, 120.0]), np.array([50.0, 100.0, 10.0]))
    assert share[:, 0].tolist() == pytest.approx([0, 0.5, 1], abs=1e-9)


def book(**more):
    links = [Link(source="a", destination="b", gbps=8, efficiency=1.0, **more)]
    return LinkBook(links, {"a": 0, "b": 1})


def test_transfers_wait_for_what_is_on_the_link():
    here, size = np.array([0]), np.array([10e9])
    links = book(in_flight_bytes=5e9)
    assert links.carries_s(here, 1, size)[0] == pytest.approx(15)
    links.add(0, 1, 10e9, 100.0)
    assert links.carries_s(here, 1, size)[0] == pytest.approx(25)
    assert links.carries_s(here, 1, np.array([0.0]))[0] == 0


def test_no_budget_and_no_earlier_move_is_broken():
    here = np.array([0])
    assert not book(budget_bytes=9e9).fits(here, 1, np.array([10e9]))[0]
    links = book()
    links.add(0, 1, 10e9, most_s=15.0)
    assert links.fits(here, 1, np.array([5e9]))[0]
    assert not links.fits(here, 1, np.array([6e9]))[0]
    assert links.fits(here, 1, np.array([0.0]))[0]


def test_there_is_no_way_back_on_a_one_way_link():
    assert book().exists(np.array([0]), 1)[0]
    assert not book().exists(np.array([1]), 0)[0]
