# SPDX-License-Identifier: Apache-2.0
"""Charts as one HTML page that needs no network and no script: drawn as SVG, values as tooltips.

The trap: names in a profile are other people's text; everything is escaped, and the page's own
policy forbids loading anything. Pure.
"""

import math
from collections.abc import Callable, Sequence
from html import escape

from profiling.plot_data import Chart, Line

__all__ = ["page", "ticks"]

_WIDTH, _HEIGHT = 460, 300
_LEFT, _RIGHT, _TOP, _BOTTOM = 58, 22, 10, 42
_STYLE = """
:root { color-scheme: light dark; --paper:#fff; --panel:#f5f7f6; --ink:#1c2522; --soft:#5d6863;
  --rule:#dde3e0; --c0:#3b6fb6; --c1:#d98a1f; --c2:#2b9aa8; --c3:#b0579a; --c4:#7d8f2a;
  --c5:#a5563c; --c6:#6b6bc4; --c7:#7c8681; }
@media (prefers-color-scheme: dark) { :root { --paper:#151a18; --panel:#1d2422; --ink:#e3e9e6;
  --soft:#9aa7a1; --rule:#333d39; --c0:#6f9fe0; --c1:#e6a545; --c2:#55bccb; --c3:#d283bf;
  --c4:#b0c257; --c5:#cf8468; --c6:#9d9df0; --c7:#8c9691; } }
body { font: 15px/1.5 system-ui, sans-serif; color: var(--ink); background: var(--paper);
  max-width: 78rem; margin: 0 auto; padding: 1.2rem; }
h1 { font-size: 1.4rem; margin: 0; } h2 { margin: 1.2rem 0 .3rem; text-transform: capitalize; }
h3 { font-size: 1rem; margin: 0; } p { margin: .3rem 0; color: var(--soft); }
.charts { display: grid; grid-template-columns: repeat(auto-fit, minmax(26rem, 1fr)); gap: 1rem; }
figure { margin: 0; background: var(--panel); border-radius: 8px; padding: .8rem; }
svg { width: 100%; height: auto; font-size: 11px; } text { fill: var(--soft); }
.rule { stroke: var(--rule); } .line { fill: none; stroke-width: 1.8; }
.key { font-size: .82rem; color: var(--soft); margin-right: .9rem; white-space: nowrap; }
.key i { display: inline-block; width: 14px; border-top: 3px solid; margin-right: .35em;
  vertical-align: middle; }
table { border-collapse: collapse; margin-top: .6rem; } th, td { text-align: left;
  padding: .15rem .9rem .15rem 0; vertical-align: top; } th { font-weight: 500;
  color: var(--soft); }
"""
_POLICY = "default-src 'none'; style-src 'unsafe-inline'"


def page(charts: Sequence[Chart], title: str, facts: Sequence[tuple[str, str]]) -> str:
    """The page's HTML; `facts` are rows of a table below the title."""
    rows = "".join(
        f'<tr><th scope="row">{escape(name)}</th><td>{escape(text)}</td></tr>'
        for name, text in facts
    )
    phases = dict.fromkeys(one.phase for one in charts)
    parts = "".join(
        f'<h2>{escape(phase)}</h2><div class="charts">'
        + "".join(_figure(one) for one in charts if one.phase == phase)
        + "</div>"
        for phase in phases
    )
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{_POLICY}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{escape(title)}</title>
<style>{_STYLE}</style>
</head>
<body>
<h1>{escape(title)}</h1>
<table>{rows}</table>
{parts}
<p>Made by sgreen profile plot. Filled dots on a Pareto front: no other setting is both faster and
more frugal.</p>
</body>
</html>
"""


def ticks(low: float, high: float, most: int = 6) -> list[float]:
    """Round numbers that span a range, at most so many steps."""
    span = high - low
    if span <= 1e-9 * abs(high):  # one value, but for how it was computed
        span = abs(high) or 1.0
    size = 10 ** math.floor(math.log10(span / most))
    step = next(size * one for one in (1, 2, 5, 10, 20) if span / (size * one) <= most)
    first = math.floor(low / step + 1e-9)
    last = math.ceil(high / step - 1e-9)
    return [float(f"{step * at:.12g}") for at in range(first, max(last, first + 1) + 1)]


def _figure(chart: Chart) -> str:
    x = ticks(min(min(line.x) for line in chart.lines), max(max(line.x) for line in chart.lines))
    y = ticks(0.0, max(max(line.y) for line in chart.lines))
    wide, high = _WIDTH - _LEFT - _RIGHT, _HEIGHT - _TOP - _BOTTOM

    def place(at_x: float, at_y: float) -> tuple[float, float]:
        return (
            _LEFT + wide * (at_x - x[0]) / (x[-1] - x[0]),
            _TOP + high * (1 - (at_y - y[0]) / (y[-1] - y[0])),
        )

    rules = "".join(
        f'<path class="rule" d="M{_LEFT},{place(x[0], one)[1]:.1f}h{wide}"/>'
        f'<text x="{_LEFT - 6}" y="{place(x[0], one)[1] + 4:.1f}" text-anchor="end">{one:g}</text>'
        for one in y
    )
    marks = "".join(
        f'<text x="{place(one, y[0])[0]:.1f}" y="{_HEIGHT - _BOTTOM + 16}" '
        f'text-anchor="middle">{one:g}</text>'
        for one in x
    )
    lines = "".join(_line(line, at, place, chart) for at, line in enumerate(chart.lines))
    keys = "".join(
        f'<span class="key"><i style="border-color:var(--c{at % 8})"></i>'
        f"{escape(line.label)}</span>"
        for at, line in enumerate(chart.lines)
    )
    return (
        f"<figure><h3>{escape(chart.title)}</h3>"
        f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" aria-label="{escape(chart.title)}">'
        f"{rules}{marks}{lines}"
        f'<text x="{_LEFT + wide / 2}" y="{_HEIGHT - 6}" text-anchor="middle">'
        f"{escape(chart.x_label)}</text>"
        f'<text transform="translate(13 {_TOP + high / 2}) rotate(-90)" text-anchor="middle">'
        f"{escape(chart.y_label)}</text></svg>{keys}</figure>"
    )


def _line(
    line: Line, at: int, place: Callable[[float, float], tuple[float, float]], chart: Chart
) -> str:
    colour = f"var(--c{at % 8})"
    marked = line.front or (True,) * len(line.x)
    points = [place(x, y) for x, y in zip(line.x, line.y, strict=True)]
    joined = [point for point, good in zip(points, marked, strict=True) if good]
    path = "M" + "L".join(f"{x:.1f},{y:.1f}" for x, y in joined)
    dots = "".join(
        f'<circle cx="{x:.1f}" cy="{y:.1f}" r="{3.2 if good else 2.2}" '
        f'fill="{colour if good else "var(--panel)"}" stroke="{colour}">'
        f"<title>{escape(line.label)}: {at_x:.6g} {escape(chart.x_label)}, {at_y:.4g} "
        f"{escape(chart.y_label)}</title></circle>"
        for (x, y), at_x, at_y, good in zip(points, line.x, line.y, marked, strict=True)
    )
    return f'<path class="line" stroke="{colour}" d="{path}"/>{dots}'
