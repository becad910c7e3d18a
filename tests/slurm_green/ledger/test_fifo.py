# SPDX-License-Identifier: Apache-2.0
"""The replayed FIFO: rules that must hold for any jobs."""

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from slurm_green.ledger.fifo import Capacity, ReplayJob, replay_fifo

SITE = Capacity(gpus=8, cpus=64)


def job(key, submit_s=0.0, run_s=10.0, limit_s=None, gpus=1, cpus=1):
    return ReplayJob(
        key=key,
        submit_s=submit_s,
        run_s=run_s,
        limit_s=run_s if limit_s is None else limit_s,
        gpus=gpus,
        cpus=cpus,
    )


@st.composite
def jobs(draw, **fixed):
    count = draw(st.integers(1, 25))
    made = []
    for key in range(count):
        run_s = draw(st.integers(0, 50))
        sizes = {
            "gpus": draw(st.integers(0, 8)),
            "cpus": draw(st.integers(1, 64)),
            "limit_s": run_s + draw(st.integers(0, 50)),
        }
        made.append(job(key, submit_s=draw(st.integers(0, 100)), run_s=run_s, **{**sizes, **fixed}))
    return made


@given(jobs())
def test_capacity_is_never_exceeded_and_nothing_starts_early(given_jobs):
    """At every start, those that run then fit; every job starts, none before its submission."""
    starts = replay_fifo(given_jobs, SITE)
    for at in starts.values():
        running = [j for j in given_jobs if starts[j.key] <= at < starts[j.key] + j.run_s]
        assert sum(j.gpus for j in running) <= SITE.gpus
        assert sum(j.cpus for j in running) <= SITE.cpus
    assert all(starts[j.key] >= j.submit_s for j in given_jobs)


@given(jobs(gpus=2, cpus=4, limit_s=100.0))
def test_equal_jobs_start_in_order(given_jobs):
    """Of jobs of one size and limit the earlier submitted never starts later."""
    starts = replay_fifo(given_jobs, SITE)
    ordered = sorted(given_jobs, key=lambda j: j.submit_s)
    began = [starts[j.key] for j in ordered]
    assert began == sorted(began)


@pytest.mark.parametrize(("gpus", "head_s", "other_s"), [(2, 4, 9), (3, 10, 1)])
def test_nobody_who_lets_the_first_wait_longer_passes_it(
    gpus: int, head_s: float, other_s: float
) -> None:
    """EASY: who ends before the first in the queue can start, by everybody's limits, may pass."""
    busy = [job("a", run_s=10, gpus=2), job("b", run_s=4)]
    waiting = [job("head", 1, run_s=5, gpus=gpus), job("other", 1, run_s=6)]
    starts = replay_fifo([*busy, *waiting], Capacity(gpus=4, cpus=64))
    assert starts == {"a": 0, "b": 0, "head": head_s, "other": other_s}


@given(st.lists(st.tuples(st.integers(0, 50), st.integers(0, 50)), min_size=1, max_size=20))
def test_jobs_that_never_overlap_start_at_submission(lengths):
    """Without competition the replay is what was submitted."""
    made, at = [], 0
    for key, (pause, run_s) in enumerate(lengths):
        at += pause
        made.append(job(key, submit_s=at, run_s=run_s, gpus=8, cpus=64))
        at += run_s
    assert replay_fifo(made, SITE) == {j.key: j.submit_s for j in made}


@given(jobs())
def test_no_idle_machine_before_a_waiting_head(given_jobs):
    """Whoever waits longest waits only while it does not fit."""
    starts = replay_fifo(given_jobs, SITE)
    waiting = [j for j in given_jobs if starts[j.key] > j.submit_s]
    for one in waiting:
        # Just before its start, less was free than it needs, or others were ahead of it.
        at = starts[one.key] - 1e-6
        running = [j for j in given_jobs if starts[j.key] <= at < starts[j.key] + j.run_s]
        ahead = [
            j
            for j in given_jobs
            if j.key != one.key and j.submit_s <= one.submit_s and starts[j.key] > at
        ]
        gpus = SITE.gpus - sum(j.gpus for j in running)
        cpus = SITE.cpus - sum(j.cpus for j in running)
        assert ahead or one.gpus > gpus or one.cpus > cpus


