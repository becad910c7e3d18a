# SPDX-License-Identifier: Apache-2.0
"""What a reader and a setter see through the real nvidia-ml-py."""

import ctypes
import os
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import pynvml as nvml
import pytest

from profiling.device.emulated.bench import STATE_VARIABLE, Bench
from profiling.device.emulated.models import load_model
from profiling.device.emulated.physics import power_w

Emulate = Callable[..., AbstractContextManager[Bench]]
A100, H100, H200, RTX = map(load_model, ("a100-sxm4-80gb", "h100-sxm", "h200", "rtx-4090"))


def code_of(call: Callable[..., object], *arguments: object) -> int:
    with pytest.raises(nvml.NVMLError) as caught:
        call(*arguments)
    return int(caught.value.value)


def test_identity_and_every_way_to_a_handle(emulate: Emulate) -> None:
    with emulate(A100, H100, RTX):
        assert nvml.nvmlSystemGetDriverVersion() == "580.0.emulated"
        assert nvml.nvmlSystemGetNVMLVersion().endswith("emulated")
        assert nvml.nvmlSystemGetCudaDriverVersion() == nvml.nvmlSystemGetCudaDriverVersion_v2()
        assert nvml.nvmlDeviceGetCount() == 3
        for index, model in enumerate((A100, H100, RTX)):
            handle = nvml.nvmlDeviceGetHandleByIndex(index)
            assert nvml.nvmlDeviceGetName(handle) == model.product
            assert nvml.nvmlDeviceGetMinorNumber(handle) == index
            assert nvml.nvmlDeviceGetCudaComputeCapability(handle) == model.compute_capability
            assert nvml.nvmlDeviceGetArchitecture(handle) == model.architecture
            assert nvml.nvmlDeviceGetBrand(handle) == model.brand
            assert nvml.nvmlDeviceGetPciInfo(handle).pciDeviceId == model.pci_device_id
            ways = {
                nvml.nvmlDeviceGetHandleByUUID: nvml.nvmlDeviceGetUUID(handle).encode(),
                nvml.nvmlDeviceGetHandleBySerial: nvml.nvmlDeviceGetSerial(handle).encode(),
                nvml.nvmlDeviceGetHandleByPciBusId: nvml.nvmlDeviceGetPciInfo(
                    handle
                ).busId.encode(),
            }
            for way, name in ways.items():
                assert nvml.nvmlDeviceGetIndex(way(name)) == index
            uuid = nvml.nvmlDeviceGetHandleByUUIDV(
                nvml.nvmlDeviceGetUUID(handle).encode(), nvml.NVML_UUID_TYPE_ASCII
            )
            assert nvml.nvmlDeviceGetIndex(uuid) == index
        assert code_of(nvml.nvmlDeviceGetHandleByIndex, 3) == nvml.NVML_ERROR_INVALID_ARGUMENT
        assert code_of(nvml.nvmlDeviceGetHandleByUUID, b"GPU-0") == nvml.NVML_ERROR_NOT_FOUND
        assert code_of(nvml.nvmlDeviceGetHandleByPciBusId, b"0:9:0.0") == nvml.NVML_ERROR_NOT_FOUND
        assert code_of(nvml.nvmlDeviceGetHandleByPciBusId, b"x") == nvml.NVML_ERROR_INVALID_ARGUMENT


def test_a_gpu_made_again_is_the_same_gpu(emulate: Emulate, library: Path, tmp_path: Path) -> None:
    with emulate(H100) as bench:
        uuids = []
        for path in (bench.path, bench.path, tmp_path / "others"):
            Bench.create(path, [H100], library=library).close()
            nvml.nvmlShutdown()
            os.environ[STATE_VARIABLE] = str(path)
            nvml.nvmlInit()
            uuids.append(nvml.nvmlDeviceGetUUID(nvml.nvmlDeviceGetHandleByIndex(0)))
    assert uuids[0] == uuids[1] != uuids[2]


