# SPDX-License-Identifier: Apache-2.0
"""The compiled fleet against the replica in Python, and its energy and clocks."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from serving.governor.engine import EngineModel
from serving.governor.fixed import Fixed
from serving.governor.protocol import Slo
from serving.replay.requests import Request
from serving.replay.route.fleet import AWAKE, OFF, PARKED, Fleet
from serving.replay.route.kernel import library
from serving.replay.route.trace import Trace
from serving.replay.run import replay
from slurm_green.errors import BadInputError
from tests.serving.made import profile

try:
    library()
except BadInputError:
    pytest.skip("the kernel is not compiled here", allow_module_level=True)

SLO = Slo(ttft_s=0.3, tpot_s=0.02)
TIGHT = EngineModel(profile(kv_tokens=1600, max_batched_tokens=256, max_num_seqs=6))
HIGH = len(TIGHT.clocks_mhz) - 1
FOREVER = math.inf

arrivals = st.lists(
    st.tuples(st.floats(0, 0.2), st.integers(1, 600), st.integers(1, 120)), min_size=1, max_size=14
)


def trace_of(drawn: list[tuple[float, int, int]]) -> Trace:
    at_s = np.cumsum([gap_s for gap_s, _, _ in drawn])
    return Trace.of(at_s, [one[1] for one in drawn], [one[2] for one in drawn])


def serve(fleet: Fleet, trace: Trace) -> None:
    for number, at_s in enumerate(trace.arrival_s.tolist()):
        fleet.advance(at_s)
        fleet.send(0, number, at_s)


@settings(max_examples=150, deadline=None)
@given(arrivals, st.integers(0, HIGH))
def test_it_does_what_the_replica_does(drawn: list[tuple[float, int, int]], clock: int) -> None:
    trace = trace_of(drawn)
    requests = [
        Request(*one)
        for one in zip(
            trace.arrival_s.tolist(),
            trace.prompt_tokens.tolist(),
            trace.output_tokens.tolist(),
            strict=True,
        )
    ]
    wanted = replay(requests, TIGHT, SLO, lambda: Fixed(HIGH)).served
    with Fleet(TIGHT, trace, 1, 0.0, FOREVER) as fleet:
        fleet.clock(0, HIGH, 0.0)
        fleet.state(0, AWAKE, 0.0)
        serve(fleet, trace)
        fleet.advance(FOREVER)
    assert fleet.first_s == pytest.approx([one.first_s for one in wanted], abs=1e-9)
    assert fleet.end_s == pytest.approx([one.end_s for one in wanted], abs=1e-9)


@settings(max_examples=150, deadline=None)
@given(
    arrivals,
    st.lists(st.tuples(st.floats(0, 0.5), st.integers(0, HIGH), st.booleans()), max_size=8),
)
def test_whatever_happens_to_it_every_request_ends_once(
    drawn: list[tuple[float, int, int]], changes: list[tuple[float, int, bool]]
) -> None:
    trace = trace_of(drawn)
    joules, now_s, ended = 0.0, 0.0, []
    with Fleet(TIGHT, trace, 2, 0.0, FOREVER) as fleet:
        for one in (0, 1):
            fleet.state(one, AWAKE, 0.0)
        for number, at_s in enumerate(trace.arrival_s.tolist()):
            ended += fleet.advance(at_s)
            fleet.send(0, number, at_s)
        now_s = float(trace.arrival_s[-1])
        for gap_s, clock, dies in changes:
            now_s += gap_s
            ended += fleet.advance(now_s)
            assert fleet.energy_j.sum() >= joules
            joules = fleet.energy_j.sum()
            fleet.clock(0, clock, now_s)
            if dies:
                for number in fleet.lose(0, now_s):
                    fleet.send(1, number, now_s + 0.01)
                fleet.state(0, PARKED, now_s)
                assert fleet.views[0].tolist() == [0, 0, 0, 0]
                fleet.state(0, AWAKE, now_s)
        ended += fleet.advance(FOREVER)
    assert sorted(number for number, _ in ended) == list(range(len(trace)))
    assert fleet.produced.tolist() == trace.output_tokens.tolist()
    assert (fleet.first_s <= fleet.end_s).all()
    assert fleet.views[:, :3].tolist() == [[0, 0, 0], [0, 0, 0]]
    assert fleet.views[:, 3].tolist() == [0, 0]


def test_a_clock_that_falls_within_an_iteration_stretches_what_is_left_of_it() -> None:
    engine = EngineModel(profile(switch_latency_s=0.01))
    trace = Trace.of([0.0], [2000], [1])
    fast_s, slow_s = engine.prompt_s(2000, 4) + 4e-3, engine.prompt_s(2000, 0) + 4e-3
    with Fleet(engine, trace, 1, 0.0, FOREVER) as fleet:
        fleet.clock(0, 4, 0.0)
        fleet.state(0, AWAKE, 0.0)
        fleet.send(0, 0, 0.0)
        fleet.advance(0.02)
        fleet.clock(0, 0, 0.02)
        fleet.advance(FOREVER)
    assert fleet.end_s[0] == pytest.approx(0.03 + slow_s * (1 - 0.03 / fast_s))


def test_what_it_draws_is_by_state_and_clock() -> None:
    engine = EngineModel(profile())
    trace = Trace.of([0.0], [16], [1])
    with Fleet(engine, trace, 1, 0.0, FOREVER) as fleet:
        for state, watts in ((OFF, 0), (PARKED, 60), (AWAKE, 60)):
            fleet.state(0, state, 0.0)
            assert fleet.watts[0] == watts
        fleet.clock(0, 4, 0.0)
        fleet.advance(1.0)
        assert fleet.watts[0] == 120
        assert fleet.energy_j[0] == pytest.approx(0.02 * 60 + 0.98 * 120)


def test_a_client_that_waited_too_long_has_gone() -> None:
    trace = Trace.of([0.0, 0.0, 0.001], [600, 600, 600], [100, 1, 1])
    tiny = EngineModel(profile(kv_tokens=1600, max_batched_tokens=256, max_num_seqs=1))
    with Fleet(tiny, trace, 1, 0.0, 0.2) as fleet:
        fleet.clock(0, 4, 0.0)
        fleet.state(0, AWAKE, 0.0)
        serve(fleet, trace)
        assert fleet.advance(FOREVER) == [(0, 0)]
    assert fleet.views[0].tolist() == [0, 0, 0, 0]
    assert math.isnan(fleet.first_s[1])


def test_what_could_never_fit_is_not_taken() -> None:
    with Fleet(TIGHT, Trace.of([0.0], [1600], [10]), 1, 0.0, FOREVER) as fleet:
        assert not fleet.send(0, 0, 0.0)
