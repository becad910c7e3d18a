# SPDX-License-Identifier: Apache-2.0
"""Files and directories that appear whole or not at all.

The trap: only a rename within one file system is that; so both are written beside their place.
"""

import tempfile
from collections.abc import Mapping
from pathlib import Path

from profiling.errors import ProfileError

__all__ = ["check_new", "write_directory", "write_file"]


def check_new(path: Path) -> None:
    """Refuse a directory that is there already and not empty."""
    if path.exists() and not (path.is_dir() and not any(path.iterdir())):
        raise ProfileError(f"{path}: is there already; name a new directory")


def write_directory(path: Path, files: Mapping[str, str]) -> None:
    """A new directory of text files; raises ProfileError where it cannot be."""
    check_new(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=path.parent, prefix=f".{path.name}.") as beside:
            whole = Path(beside) / path.name
            whole.mkdir()
            for name, text in files.items():
                (whole / name).write_text(text, encoding="utf-8", newline="")
            whole.replace(path)
    except OSError as error:
        raise ProfileError(f"{path}: cannot be written: {error.strerror or error}") from error


def write_file(path: Path, data: bytes) -> None:
    """A file, in place of one that may be there; raises ProfileError where it cannot be."""
    try:
        if path.exists() and not path.is_file():
            raise ProfileError(f"{path}: is no plain file; give another name")
        with tempfile.TemporaryDirectory(dir=path.parent, prefix=f".{path.name}.") as beside:
            whole = Path(beside) / path.name
            whole.write_bytes(data)
            whole.replace(path)
    except OSError as error:
        raise ProfileError(f"{path}: cannot be written: {error.strerror or error}") from error
