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
from profiling.number import is_plain

__all__ = [
    "Number",
    "Whole",
    "as_json",
    "clean",
    "emit_json",
    "emit_table",
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


class Number(click.FloatRange):
    """A finite number within bounds: click takes nan for any, inf for some, and 1_0 for 10."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Read one; refuses what only Python takes for a number."""
        _must_be_plain(self, value, param, ctx)
        found = super().convert(value, param, ctx)
        if not math.isfinite(found):
            self.fail(f"{found} is not a finite number.", param, ctx)
        return found


class Whole(click.IntRange):
    """A whole number within bounds; 123_4 is a task of an array and not 1234."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Read one; refuses what only Python takes for a number."""
        _must_be_plain(self, value, param, ctx)
        return super().convert(value, param, ctx)


def _must_be_plain(
    kind: Number | Whole, value: Any, param: click.Parameter | None, ctx: click.Context | None
) -> None:
    if isinstance(value, str) and not is_plain(value):
        kind.fail(f"{value!r} is not a valid {kind.name}.", param, ctx)


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
