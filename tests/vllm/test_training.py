# SPDX-License-Identifier: Apache-2.0
"""Data-parallel training steps of the real torch, on the CPU, one and two workers."""

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
from profiling.workload.paced import mix_of, stretch
from profiling.workload.protocol import Load
from profiling.workload.training import open_training

A100 = load_model("a100-sxm4-80gb")
ONE, TWO = Load(workers=1), Load(workers=2)
OWN = """
import torch
def make():
    class Model(torch.nn.Linear):
        def forward(self, x):
            return super().forward(x).square().mean()
    return Model(8, 8), lambda samples: (samples, [torch.ones(samples, 8)])
"""


@pytest.fixture(scope="module")
def engine(gpus: tuple[Gpu, ...]) -> Iterator[ChildWorkload]:
    made = open_training(gpus=gpus, samples=2)
    assert isinstance(made, ChildWorkload)
    yield made
    made.close()


def test_it_runs_no_more_workers_than_there_are_gpus(engine: ChildWorkload) -> None:
    assert list(engine.loads()) == [ONE, TWO, Load(workers=4)]
    assert engine.facts["engine_name"] == "torch"
    assert engine.facts["dtype"] == "float32"
    for load, why in (
        (Load(workers=4), "there are 2 GPUs"),
        (Load(workers=1, gpus_per_worker=2), "one GPU each"),
    ):
        with pytest.raises(ProfilingError, match=why):
            engine.start(load)


@pytest.mark.parametrize("load", [ONE, TWO])
def test_a_stretch_is_whole_steps_of_all_workers(
    engine: ChildWorkload, bench: Bench, load: Load
) -> None:
    engine.start(load)
    steps = undisturbed(engine, 2.0)
    assert steps.end_s - steps.begin_s >= 0.3
    assert load.workers is not None
    assert steps.units == steps.count * 2 * load.workers
    assert 1e-4 < latency_s(steps) < 2.0
    assert bench.read(1).sm_activity == 0.0
    engine.stop()


def test_a_lower_clock_takes_longer_as_the_emulated_gpu_says(
    engine: ChildWorkload, gpus: tuple[Gpu, ...]
) -> None:
    engine.start(ONE)
    wanted = stretch(210, mix_of(2 * 64), A100) / stretch(705, mix_of(2 * 64), A100)
    near = pytest.approx(wanted, rel=0.05)
    assert slowed(engine, gpus, 210, 705, near) == near


def test_closed_it_leaves_nothing(engine: ChildWorkload) -> None:
    engine.start(TWO)
    session = engine.pid
    assert session is not None
    assert len(alive(session)) >= 2
    engine.close()
    assert alive(session) == []


def test_a_model_of_ones_own_and_a_worker_that_is_killed(
    tmp_path: Path, gpus: tuple[Gpu, ...]
) -> None:
    own = tmp_path / "own.py"
    own.write_text(OWN)
    engine = open_training(gpus=gpus, model=f"{own}:make")
    assert isinstance(engine, ChildWorkload)
    try:
        engine.start(TWO)
        assert engine.run(0.05).units > 0
        session = engine.pid
        assert session is not None
        (worker,) = [
            int(path.parent.name)
            for path in Path("/proc").glob("[0-9]*/cmdline")
            if _is_worker(path, session)
        ]
        os.kill(worker, signal.SIGKILL)
        with pytest.raises(ProfilingError, match=r"^training, run: "):
            for _ in range(100):
                engine.run(0.1)
    finally:
        engine.close()
    assert alive(session) == []


def _is_worker(cmdline: Path, session: int) -> bool:
    try:
        stat = cmdline.with_name("stat").read_text().rpartition(")")[2].split()
        return stat[3] == str(session) and b"spawn_main" in cmdline.read_bytes()
    except OSError:
        return False


def test_a_model_that_is_none_is_named(gpus: tuple[Gpu, ...]) -> None:
    with pytest.raises(ProfilingError, match=r"model 'nonsense': give tiny-transformer"):
        open_training(gpus=gpus, model="nonsense")
