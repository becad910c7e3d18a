# SPDX-License-Identifier: Apache-2.0
"""What the bench can break, and that it breaks nothing else."""

import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import pynvml as nvml
import pytest

from profiling.device.emulated.bench import Bench
from profiling.device.emulated.models import GpuModel
from profiling.errors import DeviceError
from tests.timing import fastest_s

Emulate = Callable[..., AbstractContextManager[Bench]]
SM = nvml.NVML_CLOCK_SM


def code_of(call: Callable[..., object], *arguments: object) -> int:
    with pytest.raises(nvml.NVMLError) as caught:
        call(*arguments)
    return int(caught.value.value)


def test_a_lost_gpu_answers_nothing_else_and_its_neighbour_all(
    emulate: Emulate, h100: GpuModel
) -> None:
    with emulate(h100, h100) as bench:
        lost, other = map(nvml.nvmlDeviceGetHandleByIndex, (0, 1))
        bench.lose(0)
        for call, *arguments in (
            (nvml.nvmlDeviceGetName,),
            (nvml.nvmlDeviceGetTotalEnergyConsumption,),
            (nvml.nvmlDeviceGetFieldValues, [83]),
            (nvml.nvmlDeviceSetGpuLockedClocks, 600, 600),
            (nvml.nvmlDeviceResetGpuLockedClocks,),
        ):
            assert code_of(call, lost, *arguments) == nvml.NVML_ERROR_GPU_IS_LOST
        assert code_of(nvml.nvmlDeviceGetHandleByIndex, 0) == nvml.NVML_ERROR_GPU_IS_LOST
        assert nvml.nvmlDeviceGetCount() == 2
        assert nvml.nvmlDeviceGetName(other) == h100.product
        bench.lose(0, lost=False)
        assert bench.read(0).lock_low_mhz == 0
        nvml.nvmlDeviceSetGpuLockedClocks(lost, 600, 600)


def test_a_clamped_clock_is_accepted_and_not_reached(emulate: Emulate, h100: GpuModel) -> None:
    with emulate(h100) as bench:
        handle = nvml.nvmlDeviceGetHandleByIndex(0)
        bench.load(0, 0.5, 0.5)
        bench.clamp(0, 1830)
        for asked, observed in ((1980, 1830), (1500, 1500)):
            nvml.nvmlDeviceSetGpuLockedClocks(handle, asked, asked)
            bench.advance(1)
            assert nvml.nvmlDeviceGetClockInfo(handle, SM) == observed
        bench.throttle(0, nvml.nvmlClocksEventReasonHwThermalSlowdown)
        assert nvml.nvmlDeviceGetCurrentClocksEventReasons(handle) == 0x40
        bench.throttle(0, 0)
        bench.clamp(0)
        nvml.nvmlDeviceResetGpuLockedClocks(handle)
        bench.advance(1)
        assert nvml.nvmlDeviceGetClockInfo(handle, SM) == 1980
        assert nvml.nvmlDeviceGetCurrentClocksEventReasons(handle) == 0


def test_counters_stall_reset_and_wrap_while_the_truth_goes_on(
    emulate: Emulate, prompt_h100: GpuModel
) -> None:
    with emulate(prompt_h100) as bench:
        handle = nvml.nvmlDeviceGetHandleByIndex(0)
        bench.load(0, 1, 1)
        power_w = bench.read(0).power_w
        shown = []
        changes: list[Callable[[], None]] = [
            lambda: None,
            lambda: bench.stall_counter(0),
            lambda: bench.stall_counter(0, stalled=False),
            lambda: bench.reset_counter(0),
            lambda: bench.wrap_counter(0, 6000 * power_w),
        ]
        for change in changes:
            change()
            bench.advance(10)
            shown.append(nvml.nvmlDeviceGetTotalEnergyConsumption(handle) / 1e3 / power_w)
        assert shown == pytest.approx([10, 10, 30, 10, 2], abs=1e-4)
        assert bench.read(0).energy_j == pytest.approx(50 * power_w)


