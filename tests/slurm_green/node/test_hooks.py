# SPDX-License-Identifier: Apache-2.0
"""Prolog and epilog: whatever is wrong, they exit 0 within 5 s and say nothing to slurmd."""

import ast
import json
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.slurm_green.node.live_node import ROOT, hook

pytestmark = pytest.mark.slow

HOOKS = ("prolog", "epilog")
ENV = {"SLURM_JOB_ID": "7", "SLURM_JOB_UID": "1000", "SLURM_JOB_GPUS": "0"}
_LIMIT_S = 20  # 5, and what a core that is away for a while adds


@pytest.fixture
def listener(tmp_path: Path) -> Iterator[socket.socket]:
    """Somebody on the socket who never answers."""
    with socket.socket(socket.AF_UNIX) as one:
        one.bind(str(tmp_path / "s"))
        one.listen()
        yield one


def _run(path: Path, env: dict[str, str]) -> float:
    begin_s = time.monotonic()
    done = subprocess.run([path], env=env, capture_output=True, check=False, timeout=60)

    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")
    return time.monotonic() - begin_s


@pytest.mark.parametrize("name", HOOKS)
@pytest.mark.parametrize(
    "env",
    [ENV, {}, {"SLURM_JOB_GPUS": "0"}, {**ENV, "SLURM_JOB_ID": "x; reboot"}],
    ids=["noded-is-not-there", "no-environment", "no-job", "garbage"],
)
def test_nothing_to_talk_to(tmp_path: Path, name: str, env: dict[str, str]) -> None:
    assert _run(hook(name, tmp_path, socket=tmp_path / "s"), env) < _LIMIT_S


@pytest.mark.parametrize("python", ["/nowhere/python3", "/bin/false", "/etc/passwd"])
def test_no_python(tmp_path: Path, python: str) -> None:
    assert _run(hook("prolog", tmp_path, socket=tmp_path / "s", python=python), ENV) < _LIMIT_S


def test_a_python_that_does_not_understand_the_client(tmp_path: Path) -> None:
    client = tmp_path / "client.py"
    client.write_text("no python at all")

    assert _run(hook("epilog", tmp_path, socket=tmp_path / "s", client=client), ENV) < _LIMIT_S


def test_a_client_that_hangs_is_killed(tmp_path: Path) -> None:
    client = tmp_path / "client.py"
    client.write_text(
        "import signal, time\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)\ntime.sleep(60)\n"
    )

    assert 4 < _run(hook("prolog", tmp_path, socket=tmp_path / "s", client=client), ENV) < _LIMIT_S


@pytest.mark.usefixtures("listener")
def test_a_noded_that_hangs_is_left_alone(tmp_path: Path) -> None:
    assert _run(hook("prolog", tmp_path, socket=tmp_path / "s"), ENV) < _LIMIT_S


def test_a_noded_that_talks_garbage(tmp_path: Path, listener: socket.socket) -> None:
    path = hook("prolog", tmp_path, socket=tmp_path / "s")
    with subprocess.Popen([path], env=ENV, stdout=subprocess.PIPE) as prolog:
        peer, _ = listener.accept()
        with peer:
            asked = json.loads(peer.recv(4096))
            assert abs(asked.pop("at_s") - time.monotonic()) < 60
            assert asked == {"op": "begin", "job": "7", "uid": "1000", "gpus": "0"}
            peer.sendall(b"\0" * 100 + b"\n")
        assert (prolog.wait(timeout=60), prolog.communicate()[0]) == (0, b"")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_killed_half_way(tmp_path: Path, listener: socket.socket, number: int) -> None:
    """PrologEpilogTimeout sends SIGTERM to a hook: that is no failure of the node's either."""
    path = hook("prolog", tmp_path, socket=tmp_path / "s")
    with subprocess.Popen([path], env=ENV) as prolog:
        peer, _ = listener.accept()
        prolog.send_signal(number)
        peer.close()
        assert prolog.wait(timeout=60) == 0


def test_a_job_without_gpus_starts_no_python(tmp_path: Path) -> None:
    path = hook("prolog", tmp_path, socket=tmp_path / "s", client=tmp_path / "none")
    trace = subprocess.run(["/bin/sh", "-x", path], env={}, capture_output=True, text=True)

    assert "timeout" not in trace.stderr
    assert trace.returncode == 0


def test_the_client_is_written_for_old_pythons() -> None:
    text = (ROOT / "etc" / "prolog_client.py").read_text()
    tree = ast.parse(text, feature_version=(3, 6))
    imported = {
        name.name for one in ast.walk(tree) if isinstance(one, ast.Import) for name in one.names
    }

    assert imported == {"json", "os", "signal", "socket", "sys", "syslog", "time"}
