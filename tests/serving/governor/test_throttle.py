# SPDX-License-Identifier: Apache-2.0
"""Prompts wait only for somebody, and never longer than they can."""

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from serving.governor.ceiling import Capped
from serving.governor.engine import Batch, EngineModel
from serving.governor.fixed import Fixed
from serving.governor.governor import Governor, Tuning
from serving.governor.protocol import Ended, Moment, Slo
from serving.governor.registry import policy_named
from serving.governor.risk import Risk
from serving.governor.throttle import Throttle
from serving.replay.requests import Request
from serving.replay.run import figures, replay
from tests.serving.made import profile

ENGINE = EngineModel(profile())
TOP = len(ENGINE.clocks_mhz) - 1
SLO = Slo(ttft_s=1.0, tpot_s=0.02)
NOW_S = 10.0


def moment(
    bank_s: float = 0.0, made: int = 1, prompt: int = 2000, waited_s: float = 0.0, clock: int = TOP
) -> Moment:
    """One that decodes, and a prompt of 80 ms beside it."""
    return Moment(
        NOW_S, Batch(1, 500.0), clock, 0.0, [(NOW_S - waited_s, prompt)], 1, [bank_s], [made]
    )


def risk(answer: int = 4) -> Risk:
    """All answers had so many tokens."""
    made = Risk(ENGINE, SLO)
    for _ in range(200):
        made.ended(answer)
    return made


def waits(what: Moment, known: Risk, most_wait: float = 0.5, correction: float = 1.0) -> bool:
    return Throttle(ENGINE, SLO, most_wait).waits(what, known, correction)


def test_it_waits_for_an_answer_that_would_end_late_and_for_no_other() -> None:
    assert waits(moment(), risk())
    assert not waits(moment(bank_s=0.5), risk())  # it can be stalled
    assert not waits(moment(), risk(answer=2000))  # it wins that back before it ends
    assert not waits(moment(prompt=100), risk())  # hardly a stall


def test_a_prompt_waits_for_half_of_its_time_less_what_it_takes() -> None:
    takes_s = ENGINE.prompt_s(2000, TOP) + ENGINE.time_s(Batch(1, 500.0), TOP)
    assert waits(moment(waited_s=0.49 - takes_s), risk())
    assert not waits(moment(waited_s=0.51 - takes_s), risk())
    assert not waits(moment(waited_s=0.49 - takes_s), risk(), correction=1.5)
    assert not waits(moment(waited_s=0.49 - takes_s, clock=0), risk())
    assert not waits(moment(), risk(), most_wait=0.0)


def test_of_several_prompts_the_last_has_least_time_left() -> None:
    two = moment()
    two.queue = [(NOW_S - 0.3, 2000), (NOW_S - 0.3, 4000)]
    assert not waits(two, risk())
    two.queue = [(NOW_S - 0.3, 2000), (NOW_S - 0.1, 2000)]
    assert waits(two, risk())


def test_of_a_burst_those_are_blocked_that_would_be_in_time_without_what_waits() -> None:
    known = risk()
    assert known.blocked(NOW_S, 0.5, 0.6) == 0  # no burst was seen
    for k in range(40):  # 10 prompts of 72 ms at once, every 10 s
        for part in range(10):
            at_s = 10.0 * k + 1e-3 * part
            known.look(Moment(at_s, Batch(), TOP, 0.0, [(at_s, 1800)], 1, [], []))
    some = known.blocked(at_s, 0.2, 0.6)
    assert 0 < some < known.blocked(at_s, 0.6, 0.6) < 10
    assert known.blocked(at_s, 0.2, 2.0) == 0  # in time all the same
    assert known.blocked(at_s, 0.0, 0.6) == 0


@settings(max_examples=60, deadline=None)
@given(st.floats(-0.3, 0.3), st.integers(1, 8), st.floats(0, 3), st.floats(0, 3), st.booleans())
def test_time_that_prompts_can_wait_makes_fewer_late(
    bank_s: float, made: int, first_s: float, next_s: float, runs: bool
) -> None:
    known, what = risk(), moment(bank_s, made)
    if runs:
        what.batch.chunks = [(0, 1000)]
    less_s, more_s = sorted([first_s, next_s])
    durations_s = np.array([0.1, 0.02])
    late = [known.late(what, durations_s, 1.0, one) for one in (less_s, more_s)]
    assert late[0] is not None and late[1] is not None
    assert (late[1] <= late[0] + 1e-9).all()


def test_it_is_counted_on_in_part_and_less_the_longer_they_wait() -> None:
    throttle = Throttle(ENGINE, SLO, 0.5)
    found = [throttle.counted_s(moment(waited_s=one), 1.0) for one in (0.0, 0.2, 0.6)]
    assert 0 < found[1] < found[0] < 0.1  # 0.2 of half a second, less what the prompt takes
    assert found[2] == 0
    assert Throttle(ENGINE, SLO, 0.0).counted_s(moment(), 1.0) == 0


@pytest.mark.parametrize(("saved", "blocked", "wait"), [(0.1, 0.05, True), (0.1, 0.09, False)])
def test_it_waits_where_it_saves_more_than_it_costs(
    saved: float, blocked: float, wait: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    known = risk()
    monkeypatch.setattr(known, "stalled", lambda *_: saved)
    monkeypatch.setattr(known, "blocked", lambda *_: blocked)
    assert waits(moment(), known) == wait


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.tuples(st.floats(-0.2, 0.5), st.integers(1, 200)), min_size=1, max_size=16),
    st.floats(0, 2),
    st.floats(0, 2),
)
def test_a_longer_stall_makes_more_late(
    banks: list[tuple[float, int]], first_s: float, next_s: float
) -> None:
    banks.sort()
    what = Moment(
        NOW_S, Batch(len(banks), 300.0), TOP, 0.0, (), 0,
        [bank for bank, _ in banks], [made for _, made in banks],
    )  # fmt: skip
    known = risk()
    less, more = sorted([first_s, next_s])
    assert 0 <= known.stalled(what, less, 1.0) <= known.stalled(what, more, 1.0) + 1e-9
    assert known.stalled(what, more, 1.0) <= len(banks)


