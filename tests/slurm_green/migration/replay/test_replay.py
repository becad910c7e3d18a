# SPDX-License-Identifier: Apache-2.0
"""The replay of moves: what happens to a job, what is counted, and who sees the future."""

import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from slurm_green.migration.moves import Decision, Link
from slurm_green.migration.policy.registry import POLICIES
from slurm_green.migration.replay.inputs import Costs, Inputs, Issue, ReplayJob, ReplaySite
from slurm_green.migration.replay.outlooks import expected, truth
from slurm_green.migration.replay.run import replay
from slurm_green.migration.replay.simulator import simulate
from slurm_green.migration.replay.transfers import Transfer, Wire

STEP = 900.0
SLOTS = 192  # two days


def site(name, supply_w, carbon=400.0, gpus=8, **more):
    return ReplaySite(
        name=name,
        gpus=gpus,
        supply_w=np.zeros(SLOTS) + supply_w,
        carbon_g_per_kwh=np.zeros(SLOTS) + carbon,
        base_w=np.zeros(SLOTS),
        **more,
    )


def job(name, **more):
    more = {"site": 0, "submit_s": 0.0, "duration_s": 36_000.0, "gpus": 1, "power_w": 1000.0,
            "checkpoint_bytes": 10e9, **more}  # fmt: skip
    more.setdefault("limit_s", more["duration_s"])
    return ReplayJob(id=name, **more)


def inputs(sites, jobs, gbps=10.0, **more):
    names = [one.name for one in sites]
    links = [Link(source=a, destination=b, gbps=gbps) for a in names for b in names if a != b]
    return Inputs(step_s=STEP, sites=tuple(sites), links=tuple(links), jobs=tuple(jobs), **more)


def one(given, policy):
    return replay(given, [policy]).results[policy]


def test_a_job_that_stays_draws_what_it_draws():
    found = one(inputs([site("dark", 0.0), site("wind", 1e6)], [job("a")]), "never")
    figures = found.json()
    assert figures["nonrenewable_j"] == pytest.approx(36_000 * 1000)
    assert figures["carbon_g"] == pytest.approx(10 * 400)
    assert (figures["mean_completion_s"], figures["moves"]) == (36_000, 0)


def test_a_move_takes_snapshot_transfer_and_restart():
    costs = Costs(snapshot_s=30, restart_s=120, network_j_per_gb=3.6e5)
    given = inputs([site("dark", 0.0), site("wind", 1e6)], [job("a", submit_s=1.0)], costs=costs)
    found = one(given, "oracle")
    (ride,) = found.trace.rides
    assert ride.decided_s == STEP
    assert ride.arrived_s - ride.decided_s == pytest.approx(30 + 10 + 120)
    assert found.completion_s[0] == pytest.approx(36_000 + 160)
    # Dark: until the decision, the snapshot, and the network, 10 GB of 0.1 kWh each.
    assert found.nonrenewable_j == pytest.approx((899 + 30) * 1000 + 10 * 3.6e5)
    assert found.energy_j == pytest.approx((36_000 + 150) * 1000 + 10 * 3.6e5)
    assert (found.failed_moves, found.overdue_moves) == (0, 0)


def test_work_since_the_last_checkpoint_is_done_again():
    given = inputs(
        [site("dark", 0.0), site("wind", 1e6)],
        [job("a", submit_s=1.0, checkpoint_every_s=600.0)],
    )
    assert one(given, "oracle").completion_s[0] == pytest.approx(36_000 + 160 + 299)


def test_transfers_share_a_link():
    wire = Wire(bytes_per_s=1e9)
    wire.active += [
        Transfer(job=0, left_bytes=1e9, due_s=10.0), Transfer(job=1, left_bytes=3e9, due_s=5.0),
    ]  # fmt: skip
    assert wire.budget_bytes() == pytest.approx(1e9)
    assert wire.next_s() == pytest.approx(2.0)
    wire.advance(2.0)
    assert [one.job for one in wire.arrived()] == [0]
    assert wire.next_s() == pytest.approx(4.0)


