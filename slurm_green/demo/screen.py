# SPDX-License-Identifier: Apache-2.0
"""What the demo shows while jobs wait and run: a live table, or plain lines where nobody looks."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from types import TracebackType
from typing import Protocol, Self

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from slurm_green.demo.clock import Clock
from slurm_green.demo.strip import Strip, colour
from slurm_green.demo.watch import Row
from slurm_green.signals.series import Series

__all__ = ["LiveScreen", "PlainScreen", "Screen"]

_STYLES = {"waiting": "green", "looked at": "cyan", "running": "bold", "queued": "yellow"}


class Screen(Protocol):
    """Shows the batch again and again until it is over."""

    def __enter__(self) -> Self:
        """Begin."""

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """End; what was shown last stays."""

    def show(self, rows: Sequence[Row], series: Series, now_utc: datetime) -> None:
        """Where everything stands now."""


@dataclass(kw_only=True)
class LiveScreen:
    """A table that keeps itself current, with every job's strip below the day's intensity."""

    console: Console
    clock: Clock
    start_utc: datetime
    _live: Live = field(init=False)

    def __post_init__(self) -> None:
        """Prepare the live display; it refreshes when told to."""
        self._live = Live(console=self.console, auto_refresh=False, vertical_overflow="visible")

    def __enter__(self) -> Self:
        """Take the screen."""
        self._live.__enter__()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Leave the last picture standing."""
        self._live.__exit__(kind, error, trace)

    def show(self, rows: Sequence[Row], series: Series, now_utc: datetime) -> None:
        """Draw it anew."""
        self._live.update(self.picture(rows, series, now_utc), refresh=True)

    def picture(self, rows: Sequence[Row], series: Series, now_utc: datetime) -> Group:
        """Everything, as one thing to print."""
        clock = self.clock
        strip = Strip(
            start_utc=self.start_utc,
            end_utc=self.start_utc + timedelta(seconds=24 * 3600 / clock.scale),
            width=min(max(self.console.width - 56, 12), 72),
        )
        value = series.at(now_utc)
        low, high = float(series.values.min()), float(series.values.max())
        head = Text("  demo clock ")
        head.append(clock.text(now_utc), style="bold")
        head.append("   grid ")
        head.append(f"{value:.0f} g/kWh", style=f"bold {colour(value, low, high)}")
        head.append(f"   (the day: {low:.0f} to {high:.0f})", style="dim")
        table = Table(box=None, padding=(0, 1, 0, 0), pad_edge=False, header_style="dim")
        for name in ("JOB", "GPUS", "STATE", "START", "BY"):
            table.add_column(name, no_wrap=True, justify="right" if name == "GPUS" else "left")
        table.add_column("IN", no_wrap=True, justify="right")
        table.add_column(self._hours(strip), no_wrap=True)
        table.add_row("", "", "", "", "", "", strip.signal(series, now_utc))
        for row in rows:
            left = _countdown(row, now_utc)
            table.add_row(
                Text(row.submitted.name),
                str(row.gpus or ""),
                Text(row.state, style=_STYLES.get(row.state, "dim" if row.over else "")),
                clock.text(row.started_utc or row.planned_utc),
                clock.text(row.latest_utc if row.deferred else None),
                "" if left is None else f"{left:.0f} s",
                strip.job(row, now_utc),
            )
        return Group(Text(), head, Text(), table, Text())

    def _hours(self, strip: Strip) -> Text:
        """The hours above the strip."""
        marks = [" "] * strip.width
        first = int(self.clock.hours(strip.start_utc)) + 1
        for hour in range(first + (-first) % 6, first + 24, 6):
            label, at = f"{hour % 24:02d}h", strip.column(self.clock.at(hour))
            if at + len(label) <= strip.width:
                marks[at : at + len(label)] = label
        return Text("".join(marks), style="dim")


@dataclass(kw_only=True)
class PlainScreen:
    """One line whenever a job's state changes; for logs, pipes and CI."""

    console: Console
    clock: Clock
    _shown: dict[int, str] = field(default_factory=dict)

    def __enter__(self) -> Self:
        """Nothing to prepare."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Nothing to end."""

    def show(self, rows: Sequence[Row], series: Series, now_utc: datetime) -> None:
        """Print what has changed since the last look."""
        for row in rows:
            key = row.submitted.job_id
            if self._shown.get(key) == row.state:
                continue
            self._shown[key] = row.state
            words = f"{self.clock.text(now_utc):<9}{series.at(now_utc):4.0f} g/kWh  "
            words += f"{row.submitted.name:<13} {row.state}"
            if row.state == "waiting":
                words += (
                    f", planned {self.clock.text(row.planned_utc)},"
                    f" eligible by {self.clock.text(row.latest_utc)}"
                )
            self.console.print(words, markup=False, highlight=False, soft_wrap=True)


def _countdown(row: Row, now_utc: datetime) -> float | None:
    if row.state != "waiting" or row.planned_utc is None:
        return None
    return max((row.planned_utc - now_utc).total_seconds(), 0.0)
