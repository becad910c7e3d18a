# SPDX-License-Identifier: Apache-2.0
"""How verbs print: one JSON object, or plain tables a terminal cannot be tricked by.

And whether what they are to write can be written.
"""

import json
import os
import tempfile
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click

from profiling.whole import whole_file
from slurm_green.errors import BadInputError
from slurm_green.words import clean

__all__ = ["check_outputs", "emit_json", "emit_rows", "write_text"]


def emit_json(value: dict[str, Any]) -> None:
    """Print one object; times become ISO 8601 in UTC."""
    click.echo(json.dumps(value, default=_plain, allow_nan=False, indent=2))


def emit_rows(
    header: Sequence[str],
    rows: Sequence[Sequence[str]],
    *,
    noheader: bool = False,
    parsable: bool = False,
) -> None:
    """Print a table: columns aligned, or separated by `|` as sacct does with -P."""
    table = [[clean(cell) for cell in row] for row in rows]
    shown = table if noheader else [list(header), *table]
    if parsable:
        for row in shown:
            click.echo("|".join(row))
        return
    widths = [max((len(row[i]) for row in shown), default=0) for i in range(len(header))]
    for row in shown:
        cells = (cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        click.echo("  ".join(cells).rstrip())


def _plain(value: object) -> object:
    if isinstance(value, datetime):
        return value.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    if isinstance(value, Path):
        return str(value)
    raise TypeError(f"{value!r} is no JSON value")


def check_outputs(outputs: dict[str, Path | None], inputs: dict[str, Path | None]) -> None:
    """Refuse what cannot be written before anything is read: the work may take minutes."""
    taken = {path.resolve(): option for option, path in inputs.items() if path is not None}
    for option, path in outputs.items():
        if path is None:
            continue
        try:
            if path.exists() and not path.is_file():
                raise BadInputError(f"{option} {path}: is not a plain file; give another name")
            other = taken.setdefault(path.resolve(), option)
            if other != option:
                raise BadInputError(f"{option} {path}: is the file of {other}; give another name")
            # Not os.access: that says yes to root on a read-only file system.
            handle, probe = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
            os.close(handle)
            Path(probe).unlink()
        except OSError as error:
            why = error.strerror or error
            raise BadInputError(f"{option} {path}: cannot be written: {why}") from error


def write_text(path: Path, text: str) -> None:
    """Write a page, whole or not at all; raises BadInputError where it cannot be written."""
    try:
        with whole_file(path) as out:
            out.write(text)
    except OSError as error:
        raise BadInputError(f"{path}: cannot be written: {error.strerror or error}") from error
