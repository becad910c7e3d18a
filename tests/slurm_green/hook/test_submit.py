# SPDX-License-Identifier: Apache-2.0
"""The submit hook's answers: never an error, never one that the courier would refuse."""

import re
from dataclasses import replace
from datetime import timedelta
from itertools import pairwise
from typing import Any, get_type_hints

import pytest
from builders import (
    HOUR,
    NOW,
    NOW_S,
    job,
    observed,
    partition_view,
    policy,
    room,
    rules,
    series,
    view,
)  # fmt: skip
from hypothesis import given, settings
from hypothesis import strategies as st

from slurm_green.controller.cycle import cycle
from slurm_green.controller.observed import Memory
from slurm_green.hook.policy import Policy
from slurm_green.hook.record import LOOK, parse
from slurm_green.hook.submit import MESSAGE_LIMIT, SubmitHook
from slurm_green.hook.view import View
from slurm_green.hook.wire import Answer, Ask, Defer, Pass, encode_answer
from slurm_green.plan.power import PowerModel
from slurm_green.slurm.records import JobChange

# What slurm_green_wire.lua accepts of a record.
RECORD = re.compile(r"green:v1 [A-Za-z0-9=:@.+_/, ()-]+")
DEFAULTS = policy()
NO_DEFAULT = policy(default_delay_s=0.0, min_length_s=600.0)


def hook(rule: Policy = DEFAULTS, *, seen: View | None = None, **fields: Any) -> SubmitHook:
    """A hook with a view of an empty cluster, ten seconds old."""
    return SubmitHook(
        **{
            "policy_for": lambda _partition, _qos: rule,
            "clock": lambda: NOW_S + 10.7,
            "hold_s": 10.0,
            "look": True,
            "fresh_s": 90.0,
            "token": lambda: "0123456789ab",
            "view": seen or view(),
        }
        | fields
    )


def ask(**fields: Any) -> Ask:
    """A question about a one-GPU job of two hours."""
    given_fields: dict[str, Any] = {
        "seq": 1,
        "uid": 1000,
        "user": "ada",
        "partition": "gpu",
        "name": "train",
        "time_limit_s": 7200,
        "tres_per_node": "gres:gpu:1",
    }
    return Ask(**(given_fields | fields))


def test_a_deferral_holds_for_seconds_and_tells_the_promise() -> None:
    answer = hook().answer(ask())
    assert isinstance(answer, Defer)
    now = NOW + timedelta(seconds=10)
    assert answer.begin_utc == now + timedelta(seconds=10), "whole seconds, as Slurm counts"
    record = parse(answer.record)
    assert record is not None
    assert (record.token, record.decided_utc) == ("0123456789ab", now)
    assert (record.latest_utc, record.signal) == (answer.latest_utc, "test")
    assert answer.latest_utc <= now + timedelta(hours=12)
    assert f"becomes eligible by {answer.latest_utc:%Y-%m-%d %H:%M:%S}" in answer.message


def test_a_start_at_the_last_moment_is_written_as_the_cycle_keeps_it() -> None:
    """So that to confirm it only its begin time changes, which goes to Slurm in one batch."""
    now = NOW + timedelta(seconds=10)
    falling = series([500 - 20 * hour for hour in range(24)], start=now)
    answer = hook(seen=view(signal=falling)).answer(ask())
    assert isinstance(answer, Defer)
    record = parse(answer.record)
    assert record is not None
    assert record.start_utc == record.latest_utc - timedelta(seconds=1)
    held = job(
        submit_utc=record.decided_utc,
        eligible_utc=answer.begin_utc,
        admin_comment=answer.record,
    )
    seen = observed(held, now=now + timedelta(seconds=2), signal=falling)
    change = cycle(seen, Memory(), rules(policy=DEFAULTS)).changes[held.job_id]
    assert change == JobChange(begin_utc=record.latest_utc)


def test_a_burst_does_not_pick_the_same_hour() -> None:
    """Each answer is booked into the view: a full hour is not promised twice."""
    one = hook(seen=view(partition_view(gpus=2)))
    answers = [one.answer(ask(tres_per_node="gres:gpu:2", time_limit_s=7200)) for _ in range(4)]
    records = [parse(answer.record) for answer in answers if isinstance(answer, Defer)]
    starts = sorted(record.start_utc for record in records if record is not None)
    assert len(starts) >= 2
    for first, second in pairwise(starts):
        assert second - first >= timedelta(hours=2)


