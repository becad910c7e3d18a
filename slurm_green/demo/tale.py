# SPDX-License-Identifier: Apache-2.0
"""The words of the demo, around the live table."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path

from rich.console import Console
from rich.table import Table
from rich.text import Text

from slurm_green.demo.account import Line
from slurm_green.demo.batch import Submitted
from slurm_green.demo.clock import Clock
from slurm_green.demo.clocks import ClockLine, joules_per_work
from slurm_green.demo.site import Site
from slurm_green.ledger.report import Report
from slurm_green.words import grams, saved

__all__ = [
    "clocks",
    "farewell",
    "headline",
    "opening",
    "plain",
    "printed",
    "receipts",
    "stage",
    "submitted",
]


def opening(console: Console) -> None:
    """What is going to happen."""
    console.print()
    console.print("slurm-green demo", style="bold")
    console.print(
        "Real: slurmctld, slurmd, sbatch, the jobs, the submit hook, sgreend.\n"
        "Emulated: the GPUs. Prolog and sgreen-noded set their clocks; watts follow by a law.\n"
        "Example: the carbon day, generated; it passes in two minutes (x720).",
        style="dim",
    )


def stage(console: Console, site: Site) -> None:
    """What has come up."""
    spec, clock = site.cluster.spec, site.clock
    console.print(
        f"Slurm {site.cluster.version}: {spec.nodes} nodes with {spec.gpus} emulated GPUs each. "
        f"Partition main defers jobs up to {clock.length(60)} by itself."
    )
    console.print(f"It is {clock.text(datetime.now(UTC))} on the demo's clock: the evening peak.")
    console.print("\nUsers submit:", style="bold")


def submitted(console: Console, job: Submitted) -> None:
    """One submission, with the sentence that its user read."""
    options = " ".join(job.wish.options)
    command = f"sbatch {options} {job.wish.script}".replace("  ", " ")
    line = Text(f"  $ {command}")
    line.append(f"   # {job.wish.story}", style="dim")
    console.print(line)
    for said in job.said.splitlines():
        console.print(Text(f"    {said}", style="green"), soft_wrap=True)


def receipts(console: Console, lines: Sequence[Line], report: Report, clock: Clock) -> None:
    """The account of every job, and the site's."""
    sources = " and ".join(sorted(report.energy_sources)) or "unknown"
    table = Table(
        title=f"Receipts ({sources}, time-scaled)",
        title_justify="left",
        box=None,
        padding=(0, 1, 0, 0),
        pad_edge=False,
    )
    table.title_style = "bold"
    table.add_column("JOB", no_wrap=True)
    for name in ("SUBMITTED", "STARTED", "g/kWh", "KWH", "AT ONCE", "ACTUAL", "SAVED"):
        table.add_column(name, justify="right", no_wrap=True)
    for line in lines:
        got = "?" if line.run_g_per_kwh is None else f"{line.run_g_per_kwh:.0f}"
        deferred = line.row.submitted.wish.deferred
        table.add_row(
            line.row.submitted.name,
            clock.text(line.row.submit_utc),
            clock.text(line.row.started_utc),
            f"{line.submit_g_per_kwh:.0f} > {got}" if deferred else got,
            "?" if line.energy_kwh is None else f"{line.energy_kwh:.1f}",
            grams(line.carbon_now_g),
            grams(line.carbon_g),
            _saved(line) if deferred else Text("-", style="dim"),
        )
    console.print()
    console.print(table)
    console.print()
    console.print(headline(report), style="bold")


def clocks(console: Console, lines: Sequence[ClockLine], max_slowdown: float) -> None:
    """Clocks set and seen, and what the work took with and without one."""
    if not lines:
        return
    table = Table(
        title="Clocks (emulated GPUs; joules by their counters)",
        title_justify="left",
        box=None,
        padding=(0, 1, 0, 0),
        pad_edge=False,
    )
    table.title_style = "bold"
    table.add_column("JOB", no_wrap=True)
    for name in ("SET", "RAN AT", "KJ", "J PER GPU-SECOND OF WORK"):
        table.add_column(name, justify="right", no_wrap=True)
    for line in lines:
        table.add_row(
            line.name,
            "-" if line.set_mhz is None else f"{line.set_mhz:.0f} MHz",
            "?" if line.ran_mhz is None else f"{line.ran_mhz:.0f} MHz",
            "?" if line.energy_j is None else f"{line.energy_j / 1000:.1f}",
            "?" if line.joules is None else f"{line.joules:.0f}",
        )
    console.print()
    console.print(table)
    with_clock = joules_per_work([line for line in lines if line.clocked])
    without = joules_per_work([line for line in lines if not line.clocked])
    if with_clock is not None and without is not None:
        console.print(
            f"\nThe same work took {with_clock:.0f} J a GPU-second with a planned clock and"
            f" {without:.0f} J at full clock: {100 * (1 - with_clock / without):.0f} % less,"
            f" in at most {100 * (max_slowdown - 1):.0f} % more time.",
            style="bold",
        )


def headline(report: Report) -> str:
    """The result in one line: the site's figure, or the receipts' where there is none."""
    jobs = f"{report.deferred} of {report.jobs} jobs waited"
    site = report.site
    if site.saved_g is None or site.saved_percent is None:
        return f"{jobs}; their receipts save {grams(report.receipts_saved_g)}"
    return (
        f"{jobs}: the site {saved(site.saved_g)} CO2e ({abs(site.saved_percent):.0f} %)"
        " against FIFO, idle GPUs included"
    )


def printed(console: Console, command: str, text: str) -> None:
    """A command and what it printed."""
    console.print()
    console.print(Text(f"$ {command}", style="bold"))
    for line in text.splitlines():
        console.print(Text(f"  {line}"), soft_wrap=True)


def farewell(
    console: Console, files: Mapping[str, Path], wrong: Sequence[str], wall_s: float
) -> None:
    """Where the files are, and what did not happen."""
    console.print()
    for name, path in files.items():
        console.print(f"{name:>8}  {path}", soft_wrap=True)
    for sentence in wrong:
        console.print(Text(f"NOT AS TOLD: {sentence}", style="bold red"))
    console.print(f"Done in {wall_s:.0f} s; nothing is left running.", style="dim")


def plain(value: object) -> str:
    """Times and paths as JSON strings."""
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat().replace("+00:00", "Z")
    if isinstance(value, Path):
        return str(value)
    raise TypeError(f"{value!r} is no JSON value")


def _saved(line: Line) -> Text:
    if line.saved_g is None or not line.carbon_now_g:
        return Text("?")
    percent = 100 * line.saved_g / line.carbon_now_g
    return Text(f"{grams(line.saved_g)} {percent:.0f} %", style="green")
