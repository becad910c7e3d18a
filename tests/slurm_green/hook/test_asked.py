# SPDX-License-Identifier: Apache-2.0
"""From the courier's question to a request: what is set, what is estimated, what is ignored."""

from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from builders import NOW
from hypothesis import given
from hypothesis import strategies as st

from slurm_green.hook.asked import array_of, request_from
from slurm_green.hook.request import Request
from slurm_green.hook.wire import Ask


def asked(**fields: Any) -> Request:
    """The request of a question with these fields."""
    return request_from(Ask(seq=1, uid=0, **fields), now_utc=NOW, zone=UTC)


def test_an_empty_question_is_one_core_for_an_unknown_time() -> None:
    found = asked()
    assert (found.nodes, found.cpus, found.gpus, found.tasks) == (1, 1, 0, 1)
    assert (found.time_limit_s, found.deadline_utc, found.max_running_tasks) == (None, None, None)
    assert found.submit_utc == NOW


@pytest.mark.parametrize(
    ("fields", "nodes", "cpus", "gpus"),
    [
        ({"min_nodes": 2, "tres_per_node": "gres:gpu:4"}, 2, 2, 8),
        ({"num_tasks": 3, "cpus_per_task": 8, "tres_per_task": "gres:gpu:a100:1"}, 1, 24, 3),
        ({"tres_per_job": "gres/gpu:6", "min_nodes": 2}, 2, 2, 6),
        ({"min_nodes": 2, "tres_per_socket": "gres/gpu:2"}, 2, 2, 4),
        ({"min_nodes": 2, "ntasks_per_node": 4, "cpus_per_task": 2}, 2, 16, 0),
        ({"min_cpus": 32, "num_tasks": 4}, 1, 32, 0),
        ({"min_nodes": 0, "num_tasks": 0, "cpus_per_task": 0}, 1, 1, 0),
    ],
)
def test_what_it_takes(fields: dict[str, Any], nodes: int, cpus: int, gpus: int) -> None:
    found = asked(**fields)
    assert (found.nodes, found.cpus, found.gpus) == (nodes, cpus, gpus)


@pytest.mark.parametrize(
    ("text", "tasks", "running"),
    [
        (None, 1, None),
        ("", 1, None),
        ("5", 1, None),
        ("0-9", 10, None),
        ("1-10:3", 4, None),
        ("1,3,7-9%2", 5, 2),
        ("0-99%10", 100, 10),
        ("0-9%0", 10, None),
        ("9-0", 1, None),
        ("1-4:0", 4, None),
        ("what", 1, None),
        ("0-3%²", 4, None),
        ("0-3,what", 4, None),
    ],
)
def test_arrays(text: str | None, tasks: int, running: int | None) -> None:
    assert array_of(text) == (tasks, running)


@given(st.text(alphabet="0123456789-,:% []x²٣", max_size=60))
def test_no_array_specification_raises(text: str) -> None:
    tasks, running = array_of(text)
    assert tasks >= 1
    assert running is None or running >= 1


def test_unlimited_is_no_limit() -> None:
    assert asked(time_limit_s=60).time_limit_s == 60
    assert asked(time_limit_s=60, unlimited=True).time_limit_s is None


def test_a_deadline_in_the_script_is_read_where_it_is_an_absolute_time() -> None:
    """Slurm knows more ways to write one; the queue shows what they mean."""
    assert asked(deadline_text="2026-11-23T18:00").deadline_utc == datetime(
        2026, 11, 23, 18, tzinfo=UTC
    )
    assert asked(deadline_text="fortnight").deadline_utc is None


@pytest.mark.parametrize("text", ["now+99999999999999weeks", "9999-12-31T23:59:59-01:00"])
def test_a_deadline_beyond_the_calendar_is_left_to_the_queue(text: str) -> None:
    assert asked(deadline_text=text).deadline_utc is None


def test_a_deadline_in_the_script_is_in_the_sites_time() -> None:
    ask = Ask(seq=1, uid=0, deadline_text="2026-11-23T18:00")
    found = request_from(ask, now_utc=NOW, zone=timezone(timedelta(hours=-5)))
    assert found.deadline_utc == datetime(2026, 11, 23, 23, tzinfo=UTC)


def test_whose_job_it_is_and_what_it_says_is_passed_on() -> None:
    """Policies exclude by each of these: none may stand for another."""
    names = {"user": "u", "account": "a", "partition": "p", "qos": "q", "name": "n", "comment": "c"}
    found = asked(**names, array_inx="0-99%10")
    assert {name: getattr(found, name) for name in names} == names
    assert (found.tasks, found.max_running_tasks) == (100, 10)


def test_a_dependency_and_a_reservation_are_seen() -> None:
    found = asked(dependency="afterok:5", reservation="maint")
    assert (found.dependent, found.reservation) == (True, "maint")
