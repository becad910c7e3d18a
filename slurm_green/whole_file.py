# SPDX-License-Identifier: Apache-2.0
"""Files that appear whole or not at all."""

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any

__all__ = ["whole_file"]


@contextmanager
def whole_file(
    path: Path, *, binary: bool = False, newline: str | None = None, sync: bool = False
) -> Iterator[IO[Any]]:
    """A file to write, UTF-8 unless binary, that takes the place of `path` when all went well.

    A reader sees the old file or the new one, never half of one, and whatever goes wrong leaves
    the old one. Anybody may read it. `sync` makes it survive a power cut. Raises OSError.
    """
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        encoding = None if binary else "utf-8"
        with os.fdopen(handle, "wb" if binary else "w", encoding=encoding, newline=newline) as file:
            os.fchmod(file.fileno(), 0o644)
            yield file
            if sync:
                file.flush()
                os.fsync(file.fileno())
        Path(temporary).replace(path)
    except BaseException:
        with suppress(OSError):
            Path(temporary).unlink()
        raise
