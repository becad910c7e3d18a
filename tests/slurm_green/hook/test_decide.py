# SPDX-License-Identifier: Apache-2.0
"""The decision: each reason to pass, and what holds for every deferral."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone

import numpy as np
import pytest
from builders import (
    DAY,
    HOUR,
    NOW,
    NOW_S,
    at,
    days,
    partition_view,
    policy,
    request,
    room,
    series,
    view,
)
from hypothesis import given, settings
from hypothesis import strategies as st

from slurm_green.hook.decide import decide
from slurm_green.hook.policy import Policy
from slurm_green.hook.request import Request
from slurm_green.hook.view import View
from slurm_green.plan.history import History, WaitSample
from slurm_green.plan.power import PowerModel


def full(name: str = "queue", *, from_h: float = 0.0, hours: float = 90.0) -> View:
    """A view whose `name` room has nothing free for a while."""
    partition = partition_view()
    getattr(partition, name).take((8.0, 64.0), NOW_S + from_h * HOUR, NOW_S + hours * HOUR)
    return view(partition)


NOTHING = policy(default_delay_s=0.0)

PASSES: list[tuple[str, Request, Policy, View]] = [
    ("opted-out", request(comment="green:off"), policy(), view()),
    ("switched-off", request(), policy(), view(off=True)),
    ("bad-options", request(comment="green:colour=blue"), policy(), view()),
    ("interactive", request(batch=False), policy(), view()),
    ("heterogeneous", request(heterogeneous=True), policy(), view()),
    ("held", request(held=True), policy(), view()),
    ("restarted", request(restarted=True), policy(), view()),
    ("begin-set", request(begin_set=True), policy(), view()),
    ("reservation", request(reservation="maint"), policy(), view()),
    ("dependent", request(dependent=True), policy(), view()),
    ("excluded-user", request(), policy(exclude_users=("ada",)), view()),
    ("excluded-account", request(), policy(exclude_accounts=("ml",)), view()),
    ("excluded-qos", request(), policy(exclude_qos=("normal",)), view()),
    ("excluded-name", request(name="My-Jupyter"), policy(exclude_names=("*jupyter*",)), view()),
    ("unknown-partition", request(partition="x"), policy(), view()),
    ("no-time-limit", request(time_limit_s=None), policy(), view()),
    ("no-slack", request(), NOTHING, view()),
    ("short", request(time_limit_s=600), policy(), view()),
    ("no-slack-left", request(deadline_utc=at(2.1)), policy(), view()),
    ("no-signal", request(), policy(), view(signal=None, signal_problem="stale")),
    ("cluster-full", request(), policy(), full("queue", hours=1)),
    ("cluster-full", request(gpus=9), policy(), view()),
    ("no-room", request(), policy(), full("room", from_h=0.01)),
    ("signal-too-short", request(), policy(), view(signal=series([400.0]))),
    ("clean-now", request(), policy(), view(signal=series([300.0] * 96))),
    ("clean-now", request(), policy(min_saving_percent=99.0), view()),
    ("clean-now", request(), policy(), view(signal=series([0.0] * 96))),
    ("clean-now", request(), policy(), view(power=PowerModel(gpu_w=0, cpu_core_w=0))),
]


@pytest.mark.parametrize(
    ("reason", "asked", "site", "shown"), PASSES, ids=[f"{i}-{p[0]}" for i, p in enumerate(PASSES)]
)
def test_each_reason_to_pass(reason: str, asked: Request, site: Policy, shown: View) -> None:
    found = decide(asked, site, shown, NOW)
    assert (found.defer, found.reason) == (False, reason)
    assert found.start_utc is None


@pytest.mark.parametrize(("reason", "asked", "site", "shown"), PASSES[1:])
def test_opting_out_comes_before_everything(
    reason: str, asked: Request, site: Policy, shown: View
) -> None:
    comment = f"{asked.comment} green:off"
    assert decide(replace(asked, comment=comment), site, shown, NOW).reason == "opted-out"


def test_a_plain_job_waits_for_noon_and_is_told_so() -> None:
    found = decide(request(), policy(), view(), NOW)
    assert (found.defer, found.reason, found.binding) == (True, "deferred", "default-delay")
    assert found.latest_utc == at(12)
    assert found.start_utc is not None
    assert at(4) < found.start_utc < at(6)
    assert "becomes eligible by 2026-11-23 18:00:00 UTC" in found.sentence
    assert "green:off" in found.sentence
    assert found.save_g is not None
    assert found.save_g > 100
    # At the same power it is by how much cleaner these two hours are on average.
    run = timedelta(hours=2)
    now, then = (days().mean(begin, begin + run) for begin in (NOW, found.start_utc))
    assert f"about {100 * (1 - then / now):.0f}% less CO2" in found.sentence


@pytest.mark.parametrize(
    "asked",
    [
        request(time_limit_s=600, comment="green:max-delay=8h"),
        request(time_limit_s=600, deadline_utc=at(9)),
    ],
)
def test_a_short_job_that_asks_for_it_is_deferred(asked: Request) -> None:
    assert decide(asked, policy(), view(), NOW).defer


def test_a_delay_of_ones_own_replaces_the_default() -> None:
    short = decide(request(comment="green:max-delay=5h"), policy(), view(), NOW)
    assert (short.binding, short.latest_utc) == ("max-delay", at(5))
    long = decide(request(comment="green:max-delay=20h"), policy(), view(), NOW)
    assert long.latest_utc == at(20)


def test_an_array_leaves_room_for_all_its_waves() -> None:
    nine = request(tasks=9, max_running_tasks=3, deadline_utc=at(14))
    found = decide(nine, policy(), view(), NOW)
    assert found.latest_utc == at(14) - timedelta(hours=6, seconds=600)
    assert found.extent is not None
    assert found.extent.need == (3.0, 12.0)


def test_waits_and_waking_nodes_widen_the_margin() -> None:
    slow = tuple(WaitSample(partition="gpu", qos="normal", gpus=1, wait_s=3600.0) for _ in "x" * 20)
    shown = view(partition_view(history=History(waits=slow), resume_s=300.0))
    found = decide(request(deadline_utc=at(12)), policy(), shown, NOW)
    assert found.margin_s == 1.5 * 3600 + 300
    assert found.latest_utc == at(12) - timedelta(seconds=7200 + 1.5 * 3600 + 300)


def test_a_clock_time_means_the_same_at_every_look() -> None:
    """Seen again after it has passed, 06:00:05 must not become tomorrow's."""
    asked = request(comment="green:deadline=12:00:05")
    first = decide(asked, policy(), view(), NOW)
    assert first.latest_utc == at(6) + timedelta(seconds=5 - 7800)
    late = decide(asked, policy(), view(taken_utc=at(6.5)), at(6.5))
    assert (late.defer, late.reason) == (False, "no-slack-left")
    east = decide(asked, policy(), view(zone=timezone(timedelta(hours=1))), NOW)
    assert east.latest_utc == at(5) + timedelta(seconds=5 - 7800)