def test_a_lock_moves_clock_power_and_energy(emulate: Emulate) -> None:
    with emulate(H100) as bench:
        handle = nvml.nvmlDeviceGetHandleByIndex(0)
        bench.load(0, 0.9, 0.5)
        for clock in (210, 600, 1095, 1500, 1980):
            nvml.nvmlDeviceSetGpuLockedClocks(handle, clock, clock)
            bench.advance(2)
            expected_w = float(power_w(clock, 0.9, 0.5, H100))
            before = nvml.nvmlDeviceGetTotalEnergyConsumption(handle)
            bench.advance(10)
            after = nvml.nvmlDeviceGetTotalEnergyConsumption(handle)
            assert nvml.nvmlDeviceGetClockInfo(handle, nvml.NVML_CLOCK_SM) == clock
            assert nvml.nvmlDeviceGetPowerUsage(handle) == pytest.approx(1e3 * expected_w, abs=1)
            assert after - before == pytest.approx(1e4 * expected_w, abs=2)
        nvml.nvmlDeviceSetGpuLockedClocks(handle, 210, 1007)
        bench.advance(1)
        assert nvml.nvmlDeviceGetClockInfo(handle, nvml.NVML_CLOCK_GRAPHICS) == 1005
        bench.idle(0)
        bench.advance(1)
        assert nvml.nvmlDeviceGetClockInfo(handle, nvml.NVML_CLOCK_SM) == H100.idle_clock_mhz
        assert nvml.nvmlDeviceGetCurrentClocksEventReasons(handle) == 1
        nvml.nvmlDeviceResetGpuLockedClocks(handle)
        bench.load(0, 0.9, 0.5)
        bench.advance(1)
        assert nvml.nvmlDeviceGetClockInfo(handle, nvml.NVML_CLOCK_SM) == 1980


def test_the_clock_follows_after_the_latency_of_its_target(emulate: Emulate) -> None:
    with emulate(A100) as bench:
        handle = nvml.nvmlDeviceGetHandleByIndex(0)
        bench.load(0, 0.5, 0)
        for target, latency_s in ((210, 0.2), (1410, 0.015), (1110, 0.05), (660, 0.125)):
            bench.advance(1)
            before = nvml.nvmlDeviceGetClockInfo(handle, nvml.NVML_CLOCK_SM)
            nvml.nvmlDeviceSetGpuLockedClocks(handle, target, target)
            bench.advance(latency_s - 1e-6)
            assert nvml.nvmlDeviceGetClockInfo(handle, nvml.NVML_CLOCK_SM) == before
            bench.advance(2e-6)
            assert nvml.nvmlDeviceGetClockInfo(handle, nvml.NVML_CLOCK_SM) == target


def test_symbolic_locks_and_what_is_refused(emulate: Emulate) -> None:
    tdp, unlimited = nvml.NVML_CLOCK_LIMIT_ID_TDP, nvml.NVML_CLOCK_LIMIT_ID_UNLIMITED
    with emulate(H200) as bench:
        handle = nvml.nvmlDeviceGetHandleByIndex(0)
        locks = {}
        for pair in ((tdp, tdp), (unlimited, tdp), (tdp, unlimited), (unlimited, unlimited)):
            nvml.nvmlDeviceSetGpuLockedClocks(handle, *pair)
            locks[pair] = (bench.read(0).lock_low_mhz, bench.read(0).lock_high_mhz)
        tdp_mhz = locks[tdp, tdp][0]
        assert 1500 <= tdp_mhz < 1830
        assert list(locks.values()) == [
            (tdp_mhz, tdp_mhz), (0, tdp_mhz), (tdp_mhz, float("inf")), (0, float("inf"))
        ]  # fmt: skip
        for pair in ((1500, 1000), (tdp, 1500), (1500, unlimited), (0, 0), (0xFFFFFF03, tdp)):
            code = code_of(nvml.nvmlDeviceSetGpuLockedClocks, handle, *pair)
            assert code == nvml.NVML_ERROR_INVALID_ARGUMENT
        nvml.nvmlDeviceSetGpuLockedClocks(handle, 5000, 5000)  # accepted, never reached
        bench.load(0, 0.1, 0.1)
        bench.advance(1)
        assert nvml.nvmlDeviceGetClockInfo(handle, nvml.NVML_CLOCK_SM) == 1980


def test_a_power_cap_lowers_the_clock_and_says_so(emulate: Emulate) -> None:
    with emulate(H100) as bench:
        handle = nvml.nvmlDeviceGetHandleByIndex(0)
        assert nvml.nvmlDeviceGetPowerManagementLimitConstraints(handle) == [200_000, 700_000]
        for limit_mw in (199_999, 700_001, 0):
            code = code_of(nvml.nvmlDeviceSetPowerManagementLimit, handle, limit_mw)
            assert code == nvml.NVML_ERROR_INVALID_ARGUMENT
        bench.load(0, 1, 0.5)
        bench.advance(2)
        assert not nvml.nvmlDeviceGetCurrentClocksEventReasons(handle) & 4
        nvml.nvmlDeviceSetPowerManagementLimit(handle, 300_000)
        bench.advance(2)
        clock = nvml.nvmlDeviceGetClockInfo(handle, nvml.NVML_CLOCK_SM)
        assert float(power_w(clock, 1, 0.5, H100)) <= 300 < float(power_w(clock + 15, 1, 0.5, H100))
        assert nvml.nvmlDeviceGetPowerUsage(handle) <= 300_000
        assert nvml.nvmlDeviceGetCurrentClocksEventReasons(handle) == 4
        assert nvml.nvmlDeviceGetCurrentClocksThrottleReasons(handle) == 4
        assert nvml.nvmlDeviceGetEnforcedPowerLimit(handle) == 300_000
        assert nvml.nvmlDeviceGetPowerManagementDefaultLimit(handle) == 700_000
        (capped,) = nvml.nvmlDeviceGetFieldValues(handle, [nvml.NVML_FI_DEV_PERF_POLICY_POWER])
        assert capped.value.ullVal == 2_000_000_000


