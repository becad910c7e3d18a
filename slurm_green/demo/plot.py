# SPDX-License-Identifier: Apache-2.0
"""The demo's picture: the carbon day as an area, below it every job, start-now and chosen."""

import math
from collections.abc import Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from slurm_green.demo.account import Line
from slurm_green.demo.clock import Clock
from slurm_green.signals.series import Series

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["draw"]

_INK, _FAINT = "#26323a", "#8a969e"
_CHOSEN, _NOW, _OTHER = "#1f8a4c", "#c0503f", "#5b7083"
_CLEAN_TO_DIRTY = ("#58b368", "#c6d36f", "#f2c14e", "#ec8f4b", "#d1495b")
_BAR = 0.46


def draw(path: Path, lines: Sequence[Line], series: Series, clock: Clock, *, headline: str) -> None:
    """Write the PNG."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib.figure import Figure

    with matplotlib.rc_context({"font.size": 10, "text.color": _INK, "axes.edgecolor": _FAINT}):
        figure = Figure(figsize=(11.5, 7.4))
        height = 0.052 * len(lines)
        day = figure.add_axes((0.16, 0.12 + height + 0.035, 0.70, 0.74 - height))
        jobs = figure.add_axes((0.16, 0.12, 0.70, height + 0.01), sharex=day)
        begin, end = _span(lines, clock)
        _draw_day(day, series, clock, begin, end)
        _draw_jobs(jobs, lines, series, clock, begin, end)
        figure.text(0.02, 0.95, headline, fontsize=14, fontweight="bold")
        figure.text(
            0.02,
            0.918,
            "Real Slurm, real jobs. GPUs and joules emulated, the carbon day is a generated"
            " example that passes in two minutes.",
            fontsize=9,
            color=_FAINT,
        )
        _legend(figure)
        figure.savefig(path, dpi=100, facecolor="white")


def _span(lines: Sequence[Line], clock: Clock) -> tuple[float, float]:
    begin = min(clock.hours(line.row.submit_utc) for line in lines)
    ends = [clock.hours(line.end_utc) for line in lines if line.end_utc is not None]
    promised = [
        clock.hours(line.row.latest_utc)
        for line in lines
        if line.row.latest_utc and line.row.deferred
    ]
    return begin - 1.0, max([*ends, *promised], default=begin + 6.0) + 1.0


def _colours() -> Any:
    from matplotlib.colors import LinearSegmentedColormap

    return LinearSegmentedColormap.from_list("carbon", _CLEAN_TO_DIRTY)


def _steps(
    series: Series, clock: Clock, begin: float, end: float
) -> tuple[list[float], list[float], list[float]]:
    """Left edges and widths in demo hours, and values, of the signal's steps in the span."""
    first, last = clock.at(begin), clock.at(end)
    lefts, widths, values = [], [], []
    for index, value in enumerate(series.values):
        start = series.start_utc + timedelta(seconds=index * series.step_s)
        stop = start + timedelta(seconds=series.step_s)
        if stop <= first or start >= last:
            continue
        left = clock.hours(max(start, first))
        lefts.append(left)
        widths.append(clock.hours(min(stop, last)) - left)
        values.append(float(value))
    return lefts, widths, values


def _draw_day(axes: "Axes", series: Series, clock: Clock, begin: float, end: float) -> None:
    from matplotlib.colors import Normalize

    lefts, widths, values = _steps(series, clock, begin, end)
    scale = Normalize(min(values), max(values))
    axes.bar(
        lefts, values, width=widths, align="edge", color=_colours()(scale(values)), linewidth=0
    )
    axes.step([*lefts, end], [*values, values[-1]], where="post", color=_INK, linewidth=1.1)
    axes.set_ylim(0, max(values) * 1.12)
    axes.set_xlim(begin, end)
    axes.set_ylabel("gCO$_2$e / kWh", color=_FAINT)
    axes.tick_params(axis="x", labelbottom=False, length=0)
    axes.tick_params(axis="y", colors=_FAINT, length=0)
    for side in ("top", "right", "left"):
        axes.spines[side].set_visible(False)