def test_a_bound_from_before_is_kept() -> None:
    found = decide(request(), policy(), view(), NOW, no_later_utc=at(5))
    assert found.latest_utc == at(5)
    assert decide(request(), policy(), view(), NOW, no_later_utc=at(13)).latest_utc == at(12)
    assert decide(request(), policy(), view(), at(5), no_later_utc=at(5)).reason == "no-slack-left"


def test_a_maintenance_window_before_the_deadline_pulls_the_latest_start() -> None:
    partition = partition_view()
    for one in (partition.queue, partition.room, partition.planned):
        one.take((8.0, 64.0), NOW_S + 10 * HOUR, NOW_S + 30 * HOUR)
    found = decide(request(deadline_utc=at(20)), policy(), view(partition), NOW)
    assert found.latest_utc == at(8)


def test_of_a_partition_list_the_first_known_is_planned_in() -> None:
    shown = view(partition_view("a"), partition_view("b"))
    assert decide(request(partition="b,a"), policy(), shown, NOW).partition == "b"


def test_the_sites_watts_are_a_budget() -> None:
    shown = view(watts=room(1000.0), power=PowerModel(gpu_w=600.0, cpu_core_w=0.0))
    found = [book(request(), shown) for _ in range(4)]
    assert all(one.defer for one in found)
    assert (shown.watts.free >= 0).all()
    assert len({one.start_utc for one in found}) == 4


def book(asked: Request, shown: View, site: Policy | None = None, now: datetime = NOW):
    found = decide(asked, site or policy(), shown, now)
    if found.defer:
        shown.book(
            shown.partition(found.partition),
            found.extent,
            power_w=found.power_w,
            start_s=found.start_utc.timestamp(),
            latest_s=found.latest_utc.timestamp(),
        )
    return found


def test_a_hundred_equal_jobs_do_not_all_start_in_one_slot() -> None:
    shown = view()
    found = [book(request(), shown) for _ in range(100)]
    starts = [one.start_utc for one in found if one.defer]
    # Eight GPUs, two hours each, within twelve hours and two: no more than that many can wait.
    assert 30 <= len(starts) <= 56
    assert max(starts.count(start) for start in starts) <= 8
    partition = shown.partitions["gpu"]
    assert (partition.room.free >= 0).all()
    assert (partition.planned.free >= 0).all()
    assert {one.reason for one in found if not one.defer} <= {"no-room", "clean-now"}


