# SPDX-License-Identifier: Apache-2.0
"""Many processes on the same GPUs: what one sets another sees, and none can spoil it by dying."""

import ctypes
import os
import random
import signal
import sys
import time
import traceback
import warnings
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import numpy as np
import pynvml as nvml
import pytest

from profiling.device.emulated.bench import STATE_VARIABLE, Bench
from profiling.device.emulated.models import GpuModel
from profiling.errors import DeviceError

pytestmark = pytest.mark.slow

Emulate = Callable[..., AbstractContextManager[Bench]]
_NOBODY = 65534
_SYS_ADMIN = 1 << 21


def _may_set() -> bool:
    status = Path("/proc/self/status").read_text(encoding="ascii")
    return bool(int(status.split("CapEff:")[1].split()[0], 16) & _SYS_ADMIN)


needs_cap = pytest.mark.skipif(not _may_set(), reason="needs root: CAP_SYS_ADMIN")


def forked(work: Callable[[], object]) -> int:
    """The pid of a child that does the work and exits 0, or 1 where it raised."""
    with warnings.catch_warnings():
        # The child calls C and exits; no thread of ours holds a lock it needs.
        warnings.simplefilter("ignore", DeprecationWarning)
        pid = os.fork()
    if pid == 0:
        status = 1
        try:
            work()
            status = 0
        except BaseException:
            traceback.print_exc()
        finally:
            sys.stderr.flush()
            os._exit(status)
    return pid


def hammer(bench: Bench, name: str, *calls: tuple[object, ...]) -> None:
    """One setter again and again, with these arguments in turn."""
    function = getattr(ctypes.CDLL(str(bench.library)), name)
    for number in range(10_000_000):  # should nobody kill it
        function(*calls[number % len(calls)])


def done(pid: int) -> int:
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


@needs_cap
def test_a_lock_outlives_who_set_it(emulate: Emulate, h100: GpuModel) -> None:
    """The prolog sets and exits, the governor sees; and the other way round."""
    with emulate(h100) as bench:
        handle = nvml.nvmlDeviceGetHandleByIndex(0)
        assert done(forked(lambda: nvml.nvmlDeviceSetGpuLockedClocks(handle, 1095, 1095))) == 0
        bench.advance(1)
        assert nvml.nvmlDeviceGetClockInfo(handle, nvml.NVML_CLOCK_SM) == 1095

        def another_init() -> None:
            nvml.nvmlShutdown()
            nvml.nvmlInit()
            again = nvml.nvmlDeviceGetHandleByIndex(0)
            assert nvml.nvmlDeviceGetClockInfo(again, nvml.NVML_CLOCK_SM) == 1095
            with Bench(bench.path) as other:
                other.load(0, 1, 1)

        assert done(forked(another_init)) == 0
        assert bench.read(0).sm_activity == 1


@needs_cap
def test_setters_need_the_capability_and_readers_nothing(emulate: Emulate, h100: GpuModel) -> None:
    with emulate(h100) as bench:
        handle = nvml.nvmlDeviceGetHandleByIndex(0)

        def as_nobody() -> None:
            # First with what root opened, then opened anew, which is read-only now.
            file, code = (os.open(path, os.O_RDONLY) for path in (bench.path, bench.library))
            os.setgroups([])
            os.setresgid(_NOBODY, _NOBODY, _NOBODY)
            os.setresuid(_NOBODY, _NOBODY, _NOBODY)
            refuses_setters()
            os.environ[STATE_VARIABLE] = f"/proc/self/fd/{file}"
            nvml.nvmlShutdown()
            nvml.nvmlInit()
            refuses_setters()
            with (
                Bench(Path(f"/proc/self/fd/{file}"), library=Path(f"/proc/self/fd/{code}")) as own,
                pytest.raises(DeviceError, match="load: Permission denied"),
            ):
                own.load(0, 1, 1)

        def refuses_setters() -> None:
            before = bench.read(0).energy_j
            assert nvml.nvmlDeviceGetPowerUsage(handle) > 0
            for setter, *arguments in (
                (nvml.nvmlDeviceSetGpuLockedClocks, 600, 600),
                (nvml.nvmlDeviceResetGpuLockedClocks,),
                (nvml.nvmlDeviceSetMemoryLockedClocks, 2619, 2619),
                (nvml.nvmlDeviceSetPowerManagementLimit, 300_000),
                (nvml.nvmlDeviceSetPersistenceMode, 1),
                (nvml.nvmlDeviceSetMigMode, 1),
            ):
                with pytest.raises(nvml.NVMLError_NoPermission):
                    setter(handle, *arguments)
            assert bench.read(0).energy_j >= before

        assert done(forked(as_nobody)) == 0
        assert bench.read(0).lock_low_mhz == 0


@needs_cap
def test_no_write_is_lost_to_another(emulate: Emulate, h100: GpuModel) -> None:
    with emulate(h100) as bench:
        handle = nvml.nvmlDeviceGetHandleByIndex(0)

        def other() -> None:
            for number in range(1_000_000):
                bench.load(0, number % 1000 / 1000, 0.5)

        pid = forked(other)
        seen, changes = 0.0, 0
        for number in range(50_000):
            clock = number % 1000 + 1
            nvml.nvmlDeviceSetGpuLockedClocks(handle, clock, 5000)
            now = bench.read(0)
            assert now.lock_low_mhz == clock
            changes += now.sm_activity != seen
            seen = now.sm_activity
            if changes > 3000:  # so often did the other write between two writes of ours
                break
        os.kill(pid, signal.SIGKILL)
        done(pid)


