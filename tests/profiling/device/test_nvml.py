# SPDX-License-Identifier: Apache-2.0
"""The NVML adapter through the real nvidia-ml-py, on the emulated library."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pynvml
import pytest

from profiling.device.apply import Setting, apply, restore
from profiling.device.emulated.bench import STATE_VARIABLE, Bench
from profiling.device.emulated.build import build_library
from profiling.device.emulated.models import load_model
from profiling.device.gpu import Events, PowerRange, RefusedError, Why
from profiling.device.nvml import Nvml, NvmlGpu
from profiling.errors import DeviceError

ROOT = Path(__file__).parents[3]


@pytest.fixture
def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Bench]:
    """Two emulated H100, in virtual time, under full load."""
    path = tmp_path / "gpus"
    monkeypatch.setenv(STATE_VARIABLE, str(path))
    with Bench.create(path, [load_model("h100-sxm")] * 2, virtual=True) as one:
        one.load(0, 1.0, 0.5)
        one.advance(1)
        yield one


@pytest.fixture
def gpus(bench: Bench) -> Iterator[tuple[NvmlGpu, ...]]:
    with Nvml(bench.library) as nvml:
        yield nvml.gpus()


def test_who_it_is(gpus: tuple[NvmlGpu, ...]) -> None:
    first, second = (gpu.identity for gpu in gpus)

    assert "H100" in first.name
    assert (first.vendor, first.index, second.index) == ("nvidia", 0, 1)
    assert first.uuid != second.uuid
    assert first.emulated


def test_set_read_back_restore(bench: Bench, gpus: tuple[NvmlGpu, ...]) -> None:
    gpu = gpus[0]
    full_w = bench.read(0).power_w
    applied = apply(
        gpu,
        Setting(clock_mhz=1100, power_limit_w=600),
        settle_s=60,
        sleep=lambda _: bench.advance(0.1),
    )

    assert applied.accepted == Setting(clock_mhz=1095, floor_mhz=1095, power_limit_w=600)
    assert applied.observed.clock_mhz == 1095
    assert applied.observed.power_limit_w == 600
    assert bench.read(0).power_w < full_w

    restore(gpu, Setting())
    assert gpu.power_limit_w() == 700
    bench.advance(1)
    assert bench.read(0).lock_low_mhz == 0


def test_what_it_tells(bench: Bench, gpus: tuple[NvmlGpu, ...]) -> None:
    gpu = gpus[0]
    bench.advance(10)
    before_j, truth_j = gpu.energy_j(), bench.read(0).energy_j
    bench.advance(10)

    assert gpu.power_range() == PowerRange(min_w=200, default_w=700, max_w=700)
    assert gpu.supported_clocks_mhz()[0] == 210
    assert gpu.supported_clocks_mhz()[-1] == 1980
    assert before_j is not None
    assert gpu.energy_j() - before_j == pytest.approx(bench.read(0).energy_j - truth_j, rel=0.03)
    assert gpu.power_w() == pytest.approx(bench.read(0).power_w, rel=0.02)
    assert gpu.instant_power_w() == pytest.approx(bench.read(0).power_w, rel=0.02)
    assert Events.IDLE in (gpus[1].events() or Events(0))


def test_processes(bench: Bench, gpus: tuple[NvmlGpu, ...]) -> None:
    bench.processes(0, {os.getpid(): 2**30})

    assert gpus[0].processes() == (os.getpid(),)
    assert gpus[1].processes() == ()
    assert "shared" in apply(gpus[0], Setting(clock_mhz=1095), ours=lambda _: False).reasons[0]


def test_a_power_cap_is_told_as_the_reason(bench: Bench, gpus: tuple[NvmlGpu, ...]) -> None:
    apply(gpus[0], Setting(power_limit_w=300))
    bench.advance(1)
    applied = apply(gpus[0], Setting(clock_mhz=1980))

    assert "power cap" in applied.reasons[0]


def test_clamped(bench: Bench, gpus: tuple[NvmlGpu, ...]) -> None:
    bench.clamp(0, 1500)
    bench.advance(1)
    applied = apply(
        gpus[0], Setting(clock_mhz=1830), settle_s=0.1, sleep=lambda _: bench.advance(0.1)
    )

    assert applied.accepted.clock_mhz == 1830
    assert applied.observed.clock_mhz == 1500


def test_mig(bench: Bench, gpus: tuple[NvmlGpu, ...]) -> None:
    bench.set_mig(0, on=True)

    assert "MIG" in apply(gpus[0], Setting(clock_mhz=1095)).reasons[0]


def test_lost(bench: Bench, gpus: tuple[NvmlGpu, ...]) -> None:
    bench.lose(0)
    applied = apply(gpus[0], Setting(clock_mhz=1095))

    assert set(applied.refused) == {Why.LOST}
    with pytest.raises(RefusedError, match="lost"):
        gpus[0].energy_j()


def test_a_lost_one_leaves_a_gap(bench: Bench) -> None:
    bench.lose(0)
    with Nvml(bench.library) as nvml:
        assert [gpu.identity.index for gpu in nvml.gpus()] == [1]


@pytest.mark.parametrize(
    ("code", "why"),
    [
        (pynvml.NVML_ERROR_NOT_SUPPORTED, Why.NOT_SUPPORTED),
        (pynvml.NVML_ERROR_FUNCTION_NOT_FOUND, Why.NOT_SUPPORTED),
        (pynvml.NVML_ERROR_NO_PERMISSION, Why.NO_PERMISSION),
        (pynvml.NVML_ERROR_UNKNOWN, Why.OTHER),
    ],
)
def test_codes(bench: Bench, gpus: tuple[NvmlGpu, ...], code: int, why: Why) -> None:
    bench.fail_call("nvmlDeviceSetGpuLockedClocks", code)

    assert apply(gpus[0], Setting(clock_mhz=1095)).refused == (why,)


def test_what_is_not_supported_is_unknown(bench: Bench, gpus: tuple[NvmlGpu, ...]) -> None:
    for function in (
        "nvmlDeviceGetTotalEnergyConsumption",
        "nvmlDeviceGetPowerUsage",
        "nvmlDeviceGetPowerManagementLimitConstraints",
        "nvmlDeviceGetSupportedMemoryClocks",
        "nvmlDeviceGetComputeRunningProcesses",
    ):
        bench.fail_call(function, pynvml.NVML_ERROR_NOT_SUPPORTED)
    gpu = gpus[0]

    assert (gpu.energy_j(), gpu.power_w(), gpu.power_range()) == (None, None, None)
    assert (gpu.supported_clocks_mhz(), gpu.processes()) == ((), None)
    assert "no list of supported clocks" in apply(gpu, Setting(clock_mhz=1095)).reasons[0]


def test_only_root_sets(bench: Bench, gpus: tuple[NvmlGpu, ...]) -> None:
    if os.geteuid() != 0:
        assert apply(gpus[0], Setting(clock_mhz=1095)).refused == (Why.NO_PERMISSION,)
        return
    program = (
        "import sys, pathlib; from profiling.device.nvml import Nvml;"
        "from profiling.device.apply import Setting, apply;"
        "print(apply(Nvml(pathlib.Path(sys.argv[1])).gpus()[0], Setting(clock_mhz=1095)).refused)"
    )
    # Root without CAP_SYS_ADMIN (prctl PR_CAPBSET_DROP) is nobody to NVML.
    without = (
        "import ctypes, os, sys; ctypes.CDLL(None).prctl(24, 21, 0, 0, 0);"
        "os.execv(sys.executable, [sys.executable, '-c', *sys.argv[1:]])"
    )
    done = subprocess.run(
        [sys.executable, "-c", without, program, str(bench.library)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )

    assert "NO_PERMISSION" in done.stdout


def test_a_second_library_is_refused(bench: Bench, gpus: tuple[NvmlGpu, ...]) -> None:
    with pytest.raises(DeviceError, match=r"has loaded .*, and can hold one only"):
        Nvml(Path("/usr/lib/other.so"))


def test_no_library_is_one_clear_line() -> None:
    program = (
        "from pathlib import Path; from profiling.device.nvml import Nvml\n"
        "for one in (None, Path('/nowhere.so')):\n"
        "    try: Nvml(one)\n"
        "    except Exception as error: print(type(error).__name__, error)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True
    )

    first, second = done.stdout.splitlines()
    assert first.startswith("DeviceError nvml.library libnvidia-ml.so.1: cannot be loaded")
    assert second.startswith("DeviceError nvml.library /nowhere.so: cannot be loaded")


def test_no_driver_is_one_clear_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(STATE_VARIABLE, str(tmp_path / "nothing"))

    with pytest.raises(DeviceError, match="NVML does not start"):
        Nvml(build_library())
