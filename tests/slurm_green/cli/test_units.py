# SPDX-License-Identifier: Apache-2.0
"""The systemd units: hardened, and in step with the defaults of the configuration."""

from pathlib import Path

import pytest

from slurm_green.config.settings import Config

ETC = Path(__file__).parents[3] / "etc"
SERVICES = ("slurm-green.service", "slurm-green-fetch.service")


def _settings(name):
    lines = [line.strip() for line in (ETC / name).read_text().splitlines()]
    return dict(line.split("=", 1) for line in lines if "=" in line and not line.startswith("#"))


@pytest.mark.parametrize("name", SERVICES)
def test_a_service_has_no_right_it_does_not_need(name):
    """No root, no capability, a file system it cannot write to beside its own places."""
    found = _settings(name)

    assert found["User"] == "slurm"
    assert found["CapabilityBoundingSet"] == ""
    assert found["NoNewPrivileges"] == "yes"
    assert found["ProtectSystem"] == "strict"
    assert found["SystemCallFilter"] == "@system-service"


@pytest.mark.parametrize("name", SERVICES)
def test_every_capability_has_a_reason(name):
    """The line above CapabilityBoundingSet says why; a new one needs its own."""
    lines = (ETC / name).read_text().splitlines()

    assert lines[lines.index("CapabilityBoundingSet=") - 1].startswith("# ")


def test_the_daemon_may_write_where_the_configuration_says():
    """Default paths lie in the directories that systemd makes."""
    found, paths = _settings("slurm-green.service"), Config().paths

    run, state = (
        Path("/run") / found["RuntimeDirectory"],
        Path("/var/lib") / found["StateDirectory"],
    )
    for path in (paths.socket, paths.published, paths.status, paths.lock):
        assert path.parent == run
    for path in (paths.ledger, paths.signal, paths.off):
        assert path.parent == state


def test_what_meets_the_internet_cannot_speak_to_slurm():
    """The fetching service does not see munge."""
    assert "InaccessiblePaths=-/run/munge" in (ETC / "slurm-green-fetch.service").read_text()
