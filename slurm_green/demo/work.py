# SPDX-License-Identifier: Apache-2.0
"""What the demo's jobs do: as much work as SECONDS at full clock are, at the clock their GPUs have.

Nothing is computed: it waits, longer where the clock is lower, by the law of the emulated GPUs.
Runs as `python3 -IS` in a job, as any user; standard library only.
"""

import ctypes
import os
import sys
import time

__all__ = ["main"]

_LOOK_S = 0.1
_ACTIVITIES = (0.9, 0.5, 0.0)  # as load_hook.py: what compute, memory and host take of the time
_CLOCK = 3  # where struct sgemu_reading has the SM clock
_FIELDS = 14


def main(argv: "list[str]", environ: "os._Environ[str]") -> int:
    """`LIBRARY NODES FULL_CLOCK_MHZ SECONDS`, in a job with GPUs."""
    library = ctypes.CDLL(argv[1])
    double = ctypes.c_double
    library.sgemu_time_s.argtypes = [ctypes.c_void_p, ctypes.c_uint32, *[double] * 4]
    library.sgemu_time_s.restype = double
    handle, reading = ctypes.c_void_p(), (double * _FIELDS)()
    state = argv[2] + "/" + environ["SLURMD_NODENAME"] + "/gpus"
    if library.sgemu_open(os.fsencode(state), ctypes.byref(handle)):
        print(state + ": no emulated GPUs", file=sys.stderr)
        return 1
    gpu = int(environ["SLURM_JOB_GPUS"].split(",")[0])
    full_s = library.sgemu_time_s(handle, gpu, float(argv[3]), *_ACTIVITIES)
    left_s, looked_s = float(argv[4]), time.monotonic()
    while left_s > 0:
        time.sleep(min(_LOOK_S, left_s))
        passed_s, looked_s = time.monotonic() - looked_s, time.monotonic()
        library.sgemu_read(handle, gpu, ctypes.byref(reading), ctypes.sizeof(reading))
        at_s = library.sgemu_time_s(handle, gpu, reading[_CLOCK], *_ACTIVITIES)
        left_s -= passed_s * full_s / at_s
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv, os.environ))
