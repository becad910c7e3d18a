# SPDX-License-Identifier: Apache-2.0
"""The profiles that come with us: simulated, complete, found by name, and made by the command."""

from pathlib import Path

import pynvml
import pytest

from profiling.curve import Curve
from profiling.device.emulated.build import find_compiler
from profiling.errors import DeviceError, ProfileError
from profiling.files import read_profile
from profiling.profile import Provenance
from profiling.shipped import shipped, shipped_names
from profiling.shipped.__main__ import RECIPES, make


def test_those_that_should_are_there():
    assert shipped_names() == sorted(RECIPES)


@pytest.mark.parametrize("name", sorted(RECIPES))
def test_each_is_simulated_and_says_how_it_was_made(name):
    found = read_profile(Path(name))
    assert found.provenance is Provenance.SIMULATED
    assert "emulated" in (found.driver or "")
    assert "sgreen profile run --workload simulated" in (found.source or "")
    assert None not in (found.gpu.idle_w, found.gpu.parked_w, found.gpu.switch_latency_s)
    assert len({one.clock_mhz for one in (*found.inference, *found.training)}) >= 12


def test_an_h100_serves_8b_in_the_right_order_of_time():
    curve = Curve.of(read_profile(Path("h100-sxm-8b")))
    assert 7e-3 < curve.latency_s("decode", 1, 1024, 1980) < 9e-3
    assert 60e-3 < curve.latency_s("prefill", 1, 2048, 1980) < 90e-3
    assert 200 < curve.power_w("decode", 1, 1024, 1980) < 700
    assert 1000 < (curve.optimal_clock_mhz("decode", 32, 2048) or 0) < 1900


def test_a_directory_of_that_name_comes_first(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "h100-sxm-8b").mkdir()
    with pytest.raises(ProfileError, match="holds no point"):
        read_profile(Path("h100-sxm-8b"))
    assert shipped(Path("elsewhere/h100-sxm-8b")) == Path("elsewhere/h100-sxm-8b")


def test_an_unknown_name_is_told_which_there_are():
    with pytest.raises(ProfileError, match="one that comes with us: a100-sxm-8b, "):
        read_profile(Path("h100-8b"))


def _may_set() -> bool:
    status = Path("/proc/self/status").read_text(encoding="ascii")
    return bool(int(status.split("CapEff:")[1].split()[0], 16) & 1 << 21)


@pytest.mark.slow
@pytest.mark.skipif(not _may_set(), reason="needs root: CAP_SYS_ADMIN")
@pytest.mark.parametrize("name", ["rtx-4090-8b", "a100-sxm-training"])
def test_what_ships_is_what_the_command_makes(name, tmp_path):
    try:
        find_compiler()
    except DeviceError as error:
        pytest.skip(str(error))
    before = pynvml.nvmlLib
    pynvml.nvmlLib = None
    pynvml._nvmlGetFunctionPointer_cache.clear()
    try:
        make(name, tmp_path / name)
    finally:
        pynvml.nvmlLib = before
        pynvml._nvmlGetFunctionPointer_cache.clear()
    ships, made = read_profile(Path(name)), read_profile(tmp_path / name)
    for one, other in zip(ships.inference, made.inference, strict=True):
        assert one.key == other.key
        assert one.latency_s == pytest.approx(other.latency_s, rel=1e-4)
        assert one.power_w == pytest.approx(other.power_w, rel=1e-4)
    for one, other in zip(ships.training, made.training, strict=True):
        assert one.key == other.key
        assert one.rate == pytest.approx(other.rate, rel=1e-4)
        assert one.power_w == pytest.approx(other.power_w, rel=1e-4)
    assert {**vars(ships), "inference": (), "training": (), "gpu": ()} == {
        **vars(made), "inference": (), "training": (), "gpu": (),
    }  # fmt: skip
    assert ships.gpu.clocks == made.gpu.clocks
