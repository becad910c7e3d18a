# SPDX-License-Identifier: Apache-2.0
"""Joules of requests sum to the meter's, whatever runs, ends or is not read."""

import math
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from serving.governor.engine import Batch, EngineModel
from serving.vllm.account import Accounts
from serving.vllm.share import Iteration, shares
from tests.serving.made import profile

ENGINE = EngineModel(profile())
TOP = len(ENGINE.clocks_mhz) - 1

_seconds = st.floats(0.001, 2.0)
_names = st.sampled_from("abcdef")
_steps = st.lists(
    st.one_of(
        st.tuples(st.just("ran"), _seconds, st.sets(_names, min_size=1)),
        st.tuples(st.just("idle"), _seconds, st.none()),
        st.tuples(st.just("read"), st.floats(0.0, 500.0), st.none()),
        st.tuples(st.just("unread"), _seconds, st.none()),
        st.tuples(st.just("over"), st.sampled_from(["finished", "aborted"]), _names),
    ),
    max_size=60,
)  # fmt: skip


@given(_steps, st.integers(1, 4))
def test_requests_and_pool_are_what_was_drawn(steps: list[tuple], most: int) -> None:  # type: ignore[type-arg]
    accounts = Accounts(0.0, most=most)
    now_s = drawn_j = modelled_j = 0.0
    for kind, value, who in steps:
        if kind == "ran":
            names = sorted(who)
            accounts.ran(
                now_s, now_s + value, 300.0, 100.0, [(one, 1 / len(names)) for one in names]
            )
            now_s += value
            modelled_j += 300.0 * value
        elif kind == "idle":
            now_s += value
            accounts.idled(now_s, 100.0)
            modelled_j += 100.0 * value
        elif kind == "over":
            accounts.over(who, value)
        else:
            drawn_j += value if kind == "read" else modelled_j
            accounts.settle(now_s, value if kind == "read" else None)
            modelled_j = 0.0
    drawn_j += modelled_j
    accounts.settle(now_s, None)
    assert accounts.work_j + accounts.idle_j == pytest.approx(drawn_j, abs=1e-6)
    assert accounts.total_j() + accounts.pool_j == pytest.approx(drawn_j, abs=1e-6)
    assert accounts.pool_j >= -1e-9


def test_idle_joules_never_sink_while_it_is_busy_all_the_time() -> None:
    accounts, draw = Accounts(0.0), random.Random(1)
    for second in range(1000):
        before_j = accounts.idle_j
        accounts.ran(second, second + 1.0, 300.0 + draw.random(), 100.0, [("a", 1.0)])
        accounts.settle(second + 1.0, 700.0 * draw.random())
        assert accounts.idle_j >= before_j


def test_only_what_ended_last_is_remembered() -> None:
    accounts = Accounts(0.0, most=2)
    for at, name in enumerate("abc"):
        accounts.ran(at, at + 1, 100.0, 50.0, [(name, 1.0)])
        accounts.over(name, "aborted" if name == "b" else "finished")
    accounts.settle(3.0, 600.0)
    assert accounts.joules("a") is None
    found = accounts.joules("b")
    assert found is not None
    assert found.end == "aborted"
    assert found.work_j == pytest.approx(200.0)
    assert accounts.ended == {"finished": 2, "aborted": 1}
    assert accounts.total_j() == pytest.approx(600.0)


def test_who_comes_after_an_idle_hour_does_not_pay_for_all_of_it() -> None:
    accounts = Accounts(0.0)
    accounts.idled(3600.0, 60.0)
    accounts.settle(3600.0, 216_000.0)
    accounts.ran(3600.0, 3601.0, 300.0, 60.0, [("a", 1.0)])
    accounts.settle(3601.0, 300.0)
    found = accounts.joules("a")
    assert found is not None
    assert found.work_j == pytest.approx(300.0)
    assert found.idle_j == pytest.approx(216_000.0 / 600, rel=0.01)
    assert accounts.pool_j == pytest.approx(216_000.0 - found.idle_j)


def test_a_pause_between_iterations_is_idle() -> None:
    accounts = Accounts(0.0)
    for at_s in (0.0, 3.0):
        accounts.ran(at_s, at_s + 1, 300.0, 60.0, [("a", 1.0)])
    accounts.settle(4.0, None)
    assert (accounts.work_j, accounts.idle_j) == (600.0, 120.0)


