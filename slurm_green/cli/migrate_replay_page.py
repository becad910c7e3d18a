# SPDX-License-Identifier: Apache-2.0
"""The page of `sgreen migrate replay --report`: a table, and what policies took from the grid."""

from collections.abc import Sequence
from html import escape
from pathlib import Path

import numpy as np

from slurm_green.cli.output import write_text
from slurm_green.cli.page import page_frame, page_table
from slurm_green.migration.replay.result import Replay
from slurm_green.plan.problem import Floats
from slurm_green.words import clean

__all__ = ["write_page"]

_COLOURS = 8
_WIDE, _HIGH, _POINTS = 960, 260, 480
_STYLE = """
section { margin: 1rem 0; } .n { text-align: right; }
svg { display: block; width: 100%; height: auto; }
polyline { fill: none; stroke-width: 1.5; }
"""


def write_page(
    path: Path, found: Replay, header: Sequence[str], rows: Sequence[Sequence[str]]
) -> None:
    """Write the page with this table, whole; raises BadInputError where it cannot be written."""
    powers = {name: one.net_w.sum(axis=0) / 1000 for name, one in found.results.items()}
    top_kw = max((float(one.max()) for one in powers.values()), default=0.0)
    sites = escape(clean(", ".join(site.name for site in found.inputs.sites)))
    keys = "".join(
        f'<span><i class="line" style="--k:{_colour(at)}"></i>{escape(clean(name))}</span>'
        for at, name in enumerate(powers)
    )
    body = f"""<h1>Moves, replayed</h1>
<p class="soft">{len(found.inputs.jobs):,} jobs on {sites}. Simulated, nothing here was measured;
only oracle knows what will come.</p>
<section>{page_table([name.capitalize() for name in header], rows)}</section>
<figure><figcaption><b>Power that is not renewable, all sites: highest {top_kw:,.0f} kW,
{found.inputs.end_s / 86_400:.3g} days</b><span class="keys">{keys}</span></figcaption>
{_chart(powers, top_kw)}</figure>
<footer class="soft">Made by sgreen migrate replay.</footer>
"""
    write_text(path, page_frame("Moves, replayed", body, style=_STYLE))


def _chart(powers: dict[str, Floats], top_kw: float) -> str:
    lines = []
    for at, power_kw in enumerate(powers.values()):
        parts = np.array_split(power_kw, min(_POINTS, len(power_kw)))
        means = np.array([part.mean() for part in parts])
        x = np.linspace(0, _WIDE, len(means))
        y = _HIGH - means / max(top_kw, 1e-9) * _HIGH
        points = " ".join(f"{a:.1f},{b:.1f}" for a, b in zip(x, y, strict=True))
        lines.append(f'<polyline stroke="{_colour(at)}" points="{points}"/>')
    return f'<svg viewBox="0 0 {_WIDE} {_HIGH}" role="img">{"".join(lines)}</svg>'


def _colour(at: int) -> str:
    return f"var(--c{at % _COLOURS})"
