# SPDX-License-Identifier: Apache-2.0
"""The model of an iteration against the profile that it comes from."""

import dataclasses

import pytest
from hypothesis import given
from hypothesis import strategies as st

from profiling.curve import Curve
from profiling.errors import ProfileError
from profiling.profile import InferencePoint
from serving.governor.engine import Batch, EngineModel
from tests.serving.made import CLOCKS, profile

ENGINE = EngineModel(profile())
CURVE = Curve.of(profile())
TOP = len(CLOCKS) - 1

contexts = st.floats(0, 20_000)
batches = st.integers(1, 250)
chunks = st.lists(st.tuples(st.integers(0, 8000), st.integers(1, 2048)), max_size=4)
clocks = st.integers(0, TOP)


@given(batches, contexts, clocks)
def test_decodes_take_what_the_curve_says(decodes: int, context: float, clock: int) -> None:
    duration_s, watts = ENGINE.time_and_power(Batch(decodes, context), clock)
    mhz = CLOCKS[clock]
    assert duration_s == pytest.approx(float(CURVE.latency_s("decode", decodes, context, mhz)))
    assert watts == pytest.approx(float(CURVE.power_w("decode", decodes, context, mhz)))


@given(st.integers(128, 20_000), clocks)
def test_a_whole_prompt_takes_what_the_curve_says(tokens: int, clock: int) -> None:
    duration_s = ENGINE.time_s(Batch(chunks=[(0, tokens)]), clock)
    assert duration_s == pytest.approx(float(CURVE.latency_s("prefill", 1, tokens, CLOCKS[clock])))


@given(st.integers(1, 8000), st.integers(1, 8000), clocks)
def test_chunks_add_up_to_the_prompt(first: int, second: int, clock: int) -> None:
    whole_s = ENGINE.prompt_s(first + second, clock)
    fixed_s = ENGINE.time_s(Batch(chunks=[(0, 6000)]), clock) - ENGINE.prompt_s(6000, clock)
    parts_s = [
        ENGINE.time_s(Batch(chunks=[chunk, (0, 6000)]), clock)
        - ENGINE.time_s(Batch(chunks=[(0, 6000)]), clock)
        for chunk in ((0, first), (first, second))
    ]
    assert sum(parts_s) == pytest.approx(whole_s, abs=1e-9)
    assert fixed_s == pytest.approx(4e-3)


@given(batches, contexts, chunks, clocks)
def test_more_work_takes_longer_and_a_higher_clock_less_long(
    decodes: int, context: float, some: list[tuple[int, int]], clock: int
) -> None:
    batch = Batch(decodes, context, some)
    duration_s, watts = ENGINE.time_and_power(batch, clock)
    assert duration_s >= ENGINE.time_s(Batch(decodes, context), clock) - 1e-12
    assert duration_s >= ENGINE.time_s(Batch(chunks=some), clock) - 1e-12
    assert ENGINE.time_s(batch, TOP) <= duration_s + 1e-12
    assert 150 < watts < 800


def test_idle_power_lies_between_parked_and_idle() -> None:
    assert (ENGINE.idle_power_w(0), ENGINE.idle_power_w(TOP)) == (60, 120)
    assert 60 < ENGINE.idle_power_w(2) < 120


def test_clocks_that_were_not_measured_are_not_offered() -> None:
    made = profile()
    wide = dataclasses.replace(
        made, gpu=dataclasses.replace(made.gpu, clocks=(210.0, *CLOCKS, 2100.0))
    )
    assert EngineModel(wide).clocks_mhz == CLOCKS


def test_a_profile_without_power_or_decode_is_refused() -> None:
    made = profile()
    dark = tuple(dataclasses.replace(one, power_w=None) for one in made.inference)
    lit = dataclasses.replace(made.gpu, idle_w=100.0, parked_w=50.0)
    with pytest.raises(ProfileError, match="power"):
        EngineModel(dataclasses.replace(made, inference=dark, gpu=lit))
    prefills = tuple(one for one in made.inference if one.phase == "prefill")
    with pytest.raises(ProfileError, match="decode"):
        EngineModel(dataclasses.replace(made, inference=prefills))


def test_one_prompt_length_is_enough() -> None:
    made = profile()
    few: tuple[InferencePoint, ...] = tuple(
        one for one in made.inference if one.phase == "decode" or one.context_tokens == 1024
    )
    engine = EngineModel(dataclasses.replace(made, inference=few))
    short_s = engine.time_s(Batch(chunks=[(0, 512)]), TOP)
    assert 0 < short_s <= engine.time_s(Batch(chunks=[(0, 1024)]), TOP)