def test_a_burst_keeps_to_the_sites_watts() -> None:
    """GPUs are free for all of them at once, watts for one."""
    watts = room(1000.0)
    one = hook(seen=view(watts=watts, power=PowerModel(gpu_w=600.0, cpu_core_w=0.0)))
    answers = [one.answer(ask()) for _ in range(3)]
    assert any(isinstance(answer, Defer) for answer in answers)
    one.settle()
    assert watts.free.min() == 1000.0 - 600.0


@pytest.mark.parametrize(("delay_s", "deferred"), [(4 * HOUR, True), (4 * HOUR - 1, False)])
def test_a_hold_beyond_the_promise_is_not_asked_for(delay_s: float, deferred: bool) -> None:
    """The courier would refuse it, and nothing may stay booked for the job."""
    one = hook(policy(default_delay_s=delay_s), hold_s=4 * HOUR)
    answer = one.answer(ask())
    one.settle()
    assert one.view is not None
    rooms = [seen.partitions["gpu"].room.free for seen in (one.view, view())]
    booked = bool((rooms[0] < rooms[1]).any())
    if deferred:
        assert isinstance(answer, Defer) and answer.begin_utc == answer.latest_utc
    else:
        assert answer == Pass(reason="hold-too-long")
    assert booked is deferred


@pytest.mark.parametrize(
    ("rule", "fields", "reason"),
    [
        (DEFAULTS, {"view": None}, "no-view"),
        (DEFAULTS, {"clock": lambda: NOW_S + 91}, "no-view"),
        (replace(DEFAULTS, mode="shadow"), {}, "shadow"),
        (NO_DEFAULT, {"look": False}, "no-slack"),
    ],
)
def test_what_passes_says_why(rule: Policy, fields: dict[str, Any], reason: str) -> None:
    answer = hook(rule, **fields).answer(ask())
    assert isinstance(answer, Pass)
    assert answer.reason == reason


def test_all_partitions_a_job_names_are_asked_about() -> None:
    asked: list[str] = []

    def policy_for(partition: str, _qos: str) -> Policy:
        asked.append(partition)
        return DEFAULTS

    one = hook(policy_for=policy_for)
    one.answer(ask(partition="gpu,big"))
    one.answer(ask(partition=None))
    assert asked == ["gpu,big", "gpu"]


@pytest.mark.parametrize(
    ("fields", "looked"),
    [
        ({}, True),
        ({"time_limit_s": None}, False),  # no limit at all is a reason of its own
        ({"time_limit_s": 300}, False),
        ({"comment": "green:off"}, False),
        ({"dependency": "afterok:5"}, False),
    ],
)
def test_without_slack_the_queue_is_looked_at(fields: dict[str, Any], looked: bool) -> None:
    """Only where a hidden --deadline could change the answer."""
    answer = hook(NO_DEFAULT).answer(ask(**fields))
    assert isinstance(answer, Defer) is looked
    if isinstance(answer, Defer):
        record = parse(answer.record)
        assert record is not None and record.policy == LOOK
        assert (answer.message, answer.latest_utc) == ("", answer.begin_utc)


def test_without_a_limit_of_its_own_a_job_may_be_long() -> None:
    seen = view(partition_view(default_time_s=7200))
    answer = hook(NO_DEFAULT, seen=seen).answer(ask(time_limit_s=None))
    assert isinstance(answer, Defer) and not answer.message


def test_what_a_user_wrote_comes_back_as_plain_text() -> None:
    answer = hook().answer(ask(comment="green:" + "\u00e4\u202e" * 300))
    assert isinstance(answer, Pass)
    assert answer.reason == "bad-options" and "????" in answer.message
    check(answer)


