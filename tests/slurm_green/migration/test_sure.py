# SPDX-License-Identifier: Apache-2.0
"""What a move is sure to save is what it saves whichever way the forecast errs."""

import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from moments import job, moment, moments, site

from slurm_green.migration.board import Board
from slurm_green.migration.moves import State
from slurm_green.migration.policy.prices import Prices
from slurm_green.migration.policy.registry import policy_of
from slurm_green.migration.rules import Rules
from slurm_green.migration.sure import surely_saved_kwh


def saved_kwh(now, quantile=0.3, to=1, moving_s=600.0):
    """Of the first job, to a site by its number."""
    board = Board(now, Rules())
    return float(surely_saved_kwh(board, np.array([0]), to, np.array([moving_s]), quantile)[0])


def test_what_is_known_counts_in_full_there_and_back():
    there = moment(job())
    assert saved_kwh(there) == pytest.approx(10.0)
    sites = tuple(reversed(there.sites))
    back = moment(job(site="wind"), sites=(sites[0], site("dark", 0.0)))
    assert saved_kwh(back) == pytest.approx(-10.0)


def test_past_the_outlook_nothing_is_sure():
    assert saved_kwh(moment(job(remaining_s=720_000.0)), moving_s=3600.0) == pytest.approx(11.0)


def test_the_network_costs():
    # 10 GB of 36 kJ are a tenth of a kWh.
    assert saved_kwh(moment(job(), network_j_per_gb=36_000.0)) == pytest.approx(9.9)


def test_a_job_that_waits_comes_on_top_here_too():
    sites = (site("dark", 2000.0, load_w=1500.0), site("wind", 1e6))
    waiting = job(state=State.PENDING, checkpoint_bytes=0.0)
    assert saved_kwh(moment(waiting, sites=sites)) == pytest.approx(5.0)
    assert saved_kwh(moment(job(), sites=sites)) == pytest.approx(0.0)


@pytest.mark.parametrize(("sd_w", "kwh"), [(0.0, 10.0), (1000.0, 5.0), (3000.0, 0.0)])
def test_of_an_unsure_supply_the_low_one_counts(sd_w, kwh):
    """A quantile of 30.85 % lies half a standard error below 1,000 W."""
    sites = (site("dark", 0.0, load_w=1000.0), site("wind", 1000.0, sd_w=sd_w))
    found = saved_kwh(moment(job(), sites=sites), quantile=0.3085375)
    assert found == pytest.approx(kwh, abs=1e-5)


def test_wind_that_may_come_to_either_is_sure_at_none():
    sites = (site("dark", 500.0, sd_w=2000.0, load_w=1000.0), site("wind", 900.0, sd_w=2000.0))
    now = moment(job(), sites=sites)
    assert saved_kwh(now) == 0.0
    assert saved_kwh(now, quantile=0.5) == pytest.approx(4.0)


@given(moments())
@settings(deadline=None, max_examples=20)
def test_where_nothing_errs_it_is_the_difference_of_what_is_not_covered(now):
    known = dataclasses.replace(now, sites=tuple(
        dataclasses.replace(one, outlook=dataclasses.replace(
            one.outlook, supply_sd_w=np.zeros(len(one.outlook))))
        for one in now.sites
    ))  # fmt: skip
    board = Board(known, Rules())
    jobs = np.arange(len(board.jobs))
    if not len(jobs):
        return
    there, level, upon = np.zeros_like(jobs), board.curves.level, np.ones_like(jobs)
    until_s = 900.0 + board.remaining_s

    def dark_s(at, outside):
        last = board.curves.dark_s(at, level, outside, until_s)
        return last - board.curves.dark_s(at, level, outside, np.full(len(jobs), 900.0))

    less_s = dark_s(board.site, board.outside) - dark_s(there, upon)
    network_j = now.network_j_per_gb * board.bytes / 1e9
    found = surely_saved_kwh(board, jobs, 0, np.full(len(jobs), 900.0), 0.3)
    # Of a site whose load is less than its own job's power, the curves take it for nothing.
    fits = board.load_w[board.site] >= board.curves.levels_w[level]
    fits |= board.outside.astype(np.bool_)
    np.testing.assert_allclose(
        found[fits], ((board.power_w * less_s - network_j) / 3.6e6)[fits], atol=1e-6
    )


@pytest.mark.parametrize(("sd_w", "goes"), [(0.0, "wind"), (1500.0, "hydro")])
def test_prices_take_sure_wind_before_a_clean_grid_and_that_before_a_hope(sd_w, goes):
    """Half of the job's power from the wind is worth less than a clean grid in grams alone."""
    sites = (
        site("dark", 0.0, load_w=1000.0, carbon=700),
        site("wind", 500.0, sd_w=sd_w, carbon=700),
        site("hydro", 0.0, carbon=20),
    )
    board = Board(moment(job(), sites=sites), policy_of("prices").rules)

    def wishes(policy):
        one = np.array([0])
        found = [policy.wish(board, one, at, board.reach(one, at))[0] for at in (1, 2)]
        return dict(zip(("wind", "hydro"), found, strict=True))

    priced = wishes(policy_of("prices"))
    assert max(priced, key=priced.__getitem__) == goes
    grams = wishes(Prices(policy_of("prices").rules, sure_g_per_kwh=0.0))
    assert max(grams, key=grams.__getitem__) == "hydro"
