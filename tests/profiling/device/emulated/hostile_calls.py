# SPDX-License-Identifier: Apache-2.0
"""Calls every NVML function of a library with nulls, garbage and short buffers; see test_build."""

import contextlib
import ctypes
import itertools
import os
import random
import subprocess
import sys
import threading
from pathlib import Path

import pynvml

from profiling.device.emulated.bench import STATE_VARIABLE, Bench
from profiling.device.emulated.models import load_model, model_names

library = Path(sys.argv[1])
lib = ctypes.CDLL(str(library))
listed = subprocess.run(
    ["nm", "-D", "--defined-only", str(library)],
    capture_output=True,
    text=True,
    check=True,
    env={name: value for name, value in os.environ.items() if name != "LD_PRELOAD"},
)
names = [line.split()[-1] for line in listed.stdout.splitlines() if " nvml" in line]
assert len(names) > 80
lib.nvmlErrorString.restype = ctypes.c_char_p

bench = Bench.create(
    Path(os.environ[STATE_VARIABLE]),
    [load_model(name) for name in model_names()],
    virtual=True,
    library=library,
)
pynvml.nvmlLib = lib


def abuse() -> None:
    """All functions, with nulls, foreign handles, and rooms said to be of no length."""
    handle = pynvml.nvmlDeviceGetHandleByIndex(0)
    room = ctypes.create_string_buffer(4096)
    for name in names:
        if name.startswith(("nvmlInit", "nvmlShutdown")):
            continue
        devices = (None, ctypes.c_void_p(1), handle)
        # Elsewhere the first argument is a pointer to something, and a wrong one is our fault.
        takes_device = (
            name.startswith("nvmlDevice") and "Handle" not in name and "Count" not in name
        )
        for device in devices if takes_device else (None,):
            getattr(lib, name)(device, None, None, None)
            getattr(lib, name)(device, room, None, None)


def busy(seed: int) -> None:
    """Valid calls from several threads."""
    dice = random.Random(seed)
    for _ in range(300):
        device = dice.randrange(len(bench))
        handle = pynvml.nvmlDeviceGetHandleByIndex(device)
        low, high = sorted((dice.randrange(1, 4000), dice.randrange(1, 4000)))
        lib.nvmlDeviceSetGpuLockedClocks(handle, low, high)
        lib.nvmlDeviceSetPowerManagementLimit(handle, dice.randrange(100_000, 700_000))
        hold_s = dice.choice([0.01, 1.0, float("inf")])
        bench.load(device, dice.random(), dice.random(), hold_s=hold_s)
        bench.processes(device, dict.fromkeys(range(1, 1 + dice.randrange(16)), 2**20))
        bench.advance(dice.choice([0.0, 1e-9, 0.03, 1.0, 86_400.0]))
        pynvml.nvmlDeviceGetFieldValues(handle, [83, 185, 186, (186, 9), 0xFFFFFFFF])
        # Between its two calls another thread may have made the list longer.
        with contextlib.suppress(pynvml.NVMLError_InsufficientSize):
            pynvml.nvmlDeviceGetComputeRunningProcesses(handle)
        pynvml.nvmlDeviceGetPowerUsage(handle)


for code in itertools.chain(range(40), (999, 1 << 30)):
    assert lib.nvmlErrorString(code)
abuse_before_init = [getattr(lib, name)(None, None) for name in names if "Device" in name]
assert set(abuse_before_init) <= {1, 2}
pynvml.nvmlInit()
abuse()
for number in range(16):
    bench.slow_call(names[number + 20], 0.0)
threads = [threading.Thread(target=busy, args=(seed,)) for seed in range(4)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
pynvml.nvmlShutdown()
bench.close()
print("survived")
