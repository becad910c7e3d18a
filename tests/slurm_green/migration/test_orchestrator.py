# SPDX-License-Identifier: Apache-2.0
"""Decisions on moves: nothing leaves the feasible domain, breaks a budget or forgets a job."""

import dataclasses
import random
from collections import defaultdict

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from moments import NOW_S, job, moment, moments, site

from slurm_green.errors import BadInputError
from slurm_green.migration.board import Board
from slurm_green.migration.feasibility import Binding, check
from slurm_green.migration.feasibility import Move as Question
from slurm_green.migration.moves import Link, State
from slurm_green.migration.orchestrator import decide
from slurm_green.migration.policy.energy_only import green_shares
from slurm_green.migration.policy.registry import POLICIES, policy_of
from slurm_green.migration.rules import Obstacle, Rules

BOUND = [name for name in POLICIES if name not in ("never", "energy-only")]
policies = st.sampled_from(list(POLICIES))
bound_policies = st.sampled_from(BOUND)


def carried(now, move):
    """Whether it is more than placing a job that never ran."""
    return move.job.state is State.RUNNING or move.job.checkpoint_bytes > 0


def why(now, policy="prices"):
    (kept,) = decide(now, policy_of(policy)).kept
    return kept.why


@pytest.mark.parametrize("policy", ["energy-only", "feasibility", "prices"])
def test_a_job_in_the_dark_goes_to_the_wind(policy):
    decision = decide(moment(job()), policy_of(policy))
    (move,) = decision.moves
    assert (move.source, move.destination) == ("dark", "wind")
    assert move.migration_s == pytest.approx(30 + 8 * 10 / 8 + 120)
    assert decision.kept == ()


def test_what_it_saves_is_its_power_at_the_grid_it_leaves():
    (move,) = decide(moment(job()), policy_of("prices")).moves
    # 10 h of 1 kW at 400 g; the checkpoint is written here, and what is counted on top is not.
    assert move.saves_g == pytest.approx(10 * 400 - 30 * 400 / 3600, rel=1e-6)


def test_a_small_job_is_none_that_draws_nothing():
    """Few powers stand for those of many jobs; 0 W, of which nothing emits, is none of them."""
    others = [job(f"b{at}", power_w=1000.0 + at, site="wind") for at in range(20)]
    now = moment(job(power_w=50.0), job("none", power_w=0.0), *others)
    for policy in ("feasibility", "prices"):
        assert [one.job.id for one in decide(now, policy_of(policy)).moves] == ["a"]


def test_the_greenest_site_has_the_largest_renewable_share_of_what_it_draws():
    """The definition of `energy-only`; nothing goes where it is less."""
    sites = (
        site("dark", 500.0, load_w=1000.0, base_w=1000.0),
        site("half", 1000.0, load_w=1000.0, base_w=1000.0),
        site("less", 400.0, load_w=1000.0, base_w=1000.0),
        site("full", 9000.0, load_w=1000.0, base_w=1000.0),
    )
    shares = green_shares(Board(moment(sites=sites), Rules()))
    assert shares.tolist() == [0.25, 0.5, 0.2, 1.0]
    one = moment(job(), sites=(sites[0], sites[2]))
    assert decide(one, policy_of("energy-only")).moves == ()


def test_never_keeps_everybody():
    assert decide(moment(job(), job("b")), policy_of("never")).moves == ()


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"last_move_s": NOW_S - 60}, "short while ago"),
        ({"gpus": 17}, "whole job"),
        ({"gpus": 9}, "GPUs of wind are taken"),
        ({"checkpoint_bytes": 1e13}, "too much of the window"),
        ({"remaining_s": 100.0}, "ends here"),
        ({"deadline_s": NOW_S + 36_050}, "deadline"),
        ({"sites": frozenset({"dark"})}, "data may not be"),
        ({"last_checkpoint_s": NOW_S - 39_000}, "win back its energy"),
    ],
)
def test_who_stays_is_told_why(changed, words):
    assert words in why(moment(job(**changed)))


