# SPDX-License-Identifier: Apache-2.0
"""The tables that root reads: checked, and of a file that nobody else writes."""

import os
from pathlib import Path

import pytest

from profiling.device.apply import Setting
from slurm_green.config.node import NodeSection, NvmlSection
from slurm_green.errors import ConfigError
from slurm_green.node.hardware import allowed_of
from slurm_green.node.rights import Allowed
from slurm_green.node.settings import VARIABLE, default_of, read_settings, settings_from
from tests.profiling.device.fake_gpu import FakeGpu


def _file(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "slurm-green.toml"
    path.write_text(text)
    return path


def test_read(tmp_path: Path) -> None:
    node, nvml = read_settings(
        _file(
            tmp_path,
            '[hook]\nhold = "5s"\n[node]\ninterval = "2s"\ndefault_clock_mhz = 1800\n'
            '[nvml]\nlibrary = "/opt/libnvidia-ml.so.1"\n',
        ),
        named=True,
    )

    assert node == NodeSection(interval_s=2.0, default_clock_mhz=1800)
    assert default_of(node) == Setting(clock_mhz=1800, floor_mhz=0)
    assert default_of(NodeSection()) == Setting()
    assert nvml == NvmlSection(library=Path("/opt/libnvidia-ml.so.1"))


def test_no_file_is_all_defaults_unless_somebody_named_it(tmp_path: Path) -> None:
    assert read_settings(tmp_path / "none", named=False) == (NodeSection(), NvmlSection())
    with pytest.raises(ConfigError, match="no such file"):
        read_settings(tmp_path / "none", named=True)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[node", "not TOML"),
        (f"[node]\nport = 1{5000 * '0'}", "not TOML"),
        ("node = 1", r"node is not a table; write \[node\]"),
        ("[node]\nfoo = 1", r"\[node\] foo is not known; keys: run, state"),
        ("[node]\ninterval = 0", r"node.interval = 0 is out of range; allowed: a duration"),
        ('[nvml]\nlibrary = "x.so"', r"nvml.library = x.so is not allowed here; allowed: an abs"),
    ],
)
def test_refused(tmp_path: Path, text: str, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        read_settings(_file(tmp_path, text), named=True)


def test_what_cannot_be_read_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read: Is a directory"):
        read_settings(tmp_path, named=True)
    path = _file(tmp_path, "")
    path.write_bytes(b"[node]\nname = '\xff'\n")
    with pytest.raises(ConfigError, match="not TOML"):
        read_settings(path, named=True)


def test_a_file_that_others_write_is_refused(tmp_path: Path) -> None:
    path = _file(tmp_path, "")
    path.chmod(0o666)

    with pytest.raises(ConfigError, match="only root may own it and write to it"):
        read_settings(path, named=True)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")
def test_a_file_of_somebody_else_is_refused(tmp_path: Path) -> None:
    path = _file(tmp_path, "")
    os.chown(path, 1000, -1)

    with pytest.raises(ConfigError, match="only root may own it and write to it"):
        read_settings(path, named=True)


def test_an_option_goes_before_the_environment(tmp_path: Path) -> None:
    path = _file(tmp_path, '[node]\ninterval = "2s"\n')
    node, _ = settings_from(path, {VARIABLE: "/nowhere"})
    assert node.interval_s == 2.0
    assert settings_from(None, {VARIABLE: str(path)})[0] == node


def test_allowed_is_what_both_the_gpu_and_the_site_allow() -> None:
    gpu = FakeGpu()

    assert allowed_of(gpu, NodeSection()) == Allowed(clocks_mhz=(210, 1980), limits_w=(200, 700))
    settings = NodeSection(min_clock_mhz=900, max_clock_mhz=1500, min_power_limit_w=300.0)
    assert allowed_of(gpu, settings) == Allowed(clocks_mhz=(900, 1500), limits_w=(300, 700))
    beyond = NodeSection(min_clock_mhz=5000, min_power_limit_w=800.0)
    assert allowed_of(gpu, beyond) == Allowed(clocks_mhz=None, limits_w=None)
