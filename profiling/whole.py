# SPDX-License-Identifier: Apache-2.0
"""Files and directories that appear whole or not at all.

The trap: only a rename within one file system is that; so both are written beside their place.
"""

import os
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any

from profiling.errors import ProfileError

__all__ = ["check_new", "whole_file", "write_directory", "write_file"]


@contextmanager
def whole_file(
    path: Path,
    *,
    binary: bool = False,
    newline: str | None = None,
    sync: bool = False,
    mode: int = 0o644,
) -> Iterator[IO[Any]]:
    """A file to write, UTF-8 unless binary, that takes the place of `path` when all went well.

    A reader sees the old file or the new one, never half of one, and whatever goes wrong leaves
    the old one. Anybody may read it unless `mode` says otherwise, which holds from the first byte
    on. `sync` makes it survive a power cut. Raises OSError.
    """
    # It is made for its owner alone: who opened it in a wider mode could read what comes later.
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        encoding = None if binary else "utf-8"
        with os.fdopen(handle, "wb" if binary else "w", encoding=encoding, newline=newline) as file:
            if hasattr(os, "fchmod"):  # not on Windows, where everybody of the folder may read
                os.fchmod(file.fileno(), mode)
            yield file
            if sync:
                file.flush()
                os.fsync(file.fileno())
        Path(temporary).replace(path)
    except BaseException:
        with suppress(OSError):
            Path(temporary).unlink()
        raise


def check_new(path: Path) -> None:
    """Refuse a directory that is there already and not empty, or that cannot be made.

    Asked before the work whose result it holds, which may take long; it makes nothing.
    """
    try:
        taken = path.is_symlink() or not path.name
        if taken or (path.exists() and not (path.is_dir() and not any(path.iterdir()))):
            raise ProfileError(f"{path}: is there already; name a new directory")
        there = next(one for one in path.absolute().parents if one.exists())
        # Not os.access: that says yes to root on a read-only file system.
        with tempfile.TemporaryDirectory(dir=there, prefix=f".{path.name}."):
            pass
    except OSError as error:
        raise ProfileError(f"{path}: cannot be written: {error.strerror or error}") from error


def write_directory(path: Path, files: Mapping[str, str]) -> None:
    """A new directory of text files that survives a power cut; ProfileError where it cannot be."""
    check_new(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=path.parent, prefix=f".{path.name}.") as beside:
            whole = Path(beside) / path.name
            whole.mkdir()
            for name, text in files.items():
                with (whole / name).open("w", encoding="utf-8", newline="") as file:
                    file.write(text)
                    file.flush()
                    os.fsync(file.fileno())
            whole.replace(path)
    except OSError as error:
        raise ProfileError(f"{path}: cannot be written: {error.strerror or error}") from error


def write_file(path: Path, data: bytes) -> None:
    """A file, in place of one that may be there; raises ProfileError where it cannot be."""
    try:
        if path.exists() and not path.is_file():
            raise ProfileError(f"{path}: is no plain file; give another name")
        with whole_file(path, binary=True) as file:
            file.write(data)
    except OSError as error:
        raise ProfileError(f"{path}: cannot be written: {error.strerror or error}") from error
