# SPDX-License-Identifier: Apache-2.0
"""sgreend as a process, where no Slurm answers: how it starts, and what signals do to it."""

import asyncio
import errno
import multiprocessing
import os
import signal
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from builders import view

from slurm_green.cluster.daemons import wait_until
from slurm_green.config.settings import Config
from slurm_green.controller.daemon import Daemon
from slurm_green.controller.runner import Report
from slurm_green.threads import one_thread

THREADS: dict[str, str] = {}
one_thread(THREADS)
ENV = {name: value for name, value in os.environ.items() if name not in THREADS}
WHEN_NUMPY_COMES = """
import os, sys
class Watch:
    def find_spec(self, name, *_):
        if name == "numpy":
            print(os.environ.get("OPENBLAS_NUM_THREADS"))
sys.meta_path.insert(0, Watch())
import slurm_green.controller.daemon
"""


def test_numpy_may_start_one_thread_when_it_is_loaded() -> None:
    """On a host with more CPUs than the unit allows tasks it would end us instead."""
    command = [sys.executable, "-c", WHEN_NUMPY_COMES]
    found = subprocess.run(command, env=ENV, capture_output=True, text=True, check=True)
    assert found.stdout == "1\n"


def _command(place: Path) -> list[str | Path]:
    """It, with all of its files in one place."""
    names = ("socket", "published", "status", "ledger", "signal", "signals", "lock", "off")
    config = place / "c.toml"
    lines = [f'{name} = "{place / name}"\n' for name in names]
    config.write_text(f'[paths]\n{"".join(lines)}[controller]\nmetrics = ""\n')
    return [sys.executable, "-m", "slurm_green.controller.daemon", "--config", config]


def test_sighup_is_no_end_and_says_so(tmp_path: Path) -> None:
    command = _command(tmp_path)
    env = ENV | {"PATH": str(tmp_path)}  # no Slurm there: it is not waited for
    said = []
    with subprocess.Popen(command, env=env, stderr=subprocess.PIPE, text=True) as daemon:
        try:
            assert daemon.stderr is not None
            for line in daemon.stderr:
                said.append(line)
                if "answers on" in line:
                    daemon.send_signal(signal.SIGHUP)
                if "SIGHUP" in line:
                    daemon.terminate()
        finally:
            daemon.kill()
    assert daemon.returncode == 0, "it ended by SIGTERM, as it should"
    assert sum("the configuration is read at a restart" in line for line in said) == 1


def test_a_stop_while_slurm_does_not_answer_is_heard(tmp_path: Path) -> None:
    """At boot slurmctld may be long in coming, and so is the answer as whom it runs."""
    asked, answers = tmp_path / "asked", tmp_path / "answers"
    os.mkfifo(answers)
    scontrol = tmp_path / "scontrol"
    scontrol.write_text(f"#!/bin/sh\n: > {asked}\nread line < {answers}\nexit 1\n")
    scontrol.chmod(0o755)
    command = _command(tmp_path)
    with subprocess.Popen(command, env=ENV | {"PATH": str(tmp_path)}) as daemon:
        try:
            wait_until(asked.exists, timeout_s=60, what="its question")
            daemon.terminate()
            # Read and write: to open it waits for nobody, should the question have ended.
            answering = os.open(answers, os.O_RDWR)
            os.write(answering, b"\n")
            assert daemon.wait(60) == 0
            os.close(answering)
        finally:
            daemon.kill()
    assert not (tmp_path / "socket").exists()


class Short:
    """The process of a host that is short of processes twice."""

    def __init__(self, refusals: int = 2) -> None:
        self.tries = 0
        self.ended = False
        self._refusals = refusals
        self.started = asyncio.Event()
        self.sentinel, self._end = os.pipe()

    def start(self) -> None:
        self.tries += 1
        if self.tries <= self._refusals:
            raise BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN))
        self.started.set()

    def terminate(self) -> None:
        os.close(self._end)

    def join(self, timeout: float) -> None:
        self.ended = True
        os.close(self.sentinel)


def test_a_cycle_process_that_cannot_be_started_is_tried_again(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """At night the host is short of memory; by the morning nobody has restarted sgreend."""
    monkeypatch.setattr("slurm_green.controller.daemon._slurm_user", lambda: None)
    monkeypatch.setattr("slurm_green.controller.daemon._RESTART_S", (0.0,))

    async def run() -> None:
        daemon, host = Daemon(Config()), Short()
        context = {"Pipe": multiprocessing.Pipe, "Process": lambda **_: host}
        daemon._context = SimpleNamespace(**context)  # type: ignore[assignment]
        daemon._restart_worker()
        await asyncio.wait_for(host.started.wait(), 60)
        daemon._stop_worker()
        assert host.tries == 3

    asyncio.run(run())
    assert caplog.text.count("no cycle process could be started") == 2


def test_a_cycle_process_that_nobody_can_listen_to_is_ended_and_tried_again(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The process was the last that the host had room for, and a thread is one more."""
    monkeypatch.setattr("slurm_green.controller.daemon._slurm_user", lambda: None)
    monkeypatch.setattr("slurm_green.controller.daemon._RESTART_S", (0.0,))

    class Full:
        def __init__(self, **_: object) -> None:
            pass

        def start(self) -> None:
            raise RuntimeError("can't start new thread")

    async def run() -> None:
        daemon, hosts = Daemon(Config()), []

        def process(**_: object) -> Short:
            hosts.append(Short(refusals=0))
            return hosts[-1]

        context = {"Pipe": multiprocessing.Pipe, "Process": process}
        daemon._context = SimpleNamespace(**context)  # type: ignore[assignment]
        with monkeypatch.context() as patch:
            patch.setattr("threading.Thread", Full)
            daemon._restart_worker()
            assert daemon._worker is None
            assert hosts[0].ended
        while len(hosts) < 2:
            await asyncio.sleep(0)
        assert daemon._worker is hosts[1]
        daemon._stop_worker()

    asyncio.run(run())
    assert caplog.text.count("no cycle process could be started (can't start new thread)") == 1


def test_slurmctlds_user_may_ask_once_a_cycle_knows_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """Before slurmctld answers nobody can tell; a cycle does, and once is enough."""
    monkeypatch.setattr("slurm_green.controller.daemon._slurm_user", lambda: None)
    monkeypatch.setattr("slurm_green.controller.daemon.slurm_uid", {None: 0, "slurm": 42}.get)
    daemon, admitted = Daemon(Config()), []
    monkeypatch.setattr(daemon._server, "admit", admitted.append)
    for _ in range(2):
        daemon._reported(Report(view=view(), status=None, slurm_user="slurm"))  # type: ignore[arg-type]
    assert admitted == [42]
