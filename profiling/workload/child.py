# SPDX-License-Identifier: Apache-2.0
"""A workload in a process of its own: a crash or a CUDA context there is not one here.

The child is `profiling.workload.host`; it is asked and answers in JSON lines over a socket. It
leads a session of its own, so that Ctrl-C reaches only the sweep, which then closes it, and so
that nothing it started outlives it. The trap: what engines print goes to a file that has no name;
of it only the last words are told, when the child dies.
"""

import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

from profiling.device.emulated.bench import STATE_VARIABLE
from profiling.device.gpu import Gpu
from profiling.errors import ProfileError, ProfilingError
from profiling.group import wait_for_group
from profiling.workload.protocol import Load, Steps

__all__ = ["ChildWorkload", "environment", "pace"]

_POLITE_S = 20.0
_LAST_WORDS = 400


class ChildWorkload:
    """A Workload whose engine runs in a child. Every method may raise ProfilingError.

    A child that died or broke is started again with the next load: a load that kills the engine
    costs a sweep that load only.
    """

    def __init__(
        self, name: str, engine: str, options: Mapping[str, Any], env: Mapping[str, str]
    ) -> None:
        """`engine` is MODULE:CLASS of a Workload that takes `options` and a Pacer or None."""
        self._name = name
        self._order = {"do": "open", "engine": engine, **options}
        self._env = dict(env)
        self._process: subprocess.Popen[bytes] | None = None
        self._open()

    def _open(self) -> None:
        here, there = socket.socketpair()
        with there:
            self._log = tempfile.TemporaryFile()  # noqa: SIM115 - as long as the child
            self._process = subprocess.Popen(
                [sys.executable, "-m", "profiling.workload.host", str(there.fileno())],
                stdin=subprocess.DEVNULL,
                stdout=self._log,
                stderr=subprocess.STDOUT,
                pass_fds=[there.fileno()],
                env=self._env,
                start_new_session=True,
            )
        self._socket = here
        self._lines = here.makefile("rb")
        try:
            told = self._ask(self._order)
        except BaseException:
            self.close()
            raise
        self._facts: dict[str, str] = told["facts"]
        self._limits: dict[str, int] = told["limits"]
        self._loads = [Load(**one) for one in told["loads"]]

    @property
    def pid(self) -> int | None:
        """The child, which leads its process group; None once it has ended."""
        return None if self._process is None else self._process.pid

    @property
    def facts(self) -> dict[str, str]:
        """See Workload."""
        return self._facts

    @property
    def limits(self) -> dict[str, int]:
        """See Workload."""
        return self._limits

    def loads(self) -> Sequence[Load]:
        """See Workload."""
        return self._loads

    def start(self, load: Load) -> None:
        """See Workload."""
        if self._process is None:
            self._open()
        self._ask({"do": "start", "load": asdict(load)})

    def run(self, at_least_s: float) -> Steps:
        """See Workload."""
        return Steps(**self._ask({"do": "run", "at_least_s": at_least_s})["steps"])

    def stop(self) -> None:
        """See Workload."""
        if self._process is not None:
            self._ask({"do": "stop"})

    def close(self) -> None:
        """See Workload. Whatever the child started has ended when this returns."""
        if self._process is None:
            return
        # The child answers nothing to this: it ends, and with it the stream.
        with suppress(OSError):
            self._socket.settimeout(_POLITE_S)
            self._socket.sendall(b'{"do": "close"}\n')
            while self._lines.readline():
                pass
        self._end()

    def _end(self) -> str:
        """End the child and all of its session; returns how it ended and its last words."""
        process = self._process
        assert process is not None
        self._process = None
        # Its number is its own until `wait`, so this cannot hit another group.
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        status = process.wait()
        wait_for_group(process.pid)
        self._lines.close()
        self._socket.close()
        with self._log as log:
            log.seek(0)
            lines = [one.strip() for one in log.read().decode(errors="replace").splitlines()]
        words = next((one for one in reversed(lines) if one), "it said nothing")
        return f"{_how(status)}; its last words: {words[-_LAST_WORDS:]}"

    def _ask(self, order: Mapping[str, Any]) -> dict[str, Any]:
        if self._process is None:
            raise ProfilingError(f"{self._name}: not running; start a load first")
        try:
            self._socket.sendall(json.dumps(order).encode() + b"\n")
            line = self._lines.readline()
        except OSError:
            line = b""
        if not line:
            raise ProfilingError(f"{self._name}, {order['do']}: {self._died()}")
        answer: dict[str, Any] = json.loads(line)
        if "error" in answer:
            if answer["broken"]:
                self.close()
            raise ProfilingError(f"{self._name}, {order['do']}: {answer['error']}")
        return answer

    def _died(self) -> str:
        assert self._process is not None
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(timeout=1.0)
        return self._end()


def _how(status: int) -> str:
    if status >= 0:
        return f"its process ended with status {status}"
    return f"its process was ended by {signal.Signals(-status).name}"


def pace(gpus: Sequence[Gpu]) -> dict[str, Any] | None:
    """What a child needs to pace its steps by emulated GPUs; None for real ones.

    Raises ProfileError where the bench is not known: unpaced steps would say nothing of a clock.
    """
    if not all(gpu.identity.emulated for gpu in gpus):
        return None
    state = os.environ.get(STATE_VARIABLE)
    if not state:
        raise ProfileError(
            f"emulated GPU {gpus[0].identity.name}: a real engine on it is paced by its bench; "
            f"set {STATE_VARIABLE} to the bench's state file"
        )
    return {
        "state": str(Path(state).absolute()),
        "gpus": [[gpu.identity.index, gpu.identity.name] for gpu in gpus],
    }


def environment(gpus: Sequence[Gpu]) -> dict[str, str]:
    """The child's environment: ours, in which it sees only these GPUs, and no emulated one."""
    env = dict(os.environ)
    if all(gpu.identity.vendor == "nvidia" for gpu in gpus):
        # CUDA's order may differ from NVML's, so names and not numbers.
        real = (gpu.identity.uuid for gpu in gpus if not gpu.identity.emulated)
        env["CUDA_VISIBLE_DEVICES"] = ",".join(real)
    else:
        env["HIP_VISIBLE_DEVICES"] = ",".join(str(gpu.identity.index) for gpu in gpus)
    # The child must find this package also where it is not installed.
    here = str(Path(__file__).parents[2])
    env["PYTHONPATH"] = os.pathsep.join(filter(None, [here, env.get("PYTHONPATH")]))
    return env
