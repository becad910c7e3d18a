# SPDX-License-Identifier: Apache-2.0
"""NVIDIA GPUs through NVML: the one place that loads its library.

The trap: nvidia-ml-py keeps one library for the whole process, so a second path is refused.
Function names, units and codes: nvml.h and the NVML API reference.
"""

import ctypes
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, TypeVar

import pynvml

from profiling.device.gpu import Events, Gpu, Identity, PowerRange, RefusedError, Why
from profiling.errors import DeviceError

__all__ = ["Nvml", "NvmlGpu"]

T = TypeVar("T")

_WHY = {
    pynvml.NVML_ERROR_NOT_SUPPORTED: Why.NOT_SUPPORTED,
    # An older driver lacks the function altogether.
    pynvml.NVML_ERROR_FUNCTION_NOT_FOUND: Why.NOT_SUPPORTED,
    pynvml.NVML_ERROR_NO_PERMISSION: Why.NO_PERMISSION,
    pynvml.NVML_ERROR_GPU_IS_LOST: Why.LOST,
    pynvml.NVML_ERROR_RESET_REQUIRED: Why.LOST,
    pynvml.NVML_ERROR_INVALID_ARGUMENT: Why.INVALID,
    pynvml.NVML_ERROR_FREQ_NOT_SUPPORTED: Why.INVALID,
}
_DRIVERS = "libnvidia-ml.so.1"
_loading = threading.Lock()


class Nvml:
    """The NVML of this process, initialised; `library` is a path, None the driver's own."""

    def __init__(self, library: Path | None = None) -> None:
        _load(library)
        try:
            pynvml.nvmlInit()
        except pynvml.NVMLError as error:
            raise DeviceError(
                f"{library or _DRIVERS}: NVML does not start ({error}); is the NVIDIA driver "
                "loaded? the setting nvml.library names another library"
            ) from error
        self.driver = str(_call("nvmlSystemGetDriverVersion"))

    def gpus(self) -> tuple["NvmlGpu", ...]:
        """Every GPU that answers, in NVML's order; one that is lost or not ours leaves a gap."""
        found = []
        for index in range(_call("nvmlDeviceGetCount")):
            try:
                handle = _call("nvmlDeviceGetHandleByIndex", index)
                found.append(NvmlGpu(handle, index, self.driver))
            except RefusedError as error:
                if error.why not in (Why.LOST, Why.NO_PERMISSION):
                    raise
        return tuple(found)

    def close(self) -> None:
        """Shut NVML down; locks that were set stay."""
        try:
            pynvml.nvmlShutdown()
        except pynvml.NVMLError:
            pass  # there is nothing left to shut down

    def __enter__(self) -> "Nvml":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


