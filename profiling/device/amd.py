# SPDX-License-Identifier: Apache-2.0
"""AMD GPUs through amdsmi. Never run on hardware: tested against a stand-in of the module only.

The trap: amdsmi tells "N/A" where it does not know, mixes units (microwatts, MHz), and its energy
counter is wrong on some boards (ROCm/amdsmi issue 38): compare it with power before trusting it.
"""

import importlib
from collections.abc import Sequence
from typing import Any

from profiling.device.gpu import Events, Gpu, Identity, PowerRange, RefusedError, Why
from profiling.errors import DeviceError

__all__ = ["Amd", "AmdGpu"]

# amdsmi_status_t of amdsmi.h.
_WHY = {
    1: Why.INVALID,
    2: Why.NOT_SUPPORTED,
    3: Why.NOT_SUPPORTED,  # not yet implemented
    5: Why.NOT_SUPPORTED,  # the library lacks the symbol
    10: Why.NO_PERMISSION,
    17: Why.INVALID,  # out of bounds
    31: Why.LOST,  # device not found
    55: Why.NOT_SUPPORTED,  # setting unavailable
}
# Instinct boards list two or three levels but take any clock between: our own grid on them.
_STEP_MHZ = 10
_FEW_LEVELS = 3


class Amd:
    """The amdsmi of this process, initialised; `module` stands in for it in tests."""

    def __init__(self, module: Any = None) -> None:
        try:
            # amdsmi looks for ROCm's library while it is imported, in its own ways.
            self._smi = importlib.import_module("amdsmi") if module is None else module
            self._smi.amdsmi_init()
        except Exception as error:
            raise DeviceError(
                f"amdsmi does not start ({error}); it needs ROCm's libamd_smi.so and the amdgpu "
                "driver"
            ) from error

    def gpus(self) -> tuple["AmdGpu", ...]:
        """Every GPU, in amdsmi's order."""
        handles = _call(self._smi, "amdsmi_get_processor_handles")
        return tuple(AmdGpu(self._smi, handle, index) for index, handle in enumerate(handles))

    def close(self) -> None:
        """Shut amdsmi down; settings stay."""
        _call(self._smi, "amdsmi_shut_down")


class AmdGpu(Gpu):
    """One AMD GPU."""

    def __init__(self, smi: Any, handle: Any, index: int) -> None:
        self._smi = smi
        self._handle = handle
        self._identity = Identity(
            uuid=str(self._ask("amdsmi_get_gpu_device_uuid")),
            name=str(self._ask("amdsmi_get_gpu_asic_info")["market_name"]),
            vendor="amd",
            driver=str(self._ask("amdsmi_get_gpu_driver_info")["driver_version"]),
            index=index,
        )

    @property
    def identity(self) -> Identity:
        return self._identity

    def supported_clocks_mhz(self) -> Sequence[int]:
        gfx = self._smi.AmdSmiClkType.GFX
        levels_hz = (self._told("amdsmi_get_clk_freq", gfx) or {}).get("frequency", [])
        levels = sorted({round(one / 1e6) for one in levels_hz if _number(one)})
        if len(levels) > _FEW_LEVELS:
            return tuple(levels)
        info = self._told("amdsmi_get_clock_info", gfx) or {}
        low, high = _number(info.get("min_clk")), _number(info.get("max_clk"))
        if low is None or high is None or high <= low:
            return tuple(levels)
        return (*range(int(low), int(high), _STEP_MHZ), int(high))

    def lock_clocks(self, min_mhz: int, max_mhz: int) -> None:
        self._ask("amdsmi_set_gpu_clk_range", min_mhz, max_mhz, self._smi.AmdSmiClkType.GFX)

    def reset_clocks(self) -> None:
        self._ask("amdsmi_set_gpu_perf_level", self._smi.AmdSmiDevPerfLevel.AUTO)

    def power_range(self) -> PowerRange | None:
        cap = self._told("amdsmi_get_power_cap_info") or {}
        low, default, high = (
            _number(cap.get(key), 1e-6)
            for key in ("min_power_cap", "default_power_cap", "max_power_cap")
        )
        if low is None or default is None or high is None:
            return None
        return PowerRange(min_w=low, default_w=default, max_w=high)

    def power_limit_w(self) -> float | None:
        cap = self._told("amdsmi_get_power_cap_info") or {}
        return _number(cap.get("power_cap"), 1e-6)

    def set_power_limit(self, limit_w: float) -> None:
        self._ask("amdsmi_set_power_cap", 0, round(limit_w * 1e6))

    def energy_j(self) -> float | None:
        count = self._told("amdsmi_get_energy_count") or {}
        ticks = _number(count.get("energy_accumulator"))
        tick_j = _number(count.get("counter_resolution"), 1e-6)
        return None if ticks is None or tick_j is None else ticks * tick_j

    def power_w(self) -> float | None:
        info = self._told("amdsmi_get_power_info") or {}
        # Boards tell one of the two, and "N/A" or 0 for the other.
        average = _number(info.get("average_socket_power"))
        return average or _number(info.get("current_socket_power"))

    def clock_mhz(self) -> int | None:
        info = self._told("amdsmi_get_clock_info", self._smi.AmdSmiClkType.GFX) or {}
        clock = _number(info.get("clk"))
        return None if clock is None else int(clock)

    def events(self) -> Events | None:
        status = self._told("amdsmi_get_violation_status")
        if status is None:
            return None
        active = {
            Events.POWER_CAP: status.get("active_ppt_pwr"),
            Events.HW_THERMAL: status.get("active_socket_thrm"),
            Events.HW_SLOWDOWN: status.get("active_prochot_thrm"),
        }
        found = Events(0)
        for event, on in active.items():
            found |= event if on is True else Events(0)
        return found

    def divided(self) -> bool:
        return self._told("amdsmi_get_gpu_compute_partition") not in (None, "", "N/A", "SPX")

    def processes(self) -> Sequence[int] | None:
        found = self._told("amdsmi_get_gpu_process_list")
        return None if found is None else tuple(one["pid"] for one in found)

    def _ask(self, name: str, *arguments: object) -> Any:
        return _call(self._smi, name, self._handle, *arguments)

    def _told(self, name: str, *arguments: object) -> Any:
        """The answer, or None where this GPU has no such thing."""
        try:
            return self._ask(name, *arguments)
        except RefusedError as error:
            if error.why is Why.NOT_SUPPORTED:
                return None
            raise


def _call(smi: Any, name: str, *arguments: object) -> Any:
    function = getattr(smi, name, None)
    if function is None:
        raise RefusedError(Why.NOT_SUPPORTED, f"{name} (amdsmi is too old)")
    try:
        return function(*arguments)
    except smi.AmdSmiException as error:
        code: object = getattr(error, "err_code", None)
        why = _WHY.get(code, Why.OTHER) if isinstance(code, int) else Why.INVALID
        raise RefusedError(why, f"{name} ({' '.join(str(error).split())})") from error


def _number(value: object, factor: float = 1.0) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return value * factor
