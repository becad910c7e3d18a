# SPDX-License-Identifier: Apache-2.0
"""What a replica does without a profile, with another GPU's, and on GPUs that cannot be set."""

import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from profiling.device.emulated.bench import STATE_VARIABLE, Bench
from profiling.device.emulated.models import load_model
from profiling.files import read_profile
from profiling.shipped import shipped
from serving.clocks.setter import Setter
from serving.governor.ceiling import Capped
from serving.governor.engine import Batch, EngineModel
from serving.governor.governor import Governor
from serving.governor.protocol import Moment
from serving.vllm.build import Group, Replica, build
from serving.vllm.settings import Settings
from slurm_green.errors import BadInputError

GROUP = Group(model="m")


@pytest.fixture
def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Bench]:
    with Bench.create(tmp_path / "gpus", [load_model("a100-sxm4-80gb")] * 2) as one:
        monkeypatch.setenv(STATE_VARIABLE, str(one.path))
        yield one


def made(bench: Bench | None, group: Group = GROUP, **values: Any) -> Replica:
    library = None if bench is None else bench.library
    given = {"gpus": "0,1", "nvml_library": library, "slo_ttft_ms": 500.0, "slo_tpot_ms": 30.0}
    one = build(Settings(**{**given, **values}), group)
    one.close()
    return one


def test_with_its_profile_it_governs_its_slice_of_the_job(
    bench: Bench, caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    caplog.set_level(logging.INFO)
    one = made(bench, Group(model="m", rank=1), profile=Path("a100-sxm-8b"), socket=tmp_path / "s")
    assert one.pilot.policy is not None
    assert [gpu.identity.index for gpu in one.recorder.gpus] == [1]
    assert "policy governor over a100-sxm-8b, clocks set by nobody" in caplog.text


def test_what_it_takes_at_once_is_the_engines_and_else_the_profiles(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    group = Group(model="m", max_num_seqs=64, max_batched_tokens=4096, kv_tokens=65_536)
    one = made(bench, group, profile=Path("a100-sxm-8b"))
    assert "at most 64 requests and 4096 tokens at once, 65536 in the cache" in caplog.text
    assert isinstance(one.pilot.policy, Governor)
    twin = one.pilot.policy.twin
    assert twin is not None
    for engine in (one.pilot._engine, twin._engine):
        assert engine is not None
        found = (engine.max_num_seqs, engine.max_batched_tokens, engine.kv_tokens)
        assert found == (64, 4096, 65_536)
    made(bench, profile=Path("a100-sxm-8b"))
    told = read_profile(shipped(Path("a100-sxm-8b"))).engine
    profiled = f"{told.max_num_seqs} requests and {told.max_batched_tokens} tokens at once"
    assert f"at most {profiled}, {told.kv_tokens} in" in caplog.text


def test_through_nvml_where_that_is_asked_for_and_not_on_a_divided_gpu(
    bench: Bench, caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    caplog.set_level(logging.INFO)
    options = {"profile": Path("a100-sxm-8b"), "clocks": "nvml", "journal": tmp_path / "journal"}
    made(bench, **options)
    assert "clocks set by NVML" in caplog.text
    bench.set_mig(0, on=True)
    made(bench, **options)
    assert "clocks set by nobody (it is divided" in caplog.text


def test_a_ceiling_and_prices_are_listened_to(bench: Bench, tmp_path: Path) -> None:
    (tmp_path / "ceiling").write_text('{"clock_mhz": 900}')
    one = made(
        bench, profile=Path("a100-sxm-8b"), ceiling=tmp_path / "ceiling",
        prices=tmp_path / "none", policy="max",
    )  # fmt: skip
    assert isinstance(one.pilot.policy, Capped)
    assert one.recorder.mu() is None
    clock = one.pilot.policy.choose(Moment(0.0, Batch(1, 100.0), 0, 0.0))
    clocks = EngineModel(read_profile(shipped(Path("a100-sxm-8b")))).clocks_mhz
    assert clocks[clock] <= 900 < clocks[clock + 1]


@pytest.mark.parametrize(
    ("group", "values", "why"),
    [
        (GROUP, {}, "no profile"),
        (Group(model="m", unfit="speculative decoding"), {"profile": "x"}, "speculative decoding"),
    ],
)
def test_without_a_profile_or_with_what_it_does_not_know_it_only_watches(
    bench: Bench, group: Group, values: Any, why: str, caplog: pytest.LogCaptureFixture
) -> None:
    if values:
        values = {"profile": Path("a100-sxm-8b")}
    one = made(bench, group, **values)
    assert one.pilot.policy is None
    assert f"nothing is governed, clocks stay at their maximum: {why}" in caplog.text


@pytest.mark.parametrize(
    ("values", "why"),
    [
        ({"profile": Path("h100-sxm-8b")}, "is of .*H100.*, and this is .*A100.*nothing is gov"),
        ({"profile": Path("a100-sxm-8b"), "gpus": ""}, "cannot be compared with the GPU.*set gpus"),
        ({"profile": Path("a100-sxm-8b"), "gpus": "7"}, "NVML shows no GPU 7"),
        ({"profile": Path("a100-sxm-8b"), "gpus": "a"}, "wanted numbers like 0,1"),
        ({"profile": Path("a100-sxm-8b"), "slo_ttft_ms": None}, "both are wanted"),
        ({"profile": Path("a100-sxm-8b"), "policy": "most"}, "no such policy"),
        ({"profile": Path("a100-sxm-8b"), "clocks": "noded"}, "which job is not known"),
        ({"metrics": "9810"}, "metrics: wanted HOST:PORT"),
    ],
)
def test_what_is_wrong_is_said_and_nothing_is_left_running(
    bench: Bench, values: Any, why: str
) -> None:
    with pytest.raises(BadInputError, match=why):
        made(bench, **values)


def test_more_engines_than_gpus(bench: Bench) -> None:
    with pytest.raises(BadInputError, match="gpus: 0,1 are 2; engine 1 wants 2"):
        made(bench, Group(model="m", tp=2, gpus=2, rank=1))


def test_closed_it_has_released(bench: Bench, tmp_path: Path) -> None:
    options = {"profile": Path("a100-sxm-8b"), "clocks": "nvml", "journal": tmp_path / "journal"}
    library = bench.library
    one = build(
        Settings(gpus="0", nvml_library=library, slo_ttft_ms=500, slo_tpot_ms=30, **options),  # type: ignore[arg-type]
        GROUP,
    )
    assert isinstance(one.setter, Setter)
    one.setter.ask(705)
    one.close()
    assert bench.read(0).lock_high_mhz == float("inf")
    assert list((tmp_path / "journal").iterdir()) == []
