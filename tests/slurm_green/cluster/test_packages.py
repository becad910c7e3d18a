# SPDX-License-Identifier: Apache-2.0
"""What a machine without Slurm is told."""

from pathlib import Path

import pytest

from slurm_green.cluster import packages
from slurm_green.errors import SlurmMissingError


@pytest.fixture
def bare(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A machine with no program at all."""
    monkeypatch.setattr(packages, "SEARCH_PATH", str(tmp_path))
    monkeypatch.setenv("PATH", str(tmp_path))
    return tmp_path


def test_what_is_missing_is_named(bare: Path) -> None:
    """By the commands a person can look for."""
    assert "slurmctld" in packages.missing(["slurm"])
    for command in packages.GROUPS["slurm"].commands:
        (bare / command).write_text("")
        (bare / command).chmod(0o755)
    assert packages.missing(["slurm"]) == ()


def test_without_apt_the_message_says_what_to_install(bare: Path) -> None:
    """One message with the packages' names, for any distribution."""
    with pytest.raises(SlurmMissingError) as raised:
        packages.ensure(["slurm"], progress=lambda _: None)

    text = str(raised.value)
    assert "not installed: slurmctld" in text
    assert "apt-get install --no-install-recommends slurmctld slurmd" in text
    assert "Elsewhere install Slurm" in text


def test_an_ordinary_user_without_sudo_is_told_so(
    bare: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """apt-get is there, the right to use it is not."""
    (bare / "apt-get").write_text("#!/bin/sh\nexit 1\n")
    (bare / "apt-get").chmod(0o755)
    monkeypatch.setattr("os.geteuid", lambda: 1000)

    with pytest.raises(SlurmMissingError, match="neither root nor sudo"):
        packages.ensure(["slurm"], progress=lambda _: None)


def test_nothing_is_done_when_all_is_there(monkeypatch: pytest.MonkeyPatch) -> None:
    """`up` asks each time."""
    monkeypatch.setattr(packages, "missing", lambda _: ())

    packages.ensure(["slurm"], progress=lambda text: pytest.fail(text))


def test_a_python_without_venv_is_noticed(
    monkeypatch: pytest.MonkeyPatch, bare: Path, tmp_path: Path
) -> None:
    """Debian's python3 comes without ensurepip; `make setup` asks for nothing else."""
    assert packages.missing(["venv"]) == ()
    group = packages.Group(
        commands=(), packages=("python3-venv",), files=(str(tmp_path / "ensurepip"),)
    )
    monkeypatch.setitem(packages.GROUPS, "venv", group)

    with pytest.raises(SlurmMissingError, match=r"apt-get install .* python3-venv") as raised:
        packages.ensure(["venv"], progress=lambda _: None)
    assert "Slurm" not in str(raised.value)