def test_who_has_no_room_in_what_is_seen_waits_for_nobody() -> None:
    seen = moment()
    seen.waiting = len(seen.queue)
    assert waits(seen, risk())
    seen.waiting += 1
    assert not waits(seen, risk())


def test_a_stall_is_what_the_bank_and_this_token_do_not_cover() -> None:
    known = risk(answer=3)
    won_s = SLO.tpot_s - ENGINE.time_s(Batch(1, 500.0), TOP)
    # Two more tokens win back that much; of answers with one token all end within two.
    just_s = 0.1 + SLO.tpot_s + 1.0 * won_s
    assert known.stalled(moment(bank_s=0.1), just_s + 1e-6, 1.0) > 0.9
    assert known.stalled(moment(bank_s=0.1), 0.1 + SLO.tpot_s, 1.0) == 0
    assert known.stalled(moment(bank_s=0.1), just_s - 0.9 * won_s, 1.0) < 0.2


def test_who_decodes_beside_them_takes_time_as_well() -> None:
    """It decodes 64 with long contexts: a token takes 5 ms."""
    slow = Moment(
        NOW_S, Batch(64, 4096.0), TOP, 0.0, [(NOW_S, 300)], 1, [-SLO.tpot_s + 0.014] * 16, [1] * 16
    )
    prompt_s, decode_s = ENGINE.prompt_s(300, TOP), ENGINE.time_s(slow.batch, TOP)
    assert prompt_s < 0.014 < prompt_s + decode_s
    assert waits(slow, risk(answer=2))


def _clock(tuning: Tuning, what: Moment) -> float:
    made = Governor(ENGINE, SLO, tuning)
    for _ in range(200):
        made.finished(Ended(0.0, 0.1, 0.3, 4, 100))
    for k in range(40):  # a burst every ten seconds
        for part in range(4):
            made._risk.look(
                Moment(0.0, Batch(), TOP, 0.0, [(10 * k + 0.01 * part, 1500)], 1, [], [])
            )
    what.now_s = 390.04
    return ENGINE.clocks_mhz[made.choose(what)]


def test_clocks_are_lower_where_prompts_can_wait_and_the_cache_has_room() -> None:
    def decoding(held: float | None = None) -> Moment:
        what = Moment(0.0, Batch(8, 500.0), TOP, 0.0, (), 0, [0.03] * 8, [2] * 8)
        what.held = held
        return what

    price = Tuning(miss_requests=40.0, most_lost=None)
    waiting = _clock(price, decoding())
    assert waiting < _clock(replace(price, most_wait=0.0), decoding())
    assert waiting < _clock(price, decoding(held=0.59))


def test_the_queue_leaves_room_for_who_comes_next_and_keeps_its_own_time() -> None:
    def clock(waited_s: float, crowd: float) -> float:
        made = Governor(ENGINE, SLO, Tuning(most_lost=None))
        made._crowd = crowd
        what = Moment(NOW_S, Batch(chunks=[(0, 2000)]), TOP, 0.0, [(NOW_S - waited_s, 4500)], 0)
        return ENGINE.clocks_mhz[made.choose(what)]

    calm = clock(0.0, 1.0)
    assert calm < ENGINE.clocks_mhz[TOP]
    assert clock(0.0, 20.0) == ENGINE.clocks_mhz[TOP]  # others come
    assert clock(0.75, 1.0) == ENGINE.clocks_mhz[TOP]  # it waited


def test_which_policies_let_prompts_wait() -> None:
    ours = Governor(ENGINE, SLO)
    for _ in range(200):
        ours.finished(Ended(0.0, 0.1, 0.3, 4, 100))
    assert ours.throttles(moment())
    assert Capped(ours, lambda: 0).throttles(moment())
    assert not policy_named("governor:clocks", ENGINE, SLO)().throttles(moment())
    for name in ("max", "two-level", "feedback", "bandit", "projection"):
        assert not policy_named(name, ENGINE, SLO)().throttles(moment())
    assert not Capped(Fixed(TOP), lambda: 0).throttles(moment())


def test_short_answers_are_in_time_that_prompts_would_stall() -> None:
    """Bursts of prompts, answers too short to win anything back: no clock helps those."""
    engine = EngineModel(profile(max_batched_tokens=8192))
    slo = Slo(ttft_s=2.0, tpot_s=0.02)
    requests = [Request(30.0 * burst + 0.03 * k, 2000, 6) for burst in range(40) for k in range(5)]
    late = {}
    for name, made in (
        ("highest", lambda: Fixed(TOP)),
        ("clocks", policy_named("governor:clocks", engine, slo)),
        ("governor", policy_named("governor", engine, slo)),
    ):
        run = replay(requests, engine, slo, made)
        late[name] = 1 - (figures(run, slo).attainment or 0.0)
        assert all((one.first_s or math.inf) < one.request.arrival_s + 2.0 for one in run.served)
    assert late["highest"] > 0.3
    assert late["clocks"] > 0.3
    assert late["governor"] < 0.1
