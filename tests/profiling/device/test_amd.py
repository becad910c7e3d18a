# SPDX-License-Identifier: Apache-2.0
"""The AMD adapter against a stand-in with amdsmi's names, units and habits; never on hardware."""

from types import SimpleNamespace
from typing import Any

import pytest

from profiling.device.amd import Amd
from profiling.device.apply import Setting, apply, restore
from profiling.device.gpu import Events, PowerRange, RefusedError, Why
from profiling.errors import DeviceError


class SmiError(Exception):
    """As amdsmi's AmdSmiLibraryException: two lines of text and a code."""

    def __init__(self, err_code: int) -> None:
        super().__init__(f"Error code:\n\t{err_code} | words")
        self.err_code = err_code


class StandIn:
    """One MI300X-like board."""

    AmdSmiException = SmiError
    AmdSmiClkType = SimpleNamespace(GFX="gfx")
    AmdSmiDevPerfLevel = SimpleNamespace(AUTO="auto")

    def __init__(self) -> None:
        self.range: tuple[int, int] | None = None
        self.cap_uw = 750_000_000
        self.partition = "SPX"
        self.energy: dict[str, Any] = {
            "energy_accumulator": 1_000_000,
            "counter_resolution": 15.3,
            "timestamp": 1,
        }
        self.power = {"average_socket_power": "N/A", "current_socket_power": 140}
        self.levels_hz = [132_000_000, 2_100_000_000]
        self.clock: dict[str, Any] = {"clk": 1200, "min_clk": 500, "max_clk": 2100}

    def amdsmi_init(self) -> None:
        pass

    def amdsmi_shut_down(self) -> None:
        pass

    def amdsmi_get_processor_handles(self) -> list[str]:
        return ["h0"]

    def amdsmi_get_gpu_device_uuid(self, handle: str) -> str:
        return "a4ff74a1-0000-1000-8058-000000000001"

    def amdsmi_get_gpu_asic_info(self, handle: str) -> dict[str, str]:
        return {"market_name": "AMD Instinct MI300X"}

    def amdsmi_get_gpu_driver_info(self, handle: str) -> dict[str, str]:
        return {"driver_name": "amdgpu", "driver_version": "6.12.12"}

    def amdsmi_get_clk_freq(self, handle: str, kind: str) -> dict[str, Any]:
        return {"num_supported": 2, "current": 0, "frequency": self.levels_hz}

    def amdsmi_get_clock_info(self, handle: str, kind: str) -> dict[str, Any]:
        return self.clock

    def amdsmi_set_gpu_clk_range(self, handle: str, low: int, high: int, kind: str) -> None:
        self.range = (low, high)

    def amdsmi_set_gpu_perf_level(self, handle: str, level: str) -> None:
        assert level == "auto"
        self.range = None

    def amdsmi_get_power_cap_info(self, handle: str) -> dict[str, int]:
        return {
            "power_cap": self.cap_uw,
            "default_power_cap": 750_000_000,
            "min_power_cap": 100_000_000,
            "max_power_cap": 750_000_000,
        }

    def amdsmi_set_power_cap(self, handle: str, sensor: int, cap_uw: int) -> None:
        assert sensor == 0
        self.cap_uw = cap_uw

    def amdsmi_get_energy_count(self, handle: str) -> dict[str, Any]:
        return self.energy

    def amdsmi_get_power_info(self, handle: str) -> dict[str, Any]:
        return self.power

    def amdsmi_get_violation_status(self, handle: str) -> dict[str, Any]:
        return {"active_ppt_pwr": True, "active_socket_thrm": "N/A", "active_prochot_thrm": False}

    def amdsmi_get_gpu_compute_partition(self, handle: str) -> str:
        return self.partition

    def amdsmi_get_gpu_process_list(self, handle: str) -> list[dict[str, int]]:
        return [{"pid": 42}]


def test_what_it_tells_is_in_our_units() -> None:
    gpu = Amd(StandIn()).gpus()[0]

    assert gpu.identity.name == "AMD Instinct MI300X"
    assert gpu.identity.vendor == "amd"
    assert not gpu.identity.emulated
    assert gpu.energy_j() == pytest.approx(15.3)
    assert gpu.power_w() == 140
    assert gpu.clock_mhz() == 1200
    assert gpu.power_range() == PowerRange(min_w=100, default_w=750, max_w=750)
    assert gpu.events() == Events.POWER_CAP
    assert gpu.processes() == (42,)
    assert gpu.supported_clocks_mhz()[:2] == (500, 510)
    assert gpu.supported_clocks_mhz()[-1] == 2100


def test_a_board_with_levels_has_those_clocks() -> None:
    smi = StandIn()
    smi.levels_hz = [500_000_000, 800_000_000, 1_200_000_000, 1_700_000_000]

    assert Amd(smi).gpus()[0].supported_clocks_mhz() == (500, 800, 1200, 1700)


def test_what_it_does_not_tell_is_none() -> None:
    smi = StandIn()
    smi.energy["energy_accumulator"] = "N/A"
    smi.power["current_socket_power"] = "N/A"
    smi.clock = {"clk": "N/A", "min_clk": "N/A", "max_clk": "N/A"}
    gpu = Amd(smi).gpus()[0]

    assert (gpu.energy_j(), gpu.power_w(), gpu.clock_mhz()) == (None, None, None)


def test_set_and_restore() -> None:
    smi = StandIn()
    gpu = Amd(smi).gpus()[0]

    applied = apply(gpu, Setting(clock_mhz=1305, floor_mhz=0, power_limit_w=500))

    assert (smi.range, smi.cap_uw) == ((500, 1300), 500_000_000)
    assert applied.took
    restore(gpu, Setting())
    assert (smi.range, smi.cap_uw) == (None, 750_000_000)


def test_a_divided_board_is_only_observed() -> None:
    smi = StandIn()
    smi.partition = "CPX"

    assert "divided" in apply(Amd(smi).gpus()[0], Setting(clock_mhz=1300)).reasons[0]
    assert smi.range is None


@pytest.mark.parametrize(
    ("code", "why"),
    [(2, Why.NOT_SUPPORTED), (10, Why.NO_PERMISSION), (31, Why.LOST), (7, Why.OTHER)],
)
def test_its_codes_have_our_reasons(code: int, why: Why) -> None:
    smi = StandIn()

    def refuse(*_: object) -> None:
        raise SmiError(code)

    smi.amdsmi_set_gpu_clk_range = refuse  # type: ignore[method-assign]
    with pytest.raises(RefusedError) as error:
        Amd(smi).gpus()[0].lock_clocks(500, 1300)

    assert error.value.why is why
    assert "\n" not in str(error.value)


def test_an_older_module_lacks_a_function() -> None:
    smi = StandIn()
    smi.amdsmi_get_violation_status = None  # type: ignore[method-assign,assignment]

    assert Amd(smi).gpus()[0].events() is None


def test_no_rocm_is_one_clear_line() -> None:
    smi = StandIn()
    smi.amdsmi_init = lambda: (_ for _ in ()).throw(OSError("libamd_smi.so: no such file"))  # type: ignore[method-assign]

    with pytest.raises(DeviceError, match=r"amdsmi does not start .*libamd_smi\.so"):
        Amd(smi)