def test_a_broken_transfer_brings_the_job_back():
    given = inputs([site("dark", 0.0), site("wind", 1e6)], [job("a")], failure_share=1.0)
    figures = one(given, "oracle").json()
    assert figures["failed_moves"] == figures["moves"] > 0
    assert figures["unfinished_jobs"] == 0
    assert figures["nonrenewable_j"] >= 36_000 * 1000


def test_a_link_slower_than_promised_is_given_up_in_time():
    """The job goes on where it was, when the move should have ended, and no later."""
    big = job("a", checkpoint_bytes=1e12, submit_s=1.0)
    given = inputs([site("dark", 0.0), site("wind", 1e6)], [big], slow_share=1.0)
    found = one(given, "prices")
    (ride,) = found.trace.rides  # and no other one for the same window
    assert ride.given_up
    assert ride.arrived_s == pytest.approx(ride.due_s, abs=0.01)
    assert found.failed_moves == 1
    assert {draw.site for draw in found.trace.draws} == {0}
    assert found.json()["unfinished_jobs"] == 0
    # One that is small enough gets there all the same, ten times as late.
    small = inputs([site("dark", 0.0), site("wind", 1e6)], [job("a", submit_s=1.0)], slow_share=1.0)
    (ride,) = one(small, "prices").trace.rides
    assert not ride.given_up
    assert ride.arrived_s - ride.decided_s == pytest.approx(30 + 100 + 120)


def test_a_window_that_closes_early_brings_the_job_back():
    big = job("a", checkpoint_bytes=1e12, submit_s=1.0)
    given = inputs([site("dark", 0.0), site("wind", 1e6)], [big], closing_share=1.0)
    found = one(given, "prices")
    figures = found.json()
    assert figures["given_up_moves"] == figures["failed_moves"] == figures["moves"] > 0
    assert figures["unfinished_jobs"] == 0
    assert {draw.site for draw in found.trace.draws} == {0}
    # What goes whatever the way takes has no window to lose.
    assert one(given, "energy-only").json()["given_up_moves"] == 0


def test_who_does_not_fit_waits():
    given = inputs([site("dark", 0.0, gpus=1), site("other", 0.0)], [job("a"), job("b")])
    assert one(given, "never").completion_s.tolist() == [36_000, 72_000]


def test_policies_are_shown_how_long_the_last_weeks_jobs_took():
    """By their limits, as of those that go on; who ended is not forgotten."""
    jobs = [
        job("short", duration_s=3600.0, limit_s=7200.0),
        job("long", submit_s=1.0),
        job("next", submit_s=40_000.0),
    ]
    seen = {}

    def look(now):
        seen[now.now_s] = sorted(now.everybody_s)
        return Decision()

    given = inputs([site("dark", 0.0), site("wind", 0.0)], jobs)
    simulate(given, truth(given), look)
    assert seen[1800.0] == [7200.0, 36_000.0]
    assert seen[40_500.0] == [7200.0, 36_000.0, 36_000.0]


def test_a_job_past_the_last_slot_is_unfinished_and_late():
    long = job("a", duration_s=1e6, deadline_s=2e6)
    figures = one(inputs([site("x", 0.0), site("y", 0.0)], [long]), "never").json()
    assert (figures["unfinished_jobs"], figures["late_jobs"]) == (1, 0)
    late = dataclasses.replace(long, deadline_s=1000.0)
    assert one(inputs([site("x", 0.0), site("y", 0.0)], [late]), "never").late_jobs == 1


def test_a_move_into_the_dark_counts_as_failed():
    """energy-only looks at now alone; the wind is over before the data is there."""
    supply = np.where(np.arange(SLOTS) < 8, 2000.0, 0.0)
    given = inputs([site("dark", 0.0), site("gust", supply)], [job("a", checkpoint_bytes=1e12)],
                   gbps=1.0)  # fmt: skip
    assert one(given, "energy-only").failed_moves > 0
    assert one(given, "oracle").json()["moves"] == 0


