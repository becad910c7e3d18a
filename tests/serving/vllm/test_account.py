# SPDX-License-Identifier: Apache-2.0
"""Joules of requests sum to the meter's, whatever runs, ends or is not read."""

import math

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


def test_before_the_meter_is_read_the_model_speaks_at_the_last_scale() -> None:
    accounts = Accounts(0.0)
    accounts.ran(0.0, 1.0, 300.0, 60.0, [("a", 1.0)])
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
    assert pending is not None and pending.carbon_g is not None
    accounts.settle(4.0, 1000.0, None)
    accounts.settle(5.0, 0.0, 360.0)
    gone = accounts.joules("a", 360.0)
    assert gone is not None and gone.carbon_g is None
