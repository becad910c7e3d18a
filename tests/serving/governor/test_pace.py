# SPDX-License-Identifier: Apache-2.0
"""Prompts come in pieces for somebody only, and are in time."""

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
from serving.governor.pace import Pace
from serving.governor.protocol import Ended, Moment, Slo
from serving.governor.registry import policy_named
from serving.governor.risk import Risk
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


def tokens(
    what: Moment,
    known: Risk,
    most_wait: float = 0.5,
    correction: float = 1.0,
    crowd: float = 10.0,
) -> int | None:
    return Pace(ENGINE, SLO, most_wait).tokens(what, known, correction, crowd)


def most(what: Moment, correction: float = 1.0) -> int:
    """What one and a half times the TPOT has time for."""
    decode_s = ENGINE.time_s(Batch(what.batch.decodes, what.batch.context), what.clock)
    left_s = 1.5 * SLO.tpot_s - decode_s * correction
    return max(int(left_s / (ENGINE.prompt_s(256, what.clock) / 256 * correction)), 256)


def test_they_come_in_pieces_for_an_answer_that_would_end_late_and_for_no_other() -> None:
    assert tokens(moment(), risk()) == 256
    whole = most(moment())
    assert 256 < whole < 2000
    assert tokens(moment(bank_s=0.5), risk()) == whole  # it can be stalled
    assert tokens(moment(), risk(answer=2000)) == whole  # it wins that back before it ends
    assert tokens(moment(prompt=20), risk()) == whole  # hardly a stall
    assert tokens(moment(prompt=256), risk()) == whole  # one piece
    assert tokens(moment(bank_s=-9.0), risk()) == whole  # it is late either way
    assert tokens(moment(), risk(), most_wait=0.0) == whole


def test_an_iteration_with_prompts_lasts_hardly_longer_than_a_token_may() -> None:
    calm = moment(bank_s=9.0, prompt=90_000)
    assert tokens(calm, risk()) == most(calm)
    end_s = ENGINE.time_s(Batch(1, 500.0, [(0, most(calm))]), TOP)
    assert end_s == pytest.approx(1.5 * SLO.tpot_s, rel=0.2)
    slow = moment(bank_s=9.0, prompt=90_000, clock=0)
    assert tokens(slow, risk()) == most(slow) < most(calm)
    assert tokens(calm, risk(), correction=1.5) == most(calm, 1.5) < most(calm)
    assert tokens(calm, risk(), correction=100.0) is None  # there is no room for a piece
    hurried = moment(prompt=8000, waited_s=0.16)  # in 20 ms of steps beside
    piece = tokens(hurried, risk(), crowd=1.0)
    assert piece is not None
    assert piece > tokens(hurried, risk()) == most(hurried)
    assert tokens(calm, risk(), crowd=1.0) is None  # others hardly ever wait
    assert tokens(moment(), risk(), crowd=1.0) == 256  # somebody is likely late
    calm.batch = Batch()
    assert tokens(calm, risk()) == most(calm) > most(moment())


def test_prompts_come_in_the_order_in_which_fewest_are_late() -> None:
    pace, what = Pace(ENGINE, SLO, 0.5), moment()
    calm = [(NOW_S - 0.1, 500), (NOW_S, 8000), (NOW_S, 500)]
    assert pace.order(what, 0, calm, 1.0) == [0, 1, 2]
    burst = [(NOW_S - 0.5, 10_000), (NOW_S - 0.4, 500), (NOW_S - 0.2, 500)]
    assert pace.order(what, 0, burst, 1.0) == [1, 2, 0]
    assert pace.order(what, 0, burst, 0.2) == [0, 1, 2]
    assert pace.order(what, 10_000, calm, 1.0) == [0, 2, 1]  # what is begun comes first
    assert pace.order(what, 40_000, calm, 1.0) == [0, 1, 2]  # all are late
    # Who waits for longer than five times its TTFT is not passed.
    burst[0] = (NOW_S - 4.9, 10_000)
    assert pace.order(what, 0, burst, 1.0) == [1, 2, 0]
    burst[0] = (NOW_S - 5.1, 10_000)
    assert pace.order(what, 0, burst, 1.0) == [0, 1, 2]


def test_pieces_are_as_large_as_lets_a_prompt_be_done_in_half_of_its_time() -> None:
    decode_s = ENGINE.time_s(Batch(1, 500.0), TOP)
    left_s = ENGINE.prompt_s(2000, TOP) + 4 * decode_s  # so many steps are in between
    assert tokens(moment(waited_s=0.5 - left_s - 1e-9), risk()) == 500
    assert tokens(moment(waited_s=0.5 - left_s + decode_s / 2), risk()) == 572
    late = moment(waited_s=0.5 - left_s + 3.5 * decode_s)
    assert tokens(late, risk()) == most(late)
    late = moment(waited_s=0.5 - left_s)
    assert tokens(late, risk(), correction=1.5) == most(late, 1.5)
    late.clock = 0
    assert tokens(late, risk()) == most(late)


def test_of_several_prompts_who_has_least_time_decides() -> None:
    decode_s = ENGINE.time_s(Batch(1, 500.0), TOP)
    steps_s = 4 * decode_s + ENGINE.prompt_s(2000, TOP) + 1e-9
    two = moment()
    two.queue = [(NOW_S - 0.1, 1000), (NOW_S - 0.5 + steps_s, 1000)]
    assert tokens(two, risk()) == 500
    for waited_s in (0.5, 0.95, 2.0):
        two.queue = [(NOW_S - waited_s, 1000), (NOW_S - 0.5 + steps_s, 1000)]
        assert tokens(two, risk()) == most(two)