def weather(seed):
    random = np.random.default_rng(seed)
    sites = []
    for at in range(3):
        supply = np.maximum(4000 + 400 * random.normal(size=SLOTS).cumsum(), 0)
        hours = (np.arange(30) - 2) * 3600.0
        issues = [
            Issue(
                issued_s=43_200.0 * day,
                middle_s=43_200.0 * day + hours,
                supply_w=np.maximum(4000 + random.normal(0, 2000, 30), 0),
                carbon_g_per_kwh=np.full(30, np.nan),
            )
            for day in range(4)
        ]
        carbon = random.uniform(100, 800, SLOTS)
        sites.append(site(f"s{at}", supply, carbon, issues=issues if at else ()))
    jobs = [
        job(f"j{at}", site=int(random.integers(3)), submit_s=float(random.uniform(0, 80_000)),
            duration_s=float(random.uniform(600, 60_000)), gpus=int(random.integers(1, 5)),
            checkpoint_bytes=float(10 ** random.uniform(9, 11.5)))
        for at in range(12)
    ]  # fmt: skip
    return inputs(sites, jobs, cycle_s=3600.0)


@given(st.integers(0, 2**16))
@settings(deadline=None, max_examples=2)
def test_no_policy_but_oracle_sees_the_future(seed):
    """The same past and another future: the same moves until then."""
    given = weather(seed)
    cut = 72
    other = dataclasses.replace(
        given,
        sites=tuple(
            dataclasses.replace(
                one,
                supply_w=np.where(np.arange(SLOTS) < cut, one.supply_w, one.supply_w[::-1]),
                carbon_g_per_kwh=np.where(np.arange(SLOTS) < cut, one.carbon_g_per_kwh, 5.0),
                issues=[issue for issue in one.issues if issue.issued_s <= cut * STEP],
            )
            for one in given.sites
        ),
    )
    names = [name for name in POLICIES if name != "oracle"]
    first, second = replay(given, names), replay(other, names)
    for name in names:
        moves = [
            [(r.job, r.destination, r.decided_s) for r in found.results[name].trace.rides
             if r.decided_s <= cut * STEP]
            for found in (first, second)
        ]  # fmt: skip
        assert moves[0] == moves[1]


def test_the_oracle_sees_it():
    given = weather(1)
    seen = truth(given)[18][1].supply_w
    assert seen[:90].tolist() == given.sites[1].supply_w[72:162].tolist()
    assert expected(given)[18][1].supply_w[:90].tolist() != seen[:90].tolist()


@given(st.integers(0, 2**16))
@settings(deadline=None, max_examples=2)
def test_energy_is_that_of_the_work_and_of_the_moves(seed):
    given = dataclasses.replace(
        weather(seed), failure_share=0.1, slow_share=0.2, closing_share=0.2, seed=seed
    )
    for name, found in replay(given, ["never", "energy-only", "prices"]).results.items():
        figures = found.json()
        assert figures["unfinished_jobs"] == 0
        work_j = sum(one.duration_s * one.power_w for one in given.jobs)
        stops = [ride for ride in found.trace.rides if ride.data_bytes > 0]
        most_j = work_j + sum(150.0 * given.jobs[ride.job].power_w for ride in stops)
        assert work_j * (1 - 1e-9) <= found.energy_j <= most_j * (1 + 1e-9), name
        assert figures["nonrenewable_j"] <= found.energy_j * (1 + 1e-9)
        assert (found.slot_w >= -1e-6).all()


def test_two_runs_are_the_same():
    first, second = (replay(weather(4), ["prices"]).json()["policies"]["prices"] for _ in "ab")
    del first["wall_s"], second["wall_s"]
    assert first == second
