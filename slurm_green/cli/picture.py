# SPDX-License-Identifier: Apache-2.0
"""The forecast as a picture; the only verb file that needs matplotlib, imported when asked for."""

import itertools
import math
from collections.abc import Sequence
from datetime import datetime, timedelta, tzinfo
from pathlib import Path
from typing import Any

from profiling.whole import whole_file
from slurm_green.cli.signal_origin import BUILT_IN, LAST_GOOD, NAIVE, Origin
from slurm_green.cli.signal_steps import Step
from slurm_green.errors import BadInputError, SlurmGreenError
from slurm_green.signals.climatology import CLIMATOLOGY
from slurm_green.signals.quantity import RENEWABLE
from slurm_green.signals.series import Series
from slurm_green.words import clean, length

__all__ = ["check_path", "draw"]

_KINDS = {".png", ".svg", ".pdf"}
_INK, _GREY = "#1f2a24", "#6b756f"
# Line, and how it is drawn: somebody's forecast solid, ours dashed, what is usual dotted.
_GREEN = ("#1b7f4b", "-")
_STYLES = {
    LAST_GOOD: ("#a35f00", "-"),
    BUILT_IN: ("#1f6fb2", (0, (5, 1.5))),
    NAIVE: ("#1f6fb2", "-."),
    CLIMATOLOGY: ("#7a6a94", (0, (1.2, 1.2))),
}


def check_path(path: Path) -> None:
    """Refuse a kind of picture that is not written, before anything is read or printed."""
    if path.suffix.lower() not in _KINDS:
        raise BadInputError(f"{path}: --plot writes {', '.join(sorted(_KINDS))}")


def draw(
    path: Path, series: Series, steps: Sequence[Step], *, zone: tzinfo, now_utc: datetime
) -> None:
    """Draw the steps; the file appears whole or not at all."""
    check_path(path)
    try:
        import matplotlib
    except ImportError as error:
        raise SlurmGreenError("--plot needs matplotlib: pip install 'slurm-green[plot]'") from error
    matplotlib.use("Agg")
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 4.6), layout="constrained", facecolor="white")
    axes = figure.add_subplot()
    step = timedelta(seconds=series.step_s)
    entries = _draw_steps(axes, steps, step)
    _mark_now(axes, now_utc)
    entries |= _mark_best(axes, series, steps, step)
    _dress(axes, series, steps, step, zone=zone, now_utc=now_utc)
    figure.legend(
        list(entries.values()),
        list(entries),
        loc="outside lower left",
        ncols=len(entries),
        frameon=False,
        fontsize=9,
        labelcolor=_INK,
        handlelength=3,
    )
    _save(figure, path)


def _draw_steps(axes: Any, steps: Sequence[Step], step: timedelta) -> dict[str, Any]:
    """A line and a band per origin; the entries of the legend."""
    parts = [list(part) for _, part in itertools.groupby(steps, lambda one: one.origin)]
    entries: dict[str, Any] = {}
    for number, part in enumerate(parts):
        colour, dashes = _style(part[0].origin)
        # To the next part's value, so that the line has no gap where the origin changes.
        follower = parts[number + 1][0].value if number + 1 < len(parts) else part[-1].value
        edges = [one.start_utc for one in part] + [part[-1].start_utc + step]
        (line,) = axes.plot(
            edges,
            [*(one.value for one in part), follower],
            drawstyle="steps-post",
            color=colour,
            linestyle=dashes,
            linewidth=1.8,
            solid_capstyle="butt",
            zorder=3,
        )
        low = [math.nan if one.p10 is None else one.p10 for one in part]
        high = [math.nan if one.p90 is None else one.p90 for one in part]
        if all(math.isnan(one) for one in (*low, *high)):
            entries.setdefault(part[0].origin.short, line)
            continue
        band = axes.fill_between(
            edges,
            [*low, low[-1]],
            [*high, high[-1]],
            step="post",
            color=colour,
            alpha=0.18,
            linewidth=0,
            zorder=2,
        )
        entries.setdefault(f"{part[0].origin.short}, p10 to p90", (band, line))
    return entries


