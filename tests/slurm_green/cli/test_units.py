# SPDX-License-Identifier: Apache-2.0
"""The systemd units: hardened, and in step with the defaults of the configuration."""

from pathlib import Path

import pytest

from slurm_green.config.settings import Config

ETC = Path(__file__).parents[3] / "etc"
USERS = {"slurm-green.service": "slurm", "slurm-green-fetch.service": "slurm-green-fetch"}
SERVICES = tuple(USERS)


def _settings(name):
    lines = [line.strip() for line in (ETC / name).read_text().splitlines()]
    return dict(line.split("=", 1) for line in lines if "=" in line and not line.startswith("#"))


@pytest.mark.parametrize("name", SERVICES)
def test_a_service_has_no_right_it_does_not_need(name):
    """No root, no capability, a file system it cannot write to beside its own places."""
    found = _settings(name)

    assert found["User"] == USERS[name]
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
    for path in (paths.ledger, paths.off):
        assert path.parent == state


def test_who_fetches_writes_into_a_directory_of_their_own():
    """Neither the daemon's state nor its user: what meets the internet can only leave signals."""
    found, paths = _settings("slurm-green-fetch.service"), Config().paths

    state = Path("/var/lib") / found["StateDirectory"]
    assert (paths.signal.parent, paths.signals) == (state, state)
    assert paths.ledger.parent != state
    assert f"u {found['User']} " in (ETC / "slurm-green-fetch.sysusers").read_text()


def test_what_meets_the_internet_cannot_speak_to_slurm():
    """The fetching service does not see munge."""
    assert "InaccessiblePaths=-/run/munge" in (ETC / "slurm-green-fetch.service").read_text()
