# SPDX-License-Identifier: Apache-2.0
"""Only one sgreend acts; a second one waits for the lock and takes over."""

import fcntl
import os
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from types import TracebackType

from slurm_green.errors import SlurmGreenError

__all__ = ["DaemonLock"]


class DaemonLock:
    """An advisory lock on a file, freed by the kernel however its holder dies."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._descriptor: int | None = None

    def try_acquire(self) -> bool:
        """Take the lock if nobody has it."""
        try:
            descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        except OSError as error:
            raise SlurmGreenError(
                f"{self.path}: the lock cannot be opened ({error.strerror}); create its "
                "directory for sgreend's user, or set paths.lock"
            ) from error
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except (BlockingIOError, PermissionError):
            os.close(descriptor)
            return False
        except OSError as error:
            os.close(descriptor)
            raise SlurmGreenError(
                f"{self.path}: cannot be locked ({error.strerror}); set paths.lock to where flock "
                "works"
            ) from error
        with suppress(OSError):  # who holds it is for people; a disk may be full
            os.ftruncate(descriptor, 0)
            os.write(descriptor, f"{os.getpid()}\n".encode())
        self._descriptor = descriptor
        return True

    def acquire(
        self,
        *,
        waiting: Callable[[], None],
        stop: Callable[[], bool],
        sleep: Callable[[float], None] = time.sleep,
    ) -> bool:
        """Wait for the lock; `waiting` is called once if it must. False when told to stop."""
        told = False
        while not self.try_acquire():
            if stop():
                return False
            if not told:
                waiting()
                told = True
            sleep(0.5)
        return True

    def release(self) -> None:
        """Let the next one in; the file stays, so that nobody locks an unlinked one."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    def __enter__(self) -> "DaemonLock":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.release()
