# SPDX-License-Identifier: Apache-2.0
"""Reads a `sacct --parsable2` or `--json` export of any Slurm from 22.05 on.

Nothing is judged here but whether a row can be read.
"""

from datetime import UTC, tzinfo
from pathlib import Path

from slurm_green.errors import BadInputError
from slurm_green.replay.sacct_json import json_rows
from slurm_green.replay.sacct_rows import Export
from slurm_green.replay.sacct_text import text_rows

__all__ = ["read_sacct"]

_MOST_BYTES = 2 * 2**30


def read_sacct(path: Path, zone: tzinfo = UTC) -> Export:
    """All rows of an export; `zone` is that of text times without one. Raises BadInputError."""
    try:
        if not (path.is_file() or path.is_fifo()):
            why = "is not a plain file" if path.exists() else "no such file"
            raise BadInputError(f"{path}: {why}; wanted an export of sacct")
        with path.open("rb") as file:
            data = file.read(_MOST_BYTES + 1)
    except OSError as error:
        raise BadInputError(f"{path}: cannot be read: {error.strerror or error}") from error
    if len(data) > _MOST_BYTES:
        raise BadInputError(f"{path}: larger than 2 GiB; export a shorter period")
    # User-written text may be in any encoding; what we read of it is ASCII.
    text = data.decode("utf-8-sig", errors="replace")
    if text.lstrip()[:1] == "{":
        return Export(rows=tuple(json_rows(path, text)), counted="entry")
    return Export(rows=tuple(text_rows(path, text, zone)))
