# SPDX-License-Identifier: Apache-2.0
"""One server process and its children, with a log of its own.

The trap: whoever starts it may be killed, and it must not live on with nobody to end it: the
kernel tells it, as it tells of no thread's end but that of the one that started it.
"""

import ctypes
import os
import signal
import subprocess
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from profiling.group import wait_for_group
from slurm_green.errors import BadInputError

__all__ = ["ServerProcess", "last_lines"]

_PR_SET_PDEATHSIG = 1
_LIBC = ctypes.CDLL(None, use_errno=True)


class ServerProcess:
    """Started at once, in a session of its own; raises BadInputError where it cannot be."""

    def __init__(self, argv: Sequence[str], env: Mapping[str, str], log: Path) -> None:
        with log.open("ab") as out:
            try:
                self._process = subprocess.Popen(
                    argv, env=env, stdin=subprocess.DEVNULL, stdout=out, stderr=out,
                    start_new_session=True, preexec_fn=_end_with_us,
                )  # fmt: skip
            except OSError as error:
                raise BadInputError(
                    f"{argv[0]}: cannot be run ({error.strerror}); is vLLM installed here? --vllm"
                    " names another command"
                ) from error
        self.pid = self._process.pid
        self._ended = False

    @property
    def status(self) -> int | None:
        """Its exit status, None while it runs; what it left behind is killed then, and waited for.

        Until that is gone it holds the GPU's memory, and the lock on what is owed to the GPU.
        """
        status = self._process.poll()
        if status is not None and not self._ended:
            self._ended = True
            self.kill()
            wait_for_group(self.pid)
        return status

    def terminate(self) -> None:
        """Ask the server itself; it ends its children."""
        self._process.terminate()

    def kill(self) -> None:
        """All of them."""
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, signal.SIGKILL)


def last_lines(log: Path, count: int = 12, most: int = 8192) -> list[str]:
    """The end of a log."""
    try:
        with log.open("rb") as file:
            file.seek(max(log.stat().st_size - most, 0))
            return file.read().decode(errors="replace").splitlines()[-count:]
    except OSError:
        return []


def _end_with_us() -> None:
    _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
