# SPDX-License-Identifier: Apache-2.0
"""One `up` or `down` of a name at a time, and one choice of ports at a time."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

__all__ = ["PORTS", "locked", "locked_directory"]

PORTS = "_ports"  # no name of a cluster, whose `up` holds both


@contextmanager
def locked(base: Path, name: str) -> Iterator[None]:
    """Hold the lock of that name; its file is gone afterwards, and so is an empty base."""
    path = base / f".{name}.lock"
    descriptor = _take(path)
    try:
        yield
    finally:
        path.unlink(missing_ok=True)
        os.close(descriptor)
        with suppress(OSError):
            base.rmdir()


@contextmanager
def locked_directory(directory: Path) -> Iterator[None]:
    """Hold the lock of a directory that is there and stays; leaves nothing in it."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _take(path: Path) -> int:
    while True:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except FileNotFoundError:
            continue  # the last holder has just removed the empty directory
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        # The holder we waited for has unlinked the file we opened: start anew with the new one.
        try:
            if os.fstat(descriptor).st_ino == path.stat().st_ino:
                return descriptor
        except FileNotFoundError:
            pass
        os.close(descriptor)
