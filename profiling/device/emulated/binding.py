# SPDX-License-Identifier: Apache-2.0
"""The C library's `sgemu_*` functions through ctypes; bench.h says what each does.

The trap: a missing or wrong entry of `_SIGNATURES` is not noticed here but in the C code.
"""

import ctypes
import os
from pathlib import Path
from typing import Any

from profiling.errors import DeviceError

__all__ = ["READING", "Calls", "RawReading"]

READING = (
    "now_s", "energy_j", "power_w", "clock_mhz", "target_clock_mhz", "memory_clock_mhz",
    "temperature_c", "limit_w", "lock_low_mhz", "lock_high_mhz", "sm_activity", "mem_activity",
    "context", "reasons",
)  # fmt: skip


class RawReading(ctypes.Structure):
    """struct sgemu_reading."""

    _fields_ = [(name, ctypes.c_double) for name in READING]


_double, _u32, _i32, _text = ctypes.c_double, ctypes.c_uint32, ctypes.c_int32, ctypes.c_char_p
_handle = ctypes.c_void_p
_SIGNATURES: dict[str, tuple[Any, ...]] = {
    "create": (_text, _u32, ctypes.c_int, _double, ctypes.POINTER(_handle)),
    "open": (_text, ctypes.POINTER(_handle)),
    "number": (_handle, _u32, _text, _u32, _double),
    "text": (_handle, _u32, _text, _text),
    "ready": (_handle,),
    "count": (_handle, ctypes.POINTER(_u32)),
    "advance": (_handle, _double),
    "read": (_handle, _u32, ctypes.POINTER(RawReading), ctypes.c_size_t),
    "load": (_handle, _u32, _double, _double, ctypes.c_int, _double),
    "processes": (_handle, _u32, _u32, ctypes.c_void_p, ctypes.c_void_p),
    "fault": (_handle, _u32, _text, _double),
    "counter_reset": (_handle, _u32),
    "reload": (_handle, _u32),
    "call": (_handle, _i32, _text, _i32, _double),
    "calls_clear": (_handle,),
    "close": (_handle,),
}


class Calls:
    """One open state file: `calls("advance", 1.0)` is `sgemu_advance(handle, 1.0)`.

    Raises DeviceError: the library cannot be loaded, or it answers an error.
    """

    def __init__(self, library: Path, path: Path, opener: str, *arguments: Any) -> None:
        self._path = path
        self._handle = _handle()
        try:
            self._lib = ctypes.CDLL(str(library))
        except OSError as exc:
            raise DeviceError(f"emulated GPU library: {exc}") from exc
        for name, types in _SIGNATURES.items():
            getattr(self._lib, f"sgemu_{name}").argtypes = types
        open_it = getattr(self._lib, f"sgemu_{opener}")
        self._check(opener, open_it(os.fsencode(path), *arguments, ctypes.byref(self._handle)))

    def __call__(self, name: str, *arguments: Any) -> None:
        if not self._handle:
            raise DeviceError(f"emulated GPUs {self._path}: {name}: closed")
        self._check(name, getattr(self._lib, f"sgemu_{name}")(self._handle, *arguments))

    def _check(self, name: str, error: int) -> None:
        if error:
            raise DeviceError(f"emulated GPUs {self._path}: {name}: {os.strerror(error)}")

    def count(self) -> int:
        """How many GPUs there are."""
        out = _u32()
        self("count", ctypes.byref(out))
        return out.value

    def has(self, function: str) -> bool:
        """Whether the library has this NVML function."""
        return function.startswith("nvml") and hasattr(self._lib, function)

    def close(self) -> None:
        """Lets go of the file; once is enough."""
        if self._handle:
            self._lib.sgemu_close(self._handle)
            self._handle = _handle()
