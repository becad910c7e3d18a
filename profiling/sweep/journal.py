# SPDX-License-Identifier: Apache-2.0
"""What a sweep has done, one JSON line each, on disk before it goes on.

The trap: a kill may leave half a line at the end. It is dropped; half a line elsewhere means that
somebody else wrote into the file.
"""

import fcntl
import json
import os
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any

from profiling.errors import ProfileError, ProfilingError

__all__ = ["SweepJournal"]


class SweepJournal:
    """The entries of one sweep: dicts with a `kind`, in the order in which they were added.

    Raises ProfileError: it was begun with other options or on another GPU (`header` differs), it
    is there and `resume` is false, another process writes it, or it is damaged.

    As a context it goes with an error of ours that comes before the first window: nothing worth
    much is lost, and the corrected command finds no sweep begun with what was wrong.
    """

    def __init__(self, path: Path, header: Mapping[str, Any], *, resume: bool) -> None:
        self.path = path
        self.entries: list[dict[str, Any]] = []
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        except OSError as error:
            raise self._cannot(error) from error
        try:
            self._open(json.loads(json.dumps(header)), resume=resume)
        except BaseException:
            os.close(self._file)
            raise

    def __enter__(self) -> "SweepJournal":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if isinstance(value, ProfilingError) and not self.of("window"):
            with suppress(OSError):
                self.path.unlink()
        os.close(self._file)

    def add(self, kind: str, **values: Any) -> dict[str, Any]:
        """On disk when this returns; raises ProfileError where the disk does not take it."""
        entry: dict[str, Any] = json.loads(json.dumps({"kind": kind, **values}, allow_nan=False))
        try:
            line = (json.dumps(entry) + "\n").encode()
            if os.write(self._file, line) != len(line):
                raise OSError(None, "the disk is full")
            os.fsync(self._file)
        except OSError as error:
            raise self._cannot(error) from error
        self.entries.append(entry)
        return entry

    def of(self, kind: str) -> list[dict[str, Any]]:
        """The entries of a kind."""
        return [one for one in self.entries if one["kind"] == kind]

    def _open(self, header: dict[str, Any], *, resume: bool) -> None:
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise ProfileError(f"{self.path}: another sweep is writing it; wait for it") from error
        self._read()
        if not self.entries:
            self.add("header", **header)
            return
        if not resume:
            raise ProfileError(
                f"{self.path}: a sweep was begun there; --resume goes on with it, and without this "
                "file it begins anew"
            )
        was = self.entries[0]
        for name in sorted({*header, *was} - {"kind"}):
            if header.get(name) != was.get(name):
                raise ProfileError(
                    f"{self.path}: the sweep was begun with {name} {_short(was.get(name))}, now it "
                    f"is {_short(header.get(name))}; go on with the same, or remove this file"
                )

    def _read(self) -> None:
        with os.fdopen(os.dup(self._file), "rb") as file:
            data = file.read()
        *lines, rest = data.split(b"\n")
        if rest:
            os.ftruncate(self._file, len(data) - len(rest))
        os.lseek(self._file, 0, os.SEEK_END)
        for at, line in enumerate(lines):
            try:
                entry = json.loads(line)
                if not isinstance(entry["kind"], str) or (at == 0) != (entry["kind"] == "header"):
                    raise ValueError
            except (ValueError, TypeError, KeyError):
                raise ProfileError(
                    f"{self.path}: line {at + 1} is none of a sweep's; remove the file and begin "
                    "anew"
                ) from None
            self.entries.append(entry)

    def _cannot(self, error: OSError) -> ProfileError:
        return ProfileError(f"{self.path}: cannot be written: {error.strerror or error}")


def _short(value: object) -> str:
    text = json.dumps(value)
    return text if len(text) <= 80 else f"{text[:77]}..."
