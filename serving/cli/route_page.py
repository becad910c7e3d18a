# SPDX-License-Identifier: Apache-2.0
"""A routing replay as one HTML page that works offline: figures, delays, power, what went where.

The trap: names are other people's text. Everything is escaped, and the page loads nothing.
"""

from collections.abc import Sequence
from dataclasses import replace
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from profiling.law import Floats
from slurm_green.cli.output import write_text
from slurm_green.cli.page import page_frame, page_table
from slurm_green.words import clean, number

if TYPE_CHECKING:
    from serving.replay.route.compare import Scene, Told
    from serving.replay.route.trace import Trace

__all__ = ["page", "write_page"]

_WIDE, _HIGH = 560, 220
_MOST_POINTS = 400
_COLOURS = 8


def write_page(
    path: Path, scene: "Scene", found: "dict[str, Told]", bound_rps: float | None
) -> None:
    """Write the page, whole or not at all; raises BadInputError where it cannot be written."""
    write_text(path, page(scene, found, bound_rps))


def page(scene: "Scene", found: "dict[str, Told]", bound_rps: float | None) -> str:
    """The page's HTML."""
    title = f"Routing {len(scene.trace):,} requests over {len(scene.sites)} sites"
    bound = "" if bound_rps is None else f" No policy can have more than {bound_rps:.4g}/s."
    parts = [
        f"<h1>{escape(title)}</h1><p class=soft>Simulated.{bound}</p>",
        f"<section><h2>Figures</h2>{_figures(found)}</section>",
        "<div class=cards>",
        _card("Good requests a second", _goodput(scene, found), found),
        _card("Share of answers within so many seconds", _delays(scene, found), found),
        "</div><div class=cards>",
        *(
            _card(
                f"Power at {one.name}: drawn, and there (dashed, up to the top)",
                _power(scene, found, k),
                found,
            )
            for k, one in enumerate(scene.sites)
        ),
        "</div>",
        f"<section><h2>Where requests were answered</h2>{_where(scene, found)}</section>",
    ]
    return page_frame(title, "".join(parts))


def _figures(found: "dict[str, Told]") -> str:
    rows = []
    for name, told in found.items():
        one = told.figures
        rows.append(
            [
                name,
                f"{one.goodput_rps:.4g}",
                number(one.attainment, ".2%"),
                number(one.e2e_p50_s, ".3g"),
                number(one.e2e_p99_s, ".3g"),
                f"{one.dropped:,}",
                f"{one.rerouted:,}",
                f"{one.energy_j / 3.6e6:.4g}",
                f"{one.unused_wh / 1e3:.4g}",
            ]
        )
    header = (
        "Policy", "Good/s", "Within SLO", "50 % done in, s", "99 % done in, s", "Dropped",
        "Sent anew", "kWh drawn", "kWh unused",
    )  # fmt: skip
    return page_table(header, rows, numbers=False)


def _where(scene: "Scene", found: "dict[str, Told]") -> str:
    rows = []
    for name, told in found.items():
        counts = [int((told.outcome.site == k).sum()) for k in range(len(scene.sites))]
        rows.append([name, *(f"{one / len(scene.trace):.1%}" for one in counts)])
    return page_table(["Policy", *(one.name for one in scene.sites)], rows, numbers=False)


def _card(title: str, picture: str, found: "dict[str, Told]") -> str:
    keys = "".join(
        f'<span><i class=line style="--k:var(--c{k % _COLOURS})"></i>{escape(clean(name))}</span>'
        for k, name in enumerate(found)
    )
    return (
        f"<section><h2>{escape(clean(title))}</h2>{picture}<div class=keys>{keys}</div></section>"
    )


def _goodput(scene: "Scene", found: "dict[str, Told]") -> str:
    from serving.replay.route.figures import met

    at_s = scene.trace.arrival_s - scene.trace.arrival_s[0]
    edges_s = np.linspace(0, max(float(at_s[-1]), 1.0), 61)
    lines = []
    for told in found.values():
        good = met(told.outcome, _moved(scene), scene.slo)
        counts, _ = np.histogram(at_s[good], edges_s)
        lines.append((edges_s[:-1], counts / np.diff(edges_s)))
    return _plot(lines, "/s")


