# SPDX-License-Identifier: Apache-2.0
"""The picture of `sgreen migrate map`, by matplotlib, which is optional (the extra `plot`)."""

import io
from pathlib import Path
from typing import Any

import numpy as np

from profiling.whole import write_file
from slurm_green.errors import BadInputError
from slurm_green.migration.domain import fractions, largest_gb
from slurm_green.migration.feasibility import CLASS_A, Move

__all__ = ["draw"]

_KINDS = (".png", ".svg", ".html")
_COLOURS = ("#2a9d5c", "#a8d8a0", "#e8e4dc")  # A, B, C
_SIZES_GB = (1.0, 1000.0)
_GBPS = (0.5, 200.0)
_PAGE = """<!doctype html>
<html lang="en"><meta charset="utf-8"><title>Feasibility domain</title>
<style>body{{margin:2rem auto;max-width:60rem;font:16px sans-serif}}svg{{width:100%;height:auto}}
</style>
<h1>Where a move fits</h1>
{svg}
</html>
"""


def draw(move: Move, out: Path) -> None:
    """Write the picture; raises BadInputError for another suffix or without matplotlib."""
    kind = out.suffix.lower()
    if kind not in _KINDS:
        raise BadInputError(
            f"--out {out}: ends in {kind or 'nothing'}, allowed are .png, .svg, .html"
        )
    data = _drawn(move, "png" if kind == ".png" else "svg")
    if kind == ".html":
        text = data.decode()
        data = _PAGE.format(svg=text[text.index("<svg") :]).encode()
    write_file(out, data)


def _drawn(move: Move, file_kind: str) -> bytes:
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError as error:
        raise BadInputError(
            "a picture needs matplotlib: pip install 'slurm-green[plot]'"
        ) from error
    gbps, sizes_gb = np.geomspace(*_GBPS, 240), np.geomspace(*_SIZES_GB, 240)
    figure = Figure(figsize=(8, 5.5), layout="constrained")
    FigureCanvasAgg(figure)
    axes: Any = figure.subplots()
    shares = fractions(move, sizes_gb, gbps)
    top = max(float(shares.max()), 1.0) * 2
    edges = [0.0, CLASS_A, move.alpha, top] if move.alpha > CLASS_A else [0.0, move.alpha, top]
    colours = _COLOURS if move.alpha > CLASS_A else (_COLOURS[0], _COLOURS[2])
    axes.contourf(gbps, sizes_gb, shares, levels=edges, colors=colours)
    for share, style in ((CLASS_A, "--"), (move.alpha, "-")):
        axes.plot(
            gbps,
            largest_gb(move, gbps, share),
            style,
            color="#1d3b2a",
            linewidth=1.2,
            label=f"{share:.0%} of the window",
        )
    axes.set(
        xscale="log", yscale="log", xlim=_GBPS, ylim=_SIZES_GB,
        xlabel="bandwidth, Gbit/s", ylabel="checkpoint, GB",
        title=f"Moves that fit a window of {move.window_h:g} h (alpha {move.alpha:g})",
    )  # fmt: skip
    axes.grid(alpha=0.25, which="both")
    axes.legend(loc="lower right", title="green: A, light green: B, grey: C, does not fit")
    out = io.BytesIO()
    figure.savefig(
        out, format=file_kind, dpi=120, metadata={"Date": None} if file_kind == "svg" else None
    )
    return out.getvalue()
