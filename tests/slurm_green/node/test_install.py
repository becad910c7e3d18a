# SPDX-License-Identifier: Apache-2.0
"""`sgreen-noded --files`: what it writes runs where it was written, and is what etc/ shows."""

import json
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from slurm_green.hook.node_files import node_files
from slurm_green.node.daemon import main
from tests.slurm_green.node.live_node import ROOT

pytestmark = pytest.mark.usefixtures("plain_logging")

NAMES = {"prolog.sh", "epilog.sh", "prolog_client.py", "slurm-green-noded.service"}


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "a site's.toml"
    path.write_text(f'[node]\nrun = "{tmp_path}/run of it"\n')
    return path


def test_the_hooks_find_their_client_and_the_nodes_socket(tmp_path: Path, config: Path) -> None:
    place = tmp_path / "a directory"
    assert main(["--config", str(config), "--files", str(place)]) == 0
    assert {path.name for path in place.iterdir()} == NAMES

    (tmp_path / "run of it").mkdir()
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "run of it" / "root.sock"))
        listener.listen()
        listener.settimeout(60)
        environment = {"SLURM_JOB_ID": "7", "SLURM_JOB_UID": "1000", "SLURM_JOB_GPUS": "0"}
        with subprocess.Popen([place / "prolog.sh"], env=environment) as prolog:
            peer, _ = listener.accept()
            with peer:
                asked = json.loads(peer.makefile("rb").readline())
                peer.sendall(b'{"ok": true}\n')
            assert prolog.wait(timeout=60) == 0
    assert (asked["op"], asked["job"], asked["gpus"]) == ("begin", "7", "0")


def test_the_unit_starts_and_restores_with_this_installation(tmp_path: Path, config: Path) -> None:
    main(["--config", str(config), "--files", str(tmp_path / "files")])
    unit = (tmp_path / "files" / "slurm-green-noded.service").read_text()

    noded = Path(sys.executable).with_name("sgreen-noded")
    assert f'ExecStart={noded} --config "{config}"\n' in unit
    assert f'ExecStopPost={noded} --config "{config}" --restore\n' in unit
    assert "/usr/bin/sgreen-noded" not in unit


def test_etc_shows_what_is_installed() -> None:
    """With the usual paths the texts are the package's own."""
    texts = node_files(
        socket="/run/slurm-green-node/root.sock", client="/usr/lib/slurm-green/prolog_client.py"
    )
    for name, text in texts.items():
        path = ROOT / "etc" / ("systemd" if name.endswith(".service") else "") / name
        assert path.read_text() == text


def test_a_directory_that_cannot_be_is_one_line(
    tmp_path: Path, config: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("")
    assert main(["--config", str(config), "--files", str(tmp_path / "file" / "below")]) == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_a_level_of_the_log_that_is_none_stops_nobody(
    tmp_path: Path,
    config: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Nor `--restore`, which gives the clocks back after a kill."""
    monkeypatch.setenv("SLURM_GREEN_LOG", "verbose")
    assert main(["--config", str(config), "--files", str(tmp_path / "files")]) == 0
    assert "SLURM_GREEN_LOG='VERBOSE' is no level" in capsys.readouterr().err
