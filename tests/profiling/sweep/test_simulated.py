# SPDX-License-Identifier: Apache-2.0
"""Simulated workloads: orders of magnitude, and that steps take what the emulator's law says."""

from types import SimpleNamespace

import pytest

from profiling.device.emulated.models import load_model
from profiling.device.emulated.physics import time_s
from profiling.device.gpu import Identity
from profiling.errors import ProfileError
from profiling.sweep.times import VirtualTime
from profiling.workload.protocol import Load
from profiling.workload.simulated import MODELS, Simulated, inference_loads, model_of
from profiling.workload.simulated_cost import Roofline

DECODE = Load(phase="decode", batch=1, context_tokens=1024)
PREFILL = Load(phase="prefill", batch=1, context_tokens=2048)


def roofline(gpu="h100-sxm", kind="inference"):
    return Roofline(load_model(gpu), kind, MODELS[kind])


def seconds(load, gpu="h100-sxm", kind="inference"):
    model = load_model(gpu)
    cost = roofline(gpu, kind).cost(load)
    return float(
        time_s(model.hold_clock_mhz, cost.compute_s, cost.memory_s, model, host_s=cost.host_s)
    )


def test_an_h100_serves_8b_as_fast_as_they_do():
    assert 7e-3 < seconds(DECODE) < 9e-3
    assert 60e-3 < seconds(PREFILL) < 90e-3


def test_smaller_gpus_are_slower_and_hold_less():
    for load in (DECODE, PREFILL):
        times = [seconds(load, gpu) for gpu in ("h100-sxm", "a100-sxm4-80gb", "rtx-4090")]
        assert times == sorted(times)
    rooms = [roofline(gpu).limits["kv_tokens"] for gpu in ("h100-sxm", "rtx-4090")]
    assert rooms[0] > 5 * rooms[1] > 100_000


def test_more_workers_train_faster_but_not_in_proportion():
    rates = {}
    for workers in (1, 2, 8):
        load = Load(workers=workers)
        units = roofline("rtx-4090", "training").cost(load).units
        rates[workers] = units / seconds(load, "rtx-4090", "training")
    assert 1.8 < rates[2] / rates[1] < 2
    assert 7 < rates[8] / rates[1] < 8


def test_what_does_not_fit_is_refused():
    for load, said in (
        (Load(phase="decode", batch=128, context_tokens=8192), "needs kv_tokens 1048576"),
        (Load(phase="prefill", batch=8, context_tokens=2048), "max_batched_tokens 16384, has 8192"),
        (Load(phase="decode", batch=2000, context_tokens=1), "max_num_seqs 2000"),
    ):
        with pytest.raises(ProfileError, match=said):
            roofline().cost(load)


def test_unknown_models_and_gpus_are_one_line():
    with pytest.raises(ProfileError, match=r"no simulated inference model 'x'; there are llama"):
        Roofline(load_model("h100-sxm"), "inference", "x")
    real = SimpleNamespace(
        identity=Identity(
            uuid="GPU-0", name="NVIDIA H100 80GB HBM3", vendor="nvidia", driver="580.1", index=0
        )
    )
    with pytest.raises(ProfileError, match="need an emulated GPU"):
        model_of(real)


class Bench:
    """In memory; the clock changes in the middle of a run."""

    def __init__(self):
        self.now_s, self.loads = 0.0, []

    def read(self, _):
        return SimpleNamespace(now_s=self.now_s, clock_mhz=1980.0 if self.now_s < 1 else 990.0)

    def advance(self, passed_s):
        self.now_s += passed_s

    def load(self, device, sm, memory, **more):
        self.loads.append((device, round(sm, 6), round(memory, 6)))

    def idle(self, device):
        self.loads.append((device, None, None))


def test_steps_follow_the_clock_and_load_the_bench():
    bench = Bench()
    gpu = SimpleNamespace(
        identity=Identity(
            uuid="GPU-0",
            name="NVIDIA H100 80GB HBM3",
            vendor="nvidia",
            driver="580.0.emulated",
            index=0,
        )
    )
    work = Simulated(bench, VirtualTime(bench), [gpu], roofline(), inference_loads([1], [512]))
    assert [one.phase for one in work.loads()] == ["decode", "prefill"]
    work.start(PREFILL)
    steps = work.run(2.0)
    model, cost = load_model("h100-sxm"), roofline().cost(PREFILL)
    fast, slow = (
        float(time_s(mhz, cost.compute_s, cost.memory_s, model, host_s=cost.host_s))
        for mhz in (1980, 990)
    )
    first = int(1 / fast) + 1
    assert steps.count == steps.units == first + int((2 - first * fast) / slow) + 1
    assert steps.end_s - steps.begin_s == pytest.approx(first * fast + (steps.count - first) * slow)
    sm, memory = bench.loads[1][1:]
    assert 0.9 < sm <= 1
    assert 0 < memory < 0.3
    assert bench.loads[-1] == (0, 0.0, 0.0)
    work.close()
    assert bench.loads[-1] == (0, None, None)
    with pytest.raises(ProfileError, match="no load is up"):
        work.run(1.0)