def test_supported_clocks_and_memory_locks(emulate: Emulate) -> None:
    with emulate(RTX, H100) as bench:
        rtx, h100 = map(nvml.nvmlDeviceGetHandleByIndex, (0, 1))
        assert nvml.nvmlDeviceGetSupportedMemoryClocks(rtx) == [10501, 5001, 810, 405]
        steps = nvml.nvmlDeviceGetSupportedGraphicsClocks(rtx, 10501)
        assert (steps[0], steps[1], steps[-1]) == (3105, 3090, 210)
        code = code_of(nvml.nvmlDeviceGetSupportedGraphicsClocks, rtx, 10502)
        assert code == nvml.NVML_ERROR_NOT_FOUND
        bench.load(0, 0.0, 1.0)
        full_w = bench.read(0).power_w
        nvml.nvmlDeviceSetMemoryLockedClocks(rtx, 0, 6000)
        assert nvml.nvmlDeviceGetClockInfo(rtx, nvml.NVML_CLOCK_MEM) == 5001
        saved_w = full_w - bench.read(0).power_w
        assert saved_w == pytest.approx(RTX.memory_w * (1 - 5001 / 10501))
        code = code_of(nvml.nvmlDeviceSetMemoryLockedClocks, rtx, 6000, 7000)
        assert code == nvml.NVML_ERROR_FREQ_NOT_SUPPORTED
        nvml.nvmlDeviceResetMemoryLockedClocks(rtx)
        assert nvml.nvmlDeviceGetClockInfo(rtx, nvml.NVML_CLOCK_MEM) == 10501
        code = code_of(nvml.nvmlDeviceSetMemoryLockedClocks, h100, 2619, 2619)
        assert code == nvml.NVML_ERROR_NOT_SUPPORTED
        bench.advance(1)
        bench.load(0, 1.0, 0.0)
        bench.advance(1)
        assert nvml.nvmlDeviceGetClockInfo(rtx, nvml.NVML_CLOCK_SM) <= RTX.hold_clock_mhz
        assert nvml.nvmlDeviceGetMaxClockInfo(rtx, nvml.NVML_CLOCK_SM) == 3105
        assert nvml.nvmlDeviceGetClock(rtx, nvml.NVML_CLOCK_MEM, 0) == 10501


def test_each_field_has_its_own_return_code(emulate: Emulate) -> None:
    with emulate(H100, A100) as bench:
        bench.advance(5)
        h100, a100 = map(nvml.nvmlDeviceGetHandleByIndex, (0, 1))
        ids = [83, 185, 186, 187, 188, 189, 190, 191, 192, 298, 82, (186, 1)]
        fields = nvml.nvmlDeviceGetFieldValues(h100, ids)
        assert [one.nvmlReturn for one in fields] == [0] * 10 + [3, 3]
        assert fields[0].value.ullVal == nvml.nvmlDeviceGetTotalEnergyConsumption(h100)
        watts = [one.value.uiVal for one in fields[1:7]]
        assert watts == [71760, 71760, 200_000, 700_000, 700_000, 700_000]
        fields = nvml.nvmlDeviceGetFieldValues(a100, [185, 186])
        assert [one.nvmlReturn for one in fields] == [3, 0]  # no average on GA100


