# SPDX-License-Identifier: Apache-2.0
"""sgreend as a process, where no Slurm answers: how it starts, and what signals do to it."""

import os
import signal
import subprocess
import sys
from pathlib import Path

from slurm_green.cluster.daemons import wait_until
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