def test_what_nobody_worked_for_stays_in_the_pool() -> None:
    accounts = Accounts(0.0)
    accounts.ran(0.0, 0.0, 300.0, 60.0, [("a", 1.0)])  # over before it began
    accounts.idled(100.0, 60.0)
    accounts.settle(100.0, 500.0)
    assert (accounts.pool_j, accounts.total_j()) == (500.0, 0.0)
    accounts.ran(100.0, 101.0, 300.0, 60.0, [])  # whose requests are unknown
    accounts.settle(101.0, 300.0)
    assert accounts.pool_j == 500.0


def test_a_request_is_found_by_what_its_client_calls_it() -> None:
    accounts = Accounts(0.0, most=2)
    names = ("chat-a-11", "cmpl-b-0-22", "cmpl-b-1-33")
    accounts.ran(0.0, 1.0, 300.0, 60.0, [(name, 1 / 3) for name in names])
    assert accounts.named("chat-a") == accounts.named("chat-a-11") == ["chat-a-11"]
    assert accounts.named("cmpl-b") == ["cmpl-b-0-22", "cmpl-b-1-33"]
    assert accounts.named("cmpl-b-1") == ["cmpl-b-1-33"]
    assert accounts.named("cmpl") == []
    for name in names:
        accounts.over(name, "finished")
    accounts.settle(1.0, None)
    assert accounts.named("chat-a") == []


@pytest.mark.parametrize(
    ("client", "names"),
    [
        ("chatcmpl-a", ["0_chatcmpl-a-11", "1_chatcmpl-a-22"]),  # n = 2
        ("cmpl-b", ["0_cmpl-b-0-11", "1_cmpl-b-0-22", "0_cmpl-b-1-33", "1_cmpl-b-1-44"]),
        ("resp_c", ["resp_c_0-11", "resp_c_1-22"]),  # of the Responses API
    ],
)
def test_all_answers_to_a_request_are_its_own(client: str, names: list[str]) -> None:
    accounts = Accounts(0.0)
    every = [*names, "cmpl-other-0-55", "0_cmpl-others-0-66"]
    accounts.ran(0.0, 1.0, 300.0, 60.0, [(name, 1 / len(every)) for name in every])
    assert accounts.named(client) == names


@pytest.mark.parametrize(
    ("client", "names", "others"),
    [
        ("chatcmpl-run", ["chatcmpl-run-11"], ["chatcmpl-run-0-22", "chatcmpl-run_0-33"]),
        ("chatcmpl-run-0", ["chatcmpl-run-0-11"], ["chatcmpl-run-22"]),
        ("cmpl-run", ["cmpl-run-0-11", "cmpl-run-1-22"], ["cmpl-run-0-0-33", "cmpl-run_0-0-44"]),
        ("cmpl-run-0", ["cmpl-run-0-0-11"], ["cmpl-run-0-22"]),
    ],
)
@pytest.mark.parametrize("later", [False, True])
def test_a_request_whose_name_goes_on_with_a_number_is_another(
    client: str, names: list[str], others: list[str], later: bool
) -> None:
    accounts = Accounts(0.0)
    every = [*names, *others] if later else [*others, *names]
    accounts.ran(0.0, 1.0, 300.0, 60.0, [(name, 1 / len(every)) for name in every])
    assert accounts.named(client) == names


@pytest.mark.parametrize(
    ("before", "after"), [([0, 1, 2], [0, 1]), ([0, 1], [None]), ([None], [0, 1])]
)
def test_answers_to_an_earlier_request_of_the_same_name_are_not_its_own(
    before: list[int | None], after: list[int | None]
) -> None:
    accounts = Accounts(0.0)
    told = []
    for at, numbers in enumerate((before, after)):
        told = [f"{'' if k is None else f'{k}_'}chatcmpl-a-{at}{k}" for k in numbers]
        accounts.ran(at, at + 1.0, 300.0, 60.0, [(name, 1 / len(told)) for name in told])
    assert accounts.named("chatcmpl-a") == told


def test_a_client_may_call_all_of_its_requests_the_same() -> None:
    accounts = Accounts(0.0, most=1)
    for at, name in enumerate(("a-11", "a-22")):
        accounts.ran(at, at + 1.0, 300.0, 60.0, [(name, 1.0)])
        accounts.over(name, "finished")
    accounts.settle(2.0, None)
    assert accounts.named("a") == ["a-22"]


def test_before_the_meter_is_read_the_model_speaks_at_the_last_scale() -> None:
    accounts = Accounts(0.0)
    accounts.ran(0.0, 1.0, 300.0, 60.0, [("a", 1.0)])
    first = accounts.joules("a")
    assert first is not None
    assert first.work_j == first.pending_j == 300.0
    accounts.settle(1.0, 600.0)
    accounts.ran(1.0, 2.0, 300.0, 60.0, [("b", 1.0)])
    found = accounts.joules("b")
    assert found is not None
    assert found.work_j == pytest.approx(600.0)
    assert found.pending_j == pytest.approx(600.0)


