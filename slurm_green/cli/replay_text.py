# SPDX-License-Identifier: Apache-2.0
"""A replay as a table in a terminal."""

import math
import sys
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table
from rich.text import Text

from slurm_green.words import clean

if TYPE_CHECKING:
    from slurm_green.replay.result import Replay

__all__ = ["print_replay"]

_PIPE_COLUMNS = 110  # what is not a terminal has no width
_WIDE = 100  # columns in which the longest rows stand with their headers in one line
_AGAINST = "fifo"
_COLUMNS = (
    "carbon",
    "less than fifo",
    "of what is possible",
    "wait",
    "p95",
    "late",
    "peak",
    "took",
)


def print_replay(found: "Replay", *, colour: bool) -> None:
    """Print everything on stdout."""
    console = Console(
        file=sys.stdout,
        width=None if sys.stdout.isatty() else _PIPE_COLUMNS,
        no_color=not colour,
        highlight=False,
        emoji=False,
        markup=False,
    )
    site, jobs = found.inputs.problem.site, len(found.inputs.problem.jobs)
    days = site.horizon_s / 86_400
    plural = "" if days == 1 else "s"
    console.print(
        Text(f"{jobs:,} jobs on {site.gpus:,} GPUs over {days:.3g} day{plural}", style="bold")
    )
    narrow = console.width < _WIDE
    table = Table(box=None, padding=(0, 1 if narrow else 2, 0, 0))
    # A name that is cut is none that --policy takes.
    table.add_column("POLICY", header_style="dim", no_wrap=True)
    for name in _COLUMNS:
        header = name.upper().replace(" ", "\n") if narrow else name.upper()
        table.add_column(header, header_style="dim", justify="right")
    for name, cells in _rows(found):
        table.add_row(clean(name), *cells)
    console.print(table)
    if found.lower_bound_g is not None:
        console.print(Text(f"no policy can emit less than {_kg(found.lower_bound_g)}", style="dim"))
    for note in found.inputs.notes:
        console.print(Text(f"note: {clean(note)}", style="dim"))


def _rows(found: "Replay") -> list[tuple[str, list[str]]]:
    base = found.results.get(_AGAINST)
    rows = []
    for name, one in found.results.items():
        figures = one.json()
        less = share = "-"
        if base is not None and base.carbon_g > 0:
            less = f"{1 - one.carbon_g / base.carbon_g:.1%}"
            room_g = base.carbon_g - (found.lower_bound_g or math.inf)
            if found.lower_bound_g is not None and room_g > 0:
                share = f"{(base.carbon_g - one.carbon_g) / room_g:.0%}"
        rows.append(
            (
                name,
                [
                    _kg(one.carbon_g),
                    less,
                    share,
                    _hours(figures["mean_wait_s"]),
                    _hours(figures["p95_wait_s"]),
                    f"{figures['late_jobs']:,}",
                    f"{figures['peak_w'] / 1000:,.4g} kW",
                    f"{one.wall_s:.1f} s",
                ],
            )
        )
    return rows


def _kg(grams: float) -> str:
    return f"{grams / 1000:,.1f} kg"


def _hours(seconds: float | None) -> str:
    return "-" if seconds is None else f"{seconds / 3600:.2f} h"