def test_backfill_fills_without_delaying_the_head():
    """A short job slips in front of the waiting head, a long one does not."""
    made = [
        job("runs", 0, 100, gpus=6),
        job("head", 1, 50, gpus=8),
        job("long", 2, 200, gpus=2),
        job("short", 3, 50, gpus=2),
    ]
    starts = replay_fifo(made, SITE)
    assert starts == {"runs": 0, "short": 3, "head": 100, "long": 150}


def test_backfill_knows_of_those_that_have_just_begun():
    """As above when all come at once: the head waits for who starts with it."""
    made = [
        job("runs", 0, 100, gpus=6),
        job("head", 0, 50, gpus=8),
        job("long", 0, 101, gpus=2),
        job("short", 0, 100, gpus=2),
    ]
    starts = replay_fifo(made, SITE)
    assert starts == {"runs": 0, "short": 0, "head": 100, "long": 150}


def test_a_run_beyond_its_limit_is_reckoned_with():
    """Slurm may let jobs run over (OverTimeLimit): the head's turn is when that ends."""
    for first_s in (0, 0.5):
        made = [
            job("runs", 0, 100, limit_s=10, gpus=6),
            job("head", first_s, 50, gpus=8),
            job("over", 1, 200, limit_s=10, gpus=2),
            job("short", 1, 50, gpus=2),
        ]
        assert replay_fifo(made, SITE) == {"runs": 0, "short": 1, "head": 100, "over": 150}


def test_backfill_trusts_limits_not_run_times():
    """The scheduler does not know that a job will end early."""
    made = [
        job("runs", 0, 100, gpus=6),
        job("head", 1, 50, gpus=8),
        job("modest", 2, 10, limit_s=500, gpus=2),
    ]
    assert replay_fifo(made, SITE)["modest"] == 150


def test_nor_of_those_that_run():
    """Their limits say when the head's turn will be, whatever comes."""
    for first_s in (0, 1):
        made = [
            job("runs", 0, 100, limit_s=200, gpus=6),
            job("head", first_s, 50, gpus=8),
            job("modest", first_s, 150, gpus=2),
        ]
        starts = replay_fifo(made, SITE)
        assert starts == {"runs": 0, "modest": first_s, "head": first_s + 150}


def test_spare_room_may_be_used_beyond_the_reservation():
    """What the head leaves free at its start can be taken for as long as one likes."""
    made = [
        job("runs", 0, 100, gpus=6),
        job("head", 1, 50, gpus=4),
        job("long", 2, 999, gpus=2),
        job("longer", 3, 999, gpus=2),
    ]
    starts = replay_fifo(made, SITE)
    assert (starts["long"], starts["head"], starts["longer"]) == (2, 100, 100)


def test_spare_room_is_given_once():
    """Two long jobs that come at once may not both take what the head leaves free."""
    made = [
        job("runs", 0, 100, gpus=4),
        job("head", 1, 50, gpus=6),
        job("long", 2, 999, gpus=2),
        job("longer", 2, 999, gpus=2),
    ]
    starts = replay_fifo(made, SITE)
    assert (starts["long"], starts["head"], starts["longer"]) == (2, 100, 150)


def test_too_large_is_unknown():
    """A job that no empty site could hold has no start and blocks nobody."""
    assert replay_fifo([job("huge", 0, gpus=9), job("small", 1)], SITE) == {
        "huge": None,
        "small": 1,
    }


def test_depth_bounds_backfill():
    """Beyond the depth the queue is not searched."""
    made = [job("runs", 0, 100, gpus=7), job("head", 1, 10, gpus=8)]
    made += [job(i, 2, 300, gpus=1) for i in range(5)] + [job("short", 3, 5, gpus=1)]
    assert replay_fifo(made, SITE, depth=2)["short"] > 100
    assert replay_fifo(made, SITE)["short"] == 3


def test_thousands_of_jobs():
    """A campaign of two thousand jobs under load is replayed within seconds."""
    made = [
        job(i, submit_s=i * 3.0, run_s=10 + i * 7 % 90, limit_s=120, gpus=1 + i % 4, cpus=4)
        for i in range(2000)
    ]
    began = time.process_time()
    starts = replay_fifo(made, SITE)
    assert time.process_time() - began < 10
    assert None not in starts.values()
