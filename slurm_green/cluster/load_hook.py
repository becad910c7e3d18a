# SPDX-License-Identifier: Apache-2.0
"""Puts a load on a job's emulated GPUs, or takes it off: prolog and epilog of a demo's cluster.

A job computes on its GPUs; on emulated ones it cannot, so this says that it does. Runs as
`python3 -IS` inside the cluster's Slurm, so: one file, standard library, syntax of Python 3.6.
"""

import ctypes
import os
import sys

__all__ = ["MEM_ACTIVITY", "SM_ACTIVITY", "main"]

SM_ACTIVITY, MEM_ACTIVITY = 0.9, 0.5


def main(argv: "list[str]", environ: "os._Environ[str]") -> int:
    """`begin LIBRARY STATE` or `end LIBRARY STATE`; 1 when a GPU did not take its load."""
    library = ctypes.CDLL(argv[2])
    double, handle = ctypes.c_double, ctypes.c_void_p()
    library.sgemu_load.argtypes = [
        *(ctypes.c_void_p, ctypes.c_uint32, double, double, ctypes.c_int, double)
    ]
    failed = library.sgemu_open(os.fsencode(argv[3]), ctypes.byref(handle))
    begins = argv[1] == "begin"
    load = (SM_ACTIVITY, MEM_ACTIVITY) if begins else (0.0, 0.0)
    for gpu in [] if failed else environ["SLURM_JOB_GPUS"].split(","):
        failed |= library.sgemu_load(handle, int(gpu), *load, begins, float("inf"))
    return int(failed != 0)


if __name__ == "__main__":
    sys.exit(main(sys.argv, os.environ))
