# SPDX-License-Identifier: Apache-2.0
"""How verbs print: one JSON object, or plain tables and texts a terminal cannot be tricked by."""

import json
from collections.abc import Sequence
from datetime import UTC, datetime, tzinfo
from pathlib import Path
from typing import Any

import click

__all__ = ["clean", "emit_json", "emit_rows", "grams", "length", "when"]


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


def clean(text: str) -> str:
    """Text of users (job names, comments) without control characters and escape sequences."""
    return "".join(char if char.isprintable() else "?" for char in text)


def when(moment: datetime | None, zone: tzinfo) -> str:
    """A time for people: as Slurm prints it, with the zone's name; `-` for none."""
    if moment is None:
        return "-"
    local = moment.astimezone(zone)
    return f"{local:%Y-%m-%d %H:%M:%S} {local.tzname() or ''}".rstrip()


def length(seconds: float | None) -> str:
    """A length of time for people: `45 s`, `12 min`, `2 h 05 min`, `3 d 4 h`."""
    if seconds is None:
        return "-"
    whole = round(abs(seconds))
    if whole < 90:
        return f"{whole} s"
    minutes = round(whole / 60)
    if minutes < 90:
        return f"{minutes} min"
    if minutes < 48 * 60:
        return f"{minutes // 60} h {minutes % 60:02d} min"
    return f"{minutes // 1440} d {minutes % 1440 // 60} h"


def grams(amount: float | None) -> str:
    """An amount of CO2e for people; `-` when unknown, which is not 0."""
    if amount is None:
        return "-"
    if abs(amount) >= 1e6:
        return f"{amount / 1e6:.2f} t"
    if abs(amount) >= 1e4:
        return f"{amount / 1e3:.1f} kg"
    return f"{amount:.0f} g" if abs(amount) >= 10 or amount == 0 else f"{amount:.2g} g"


def _plain(value: object) -> object:
    if isinstance(value, datetime):
        return value.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    if isinstance(value, Path):
        return str(value)
    raise TypeError(f"{value!r} is no JSON value")