@given(
    st.floats(100, 3_000), st.floats(0, 1_000), st.floats(0, 900), st.floats(1, 200),
)  # fmt: skip
@settings(deadline=None, max_examples=40)
def test_energy_is_judged_as_check_does(remaining_s, lost_s, here_w, size_gb):
    """A known supply covers a share of the job here, and all of it there."""
    now = moment(
        job(remaining_s=remaining_s, checkpoint_bytes=size_gb * 1e9,
            last_checkpoint_s=NOW_S - lost_s),
        sites=(site("dark", here_w, load_w=1000.0), site("wind", 1e6)),
    )  # fmt: skip
    answer = check(
        Question(
            checkpoint_gb=size_gb,
            bandwidth_gbps=10.0,
            window_h=12.0,
            lost_work_s=lost_s,
            job_power_w=1000.0,
            green_share_here=here_w / 1000.0,
            green_share_there=1.0,
            remaining_h=remaining_s / 3600,
        )
    )
    reach = Board(now, Rules()).reach(np.array([0]), 1)
    assert (reach.obstacle[0] == Obstacle.NONE) == answer.feasible, answer.reason
    assert reach.migration_s[0] == pytest.approx(answer.migration_s)


def test_a_site_may_refuse_a_project_and_more_nodes_than_it_has():
    dark = site("dark", 0.0, load_w=1000.0)
    assert "project" in why(
        moment(job(), sites=(dark, site("wind", 1e6, projects=frozenset({"x"}))))
    )
    assert "a part never moves" in why(
        moment(job(nodes=3), sites=(dark, site("wind", 1e6, nodes=2)))
    )


def test_no_link_is_no_way():
    back = [Link(source="wind", destination="dark", gbps=10)]
    assert "no link" in why(moment(job(), links=back))


def test_one_move_per_window():
    sites = (site("calm", 1200.0, load_w=1000.0, carbon=400), site("wind", 1e6))
    moved = {"site": "calm", "last_move_s": NOW_S - 7200, "window_end_s": NOW_S + 7200}
    assert "still open" in why(moment(job(**moved), sites=sites))
    closed = (site("calm", 200.0, load_w=1000.0, carbon=400), site("wind", 1e6))
    assert decide(moment(job(**moved), sites=closed), policy_of("prices")).moves


def test_the_last_watt_of_supply_is_not_given_twice():
    sites = (site("dark", 0.0, load_w=3000.0), site("wind", 2500.0))
    decision = decide(moment(job("a"), job("b"), job("c"), sites=sites), policy_of("feasibility"))
    assert len(decision.moves) == 2


def test_an_unsure_window_counts_for_its_low_quantile():
    sites = (site("dark", 0.0, load_w=1000.0), site("wind", 1500.0, sd_w=1000.0))
    now = moment(job(), sites=sites)
    assert "not sure" in why(now, "feasibility")
    assert decide(now, policy_of("feasibility", Rules(quantile=0.5))).moves


def test_a_job_that_waits_goes_where_a_gpu_is_free():
    sites = (site("dark", 0.0, free_gpus=0, queue_wait_s=7200.0), site("other", 0.0))
    waiting = job(state=State.PENDING, checkpoint_bytes=0.0)
    (move,) = decide(moment(waiting, sites=sites), policy_of("prices")).moves
    assert move.migration_s == 0


def test_prices_know_what_feasibility_does_not():
    """Of two windows the paper's rule takes either; grams tell what comes after them."""
    supply = [5000.0] * 16 + [0.0] * 32
    sites = (
        site("dark", 0.0, load_w=1000.0, carbon=300),
        site("coal", supply, carbon=900),
        site("hydro", supply, carbon=20),
    )
    (move,) = decide(moment(job(), sites=sites), policy_of("prices")).moves
    assert move.destination == "hydro"


def test_who_has_been_there_for_long_is_not_delayed_for_little():
    sites = (site("dark", 0.0, load_w=2000.0, carbon=400), site("wind", 0.0, carbon=300))
    old = job("old", submit_s=NOW_S - 108_000)
    everybody_s = (36_000.0,) * 19 + (144_000.0,)
    both = moment(job("new"), old, sites=sites, everybody_s=everybody_s)
    (move,) = decide(both, policy_of("prices")).moves
    assert move.job.id == "new"
    # Who is long is a matter of everybody, not of those that may move.
    assert "as well off here" in why(moment(old, sites=sites, everybody_s=everybody_s))
    assert decide(moment(old, sites=sites), policy_of("prices")).moves
    # For much, it is.
    bright = (site("dark", 0.0, load_w=2000.0, carbon=400), site("wind", 1e6))
    assert len(decide(moment(job("new"), old, sites=bright), policy_of("prices")).moves) == 2


