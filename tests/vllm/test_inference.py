# SPDX-License-Identifier: Apache-2.0
"""Prefill and decode iterations of the real vLLM, on a model of half a million parameters."""

import math
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from engines import alive, latency_s, slowed, undisturbed

from profiling.device.emulated.bench import Bench
from profiling.device.emulated.models import load_model
from profiling.device.gpu import Gpu
from profiling.errors import ProfilingError
from profiling.workload.child import ChildWorkload
from profiling.workload.inference import open_inference
from profiling.workload.paced import mix_of, stretch
from profiling.workload.protocol import Load

A100 = load_model("a100-sxm4-80gb")


def _load(phase: str, batch: int, context: int) -> Load:
    return Load(phase=phase, batch=batch, context_tokens=context)


@pytest.fixture(scope="module")
def engine(tiny: Path, gpus: tuple[Gpu, ...]) -> Iterator[ChildWorkload]:
    made = open_inference(
        tiny,
        gpu=gpus[0],
        batches=(1, 200),
        contexts=(64, 8192),
        engine_args={"max_num_batched_tokens": 1024, "max_num_seqs": 64},
    )
    assert isinstance(made, ChildWorkload)
    yield made
    made.close()


def test_it_tells_what_it_is_and_what_it_was_asked(engine: ChildWorkload) -> None:
    assert engine.facts["engine_name"] == "vllm"
    assert engine.facts["model"] == "tiny"
    assert engine.facts["dtype"] == "bfloat16"
    assert engine.limits["max_batched_tokens"] == 1024
    assert engine.limits["max_num_seqs"] == 64
    assert engine.limits["kv_tokens"] == 262144
    assert list(engine.loads()) == [
        _load(phase, batch, context)
        for phase in ("decode", "prefill")
        for context in (64, 8192)
        for batch in (1, 200)
    ]


@pytest.mark.parametrize(
    ("phase", "batch", "context", "why"),
    [
        ("prefill", 8, 512, "4096 tokens do not go into one iteration of 1024"),
        ("prefill", 1, 8192, "max_model_len"),
        ("decode", 200, 64, "takes 64 sequences"),
        ("decode", 1, 8192, "has room for 4095 tokens"),
        ("training", 1, 64, "phase prefill or decode"),
    ],
)
def test_a_load_that_does_not_fit_is_refused(
    engine: ChildWorkload, phase: str, batch: int, context: int, why: str
) -> None:
    with pytest.raises(ProfilingError, match=why):
        engine.start(_load(phase, batch, context))


# The engine itself compares every iteration with what it should be: it fails if one differs.
@pytest.mark.parametrize("phase", ["prefill", "decode"])
@pytest.mark.parametrize(("batch", "context"), [(1, 64), (1, 512), (8, 64)])
def test_a_stretch_is_whole_iterations_and_lasts_as_asked(
    engine: ChildWorkload, bench: Bench, phase: str, batch: int, context: int
) -> None:
    engine.start(_load(phase, batch, context))
    steps = undisturbed(engine, 1.0)
    assert steps.end_s - steps.begin_s >= 0.3
    assert steps.units == steps.count > 1
    assert 1e-4 < latency_s(steps) < 1.0
    again = engine.run(0.3)
    assert again.begin_s >= steps.end_s
    assert bench.read(0).sm_activity == 0.0
    assert bench.read(0).context
    engine.stop()


def test_more_tokens_take_longer(engine: ChildWorkload) -> None:
    few, many = _load("prefill", 1, 16), _load("prefill", 1, 1024)
    times: dict[Load, float] = dict.fromkeys((few, many), math.inf)
    for load in (few, many) * 3:
        engine.start(load)
        times[load] = min(times[load], latency_s(engine.run(0.3)))
    assert times[many] > times[few]


@pytest.mark.parametrize("load", [_load("prefill", 1, 512), _load("decode", 64, 64)])
def test_a_lower_clock_takes_longer_as_the_emulated_gpu_says(
    engine: ChildWorkload, gpus: tuple[Gpu, ...], load: Load
) -> None:
    engine.start(load)
    assert load.batch is not None
    tokens = load.batch * (512 if load.phase == "prefill" else 1)
    # Clocks so low that the CPU has time to spare, also where others use it.
    wanted = stretch(210, mix_of(tokens), A100) / stretch(705, mix_of(tokens), A100)
    assert wanted > 1.5
    near = pytest.approx(wanted, rel=0.05)
    assert slowed(engine, gpus[:1], 210, 705, near) == near


def test_closed_it_leaves_nothing(engine: ChildWorkload, bench: Bench) -> None:
    session = engine.pid
    assert session is not None
    engine.start(_load("decode", 1, 64))
    assert alive(session)
    engine.close()
    assert alive(session) == []
    assert not bench.read(0).context


def test_without_a_prefix_cache_no_decode_is_called_one_and_a_crash_is_told(
    tiny: Path, gpus: tuple[Gpu, ...]
) -> None:
    engine = open_inference(
        tiny, gpu=gpus[0], batches=(2,), contexts=(512,),
        engine_args={"enable_prefix_caching": False},
    )  # fmt: skip
    assert isinstance(engine, ChildWorkload)
    try:
        with pytest.raises(ProfilingError, match=r"962 tokens instead of 2 and 2;.*prefix caching"):
            engine.start(_load("decode", 2, 512))
        engine.start(_load("prefill", 2, 512))
        session = engine.pid
        assert session is not None
        os.kill(session, signal.SIGKILL)
        with pytest.raises(ProfilingError, match="vLLM, run: its process was ended by SIGKILL"):
            engine.run(0.1)
        assert alive(session) == []
    finally:
        engine.close()
