# SPDX-License-Identifier: Apache-2.0
"""The bench of emulated GPUs: makes them, loads them, breaks them, and knows the true joules.

The trap: a load stays on its GPU until it is changed; give it `hold_s` where whoever set it may be
killed.
"""

import ctypes
import math
import tempfile
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from profiling.device.emulated.binding import READING, Calls, RawReading
from profiling.device.emulated.build import build_library
from profiling.device.emulated.models import GpuModel
from profiling.errors import DeviceError

__all__ = ["STATE_VARIABLE", "Bench", "Reading"]

STATE_VARIABLE = "SGREEN_EMULATED_GPU_STATE"


@dataclass(frozen=True, slots=True)
class Reading:
    """What an emulated GPU truly does now; NVML shows the same through its sensors."""

    now_s: float
    energy_j: float
    power_w: float
    clock_mhz: float
    target_clock_mhz: float  # where the clock goes after its switch latency
    memory_clock_mhz: float
    temperature_c: float
    limit_w: float
    lock_low_mhz: float  # 0 and infinity: not locked
    lock_high_mhz: float
    sm_activity: float
    mem_activity: float
    context: bool
    reasons: int


class Bench:
    """A state file of emulated GPUs, open for the bench. Use it as a context manager.

    Every method raises DeviceError where the library refuses.
    """

    def __init__(self, path: Path, *, library: Path | None = None) -> None:
        self.path = path
        self.library = library or build_library()
        self._call = Calls(self.library, path, "open")

    @classmethod
    def create(
        cls,
        path: Path,
        models: Sequence[GpuModel],
        *,
        virtual: bool = False,
        start_s: float = 0.0,
        mode: int = 0o644,
        library: Path | None = None,
    ) -> Self:
        """New GPUs at `path`, in place of what was there; NVML finds them at its next init.

        Virtual time begins at `start_s` and passes by `advance`. Who may write the file (`mode`)
        may load the GPUs; NVML's setters also need CAP_SYS_ADMIN.
        """
        library = library or build_library()
        try:
            with tempfile.TemporaryDirectory(prefix=f".{path.name}.", dir=path.parent) as scratch:
                made = Path(scratch) / "state"
                call = Calls(library, made, "create", len(models), virtual, start_s)
                for device, model in enumerate(models):
                    _describe(call, device, model, _identity(path, device))
                call("ready")
                call.close()
                made.chmod(mode)
                made.replace(path)
        except OSError as exc:
            raise DeviceError(f"emulated GPUs {path}: {exc.strerror or exc}") from exc
        return cls(path, library=library)

    def __len__(self) -> int:
        return self._call.count()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Lets go of the file; the GPUs stay."""
        self._call.close()

    def advance(self, seconds: float) -> None:
        """Lets virtual time pass."""
        self._call("advance", seconds)

    def uuid(self, device: int) -> str:
        """The name by which NVML knows the device, and the journal."""
        return f"GPU-{_identity(self.path, device)}"

    def read(self, device: int) -> Reading:
        """What the device does now."""
        raw = RawReading()
        self._call("read", device, ctypes.byref(raw), ctypes.sizeof(raw))
        values = {name: getattr(raw, name) for name in READING}
        values["context"], values["reasons"] = bool(raw.context), int(raw.reasons)
        return Reading(**values)

    def load(
        self, device: int, sm: float, mem: float, *, context: bool = True, hold_s: float = math.inf
    ) -> None:
        """What runs on the device: activities 0..1, lapsing to idle after `hold_s`."""
        self._call("load", device, sm, mem, context, hold_s)

    def idle(self, device: int) -> None:
        """Nothing runs and no context is held."""
        self.load(device, 0.0, 0.0, context=False)

    def processes(self, device: int, memory_bytes: Mapping[int, int]) -> None:
        """The processes on the device, by pid; NVML shows those that are alive."""
        count = len(memory_bytes)
        pids = (ctypes.c_uint32 * count)(*memory_bytes)
        held = (ctypes.c_uint64 * count)(*memory_bytes.values())
        self._call("processes", device, count, pids, held)

    def lose(self, device: int, *, lost: bool = True) -> None:
        """The GPU falls off the bus: every call on it answers GPU_IS_LOST."""
        self._call("fault", device, b"lost", lost)

    def set_mig(self, device: int, *, on: bool) -> None:
        """MIG mode, as an admin sets it."""
        self._call("fault", device, b"mig", on)

    def clamp(self, device: int, clock_mhz: float = math.inf) -> None:
        """The clock stays at or below this, whatever is accepted."""
        self._call("fault", device, b"clamp_mhz", clock_mhz)

    def throttle(self, device: int, reasons: int) -> None:
        """More bits for the clock event reasons, such as 0x40, HW thermal slowdown."""
        self._call("fault", device, b"reasons", reasons)

    def stall_counter(self, device: int, *, stalled: bool = True) -> None:
        """The energy counter stops moving, or moves again."""
        self._call("fault", device, b"stalled", stalled)

    def wrap_counter(self, device: int, modulus_mj: float) -> None:
        """The energy counter starts over at this value; 0: it does not."""
        self._call("fault", device, b"counter_wrap_mj", modulus_mj)

    def reset_counter(self, device: int) -> None:
        """The energy counter starts over now."""
        self._call("counter_reset", device)

    def reload(self, device: int) -> None:
        """What a driver's reload or a reboot does: locks and caps gone, counter from 0."""
        self._call("reload", device)

    def fail_call(self, function: str, code: int, *, device: int | None = None) -> None:
        """From now on the NVML function (all its versions) answers this return code."""
        self._order(function, code, 0.0, device)

    def slow_call(self, function: str, delay_s: float, *, device: int | None = None) -> None:
        """From now on the NVML function takes this much longer, in real seconds."""
        self._order(function, 0, delay_s, device)

    def _order(self, function: str, code: int, delay_s: float, device: int | None) -> None:
        if not self._call.has(function):
            raise DeviceError(f"emulated GPUs {self.path}: there is no NVML function {function!r}")
        self._call("call", -1 if device is None else device, function.encode(), code, delay_s)

    def clear_calls(self) -> None:
        """No call fails or is slow by order any more."""
        self._call("calls_clear")


def _identity(path: Path, device: int) -> uuid.UUID:
    # Made again at the same place it is the same GPU, as after a reboot.
    return uuid.uuid5(uuid.NAMESPACE_URL, f"{path.absolute()}#{device}")


def _describe(call: Calls, device: int, model: GpuModel, identity: uuid.UUID) -> None:
    call("text", device, b"product", model.product.encode())
    call("text", device, b"uuid", f"GPU-{identity}".encode())
    call("text", device, b"serial", str(identity.int % 10**13).zfill(13).encode())
    for key in model.provenance:
        value = getattr(model, key)
        if not isinstance(value, str):
            for at, number in enumerate(value if isinstance(value, tuple) else (value,)):
                call("number", device, key.encode(), at, number)