def test_whose_end_may_be_p95_is_not_delayed_for_what_a_longer_one_is():
    sites = (site("dark", 0.0, load_w=1000.0, carbon=400), site("wind", 0.0, carbon=100))
    everybody_s = tuple(np.linspace(0.0, 200_000.0, 1001))
    for age_s, moves in ((100_000, 1), (154_000, 0), (162_000, 1)):
        old = job(submit_s=NOW_S - age_s)
        now = moment(old, sites=sites, everybody_s=everybody_s)
        assert len(decide(now, policy_of("prices")).moves) == moves


def test_a_given_up_move_is_not_tried_again_for_the_same_window():
    tried = job(stays_until_s=NOW_S + 60)
    assert "was to move, for a window that is still open" in why(moment(tried))
    assert decide(moment(job(stays_until_s=NOW_S - 60)), policy_of("prices")).moves


def test_jobs_at_unknown_sites_are_refused():
    with pytest.raises(BadInputError, match="job a: no site is called 'mars'"):
        decide(moment(job(site="mars")), policy_of("prices"))
    with pytest.raises(BadInputError, match="no policy is called 'best'"):
        policy_of("best")


@given(moments(), policies)
@settings(deadline=None, max_examples=20)
def test_every_job_is_moved_once_or_kept_with_a_reason(now, name):
    decision = decide(now, policy_of(name))
    ids = [move.job.id for move in decision.moves] + [kept.job.id for kept in decision.kept]
    assert sorted(ids) == sorted(job.id for job in now.jobs)
    assert all("{" not in kept.why and kept.why for kept in decision.kept)


@given(moments(), policies)
@settings(deadline=None, max_examples=20)
def test_hard_limits_hold_for_every_policy(now, name):
    sites = {one.name: one for one in now.sites}
    used = defaultdict(int)
    for move in decide(now, policy_of(name)).moves:
        there = sites[move.destination]
        used[there.name] += move.job.gpus
        assert move.source == move.job.site != there.name
        assert there.projects is None or move.job.project in there.projects
        assert move.job.sites is None or there.name in move.job.sites
        assert there.nodes is None or move.job.nodes <= there.nodes
    assert all(count <= sites[name].free_gpus for name, count in used.items())


@given(moments(), bound_policies)
@settings(deadline=None, max_examples=100)
def test_no_move_leaves_the_feasible_domain(now, name):
    """As `check` says, with all that shares the link, to the end of the cycle."""
    links = {(one.source, one.destination): one for one in now.links}
    moves = decide(now, policy_of(name)).moves
    carried_bytes = defaultdict(float)
    for move in moves:
        carried_bytes[move.source, move.destination] += move.job.checkpoint_bytes
    for way, total in carried_bytes.items():
        budget = links[way].budget_bytes
        assert budget is None or total <= budget * (1 + 1e-9)
    for move in moves:
        link = links[move.source, move.destination]
        runs = move.job.state is State.RUNNING
        if not carried(now, move):
            continue
        total = carried_bytes[move.source, move.destination] + link.in_flight_bytes
        own = move.job.checkpoint_bytes
        answer = check(
            Question(
                checkpoint_gb=(total if own else 0.0) / 1e9,
                bandwidth_gbps=link.gbps,
                efficiency=link.efficiency,
                window_h=move.window_s / 3600 * (1 + 1e-9),
                snapshot_s=now.snapshot_s if runs else 0.0,
                restart_s=now.restart_s if runs else 0.0,
                queue_wait_s=next(
                    one.queue_wait_s for one in now.sites if one.name == move.destination
                ),
                remaining_h=move.job.remaining_s / 3600,
            )
        )
        assert answer.binding is Binding.NONE, answer.reason
        assert NOW_S + answer.migration_s <= move.due_s * (1 + 1e-9)


@given(moments(), bound_policies)
@settings(deadline=None, max_examples=20)
def test_deadlines_and_dwell_are_kept(now, name):
    for move in decide(now, policy_of(name)).moves:
        one = move.job
        if one.deadline_s is not None:
            ends_s = NOW_S + move.migration_s + one.remaining_s + move.lost_work_s
            assert ends_s <= one.deadline_s + 1e-6
        assert one.last_move_s is None or one.last_move_s + 3600 <= NOW_S


@given(moments(), policies, st.integers(0, 2**16))
@settings(deadline=None, max_examples=15)
def test_the_order_of_jobs_changes_nothing(now, name, seed):
    jobs = list(now.jobs)
    random.Random(seed).shuffle(jobs)
    other = dataclasses.replace(now, jobs=tuple(jobs))
    assert decide(now, policy_of(name)) == decide(other, policy_of(name))
