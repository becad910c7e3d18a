# SPDX-License-Identifier: Apache-2.0
"""The journal: a file for each move, on disk before anything happens that it must explain.

One process at a time works with a directory. Its lock is inherited by the commands it starts, so
that an sbatch that outlives a killed process is waited for and not repeated.
"""

import fcntl
import json
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from profiling.whole import whole_file
from slurm_green.errors import BadInputError
from slurm_green.migration.execute.record import MoveRecord

__all__ = ["Journal"]

_TOKEN = re.compile(r"[a-z0-9][a-z0-9.-]{0,63}")


class Journal:
    """The moves in a directory; raises BadInputError where it cannot be used."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory

    @contextmanager
    def locked(self) -> Iterator[int]:
        """Alone with it; the lock's file descriptor, to be passed on to commands."""
        try:
            self.directory.mkdir(parents=True, exist_ok=True, mode=0o700)
            handle = os.open(self.directory / "lock", os.O_RDWR | os.O_CREAT, 0o600)
        except OSError as error:
            raise BadInputError(f"journal {self.directory}: {error.strerror or error}") from error
        try:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                raise BadInputError(
                    f"journal {self.directory}: another `sgreen migrate run` is at work (or a"
                    " command that it started); wait for it"
                ) from error
            yield handle
        finally:
            os.close(handle)

    def idle(self) -> bool:
        """Whether nobody works with it now."""
        if not (self.directory / "lock").exists():
            return True
        with (self.directory / "lock").open("rb") as handle:
            try:
                fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                return False
        return True

    def save(self, record: MoveRecord) -> None:
        """On disk, also after a power cut, when this returns."""
        path = self._path(record.token)
        try:
            with whole_file(path, sync=True) as file:
                json.dump(record.to_json(), file, indent=1)
            handle = os.open(self.directory, os.O_RDONLY | os.O_DIRECTORY)
            try:
                os.fsync(handle)
            finally:
                os.close(handle)
        except OSError as error:
            raise BadInputError(f"{path}: cannot be written: {error.strerror or error}") from error

    def load(self, token: str) -> MoveRecord:
        """One move."""
        path = self._path(token)
        try:
            return MoveRecord.from_json(json.loads(path.read_text(encoding="utf-8")))
        except OSError as error:
            raise BadInputError(f"{path}: cannot be read: {error.strerror or error}") from error
        except ValueError as error:
            raise BadInputError(f"{path}: no JSON: {error}") from error
        except BadInputError as error:
            raise BadInputError(f"{path}: {error}") from error

    def all(self) -> list[MoveRecord]:
        """Every move, the oldest first; raises BadInputError where one cannot be read."""
        found, broken = self.readable()
        if broken:
            raise broken[0]
        return found

    def readable(self) -> tuple[list[MoveRecord], list[BadInputError]]:
        """The moves that can be read, the oldest first, and what is wrong with each other file."""
        found: list[MoveRecord] = []
        broken: list[BadInputError] = []
        for path in sorted(self.directory.glob("*.json")):
            try:
                found.append(self.load(path.stem))
            except BadInputError as error:
                broken.append(error)
        return sorted(found, key=lambda one: (one.began_s, one.token)), broken

    def _path(self, token: str) -> Path:
        if not _TOKEN.fullmatch(token):
            raise BadInputError(f"{token[:64]!r} names no move")
        return self.directory / f"{token}.json"