def _delays(scene: "Scene", found: "dict[str, Told]") -> str:
    lines = []
    for told in found.values():
        took_s = told.outcome.end_s - _moved(scene).arrival_s
        shares = np.linspace(0, 1, 101)
        answered = took_s[~np.isnan(took_s)]
        if len(answered):
            lines.append(
                (np.quantile(answered, shares), 100 * shares * len(answered) / len(took_s))
            )
        else:
            lines.append((np.zeros(1), np.zeros(1)))
    return _plot(lines, " %")


def _power(scene: "Scene", found: "dict[str, Told]", site: int) -> str:
    lines = []
    zero_s = float(scene.trace.arrival_s[0])
    for told in found.values():
        rows = told.outcome.drawn
        lasted_s = np.maximum(np.diff(rows[:, 0]), 1e-9)
        lines.append((rows[:-1, 0], np.diff(rows[:, site + 1]) / lasted_s))
    first_s = min(float(xs[0]) for xs, _ in lines if len(xs))
    last_s = max(float(xs[-1]) for xs, _ in lines if len(xs))
    start_s = scene.supply.start_s - zero_s
    there = (start_s >= first_s - 1e-6) & (start_s <= last_s)
    most_w = 1.3 * max(float(ys.max(initial=1.0)) for _, ys in lines)
    supply_w = np.minimum(scene.supply.watts[site], most_w)
    return _plot(lines, " W", dashed=(start_s[there], supply_w[there]))


def _moved(scene: "Scene") -> "Trace":
    """The trace on the clock of the outcome, which starts with the first arrival."""
    return replace(scene.trace, arrival_s=scene.trace.arrival_s - scene.trace.arrival_s[0])


def _plot(
    lines: Sequence[tuple[Floats, Floats]],
    unit: str,
    dashed: tuple[Floats, Floats] | None = None,
) -> str:
    """Lines over seconds, from 0 up; `unit` is that of the amounts."""
    every = [*lines, *([] if dashed is None else [dashed])]
    filled = [(xs, ys) for xs, ys in every if len(xs)]
    left = min((float(xs.min()) for xs, _ in filled), default=0.0)
    right = max((float(xs.max()) for xs, _ in filled), default=1.0)
    top = max((float(ys.max()) for _, ys in filled), default=1.0)
    wide, high = max(right - left, 1e-9), max(top, 1e-9)

    def path(xs: Floats, ys: Floats, style: str) -> str:
        every = max(len(xs) // _MOST_POINTS, 1)
        points = " ".join(
            f"{(x - left) / wide * _WIDE:.1f},{_HIGH - y / high * _HIGH:.1f}"
            for x, y in zip(xs[::every].tolist(), ys[::every].tolist(), strict=True)
        )
        return f'<polyline fill="none" style="{style}" points="{points}"/>'

    drawn = [
        path(xs, ys, f"stroke:var(--c{k % _COLOURS});stroke-width:1.6")
        for k, (xs, ys) in enumerate(lines)
    ]
    if dashed is not None:
        drawn.append(path(*dashed, "stroke:var(--green);stroke-width:1.6;stroke-dasharray:5 4"))
    marks = "".join(
        f'<text x="{x}" y="{y}" text-anchor="{anchor}" style="fill:var(--soft);font-size:15px">'
        f"{text}</text>"
        for x, y, anchor, text in (
            (-8, 12, "end", f"{_amount(top)}{unit}"),
            (-8, _HIGH, "end", f"0{unit}"),
            (0, _HIGH + 19, "start", f"{_amount(left)} s"),
            (_WIDE, _HIGH + 19, "end", f"{_amount(right)} s"),
        )
    )
    return (
        f'<svg viewBox="-84 -4 {_WIDE + 92} {_HIGH + 28}" width="100%" role="img">'
        f"{''.join(drawn)}{marks}</svg>"
    )


def _amount(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"