requests = st.builds(
    request,
    gpus=st.integers(0, 9),
    cpus=st.integers(0, 70),
    tasks=st.just(1) | st.integers(1, 30),
    max_running_tasks=st.none() | st.integers(1, 10),
    # Mostly such as may wait, or nothing is seen of deferrals.
    time_limit_s=st.sampled_from(
        [1800, 1860, 2700, 3600, 5400, 7200, 9000, 14_400, 60, 3 * 86400, None, 4_000_000_000 * 60]
    ),
    deadline_utc=st.none() | st.integers(6, 30).map(at) | st.floats(-1, 60).map(at),
    comment=st.sampled_from(
        ["", "", "green:max-delay=9h", "green:deadline=18:00", "green:runtime=30m", "green:x"]
    ),
    partition=st.sampled_from(["", "gpu", "gpu,x"]),
)
policies = st.builds(
    policy,
    default_delay_s=st.sampled_from([0.0, HOUR, 12 * HOUR]),
    max_delay_s=st.sampled_from([6 * HOUR, DAY]),
    min_saving_percent=st.sampled_from([0.0, 5.0]),
    margin_floor_s=st.sampled_from([60.0, 1800.0]),
)
# Falling for some hours: now is mostly not the best of all times.
signals = st.builds(
    lambda later, now: series([now, now, *later]),
    st.lists(st.integers(0, 500).map(float), min_size=2, max_size=94),
    st.sampled_from([0.0, 300.0, 500.0, 500.0]),
)


@settings(max_examples=300)
@given(st.lists(st.tuples(requests, policies), min_size=1, max_size=12), signals)
def test_what_holds_for_every_deferral(asked: list[tuple[Request, Policy]], signal: object) -> None:
    shown = view(signal=signal, watts=room(4000.0))
    for one, site in asked:
        found = book(one, shown, site)
        if not found.defer:
            assert found.start_utc is None
            continue
        assert NOW < found.start_utc <= found.latest_utc
        assert found.latest_utc <= NOW + timedelta(seconds=site.max_delay_s)
        if one.deadline_utc is not None:
            left = (one.deadline_utc - found.latest_utc).total_seconds()
            assert left >= found.extent.run_s + site.margin_floor_s
        assert found.save_g > 0
        assert found.start_utc.timestamp() + found.extent.expected_s <= signal.edges_s[-1] + 1
    partition = shown.partitions["gpu"]
    for space in (partition.room, partition.planned, shown.watts):
        assert float(np.min(space.free)) >= -1e-6


@given(st.text(max_size=60), st.text(max_size=20), st.text(max_size=20), requests)
def test_nothing_a_user_writes_raises(
    comment: str, name: str, partition: str, asked: Request
) -> None:
    for words in (comment, f"green:{comment}", f"green:deadline={comment}"):
        decide(replace(asked, comment=words, name=name), policy(), view(), NOW)
    decide(replace(asked, partition=partition), policy(), view(), NOW)


@pytest.mark.parametrize(
    "asked",
    [
        request(comment="green:deadline=0001-01-02"),
        request(comment="green:deadline=9999-12-30"),
        request(time_limit_s=2**32 * 60, deadline_utc=at(10)),
        request(tasks=10**14, max_running_tasks=1),
        request(deadline_utc=datetime(1, 1, 1, tzinfo=UTC)),
        request(deadline_utc=datetime(9999, 12, 31, tzinfo=UTC)),
        request(name="x" * 100_000, comment="green:" + "y" * 100_000),
    ],
)
def test_absurd_requests_do_not_raise(asked: Request) -> None:
    decide(asked, policy(), view(signal=days()), NOW)


@pytest.mark.parametrize(
    ("gpu_w", "words"), [(0.5, " (0."), (400.0, " g). "), (60_000.0, " kg). ")]
)
def test_the_sentence_counts_in_a_unit_that_fits(gpu_w: float, words: str) -> None:
    """A tiny job is not told that it saves 0 g."""
    shown = view(power=PowerModel(gpu_w=gpu_w, cpu_core_w=0.0))
    sentence = decide(request(), policy(), shown, NOW).sentence
    assert words in sentence
    assert "(0 g)" not in sentence


@pytest.mark.parametrize("wish", ["max-delay=8h", "deadline=now+12hours"])
def test_only_who_asked_to_wait_is_told_why_not(wish: str) -> None:
    asked = decide(request(comment=f"green:{wish}"), policy(), full(hours=200.0), NOW)
    unasked = decide(request(), policy(), full(hours=200.0), NOW)
    assert (asked.reason, unasked.reason) == ("cluster-full", "cluster-full")
    assert asked.sentence == "starts as soon as it can: other jobs are before it"
    assert unasked.sentence == ""


def test_a_deadline_is_told_with_the_chance_to_miss_it() -> None:
    late = [WaitSample(partition="gpu", qos="normal", gpus=2, wait_s=9e5)] * 1
    prompt = [WaitSample(partition="gpu", qos="normal", gpus=2, wait_s=1.0)] * 99
    known = view(partition_view(history=History(waits=(*late, *prompt))))
    due = decide(request(deadline_utc=at(20)), policy(), known, NOW)
    free = decide(request(), policy(), known, NOW)
    assert due.binding == "deadline"
    assert "(1% chance to end late)" in due.sentence
    assert "chance" not in free.sentence
