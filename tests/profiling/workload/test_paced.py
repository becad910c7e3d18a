# SPDX-License-Identifier: Apache-2.0
"""Steps of a real engine last what an emulated GPU's clock says."""

import math
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from profiling.device.emulated.bench import Bench
from profiling.device.emulated.models import GpuModel, load_model, model_names
from profiling.errors import DeviceError
from profiling.workload.paced import Pacer, activities, mix_of, model_called, stretch

A100 = load_model("a100-sxm4-80gb")
MODELS = [load_model(name) for name in model_names()]
tokens = st.floats(1.0, 1e6)
models = st.sampled_from(MODELS)


class _Time:
    """A clock that only sleeping moves, each time a little too far."""

    def __init__(self, late_s: float = 0.0) -> None:
        self.now_s = 0.0
        self._late_s = late_s

    def sleep(self, seconds: float) -> None:
        self.now_s += seconds + self._late_s

    def read(self) -> float:
        return self.now_s


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    with Bench.create(tmp_path / "gpus", [A100, A100]) as made:
        yield made


@given(tokens)
def test_a_mix_fills_a_step_at_the_highest_clock(count: float) -> None:
    mix = mix_of(count)
    assert math.isclose((mix.compute**4 + mix.memory**4) ** 0.25 + mix.host, 1.0)
    assert min(mix.compute, mix.memory, mix.host) > 0.0


@given(tokens, models, st.data())
def test_lower_clocks_stretch_more_but_never_more_than_the_clock_itself(
    count: float, chosen: GpuModel, data: st.DataObject
) -> None:
    mix = mix_of(count)
    low, high = sorted(
        data.draw(st.floats(chosen.min_clock_mhz, chosen.max_clock_mhz)) for _ in range(2)
    )
    slow, fast = stretch(low, mix, chosen), stretch(high, mix, chosen)
    assert slow >= fast - 1e-9
    assert fast >= 1.0 - 1e-9
    assert all(0.0 <= one <= 1.0 for one in activities(low, mix, chosen))
    assert math.isclose(stretch(chosen.max_clock_mhz, mix, chosen), 1.0)


def test_prefill_feels_the_clock_more_than_decode() -> None:
    half = A100.max_clock_mhz / 2
    assert stretch(half, mix_of(4096), A100) > 1.9
    assert stretch(half, mix_of(1), A100) < 1.3


def _wait_for_clock(bench: Bench, device: int, clock_mhz: float) -> None:
    """The clock moves after a latency of real milliseconds."""
    for _ in range(10**6):
        if bench.read(device).clock_mhz == clock_mhz:
            return
    pytest.fail("the emulated clock did not get there")


@pytest.mark.parametrize("late_s", [0.0, 1e-4])
def test_many_steps_together_last_what_the_slowest_gpu_says(bench: Bench, late_s: float) -> None:
    low = A100.clocks_mhz[len(A100.clocks_mhz) // 3]
    bench.clamp(0, low)
    clock = _Time(late_s)
    pacer = Pacer(bench, [(0, A100), (1, A100)], sleep=clock.sleep, now_s=clock.read)
    mix = mix_of(4096)
    pacer.begin(mix)
    _wait_for_clock(bench, 0, low)
    pacer.begin(mix, 2e-3)
    for took_s in (1e-3, 2e-3, 8e-3, 1e-3) * 25:
        clock.now_s += took_s
        pacer.after()
    # One that is late waits for nothing, and those after it make good what it lost.
    assert clock.now_s == pytest.approx(100 * 2e-3 * stretch(low, mix, A100), rel=1e-3)
    reading = bench.read(0)
    assert (reading.sm_activity, reading.mem_activity) == pytest.approx(
        activities(low, mix, A100), rel=1e-6
    )
    assert bench.read(1).sm_activity > 0.0
    pacer.use(1)
    pacer.begin(mix)
    assert bench.read(0).sm_activity > 0.0
    assert bench.read(1).sm_activity == 0.0
    pacer.rest()
    assert bench.read(0).sm_activity == 0.0
    assert bench.read(0).context


def test_without_a_pace_nothing_is_waited_for(bench: Bench) -> None:
    bench.clamp(0, A100.min_clock_mhz)
    clock = _Time()
    pacer = Pacer(bench, [(0, A100)], sleep=clock.sleep, now_s=clock.read)
    pacer.begin(mix_of(8))
    pacer.after()
    assert clock.now_s == 0.0
    pacer.close()
    with Bench(bench.path) as after:
        assert not after.read(0).context


def test_virtual_time_is_refused(tmp_path: Path) -> None:
    with (
        Bench.create(tmp_path / "gpus", [A100], virtual=True) as made,
        pytest.raises(DeviceError, match="virtual"),
    ):
        Pacer(made, [(0, A100)])


def test_the_model_is_found_by_what_nvml_calls_it() -> None:
    assert model_called(A100.product) == A100
    with pytest.raises(DeviceError, match="known: "):
        model_called("NVIDIA H999")