class NvmlGpu(Gpu):
    """One NVIDIA GPU."""

    def __init__(self, handle: Any, index: int, driver: str) -> None:
        self._handle = handle
        self._clocks_mhz: tuple[int, ...] | None = None
        self._identity = Identity(
            uuid=str(self._ask("nvmlDeviceGetUUID")),
            name=str(self._ask("nvmlDeviceGetName")),
            vendor="nvidia",
            driver=driver,
            index=index,
        )

    @property
    def identity(self) -> Identity:
        return self._identity

    def supported_clocks_mhz(self) -> Sequence[int]:
        # They never change, and a governor needs them with every lock.
        if self._clocks_mhz is None:
            memory = self._told("nvmlDeviceGetSupportedMemoryClocks")
            clocks: list[int] | None = None
            if memory:
                # Under load the memory runs at its highest clock: those are the pairs that matter.
                clocks = self._told("nvmlDeviceGetSupportedGraphicsClocks", max(memory))
            self._clocks_mhz = tuple(sorted(set(clocks or ())))
        return self._clocks_mhz

    def lock_clocks(self, min_mhz: int, max_mhz: int) -> None:
        self._ask("nvmlDeviceSetGpuLockedClocks", min_mhz, max_mhz)

    def reset_clocks(self) -> None:
        self._ask("nvmlDeviceResetGpuLockedClocks")

    def power_range(self) -> PowerRange | None:
        constraints = self._told("nvmlDeviceGetPowerManagementLimitConstraints")
        default_mw = self._told("nvmlDeviceGetPowerManagementDefaultLimit")
        if constraints is None or default_mw is None:
            return None
        min_mw, max_mw = constraints
        return PowerRange(min_w=min_mw / 1e3, default_w=default_mw / 1e3, max_w=max_mw / 1e3)

    def power_limit_w(self) -> float | None:
        return _scaled(self._told("nvmlDeviceGetPowerManagementLimit"), 1e-3)

    def set_power_limit(self, limit_w: float) -> None:
        # Not the _v2: nvidia-ml-py does not look at what that one returns.
        self._ask("nvmlDeviceSetPowerManagementLimit", round(limit_w * 1e3))

    def energy_j(self) -> float | None:
        return _scaled(self._told("nvmlDeviceGetTotalEnergyConsumption"), 1e-3)

    def power_w(self) -> float | None:
        return _scaled(self._told("nvmlDeviceGetPowerUsage"), 1e-3)

    def instant_power_w(self) -> float | None:
        """Its power now, without the driver's averaging; None where only the average is told."""
        fields = self._told("nvmlDeviceGetFieldValues", [pynvml.NVML_FI_DEV_POWER_INSTANT])
        if fields is None or fields[0].nvmlReturn != pynvml.NVML_SUCCESS:
            return None
        return float(fields[0].value.uiVal) * 1e-3

    def clock_mhz(self) -> int | None:
        clock: int | None = self._told("nvmlDeviceGetClockInfo", pynvml.NVML_CLOCK_SM)
        return clock

    def events(self) -> Events | None:
        reasons = self._told("nvmlDeviceGetCurrentClocksEventReasons")
        return None if reasons is None else Events(reasons & _KNOWN_EVENTS)

    def divided(self) -> bool:
        mode = self._told("nvmlDeviceGetMigMode")
        return mode is not None and mode[0] == pynvml.NVML_DEVICE_MIG_ENABLE

    def processes(self) -> Sequence[int] | None:
        found = self._told("nvmlDeviceGetComputeRunningProcesses")
        return None if found is None else tuple(one.pid for one in found)

    def _ask(self, name: str, *arguments: object) -> Any:
        return _call(name, self._handle, *arguments)

    def _told(self, name: str, *arguments: object) -> Any:
        """The answer, or None where this GPU has no such thing."""
        try:
            return self._ask(name, *arguments)
        except RefusedError as error:
            if error.why is Why.NOT_SUPPORTED:
                return None
            raise


_KNOWN_EVENTS = sum(Events)


def _load(library: Path | None) -> None:
    wanted = _DRIVERS if library is None else str(library)
    with _loading:
        loaded: str | None = getattr(pynvml.nvmlLib, "_name", None)
        if loaded == wanted:
            return
        if loaded is not None:
            raise DeviceError(
                f"nvml.library {wanted}: this process has loaded {loaded}, and can hold one only"
            )
        try:
            pynvml.nvmlLib = ctypes.CDLL(wanted)
        except OSError as error:
            raise DeviceError(
                f"nvml.library {wanted}: cannot be loaded ({error}); without that setting it is "
                "the NVIDIA driver's, which must be installed"
            ) from error


def _call(name: str, *arguments: object) -> Any:
    function: Callable[..., Any] | None = getattr(pynvml, name, None)
    if function is None:
        raise RefusedError(Why.NOT_SUPPORTED, f"{name} (nvidia-ml-py is too old)")
    try:
        return function(*arguments)
    except pynvml.NVMLError as error:
        why = _WHY.get(error.value, Why.OTHER)
        raise RefusedError(why, f"{name} ({error})") from error


def _scaled(amount: float | None, factor: float) -> float | None:
    return None if amount is None else amount * factor
