# SPDX-License-Identifier: Apache-2.0
"""Lines of characters in which every column is a stretch of the demo's day. Pure."""

from dataclasses import dataclass
from datetime import datetime, timedelta

from rich.text import Text

from slurm_green.demo.watch import Row
from slurm_green.signals.series import Series

__all__ = ["Strip", "colour"]

_LEVELS = "▁▂▃▄▅▆▇█"
# From clean to dirty.
_COLOURS = ("#2e9e5b", "#7fb347", "#d6b13c", "#dd8a3a", "#cf5343")
WAITING, RAN, PLANNED, LATEST = "·", "█", "░", "│"


def colour(value: float, low: float, high: float) -> str:
    """A colour for an intensity between the day's extremes."""
    share = 0.0 if high <= low else (value - low) / (high - low)
    return _COLOURS[min(int(share * len(_COLOURS)), len(_COLOURS) - 1)]


@dataclass(frozen=True, slots=True, kw_only=True)
class Strip:
    """`width` columns over [start, end]."""

    start_utc: datetime
    end_utc: datetime
    width: int

    @property
    def _column_s(self) -> float:
        return (self.end_utc - self.start_utc).total_seconds() / self.width

    def column(self, at_utc: datetime) -> int:
        """The column of an instant, the first or last one for what lies outside."""
        index = (at_utc - self.start_utc).total_seconds() / self._column_s
        return min(max(int(index), 0), self.width - 1)

    def signal(self, series: Series, now_utc: datetime) -> Text:
        """The intensity as little bars; what is past is dim."""
        step = timedelta(seconds=self._column_s)
        edges = [self.start_utc + i * step for i in range(self.width + 1)]
        means = [series.mean(edges[i], edges[i + 1]) for i in range(self.width)]
        low, high = min(means), max(means)
        text, now = Text(), self.column(now_utc)
        for index, value in enumerate(means):
            share = 0.0 if high <= low else (value - low) / (high - low)
            style = colour(value, low, high)
            style = f"{style} reverse" if index == now else style
            text.append(
                _LEVELS[min(int(share * len(_LEVELS)), len(_LEVELS) - 1)],
                style=f"{style} dim" if index < now else style,
            )
        return text

    def job(self, row: Row, now_utc: datetime) -> Text:
        """Dots while it waits, a light bar where it is planned, a solid one where it ran."""
        marks = [(" ", "")] * self.width
        first = row.started_utc
        if row.latest_utc is not None and row.state == "waiting":
            self._put(marks, row.latest_utc, row.latest_utc, LATEST, "dim")
        if row.planned_utc is not None and first is None:
            end = row.planned_utc + timedelta(seconds=2 * self._column_s)
            self._put(marks, row.planned_utc, end, PLANNED, "green")
        waited = min(now_utc, first or now_utc)
        self._put(marks, row.submit_utc, waited, WAITING, "dim")
        style = "green" if row.deferred else "bright_black"
        for begin, stop in row.runs:
            self._put(marks, begin, stop or now_utc, RAN, style)
        text = Text()
        for mark, style in marks:
            text.append(mark, style=style)
        return text

    def _put(
        self,
        marks: list[tuple[str, str]],
        start: datetime,
        end: datetime,
        mark: str,
        style: str,
    ) -> None:
        for index in range(self.column(start), self.column(end) + 1):
            marks[index] = (mark, style)