@needs_cap
def test_eight_processes_add_up(emulate: Emulate, prompt_h100: GpuModel, tmp_path: Path) -> None:
    """The integral over what eight readers saw is what the counter says, within one tick."""

    def work(bench: Bench, number: int) -> None:
        handle = nvml.nvmlDeviceGetHandleByIndex(0)
        dice = random.Random(number)
        seen: list[tuple[float, float, float]] = []
        end_s = bench.read(0).now_s + 0.5
        while not seen or seen[-1][0] < end_s:
            clock, limit_mw = dice.randrange(210, 1981), dice.randrange(200_000, 700_000)
            action = dice.randrange(3)
            if action == 0:
                nvml.nvmlDeviceSetGpuLockedClocks(handle, clock, clock)
            elif action == 1:
                nvml.nvmlDeviceSetPowerManagementLimit(handle, limit_mw)
            else:
                bench.load(0, dice.random(), dice.random())
            for _ in range(dice.randrange(1, 30)):
                now = bench.read(0)
                seen.append((now.now_s, now.energy_j, now.power_w))
        np.save(tmp_path / f"{number}.npy", np.array(seen))

    with emulate(prompt_h100, virtual=False) as bench:
        handle = nvml.nvmlDeviceGetHandleByIndex(0)
        first, begin_mj = bench.read(0), nvml.nvmlDeviceGetTotalEnergyConsumption(handle)
        children = [forked(lambda n=number: work(bench, n)) for number in range(8)]  # type: ignore[misc]
        assert [done(pid) for pid in children] == [0] * 8
        end_mj, last = nvml.nvmlDeviceGetTotalEnergyConsumption(handle), bench.read(0)
    seen = np.concatenate([np.load(tmp_path / f"{number}.npy") for number in range(8)])
    edges = [(one.now_s, one.energy_j, one.power_w) for one in (first, last)]
    at_s, energy_j, power = np.array([edges[0], *seen[np.lexsort(seen.T[:2][::-1])], edges[1]]).T
    assert len(seen) > 8 * 100
    assert (np.diff(energy_j) >= 0).all()
    integral_j = float((power[:-1] * np.diff(at_s)).sum())
    tick_j = 700 * prompt_h100.counter_period_s
    assert abs(integral_j - (end_mj - begin_mj) / 1e3) <= tick_j
    assert abs(integral_j - (last.energy_j - first.energy_j)) <= tick_j / 10


@needs_cap
def test_a_hundred_killed_clients_leave_nothing_stuck(
    emulate: Emulate, prompt_h100: GpuModel
) -> None:
    with emulate(prompt_h100, virtual=False) as bench:
        handle = nvml.nvmlDeviceGetHandleByIndex(0)
        bench.load(0, 1, 1)
        dice, before = random.Random(1), bench.read(0)
        for number in range(1, 101):
            pid = forked(
                lambda n=number: hammer(  # type: ignore[misc]
                    bench, "nvmlDeviceSetGpuLockedClocks", (handle, n, 1980)
                )
            )
            while bench.read(0).lock_low_mhz != number:
                os.sched_yield()
            moment_s = bench.read(0).now_s + dice.random() * 0.001
            while bench.read(0).now_s < moment_s:
                continue
            os.kill(pid, signal.SIGKILL)
            assert done(pid) == -signal.SIGKILL
            start_s = time.perf_counter()
            after = bench.read(0)
            bench.load(0, 1, 1)
            assert time.perf_counter() - start_s < 1.0
            assert after.energy_j > before.energy_j
            before = after
        nvml.nvmlDeviceResetGpuLockedClocks(handle)
        assert (bench.read(0).lock_low_mhz, bench.read(0).sm_activity) == (0, 1)


@needs_cap
def test_a_writer_that_loses_its_core_is_waited_for(
    emulate: Emulate, prompt_h100: GpuModel
) -> None:
    """What is read while a writer stands still half way is never above what comes after it."""

    def pause(writer: int) -> None:
        for _ in range(100):
            os.kill(writer, signal.SIGSTOP)
            time.sleep(0.005)
            os.kill(writer, signal.SIGCONT)
            time.sleep(0.001)

    with emulate(prompt_h100, virtual=False) as bench:
        handle = nvml.nvmlDeviceGetHandleByIndex(0)
        bench.load(0, 1, 1)
        calls = (handle, 700_000), (handle, 200_000)
        writer = forked(lambda: hammer(bench, "nvmlDeviceSetPowerManagementLimit", *calls))
        pauser = forked(lambda: pause(writer))
        before_j = bench.read(0).energy_j
        while os.waitpid(pauser, os.WNOHANG) == (0, 0):
            energy_j = bench.read(0).energy_j
            assert energy_j >= before_j
            before_j = energy_j
        os.kill(writer, signal.SIGKILL)
        assert done(writer) == -signal.SIGKILL