@settings(max_examples=200, deadline=None)
@given(
    st.lists(st.tuples(st.floats(0, 1.2), st.integers(1, 4000)), min_size=1, max_size=8),
    st.floats(0.05, 1.0),
    st.integers(1, 64),
)
def test_at_that_pace_all_are_in_time(
    drawn: list[tuple[float, int]], most_wait: float, decodes: int
) -> None:
    queue = sorted((NOW_S - waited_s, prompt) for waited_s, prompt in drawn)
    what = Moment(
        NOW_S, Batch(decodes, 500.0), TOP, 0.0, queue, len(queue), [0.0] * decodes, [1] * decodes
    )
    piece = tokens(what, risk(), most_wait, crowd=0.0)
    if piece is None or piece >= most(what):
        return
    step_s, done, prompts_s = ENGINE.time_s(Batch(decodes, 500.0), TOP), 0, 0.0
    for arrival_s, prompt in queue:
        done, prompts_s = done + prompt, prompts_s + ENGINE.prompt_s(prompt, TOP)
        end_s = NOW_S + prompts_s + step_s * (math.ceil(done / piece) - 1)
        assert end_s <= arrival_s + most_wait * SLO.ttft_s + 1e-6


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
    pace = Pace(ENGINE, SLO, 0.5)
    found = [pace.counted_s(moment(waited_s=one), 1.0) for one in (0.0, 0.2, 0.6)]
    assert 0 < found[1] < found[0] < 0.1  # 0.2 of half a second, less what the prompt takes
    assert found[2] == 0
    assert Pace(ENGINE, SLO, 0.0).counted_s(moment(), 1.0) == 0


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
    fewer, late = known.stalled(what, (less, more), 1.0)
    assert 0 <= fewer <= late + 1e-9
    assert late <= len(banks)


def test_nothing_is_held_up_where_more_wait_than_are_seen() -> None:
    seen = moment()
    seen.waiting = len(seen.queue)
    assert tokens(seen, risk()) == 256
    seen.waiting += 1
    assert tokens(seen, risk()) == most(seen)


def test_a_stall_is_what_the_bank_and_this_token_do_not_cover() -> None:
    known = risk(answer=3)
    won_s = SLO.tpot_s - ENGINE.time_s(Batch(1, 500.0), TOP)
    # Two more tokens win back that much; of answers with one token all end within two.
    just_s = 0.1 + SLO.tpot_s + 1.0 * won_s
    stalls_s = (just_s + 1e-6, 0.1 + SLO.tpot_s, just_s - 0.9 * won_s)
    late, none, few = known.stalled(moment(bank_s=0.1), stalls_s, 1.0)
    assert late > 0.9
    assert none == 0
    assert few < 0.2


def test_who_decodes_beside_them_takes_time_as_well() -> None:
    """It decodes 64 with long contexts: a token takes 5 ms."""
    slow = Moment(
        NOW_S, Batch(64, 4096.0), TOP, 0.0, [(NOW_S, 300)], 1, [-SLO.tpot_s + 0.014] * 16, [1] * 16
    )
    prompt_s, decode_s = ENGINE.prompt_s(300, TOP), ENGINE.time_s(slow.batch, TOP)
    assert prompt_s < 0.014 < prompt_s + decode_s
    assert tokens(slow, risk(answer=2))


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


def test_the_queue_keeps_its_own_time() -> None:
    def clock(waited_s: float) -> float:
        made = Governor(ENGINE, SLO, Tuning(most_lost=None))
        what = Moment(NOW_S, Batch(chunks=[(0, 2000)]), TOP, 0.0, [(NOW_S - waited_s, 4500)], 0)
        return ENGINE.clocks_mhz[made.choose(what)]

    assert clock(0.0) < ENGINE.clocks_mhz[TOP]
    assert clock(0.75) == ENGINE.clocks_mhz[TOP]


def test_which_policies_have_prompts_in_pieces() -> None:
    ours = Governor(ENGINE, SLO)
    for _ in range(200):
        ours.finished(Ended(0.0, 0.1, 0.3, 4, 100))
    assert ours.paces
    assert ours.orders
    assert Capped(ours, lambda: 0).orders
    waiting = [(NOW_S - 0.5, 12_000), (NOW_S - 0.4, 500), (NOW_S - 0.2, 500)]
    assert ours.order(moment(), 0, waiting) == [1, 2, 0]
    assert Capped(ours, lambda: 0).order(moment(), 0, waiting) == [1, 2, 0]
    in_order = policy_named("governor:in-order", ENGINE, SLO)()
    assert in_order.paces
    assert not in_order.orders
    assert ours.prompt_tokens(moment()) == Capped(ours, lambda: 0).prompt_tokens(moment()) == 256
    for name in ("governor:clocks", "max", "two-level", "feedback", "bandit", "projection"):
        made = policy_named(name, ENGINE, SLO)()
        assert not made.paces
        assert not made.orders
        assert list(made.order(moment(), 0, waiting)) == [0, 1, 2]
        assert made.prompt_tokens(moment()) is None
    assert not Capped(Fixed(TOP), lambda: 0).paces


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
