# SPDX-License-Identifier: Apache-2.0
"""What is owed to which GPU, on disk before the GPU is touched: one file per GPU.

An entry is locked by the process that holds the GPU, so one that nobody locks is owed a restore,
however its holder died. The trap: the file's name alone says whose GPU it is; a power cut may
leave nothing inside.
"""

import fcntl
import json
import os
import re
from dataclasses import dataclass
from pathlib import Path

from profiling.errors import DeviceError

__all__ = ["Journal", "Owed"]

_UUID = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,95}")
_SUFFIX = ".owed"


@dataclass(frozen=True, slots=True)
class Owed:
    """An entry: `power` says whether the power limit was touched, too."""

    uuid: str
    holder: str
    power: bool


class Journal:
    """The entries in one directory; those of this process are open and locked."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._ours: dict[str, tuple[int, Owed]] = {}
        self._unwritten: set[str] = set()  # of ours: the disk refused the newest
        try:
            directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            raise _cannot(directory, error) from error

    def ours(self, uuid: str) -> Owed | None:
        """This process's entry of that GPU."""
        return self._ours[uuid][1] if uuid in self._ours else None

    def write(self, owed: Owed) -> None:
        """On disk when this returns; DeviceError when it cannot be, or another process's it is."""
        path = self._path(owed.uuid)
        mine = self._ours.get(owed.uuid)
        if mine is not None and mine[1] == owed and owed.uuid not in self._unwritten:
            return
        try:
            descriptor = mine[0] if mine is not None else self._claim(path, os.O_CREAT)
            if descriptor is None:
                raise DeviceError(f"{path}: another process has set this GPU, and still holds it")
            self._ours[owed.uuid] = (descriptor, owed)
            self._unwritten.add(owed.uuid)
            text = json.dumps({"holder": owed.holder, "power": owed.power, "pid": os.getpid()})
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, f"{text}\n".encode(), 0)
            os.fsync(descriptor)
            self._sync()
        except OSError as error:
            raise _cannot(path, error) from error
        self._unwritten.discard(owed.uuid)

    def forget(self, uuid: str) -> None:
        """Nothing is owed to that GPU any more."""
        if uuid not in self._ours:
            return
        try:
            self._path(uuid).unlink(missing_ok=True)
        except OSError as error:
            raise _cannot(self._path(uuid), error) from error
        try:
            self._sync()
        except OSError:
            pass  # a power cut may bring it back, for one restore too many
        # The lock goes last: until then nobody else may take the GPU for free.
        os.close(self._ours.pop(uuid)[0])

    def close(self) -> None:
        """Hold nothing any more; what is owed stays so, for whoever looks next."""
        for descriptor, _ in self._ours.values():
            os.close(descriptor)
        self._ours.clear()

    def take_over(self) -> tuple[Owed, ...]:
        """Entries whose holder is gone; they are this process's now, to restore and forget."""
        found = []
        for path in sorted(self._directory.glob(f"*{_SUFFIX}")):
            uuid = path.name.removesuffix(_SUFFIX)
            if uuid in self._ours or not _UUID.fullmatch(uuid):
                continue
            try:
                descriptor = self._claim(path, 0)
            except OSError:
                continue  # restored by somebody else just now
            if descriptor is not None:
                owed = _read(descriptor, uuid)
                self._ours[uuid] = (descriptor, owed)
                found.append(owed)
        return tuple(found)

    def _path(self, uuid: str) -> Path:
        if not _UUID.fullmatch(uuid):
            raise DeviceError(f"{uuid!r} cannot name a file: the GPU stays as it is")
        return self._directory / f"{uuid}{_SUFFIX}"

    def _claim(self, path: Path, flags: int) -> int | None:
        """The file, open and locked; None while another process has it locked."""
        while True:
            descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW | flags, 0o600)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                # Its last holder may have removed it between our two calls.
                if os.fstat(descriptor).st_nlink:
                    return descriptor
            except BlockingIOError:
                os.close(descriptor)
                return None
            except OSError:  # a file server without locks
                os.close(descriptor)
                raise
            os.close(descriptor)

    def _sync(self) -> None:
        descriptor = os.open(self._directory, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _read(descriptor: int, uuid: str) -> Owed:
    try:
        content = json.loads(os.pread(descriptor, 4096, 0))
        return Owed(uuid, str(content["holder"]), bool(content["power"]))
    except (OSError, ValueError, TypeError, KeyError):
        return Owed(uuid, "unknown", True)


def _cannot(path: Path, error: OSError) -> DeviceError:
    return DeviceError(f"{path}: {error.strerror or error}; nothing is set without this journal")
