# SPDX-License-Identifier: Apache-2.0
"""The configuration and the process of sgreend beside a cluster, without one."""

import subprocess
import sys
from pathlib import Path

import pytest

from slurm_green.cluster.green import (
    await_sgreend,
    cycles_of,
    green_paths,
    stop_sgreend,
    toml_text,
)
from slurm_green.cluster.layout import Layout
from slurm_green.config.load import loads
from slurm_green.errors import ClusterError

# Nothing is made there.
LAYOUT = Layout.of("one", Path('/odd "place"\\'))


def test_the_tables_are_read_back_as_a_configuration(tmp_path: Path) -> None:
    paths = green_paths(LAYOUT, tmp_path)
    config = loads(
        toml_text(
            {
                "paths": dict(paths),
                "hook": {"hold": "4s", "look": False},
                "signal": {"read": ["csv"], "csv": {"path": tmp_path / "é.csv"}},
                "partition": {"main": {"mode": "enforce"}},
            }
        )
    )
    for name, path in paths.items():
        assert getattr(config.paths, name) == path
    assert (config.hook.hold_s, config.hook.look) == (4.0, False)
    assert config.signal.csv.path == tmp_path / "é.csv"
    assert config.policy_for("main").mode == "enforce"


def test_the_hook_and_the_daemon_meet_at_one_socket() -> None:
    paths = green_paths(LAYOUT)
    assert (paths["socket"], paths["published"]) == (LAYOUT.hook_socket, LAYOUT.hook_published)
    assert paths["ledger"].parent == LAYOUT.run


def test_a_daemon_that_ends_is_not_waited_for(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_text("sgreend: ERROR no such option\n")
    paths = green_paths(LAYOUT)
    with subprocess.Popen([sys.executable, "-c", ""]) as daemon:
        daemon.wait(30)
        with pytest.raises(ClusterError, match="no such option"):
            await_sgreend(daemon, paths, log=log)


def test_one_that_does_not_listen_is_killed() -> None:
    deaf = (
        "import signal, time; signal.signal(15, signal.SIG_IGN); print(flush=True); time.sleep(60)"
    )
    with subprocess.Popen([sys.executable, "-c", deaf], stdout=subprocess.PIPE) as daemon:
        assert daemon.stdout is not None and daemon.stdout.readline()
        stop_sgreend(daemon, timeout_s=0.2)
        assert daemon.returncode == -9


@pytest.mark.parametrize("text", [None, "", "{", "{}", '{"cycles": null}'])
def test_what_is_not_said_yet_is_no_cycle(tmp_path: Path, text: str | None) -> None:
    status = tmp_path / "status.json"
    if text is not None:
        status.write_text(text)
    assert cycles_of(status) == 0
    status.write_text('{"cycles": 3}')
    assert cycles_of(status) == 3