def _draw_jobs(
    axes: "Axes", lines: Sequence[Line], series: Series, clock: Clock, begin: float, end: float
) -> None:
    from matplotlib.colors import Normalize

    lefts, widths, values = _steps(series, clock, begin, end)
    scale = Normalize(min(values), max(values))
    # The same colours, faint, so that the eye finds the valley again.
    axes.bar(
        lefts,
        [len(lines)] * len(lefts),
        bottom=-0.5,
        width=widths,
        align="edge",
        color=_colours()(scale(values)),
        alpha=0.16,
        linewidth=0,
    )
    for index, line in enumerate(lines):
        _draw_job(axes, len(lines) - 1 - index, line, clock, end)
    axes.set_ylim(-0.5, len(lines) - 0.5)
    axes.set_yticks(range(len(lines)), [_label(line) for line in reversed(lines)], color=_INK)
    axes.tick_params(axis="both", length=0)
    hours = range(math.ceil(begin / 3) * 3, math.floor(end) + 1, 3)
    axes.set_xticks(list(hours), [_hour(hour) for hour in hours], color=_FAINT)
    for side in ("top", "right", "left", "bottom"):
        axes.spines[side].set_visible(False)


def _draw_job(axes: "Axes", y: int, line: Line, clock: Clock, end: float) -> None:
    from matplotlib.patches import Rectangle

    row = line.row
    submit = clock.hours(row.submit_utc)
    moved = row.deferred
    spans = _merged([(clock.hours(a), clock.hours(b)) for a, b in row.runs if b is not None])
    for left, right in spans:
        chosen = _CHOSEN if moved else _OTHER
        axes.add_patch(
            Rectangle((left, y - _BAR / 2), right - left, _BAR, color=chosen, linewidth=0, zorder=3)
        )
    if moved and spans:
        length = max(right - left for left, right in spans)
        axes.add_patch(
            Rectangle(
                (submit, y - _BAR / 2),
                length,
                _BAR,
                facecolor="white",
                edgecolor=_NOW,
                linestyle=(0, (3, 2)),
                linewidth=1.2,
                zorder=3,
            )
        )
        axes.annotate(
            "",
            xy=(spans[0][0] - 0.05, y),
            xytext=(submit + length + 0.05, y),
            arrowprops={"arrowstyle": "-|>", "color": _FAINT, "linewidth": 1.0},
            zorder=2,
        )
        _draw_latest(axes, y, row.latest_utc, clock, end)
    axes.text(
        end + 0.25,
        y,
        _saving(line) if moved else "at once",
        va="center",
        color=_CHOSEN if moved else _FAINT,
        fontweight="bold" if moved else "normal",
        fontsize=9,
        clip_on=False,
    )


def _draw_latest(axes: "Axes", y: int, latest: datetime | None, clock: Clock, end: float) -> None:
    if latest is not None and (hour := clock.hours(latest)) <= end:
        axes.plot([hour, hour], [y - 0.36, y + 0.36], color=_INK, linewidth=1.6, zorder=4)


def _merged(spans: list[tuple[float, float]]) -> list[tuple[float, float]]:
    """An array's tasks as one bar where they run side by side."""
    merged: list[tuple[float, float]] = []
    for left, right in sorted(spans):
        if merged and left <= merged[-1][1]:
            merged[-1] = (merged[-1][0], max(merged[-1][1], right))
        else:
            merged.append((left, right))
    return merged


def _label(line: Line) -> str:
    count = f"{line.row.gpus} GPU{'s' if line.row.gpus != 1 else ''}"
    return f"{line.row.submitted.name}  ({count})"


def _saving(line: Line) -> str:
    if line.saved_g is None or not line.carbon_now_g:
        return "unknown"
    percent = 100 * line.saved_g / line.carbon_now_g
    sign = "\N{MINUS SIGN}" if percent >= 0 else "+"
    return f"{sign}{abs(percent):.0f} %  {line.saved_g / 1000:.2f} kg"


def _hour(hour: int) -> str:
    return f"{hour % 24:02d}:00"


def _legend(figure: Any) -> None:
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    handles = [
        Patch(
            facecolor="white", edgecolor=_NOW, linestyle=(0, (3, 2)), label="had it started at once"
        ),
        Patch(facecolor=_CHOSEN, label="where slurm-green let it run"),
        Patch(facecolor=_OTHER, label="left alone"),
        Line2D([], [], color=_INK, linewidth=1.6, label="promised: eligible by"),
    ]
    figure.legend(
        handles=handles,
        loc="lower left",
        bbox_to_anchor=(0.155, 0.01),
        ncols=4,
        frameon=False,
        fontsize=9,
        handlelength=1.6,
    )