def _style(origin: Origin) -> tuple[str, Any]:
    return _STYLES.get(origin.sort, _GREEN)


def _mark_now(axes: Any, now_utc: datetime) -> None:
    axes.axvline(now_utc, color=_INK, linewidth=1, zorder=4)
    axes.annotate(
        "now",
        (now_utc, 1),
        xycoords=("data", "axes fraction"),
        xytext=(4, -3),
        textcoords="offset points",
        va="top",
        fontsize=9,
        color=_INK,
    )


def _mark_best(axes: Any, series: Series, steps: Sequence[Step], step: timedelta) -> dict[str, Any]:
    """A dot in the middle of the first best step; none where all are alike."""
    if len({one.value for one in steps}) == 1:
        return {}
    extreme = max if series.quantity == RENEWABLE.name else min
    best = extreme(steps, key=lambda one: one.value)
    (dot,) = axes.plot(
        [best.start_utc + step / 2],
        [best.value],
        marker="o",
        markersize=6,
        linestyle="",
        markerfacecolor="white",
        markeredgecolor=_style(best.origin)[0],
        markeredgewidth=1.8,
        zorder=5,
    )
    return {f"{'highest' if extreme is max else 'lowest'}, {best.value:.3g}": dot}


def _dress(
    axes: Any,
    series: Series,
    steps: Sequence[Step],
    step: timedelta,
    *,
    zone: tzinfo,
    now_utc: datetime,
) -> None:
    """Axes in local time, title, and what the numbers are."""
    from matplotlib import dates

    untyped: Any = dates
    axes.set_xlim(steps[0].start_utc, steps[-1].start_utc + step)
    known = [amount for one in steps for amount in (one.value, one.p10) if amount is not None]
    if min(known) >= 0:
        axes.set_ylim(bottom=0)
    else:
        axes.axhline(0, color=_GREY, linewidth=0.8)
    locator = untyped.AutoDateLocator(tz=zone, minticks=5, maxticks=12)
    axes.xaxis.set_major_locator(locator)
    axes.xaxis.set_major_formatter(
        untyped.ConciseDateFormatter(
            locator,
            tz=zone,
            formats=["%Y", "%b %Y", "%a %d %b", "%H:%M", "%H:%M", "%H:%M:%S"],
            zero_formats=["", "%Y", "%a %d %b", "%a %d %b", "%a %d %b", "%H:%M"],
            show_offset=False,
        )
    )
    what = series.kind.what
    region = f", {clean(series.region)}" if series.region else ""
    axes.set_title(f"{what[0].upper()}{what[1:]}{region}", loc="left", color=_INK, fontsize=13)
    kinds = [one for one in (series.basis, series.scope) if one not in {"", "unknown"}]
    issued = f"issued {length(series.age_s(now_utc))} before now"
    carbon = series.quantity == "carbon_g_per_kwh"
    axes.set_title(
        " · ".join([*(kinds if carbon else []), issued]), loc="right", color=_GREY, fontsize=9
    )
    axes.set_ylabel(series.unit, color=_INK)
    first = steps[0].start_utc.astimezone(zone)
    name = getattr(zone, "key", first.tzname())
    axes.set_xlabel(f"from {first:%a} {first.day} {first:%b %Y}, times in {name}", color=_INK)
    axes.grid(axis="y", color="#e3e7e4", linewidth=0.8)
    axes.set_axisbelow(True)
    axes.tick_params(colors=_GREY, labelsize=9)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    for side in ("left", "bottom"):
        axes.spines[side].set_color("#b9c1bc")


def _save(figure: Any, path: Path) -> None:
    try:
        with whole_file(path, binary=True) as file:
            figure.savefig(file, format=path.suffix[1:].lower(), dpi=140)
    except OSError as error:
        raise BadInputError(f"{path}: cannot be written: {error.strerror or error}") from error