def test_load_memory_processes_and_modes(emulate: Emulate) -> None:
    with emulate(H100, RTX) as bench:
        h100, rtx = map(nvml.nvmlDeviceGetHandleByIndex, (0, 1))
        bench.load(0, 0.75, 0.5)
        rates = nvml.nvmlDeviceGetUtilizationRates(h100)
        assert (rates.gpu, rates.memory) == (75, 50)
        assert nvml.nvmlDeviceGetComputeRunningProcesses(h100) == []
        bench.processes(0, {os.getpid(): 2**30, 2**22 + 1: 2**31})
        (shown,) = nvml.nvmlDeviceGetComputeRunningProcesses(h100)  # the other does not live
        assert (shown.pid, shown.usedGpuMemory) == (os.getpid(), 2**30)
        (shown,) = nvml.nvmlDeviceGetComputeRunningProcesses_v2(h100)
        assert shown.pid == os.getpid()
        assert nvml.nvmlDeviceGetGraphicsRunningProcesses(h100) == []
        memory = nvml.nvmlDeviceGetMemoryInfo(h100, version=nvml.nvmlMemory_v2)
        assert (memory.total, memory.used) == (H100.memory_bytes, 2**30)
        assert memory.free + memory.used + memory.reserved == memory.total
        assert nvml.nvmlDeviceGetMemoryInfo(h100).free == memory.free
        assert code_of(nvml.nvmlDeviceGetMemoryInfo, h100, 7) == 25
        assert nvml.nvmlDeviceGetPersistenceMode(h100) == 1
        nvml.nvmlDeviceSetPersistenceMode(h100, 0)
        nvml.nvmlDeviceSetComputeMode(h100, nvml.NVML_COMPUTEMODE_EXCLUSIVE_PROCESS)
        assert nvml.nvmlDeviceGetPersistenceMode(h100) == 0
        assert nvml.nvmlDeviceGetComputeMode(h100) == nvml.NVML_COMPUTEMODE_EXCLUSIVE_PROCESS
        assert nvml.nvmlDeviceGetMigMode(h100) == [0, 0]
        nvml.nvmlDeviceSetMigMode(h100, 1)
        assert nvml.nvmlDeviceGetMigMode(h100) == [1, 1]
        assert code_of(nvml.nvmlDeviceGetUtilizationRates, h100) == nvml.NVML_ERROR_NOT_SUPPORTED
        assert code_of(nvml.nvmlDeviceGetMigMode, rtx) == nvml.NVML_ERROR_NOT_SUPPORTED
        clock = nvml.NVML_CLOCK_SM
        assert code_of(nvml.nvmlDeviceGetApplicationsClock, rtx, clock) == 3
        assert code_of(nvml.nvmlDeviceGetPcieSpeed, rtx) == nvml.NVML_ERROR_FUNCTION_NOT_FOUND


def test_the_temperature_nears_what_the_power_leads_to(emulate: Emulate) -> None:
    with emulate(H100) as bench:
        handle = nvml.nvmlDeviceGetHandleByIndex(0)
        assert nvml.nvmlDeviceGetTemperature(handle, nvml.NVML_TEMPERATURE_GPU) == 30
        bench.load(0, 1, 1)
        bench.advance(300)
        final_c = H100.ambient_c + H100.thermal_c_per_w * bench.read(0).power_w
        assert nvml.nvmlDeviceGetTemperature(handle, 0) == round(final_c)
        assert nvml.nvmlDeviceGetTemperatureV(handle, 0) == round(final_c)


def test_uninitialised_missing_and_foreign_state(emulate: Emulate, tmp_path: Path) -> None:
    with emulate(H100) as bench:
        handle = nvml.nvmlDeviceGetHandleByIndex(0)
        nvml.nvmlShutdown()
        assert code_of(nvml.nvmlDeviceGetName, handle) == nvml.NVML_ERROR_UNINITIALIZED
        assert code_of(nvml.nvmlShutdown) == nvml.NVML_ERROR_UNINITIALIZED
        foreign = tmp_path / "foreign"
        whole = bench.path.read_bytes()
        for content, code in (
            (None, nvml.NVML_ERROR_DRIVER_NOT_LOADED),
            (b"", nvml.NVML_ERROR_DRIVER_NOT_LOADED),
            (whole[:-1], nvml.NVML_ERROR_DRIVER_NOT_LOADED),
            (b"\0" + whole[1:], nvml.NVML_ERROR_LIB_RM_VERSION_MISMATCH),
            (whole[:8] + b"\2" + whole[9:], nvml.NVML_ERROR_LIB_RM_VERSION_MISMATCH),
        ):
            if content is not None:
                foreign.write_bytes(content)
            os.environ[STATE_VARIABLE] = str(foreign)
            assert code_of(nvml.nvmlInit) == code
        os.environ[STATE_VARIABLE] = str(bench.path)
        nvml.nvmlInit()
        garbage = ctypes.cast(12345, nvml.c_nvmlDevice_t)
        assert code_of(nvml.nvmlDeviceGetName, garbage) == nvml.NVML_ERROR_INVALID_ARGUMENT
        assert str(nvml.NVMLError(nvml.NVML_ERROR_GPU_IS_LOST)) == "GPU is lost"
