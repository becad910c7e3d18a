# SPDX-License-Identifier: Apache-2.0
"""The page of `sgreen migrate replay --report`: a table, and what policies took from the grid."""

import html
from pathlib import Path

import numpy as np

from profiling.whole import write_file
from slurm_green.errors import BadInputError
from slurm_green.migration.replay.result import Replay
from slurm_green.plan.problem import Floats

__all__ = ["write_page"]

_COLOURS = ("#777777", "#c0562f", "#3b6fb6", "#2a9d5c", "#8e5bb5", "#b8860b")
_WIDE, _HIGH, _POINTS = 960, 260, 480
_PAGE = """<!doctype html>
<html lang="en"><meta charset="utf-8"><title>Moves, replayed</title>
<style>body{{margin:2rem auto;max-width:62rem;font:16px sans-serif;color:#222}}
table{{border-collapse:collapse;width:100%}}td,th{{padding:.3rem .6rem;text-align:right}}
td:first-child,th:first-child{{text-align:left}}tr{{border-bottom:1px solid #ddd}}
svg{{width:100%;height:auto;background:#fafafa}}i{{display:inline-block;width:1em;height:.7em}}
</style>
<h1>Moves, replayed</h1>
<p>{jobs} jobs on {sites}: simulated, not measured. Only <b>oracle</b> knows what will come.</p>
{table}
<h2>Power that is not renewable, all sites</h2>
<p>Highest {top} kW, {days} days.</p>
{chart}
</html>
"""
_HEAD = ("policy", "not renewable MWh", "carbon kg", "completion h", "p95 h", "moves", "TB",
         "failed", "late")  # fmt: skip


def write_page(path: Path, found: Replay) -> None:
    """Write the page, whole; raises BadInputError for another suffix."""
    if path.suffix.lower() != ".html":
        raise BadInputError(f"--report {path}: ends in {path.suffix or 'nothing'}; wanted .html")
    powers = {name: one.net_w.sum(axis=0) / 1000 for name, one in found.results.items()}
    top_kw = max((float(one.max()) for one in powers.values()), default=0.0)
    page = _PAGE.format(
        jobs=f"{len(found.inputs.jobs):,}",
        sites=html.escape(", ".join(site.name for site in found.inputs.sites)),
        table=_table(found),
        top=f"{top_kw:,.0f}",
        days=f"{found.inputs.end_s / 86_400:.3g}",
        chart=_chart(powers, top_kw),
    )
    write_file(path, page.encode())


def _table(found: Replay) -> str:
    rows = ["<tr>" + "".join(f"<th>{name}</th>" for name in _HEAD) + "</tr>"]
    for at, (name, one) in enumerate(found.json()["policies"].items()):
        mean_s, p95_s = one["mean_completion_s"], one["p95_completion_s"]
        cells = [
            f'<i style="background:{_colour(at)}"></i> {html.escape(name)}',
            f"{one['nonrenewable_j'] / 3.6e9:.3f}",
            f"{one['carbon_g'] / 1000:,.1f}",
            "-" if mean_s is None else f"{mean_s / 3600:.2f}",
            "-" if p95_s is None else f"{p95_s / 3600:.2f}",
            f"{one['moves']}",
            f"{one['moved_bytes'] / 1e12:.2f}",
            f"{one['failed_moves']}",
            f"{one['late_jobs']}",
        ]
        rows.append("<tr>" + "".join(f"<td>{cell}</td>" for cell in cells) + "</tr>")
    return f"<table>{''.join(rows)}</table>"


def _chart(powers: dict[str, Floats], top_kw: float) -> str:
    lines = []
    for at, power_kw in enumerate(powers.values()):
        parts = np.array_split(power_kw, min(_POINTS, len(power_kw)))
        means = np.array([part.mean() for part in parts])
        x = np.linspace(0, _WIDE, len(means))
        y = _HIGH - means / max(top_kw, 1e-9) * _HIGH
        points = " ".join(f"{a:.1f},{b:.1f}" for a, b in zip(x, y, strict=True))
        lines.append(f'<polyline fill="none" stroke="{_colour(at)}" points="{points}"/>')
    return f'<svg viewBox="0 0 {_WIDE} {_HIGH}" role="img">{"".join(lines)}</svg>'


def _colour(at: int) -> str:
    return _COLOURS[at % len(_COLOURS)]