_decodes = st.lists(st.integers(1, 4000), max_size=20)
_chunks = st.lists(st.tuples(st.integers(0, 3000), st.integers(1, 1000)), max_size=4)


@given(_decodes, _chunks, st.integers(0, TOP), st.booleans())
def test_parts_of_an_iteration_sum_to_one(
    held: list[int], chunks: list[tuple[int, int]], clock: int, known: bool
) -> None:
    if not held and not chunks:
        return
    mean = sum(held) / len(held) if held else 0.0
    one = Iteration(
        0.0, 1.0, clock, Batch(len(held), mean, chunks),
        [(f"d{at}", tokens) for at, tokens in enumerate(held)],
        [(f"c{at}", *chunk) for at, chunk in enumerate(chunks)],
    )  # fmt: skip
    parts = shares(one, ENGINE if known else None)
    assert len(parts) == len(held) + len(chunks)
    assert math.isclose(sum(part for _, part in parts), 1.0, rel_tol=1e-9)
    assert min(part for _, part in parts) > 0


class Plain:
    """An engine by hand: 10 ms, 1 ms a decode, 1 us a token read; prompts, the longer the dearer.

    At its second clock all of that takes twice as long.
    """

    def time_s(self, batch: Batch, clock: int) -> float:
        read = batch.decodes * batch.context
        return (clock + 1) * (0.010 + 0.001 * batch.decodes + 1e-6 * read)

    def prompt_s(self, tokens: float, clock: int) -> float:
        return (clock + 1) * (1e-5 * tokens + 1e-7 * tokens**2)


@pytest.mark.parametrize("clock", [0, 1])
def test_parts_by_hand(clock: int) -> None:
    one = Iteration(
        0.0, 1.0, clock, Batch(2, 200.0, [(50, 100)]), [("a", 100), ("b", 300)], [("c", 50, 100)]
    )
    # One decode of nothing is what all bear; the second adds 1 ms for both; then what each reads.
    # The chunk adds what 150 tokens take beyond 50.
    wanted = {
        "a": 0.011 / 3 + 0.0005 + 0.0001,
        "b": 0.011 / 3 + 0.0005 + 0.0003,
        "c": 0.011 / 3 + 0.001 + 0.002,
    }
    whole = sum(wanted.values())
    found = dict(shares(one, Plain()))  # type: ignore[arg-type]
    assert found == pytest.approx({name: part / whole for name, part in wanted.items()})
    assert dict(shares(one, None)) == pytest.approx({"a": 1 / 102, "b": 1 / 102, "c": 100 / 102})


def test_chunks_of_no_tokens_are_worth_the_same() -> None:
    one = Iteration(0.0, 1.0, TOP, Batch(0, 0.0, [(5, 0)] * 2), [], [("a", 5, 0), ("b", 5, 0)])
    assert shares(one, None) == [("a", 0.5), ("b", 0.5)]


def test_a_longer_prompt_and_a_longer_context_weigh_more() -> None:
    one = Iteration(
        0.0, 1.0, TOP, Batch(2, 2050.0, [(0, 100), (0, 1000)]),
        [("short", 100), ("long", 4000)], [("few", 0, 100), ("many", 0, 1000)],
    )  # fmt: skip
    part = dict(shares(one, ENGINE))
    assert part["long"] > part["short"]
    # 40 us a token at the highest clock, beside the fixed part that all bear.
    assert part["many"] > 5 * part["few"]
    assert part["few"] > part["short"]


def test_carbon_is_of_when_it_was_drawn_and_unknown_once_is_unknown() -> None:
    accounts = Accounts(0.0)
    for at, mu in enumerate((360.0, 0.0, 720.0)):
        accounts.ran(float(at), at + 1.0, 1000.0, 0.0, [("a", 1.0)])
        accounts.settle(at + 1.0, 1000.0, mu)
    told = accounts.joules("a", 360.0)
    assert told is not None
    assert told.carbon_g == pytest.approx((360 + 720) * 1000 / 3.6e6)
    accounts.ran(3.0, 4.0, 1000.0, 0.0, [("a", 1.0)])
    pending = accounts.joules("a", 360.0)
    assert pending is not None
    assert pending.carbon_g == pytest.approx((360 + 720 + 360) * 1000 / 3.6e6)
    accounts.settle(4.0, 1000.0, None)
    accounts.settle(5.0, 0.0, 360.0)
    gone = accounts.joules("a", 360.0)
    assert gone is not None and gone.carbon_g is None