def test_calls_fail_by_name_in_all_their_versions(emulate: Emulate, h100: GpuModel) -> None:
    with emulate(h100, h100) as bench:
        first, second = map(nvml.nvmlDeviceGetHandleByIndex, (0, 1))
        bench.fail_call("nvmlDeviceGetTotalEnergyConsumption", 3, device=0)
        bench.fail_call("nvmlDeviceGetCount_v2", 999)
        assert code_of(nvml.nvmlDeviceGetTotalEnergyConsumption, first) == 3
        assert nvml.nvmlDeviceGetTotalEnergyConsumption(second) == 0
        assert code_of(nvml.nvmlDeviceGetCount) == 999
        assert nvml.nvmlDeviceGetPowerUsage(first) > 0
        bench.fail_call("nvmlInit", 9)
        nvml.nvmlShutdown()
        assert code_of(nvml.nvmlInit) == nvml.NVML_ERROR_DRIVER_NOT_LOADED
        bench.clear_calls()
        nvml.nvmlInit()
        assert nvml.nvmlDeviceGetCount() == 2
        with pytest.raises(DeviceError, match="no NVML function 'nvmlDeviceGetFoo'"):
            bench.fail_call("nvmlDeviceGetFoo", 3)


def test_a_slow_call_is_slow_and_holds_nobody_up(emulate: Emulate, h100: GpuModel) -> None:
    with emulate(h100) as bench:
        handle = nvml.nvmlDeviceGetHandleByIndex(0)
        bench.slow_call("nvmlDeviceSetGpuLockedClocks", 0.05)
        start_s = time.perf_counter()
        nvml.nvmlDeviceSetGpuLockedClocks(handle, 600, 600)
        assert time.perf_counter() - start_s >= 0.05
        assert fastest_s(lambda: nvml.nvmlDeviceGetPowerUsage(handle), 0.05) < 0.05


def test_a_reload_forgets_locks_and_caps_and_starts_the_counter_over(
    emulate: Emulate, h100: GpuModel
) -> None:
    with emulate(h100) as bench:
        handle = nvml.nvmlDeviceGetHandleByIndex(0)
        nvml.nvmlDeviceSetGpuLockedClocks(handle, 600, 600)
        nvml.nvmlDeviceSetPowerManagementLimit(handle, 200_000)
        bench.advance(60)
        bench.reload(0)
        now = bench.read(0)
        assert (now.lock_low_mhz, now.limit_w) == (0, 700)
        assert nvml.nvmlDeviceGetTotalEnergyConsumption(handle) == 0


def test_the_bench_refuses_what_cannot_be(
    emulate: Emulate, h100: GpuModel, tmp_path: Path, library: Path
) -> None:
    with emulate(h100) as bench:
        before = bench.read(0)
        for call in (
            lambda: bench.load(1, 0, 0),
            lambda: bench.load(0, 1.01, 0),
            lambda: bench.load(0, float("nan"), 0),
            lambda: bench.load(0, 0, 0, hold_s=0),
            lambda: bench.advance(-1),
            lambda: bench.clamp(0, float("nan")),
            lambda: bench.processes(0, dict.fromkeys(range(17), 1)),
            lambda: bench.slow_call("nvmlDeviceGetName", 3600),
            lambda: bench.fail_call("nvmlDeviceGetName", 3, device=1),
            lambda: bench.read(1),
        ):
            with pytest.raises(DeviceError, match=r"emulated GPUs .*: \w+: "):
                call()
        assert bench.read(0) == before
    with pytest.raises(DeviceError, match="closed"):
        bench.read(0)
    with pytest.raises(DeviceError, match="open: No such file"):
        Bench(tmp_path / "none")
    with pytest.raises(DeviceError, match="create: Invalid argument"):
        Bench.create(tmp_path / "many", [h100] * 17, library=library)
    with pytest.raises(DeviceError, match="No such file"):
        Bench.create(tmp_path / "no" / "dir", [h100], library=library)
    assert list(tmp_path.iterdir()) == []
