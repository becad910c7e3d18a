# SPDX-License-Identifier: Apache-2.0
"""How the verbs of a profile print: one JSON object, or plain tables no name can play tricks in."""

import json
import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import click

from profiling.errors import ProfileError

__all__ = [
    "as_json",
    "clean",
    "emit_json",
    "emit_table",
    "finite",
    "named",
    "number",
    "percent",
    "profile_argument",
]

F = TypeVar("F", bound=Callable[..., Any])

as_json = click.option(
    "--json", "as_json", is_flag=True, help="Print one JSON object and nothing else."
)


def profile_argument(name: str) -> Callable[[F], F]:
    """A profile's directory."""
    return click.argument(name, type=click.Path(path_type=Path))


def finite(_ctx: click.Context, _param: click.Parameter, value: Any) -> Any:
    """A callback for options that are numbers: click takes nan for any, and inf for some."""
    for one in value if isinstance(value, tuple) else (value,):
        if one is not None and not math.isfinite(one):
            raise click.BadParameter(f"{one} is not a finite number.")
    return value


@contextmanager
def named(path: Path) -> Iterator[None]:
    """Puts the path before what is wrong with a profile as a whole."""
    try:
        yield
    except ProfileError as error:
        if str(path) in str(error):
            raise
        raise ProfileError(f"{path}: {error}") from error


def emit_json(value: dict[str, Any]) -> None:
    """Print one object; NaN, which JSON has not, is null."""
    click.echo(json.dumps(_plain(value), allow_nan=False, indent=2))


def emit_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print columns, aligned."""
    table = [[clean(cell) for cell in row] for row in (header, *rows)]
    widths = [max(len(row[at]) for row in table) for at in range(len(header))]
    for row in table:
        cells = (cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        click.echo("  ".join(cells).rstrip())


def clean(text: str) -> str:
    """Text of others without control characters and escape sequences."""
    return "".join(char if char.isprintable() else "?" for char in text)


def number(value: float | None, digits: int = 4) -> str:
    """A number for people; `-` for one that is not known."""
    return "-" if value is None or math.isnan(value) else f"{value:.{digits}g}"


def percent(value: float | None) -> str:
    """A share as a percentage; `-` for one that is not known."""
    return "-" if value is None or math.isnan(value) else f"{100 * value:.2f} %"


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _plain(one) for name, one in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(one) for one in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return str(value) if isinstance(value, Path) else value
