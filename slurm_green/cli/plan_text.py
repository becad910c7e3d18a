# SPDX-License-Identifier: Apache-2.0
"""A plan as tables in a terminal."""

import sys
from collections.abc import Iterator

from rich.console import Console
from rich.table import Table
from rich.text import Text

from slurm_green.cli.plan_facts import Facts
from slurm_green.cli.plan_words import (
    BAD,
    GOOD,
    TROUBLE_COLUMNS,
    figures,
    headline,
    tightness,
    trouble_rows,
)
from slurm_green.words import clean

__all__ = ["print_plan"]

_PIPE_COLUMNS = 100  # what is not a terminal has no width
_LISTED = 10
_STYLES = {GOOD: "green", BAD: "red"}


def print_plan(facts: Facts, *, colour: bool) -> None:
    """Print everything on stdout."""
    console = Console(
        file=sys.stdout,
        width=None if sys.stdout.isatty() else _PIPE_COLUMNS,
        no_color=not colour,
        highlight=False,
        emoji=False,
        markup=False,
    )
    console.print(Text(headline(facts), style="bold"))
    _print_rows(console, figures(facts))
    console.print(Text(f"\nWhere it is tight ({facts.clock.about})", style="bold"))
    _print_rows(console, tightness(facts))
    total = len(facts.late) + len(facts.unplaced)
    if total:
        _print_troubles(console, facts, total)


def _print_rows(console: Console, rows: Iterator[tuple[str, str, str]]) -> None:
    table = Table.grid(padding=(0, 2, 0, 0))
    table.add_column(no_wrap=True)
    table.add_column()
    for name, words, verdict in rows:
        table.add_row(Text(f"  {name}", style="dim"), Text(words, style=_STYLES.get(verdict, "")))
    console.print(table)


def _print_troubles(console: Console, facts: Facts, total: int) -> None:
    jobs = "job" if total == 1 else "jobs"
    console.print(Text(f"\nLate or without a place: {total:,} {jobs}", style="bold"))
    table = Table(box=None, padding=(0, 2, 0, 0))
    table.add_column()  # indents as above
    for name in TROUBLE_COLUMNS:
        narrow = name in {"Deadline", "Ends", "Late by"}
        table.add_column(name.upper(), header_style="dim", no_wrap=narrow)
    for row in trouble_rows(facts, _LISTED):
        table.add_row("", *(Text(clean(cell)) for cell in row))
    console.print(table)
    if total > _LISTED:
        more = f"  and {total - _LISTED:,} more: see late_job_ids of --json, or --report"
        console.print(Text(more))