def texts() -> st.SearchStrategy[str]:
    """Anything a user can write, and what comes close to meaning something."""
    words = st.sampled_from(
        ["green:", "max-delay=", "deadline=", "runtime=", "off", "8h", "now+", "24:00", "gres:gpu",
         ":", "=", ",", "-", "%", "9" * 15, "0", "2026-11-23T18:00", "gpu:a100:", "é\n\x1b[2J", " "]
    )  # fmt: skip
    built = st.lists(words, max_size=8).map("".join)
    return built | st.text(max_size=40)


HINTS = get_type_hints(Ask)
NUMBERS = st.integers(0, 70) | st.integers(0, 10**15)
VALUES: dict[object, st.SearchStrategy[Any]] = {
    str | None: st.none() | texts(),
    int | None: st.none() | NUMBERS,
    int: NUMBERS,
    bool: st.booleans(),
    bool | None: st.none() | st.booleans(),
}
ASKS = st.builds(
    Ask,
    **{name: VALUES[hint] for name, hint in HINTS.items() if name != "partition"},
    partition=st.sampled_from([None, "gpu", "gpu,big", "nowhere", ""]),
)
RULES = st.builds(
    policy,
    default_delay_s=st.sampled_from([0.0, HOUR, 12 * HOUR]),
    max_delay_s=st.sampled_from([0.0, 24 * HOUR, 1e7]),
    min_length_s=st.sampled_from([0.0, 600.0]),
    min_saving_percent=st.sampled_from([0.0, 5.0]),
)


@settings(max_examples=300, deadline=None)
@given(ASKS, RULES, st.none() | st.just(7200.0))
def test_any_question_gets_an_answer_the_courier_takes(
    asked: Ask, rule: Policy, default_s: float | None
) -> None:
    """Nothing a user writes raises, breaks a promise's bounds, or reaches a terminal raw."""
    seen = view(partition_view(default_time_s=default_s))
    answer = hook(rule, seen=seen).answer(asked)
    line = encode_answer(asked.seq, answer)
    assert line.endswith(b"\n") and line.count(b"\n") == 1 and len(line) <= 4096
    check(answer)


def check(answer: Answer) -> None:
    """The rules of slurm_green_wire.lua."""
    assert len(answer.message) <= MESSAGE_LIMIT
    assert answer.message.isascii()
    if isinstance(answer, Defer):
        now = NOW + timedelta(seconds=10)
        assert now < answer.begin_utc <= now + timedelta(seconds=60)
        assert answer.begin_utc <= answer.latest_utc <= now + timedelta(days=366)
        assert len(answer.record) <= 400
        assert RECORD.fullmatch(answer.record)
        assert re.fullmatch(r"[ -~]*\n?[ -~]*", answer.message)


def told(answers: list[Any]) -> list[Any]:
    """What matters of answers: the records' starts and latest starts, or the reason to pass."""
    found: list[Any] = []
    for answer in answers:
        record = parse(answer.record) if isinstance(answer, Defer) else None
        found.append((record.start_utc, record.latest_utc) if record else answer)
    return found


def test_deciding_ahead_changes_no_answer() -> None:
    """Jobs alike and unlike in turn: settled in between or not, the answers are the same."""
    sizes = ["gres:gpu:1", "gres:gpu:1", "gres:gpu:2", "gres:gpu:1", "gres:gpu:1"] * 3
    settled, lazy = hook(), hook()
    first, second = [], []
    for size in sizes:
        first.append(settled.answer(ask(tres_per_node=size)))
        settled.settle()
        settled.settle()
        second.append(lazy.answer(ask(tres_per_node=size)))
    assert told(first) == told(second)


@pytest.mark.parametrize("later_s", [3.0, 30.0])
def test_a_decision_made_ahead_is_forgotten_after_seconds(later_s: float) -> None:
    times = [NOW_S + 10.0]
    one = hook(clock=lambda: times[-1])
    one.answer(ask())
    one.settle()
    times.append(NOW_S + 10.0 + later_s)
    answer = one.answer(ask())
    assert isinstance(answer, Defer)
    late = timedelta(seconds=10 + later_s, hours=12)
    assert answer.latest_utc == NOW + late


def test_a_decision_made_ahead_dies_with_its_view() -> None:
    one = hook()
    one.answer(ask())
    one.settle()
    one.view = view(off=True)
    assert one.answer(ask()) == Pass(reason="switched-off")
