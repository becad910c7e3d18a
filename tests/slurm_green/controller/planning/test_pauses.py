# SPDX-License-Identifier: Apache-2.0
"""Pauses: who may be paused, until when at the latest, and that nobody else ever is."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from builders import DAY, HOUR, NOW, NOW_S, at, job, policy, rules
from hypothesis import given, settings
from hypothesis import strategies as st
from simulator import Site, Slurm

from slurm_green.controller.planning.advice import Advice
from slurm_green.controller.planning.ask import question_of
from slurm_green.hook.record import PAUSE, Record, parse
from slurm_green.slurm.records import Job, Reservation

WISH = "green:checkpoint=/scratch/ck"
RULES = rules(pause=True)


def runs(**fields: Any) -> Job:
    """It has run for an hour of two, and has until tomorrow."""
    given_: dict[str, Any] = {
        "state": "RUNNING", "start_utc": at(-1), "end_utc": at(1), "submit_utc": at(-2),
        "requeue": True, "comment": WISH, "deadline_utc": at(20), "node_names": ("n0",),
    }  # fmt: skip
    return job(1, **(given_ | fields))


def cycled(
    one: Job,
    *,
    site: Site | None = None,
    at_s: float = NOW_S,
    until_s: float = NOW_S + DAY,
    **more: Any,
) -> Any:
    site = site or Site(rules=RULES)
    site.slurm.jobs[one.job_id] = one
    advice = Advice(at_s=at_s, until_s=until_s, pauses=frozenset({one.job_id}))
    return site.cycle(advice=advice, **more)


def test_a_pause_leaves_the_whole_time_limit_before_the_deadline() -> None:
    change = cycled(runs()).pauses[1]
    record = parse(change.admin_comment or "")
    assert record is not None
    assert record.policy == PAUSE
    assert change.begin_utc == record.latest_utc == at(18) - timedelta(seconds=600)


@pytest.mark.parametrize(("slurms", "own"), [(20, 10), (10, 20), (None, 10)])
def test_of_two_deadlines_a_pause_keeps_the_earlier(slurms: int | None, own: int) -> None:
    one = runs(
        deadline_utc=None if slurms is None else at(slurms),
        comment=f"{WISH},deadline={at(own):%Y-%m-%dT%H:%M:%SZ}",
    )
    assert cycled(one).pauses[1].begin_utc == at(8) - timedelta(seconds=600)


def test_two_that_are_paused_at_once_do_not_count_on_the_same_room() -> None:
    """From three on half of the nodes are reserved."""
    kept = Reservation(
        name="half", start_utc=at(3), end_utc=at(60), node_names=("n0", "n1"), maintenance=True
    )
    site = Site(rules=RULES, slurm=Slurm(reservations=(kept,)))
    for number, names in ((1, ("n0", "n1")), (2, ("n2", "n3"))):
        site.slurm.jobs[number] = replace(runs(gpus=4, nodes=2, node_names=names), job_id=number)
    advice = Advice(at_s=NOW_S, until_s=NOW_S + DAY, pauses=frozenset({1, 2}))
    first, second = sorted(one.begin_utc for one in site.cycle(advice=advice).pauses.values())
    assert first <= second - timedelta(hours=2)
    assert second == at(18) - timedelta(seconds=600)


@pytest.mark.parametrize("field", ["admin_comment", "extra"])
def test_a_pause_keeps_what_its_field_said(field: str) -> None:
    """Others' words, and the job's own token, workers and clock, by which it goes on."""
    old = Record(
        token="t9", decided_utc=at(-2), start_utc=at(-1), latest_utc=at(1), policy="prices",
        workers=2, clock_mhz=1095,
    )  # fmt: skip
    site = Site(rules=rules(pause=True, record_field=field))
    change = cycled(runs(**{field: f"note {old}"}), site=site).pauses[1]
    texts = {"admin_comment": change.admin_comment, "extra": change.extra}
    text = texts.pop(field)
    assert text is not None
    assert text.startswith("note green:v1 ")
    record = parse(text)
    assert record is not None
    assert (record.policy, record.token, record.workers, record.clock_mhz) == (
        PAUSE, "t9", 2, 1095,
    )  # fmt: skip
    assert [*texts.values()] == [None]


@pytest.mark.parametrize(
    "change",
    [
        {"comment": ""},
        {"comment": f"{WISH},off"},
        {"comment": "green:checkpoint="},
        {"requeue": False},
        {"deadline_utc": None},
        {"deadline_utc": at(2.1)},
        {"start_utc": NOW - timedelta(seconds=60)},
        {"restarts": 3},
        {"state": "PENDING", "start_utc": None},
        {"state": "SUSPENDED"},
        {"batch": False},
        {"array_job_id": 1},
        {"cluster": "here", "origin": "there"},
        {"name": "jupyter"},
    ],
)
def test_who_is_not_paused(change: dict[str, Any]) -> None:
    site = Site(rules=rules(pause=True, policy=policy(exclude_names=("jupyter*",))))
    assert not cycled(runs(**change), site=site).pauses


def test_nobody_is_paused_where_the_site_did_not_ask_for_it() -> None:
    assert not cycled(runs(), site=Site()).pauses


def test_only_those_that_the_plan_names_are_paused_a_few_at_once() -> None:
    site = Site(rules=RULES)
    for number in range(1, 8):
        site.slurm.jobs[number] = replace(runs(), job_id=number)
    advice = Advice(at_s=NOW_S, until_s=NOW_S + DAY, pauses=frozenset(range(2, 8)))
    assert list(site.cycle(advice=advice).pauses) == [2, 3, 4, 5, 6]


def test_one_that_was_paused_or_waited_for_another_before_may_be_paused() -> None:
    assert cycled(runs(restarts=2, dependency="afterok:9")).pauses


def test_in_shadow_it_is_only_told() -> None:
    site = Site(rules=rules(pause=True, policy=policy(mode="shadow")))
    outcome = cycled(runs(), site=site)
    assert not outcome.pauses
    assert [event.kind for event in outcome.events] == ["pause-shadow"]


def test_advice_about_this_slot_is_followed_until_it_is_over() -> None:
    site = Site(rules=RULES, slurm=Slurm(now=at(0.4)))
    assert cycled(runs(), site=site, at_s=NOW_S + 60).pauses


def test_advice_about_another_slot_or_past_its_time_is_not_followed() -> None:
    assert not cycled(runs(), at_s=NOW_S - HOUR).pauses
    assert not cycled(runs(), until_s=NOW_S - 1).pauses


def test_nobody_is_paused_in_a_partition_that_is_gone() -> None:
    assert not cycled(runs(partition="gone")).pauses


def paused(site: Site) -> Job:
    """As Slurm shows it once it waits again."""
    change = cycled(runs(), site=site).pauses[1]
    fields = {
        "state": "PENDING", "restarts": 1, "start_utc": None, "end_utc": None, "node_names": (),
        "submit_utc": NOW, "eligible_utc": change.begin_utc, "admin_comment": change.admin_comment,
    }  # fmt: skip
    site.slurm.change(1, **fields)
    return site.slurm.jobs[1]


def test_a_paused_job_goes_on_when_it_is_clean_and_in_time() -> None:
    site = Site(rules=RULES)
    latest = paused(site).eligible_utc
    for _ in range(40):
        site.slurm.run_until(site.slurm.now + timedelta(minutes=30))
        site.cycle()
    done = site.slurm.jobs[1]
    assert done.state == "COMPLETED"
    assert at(4) < done.start_utc < at(7)
    assert done.start_utc <= latest
    assert done.end_utc <= at(20)


def test_without_us_it_starts_at_its_latest_start() -> None:
    site = Site(rules=RULES)
    latest = paused(site).eligible_utc
    site.slurm.run_until(at(24))
    assert site.slurm.jobs[1].state == "COMPLETED"
    assert site.slurm.jobs[1].start_utc - latest < timedelta(minutes=2)
    assert site.slurm.jobs[1].end_utc <= at(20)


def test_one_that_somebody_else_requeued_is_left_alone() -> None:
    site = Site(rules=RULES)
    site.slurm.jobs[1] = runs(
        state="PENDING",
        restarts=1,
        start_utc=None,
        submit_utc=NOW,
        eligible_utc=NOW + timedelta(minutes=2),
        admin_comment=str(
            Record(
                token="t", decided_utc=at(-2), start_utc=at(-1), latest_utc=at(9), policy="prices"
            )
        ),
    )
    site.cycle()
    assert site.slurm.jobs[1].eligible_utc == NOW + timedelta(minutes=2)


@given(
    deadline_h=st.floats(-2, 40), ran_h=st.floats(0, 3), limit_s=st.integers(60, 40_000),
    gpus=st.integers(0, 10),
)  # fmt: skip
@settings(max_examples=80, deadline=None)
def test_no_pause_costs_a_deadline(
    deadline_h: float, ran_h: float, limit_s: int, gpus: int
) -> None:
    """Whatever runs: begun again at its latest start it has its whole limit before the deadline."""
    one = runs(
        deadline_utc=at(deadline_h), start_utc=at(-ran_h), time_limit_s=limit_s, gpus=gpus,
        end_utc=at(-ran_h) + timedelta(seconds=limit_s),
    )  # fmt: skip
    for change in cycled(one).pauses.values():
        assert change.begin_utc > NOW
        assert change.begin_utc + timedelta(seconds=limit_s + 600) <= at(deadline_h)


def test_the_planner_hears_only_of_those_that_may() -> None:
    for one, may in ((runs(), True), (runs(comment=""), False)):
        site = Site(rules=RULES)
        site.slurm.jobs[1] = one
        outcome = site.cycle()
        asked = question_of(site.slurm.observed(site.signal), outcome, RULES)
        assert asked is not None
        (going,) = asked.pools["gpu"].running
        assert going.may_pause == may
        assert replace(going, may_pause=False).end_s == at(1).timestamp()
