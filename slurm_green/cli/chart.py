# SPDX-License-Identifier: Apache-2.0
"""A signal as bars in a terminal of 80 columns: days, origins, the band, the best time.

Pure: what is printed where is the verb's business.
"""

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, tzinfo

import click

from slurm_green.cli.signal_origin import BUILT_IN, NAIVE, Origin
from slurm_green.cli.signal_steps import Step
from slurm_green.signals.climatology import CLIMATOLOGY
from slurm_green.signals.quantity import BASE_POWER, CARBON, PRICE, RENEWABLE, Quantity

__all__ = ["chart"]

_WIDTH = 80
_BARS = 48
_LINES = 36  # with headings that still fits a screen
_SPANS_S = (
    1, 5, 10, 30, 60, 300, 600, 900, 1800,
    *(3600 * hours for hours in (1, 2, 3, 4, 6, 8, 12, 24, 48, 72, 168, 336)),
)  # fmt: skip
_DAY_S = 86_400
# Solid, up to what is expected, up to p90, an axis; and what an old terminal can show of them.
_FINE, _PLAIN = "█▓░│─", "#=-|-"
_EIGHTHS = "▏▎▍▌▋▊▉"
_BEST = {
    CARBON.name: "cleanest",
    PRICE.name: "cheapest",
    RENEWABLE.name: "most",
    BASE_POWER.name: "lowest",
}
_COLOURS = {BUILT_IN: "cyan", NAIVE: "cyan", CLIMATOLOGY: "bright_black"}


@dataclass(frozen=True, slots=True, kw_only=True)
class _Bar:
    at: datetime
    value: float
    p10: float | None
    p90: float | None
    origin: Origin


def chart(steps: Sequence[Step], quantity: Quantity, zone: tzinfo, *, fine: bool) -> list[str]:
    """Lines of the chart; `fine` says that the terminal knows block characters."""
    glyphs = _FINE if fine else _PLAIN
    span_s = _span_s(steps)
    bars = list(_bars(steps, zone, span_s))
    scale = _Scale(bars, glyphs, eighths=fine)
    best = _best(bars, quantity)
    digits = _digits(bars)
    clock = "%H:%M:%S" if any(bar.at.second for bar in bars) else "%H:%M"
    daily = span_s >= _DAY_S
    lines: list[str] = []
    for before, bar in zip([None, *bars], bars, strict=False):
        local = bar.at.astimezone(zone)
        if before is None or (not daily and before.at.astimezone(zone).date() != local.date()):
            lines.append(_rule(glyphs, "" if daily else f"{local:%a} {local.day} {local:%b}"))
        if before is None or before.origin != bar.origin:
            lines.append(_origin(bar.origin, first=before is None, glyph=glyphs[4]))
        day = f"{local:%a} {local.day:2} {local:%b}" if daily else f"{local:{clock}}"
        text = scale.drawn(bar)
        colour = _COLOURS.get(bar.origin.sort, "green")
        mark = click.style(f" {_BEST[quantity.name]}", bold=True) if bar is best else ""
        lines.append(f"{day} {bar.value:8.{digits}f} {click.style(text, fg=colour)}{mark}".rstrip())
    return [*lines, *_legend(bars, glyphs)]


