# SPDX-License-Identifier: Apache-2.0
"""A real sgreen-noded process on emulated GPUs, with a prolog and an epilog made for its socket."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from profiling.device.emulated.bench import STATE_VARIABLE, Bench

__all__ = ["LiveNode", "hook"]

ROOT = Path(__file__).parents[3]
_LINES = {
    "SOCKET=/run/slurm-green-node/root.sock": "SOCKET={socket}",
    "CLIENT=/usr/lib/slurm-green/prolog_client.py": "CLIENT={client}",
    "PYTHON=/usr/bin/python3": "PYTHON={python}",
}


def hook(
    name: str,
    directory: Path,
    *,
    socket: Path,
    client: Path = ROOT / "etc" / "prolog_client.py",
    python: str = "/usr/bin/python3",
) -> Path:
    """etc/prolog.sh or etc/epilog.sh with its three paths changed, as a site would."""
    text = (ROOT / "etc" / f"{name}.sh").read_text()
    for old, new in _LINES.items():
        assert old in text
        text = text.replace(old, new.format(socket=socket, client=client, python=python))
    path = directory / f"{name}.sh"
    path.write_text(text)
    path.chmod(0o755)
    return path


class LiveNode:
    """stopped -> up (start) -> stopped (stop, kill)."""

    def __init__(self, directory: Path, bench: Bench, **settings: object) -> None:
        self.bench = bench
        self.directory = directory
        self.orders = directory / "orders.json"
        self.socket = directory / "run" / "root.sock"
        self.user_socket = directory / "run" / "user.sock"
        self.log = directory / "noded.log"
        self.prolog = hook("prolog", directory, socket=self.socket)
        self.epilog = hook("epilog", directory, socket=self.socket)
        self.config = directory / "node.toml"
        self._process: subprocess.Popen[bytes] | None = None
        values: dict[str, object] = {
            "run": str(directory / "run"),
            "state": str(directory / "state"),
            "orders": str(self.orders),
            "interval": 0.2,
            "metrics": "",
            **settings,
        }
        given = {key: value for key, value in values.items() if value is not None}
        lines = [f"{key} = {json.dumps(value)}" for key, value in given.items()]
        library = f'[nvml]\nlibrary = "{bench.library}"\n'
        self.config.write_text("\n".join(["[node]", *lines, library]))

    @property
    def argv(self) -> list[str]:
        """Its command line."""
        return [sys.executable, "-m", "slurm_green.node.daemon", "--config", str(self.config)]

    @property
    def env(self) -> dict[str, str]:
        """Its environment; only the emulated library needs one."""
        return {**os.environ, STATE_VARIABLE: str(self.bench.path)}

    @property
    def owed(self) -> list[str]:
        """The entries of its journal."""
        return [path.name for path in (self.directory / "state" / "journal").glob("*")]

    def start(self) -> "LiveNode":
        """Start it, and wait until it answers."""
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(self.argv, env=self.env, cwd=ROOT, stderr=log)
        self.wait(lambda: self._answers(), "an answer")
        return self

    def tell(self, number: signal.Signals) -> None:
        """One that does not end it."""
        assert self._process is not None
        self._process.send_signal(number)

    def stop(self) -> int:
        """SIGTERM; its exit status."""
        return self._end(signal.SIGTERM)

    def kill(self) -> None:
        """SIGKILL."""
        self._end(signal.SIGKILL)

    @property
    def up(self) -> bool:
        """Whether it was started and not ended."""
        return self._process is not None

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Another process with the same configuration."""
        return subprocess.run(
            [*self.argv, *arguments],
            env=self.env,
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=False,
            timeout=30,
        )

    def order(self, jobs: Mapping[int, Mapping[str, object]], **cap: object) -> None:
        """What sgreend wants."""
        text = json.dumps({"jobs": {str(key): value for key, value in jobs.items()}, "cap": cap})
        temporary = self.orders.with_suffix(".new")
        temporary.write_text(text)
        temporary.replace(self.orders)

    def ask(self, **values: object) -> dict[str, Any]:
        """One request on root's socket."""
        return self.say(json.dumps(values).encode() + b"\n")

    def say(self, line: bytes, path: Path | None = None) -> dict[str, Any]:
        """One line, and the answer to it."""
        with socket.socket(socket.AF_UNIX) as peer:
            peer.settimeout(60)
            peer.connect(str(path or self.socket))
            peer.sendall(line)
            answer: dict[str, Any] = json.loads(peer.makefile("rb").readline())
            return answer

    def hook(self, path: Path, job_id: int, gpus: str, uid: int = 1000) -> float:
        """Run prolog or epilog with slurmd's environment; seconds it took. It must exit 0."""
        begin_s = time.monotonic()
        environment = {
            "SLURM_JOB_ID": str(job_id),
            "SLURM_JOB_UID": str(uid),
            "SLURM_JOB_GPUS": gpus,
        }
        done = subprocess.run([path], env=environment, capture_output=True, check=False, timeout=60)
        assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")
        return time.monotonic() - begin_s

    def lock_mhz(self, gpu: int = 0) -> float | None:
        """The highest clock that a GPU's lock allows; None without a lock."""
        high = self.bench.read(gpu).lock_high_mhz
        return None if high == float("inf") else high

    def wait(self, met: Callable[[], bool], what: str, timeout_s: float = 60.0) -> None:
        """Until something is so."""
        deadline = time.monotonic() + timeout_s
        while not met():
            assert time.monotonic() < deadline, f"{what}: not within {timeout_s:g} s\n{self.words}"
            time.sleep(0.01)

    @property
    def words(self) -> str:
        """Its log."""
        return self.log.read_text() if self.log.exists() else ""

    def _answers(self) -> bool:
        assert self._process is not None
        assert self._process.poll() is None, self.words
        try:
            return bool(self.ask(op="ping")["ok"])
        except (OSError, ValueError):
            return False

    def _end(self, number: int) -> int:
        assert self._process is not None
        self._process.send_signal(number)
        status = self._process.wait(timeout=60)
        self._process = None
        return status