class _Scale:
    """From amounts to columns: from zero, or from the lowest where prices fall below it."""

    def __init__(self, bars: Sequence[_Bar], glyphs: str, *, eighths: bool) -> None:
        amounts = [amount for bar in bars for amount in (bar.value, bar.p10, bar.p90)]
        known = [amount for amount in amounts if amount is not None]
        self.low = min(0.0, *known)
        self.high = max(0.0, *known)
        self.column = (self.high - self.low) / _BARS or 1.0
        self.glyphs = glyphs
        self.eighths = eighths

    def drawn(self, bar: _Bar) -> str:
        """One bar; without a band its end is exact to an eighth of a column."""
        cells = "".join(self._cell(bar, column) for column in range(_BARS)).rstrip()
        if bar.p90 is not None or not self.eighths or self.low < 0:
            return cells
        eighths = round(8 * bar.value / self.column)
        return self.glyphs[0] * (eighths // 8) + (_EIGHTHS[eighths % 8 - 1] if eighths % 8 else "")

    def _cell(self, bar: _Bar, column: int) -> str:
        middle = self.low + (column + 0.5) * self.column
        p10, p90 = bar.p10, bar.p90
        if p10 is not None and p10 <= middle <= bar.value:
            return self.glyphs[1]
        if p90 is not None and bar.value < middle <= p90:
            return self.glyphs[2]
        if min(0.0, bar.value) <= middle <= max(0.0, bar.value):
            return self.glyphs[0]
        return self.glyphs[3] if self.low < 0 and middle - self.column < 0 <= middle else " "


def _best(bars: Sequence[_Bar], quantity: Quantity) -> _Bar | None:
    """The first bar of the best value; None where all are alike."""
    extreme = max if quantity is RENEWABLE else min
    alike = len({bar.value for bar in bars}) == 1
    return None if alike else extreme(bars, key=lambda bar: bar.value)


def _span_s(steps: Sequence[Step]) -> float:
    """How much time a bar stands for: a round span, so that at most so many bars are needed."""
    if len(steps) <= _LINES:
        return 0.0
    total_s = (steps[-1].start_utc - steps[0].start_utc).total_seconds()
    wanted_s = total_s / (_LINES - 1)
    return float(next((one for one in _SPANS_S if one >= wanted_s), _SPANS_S[-1]))


def _bars(steps: Sequence[Step], zone: tzinfo, span_s: float) -> Iterator[_Bar]:
    for _, group in itertools.groupby(steps, lambda step: _group(step, zone, span_s)):
        part = list(group)
        yield _Bar(
            at=part[0].start_utc,
            value=sum(one.value for one in part) / len(part),
            p10=_mean([one.p10 for one in part]),
            p90=_mean([one.p90 for one in part]),
            origin=part[0].origin,
        )


def _group(step: Step, zone: tzinfo, span_s: float) -> tuple[object, ...]:
    """Steps of one origin in one span of local time, counted from midnight."""
    if span_s == 0:
        return (step.start_utc,)
    local = step.start_utc.astimezone(zone)
    day = local.toordinal()
    if span_s >= _DAY_S:
        return step.origin, day // (span_s // _DAY_S)
    second = local.hour * 3600 + local.minute * 60 + local.second
    return step.origin, day, second // span_s, local.utcoffset()


def _mean(amounts: Sequence[float | None]) -> float | None:
    known = [amount for amount in amounts if amount is not None]
    return sum(known) / len(known) if len(known) == len(amounts) else None


def _digits(bars: Sequence[_Bar]) -> int:
    """So many that neighbours differ: prices per kWh are fractions, carbon is not."""
    most = max(abs(bar.value) for bar in bars)
    return 0 if most >= 100 or most == 0 else 1 if most >= 10 else 4


def _rule(glyphs: str, text: str) -> str:
    """A line across, with the day on it."""
    head = f"{glyphs[4] * 2} {text} " if text else ""
    return head + glyphs[4] * (_WIDTH - len(head))


def _origin(origin: Origin, *, first: bool, glyph: str) -> str:
    words = origin.short if first else f"from here on: {origin.short}"
    return click.style(f"   {glyph} {words}"[:_WIDTH], fg=_COLOURS.get(origin.sort, "green"))


def _legend(bars: Sequence[_Bar], glyphs: str) -> list[str]:
    solid, expected, high = glyphs[0], glyphs[1], glyphs[2]
    if all(bar.p90 is None for bar in bars):
        return []
    return [
        f"{solid}{expected} up to what is expected, 8 of 10 times it is within "
        f"{expected}{high} (p10 to p90)"
    ]
