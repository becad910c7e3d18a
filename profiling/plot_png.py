# SPDX-License-Identifier: Apache-2.0
"""Charts as one picture, by matplotlib, which is optional (the extra `plot`)."""

import io
from collections.abc import Sequence

import numpy as np

from profiling.errors import ProfileError
from profiling.plot_data import Chart

__all__ = ["png"]

_COLUMNS = 4


def png(charts: Sequence[Chart], title: str) -> bytes:
    """A PNG with a row per phase; raises ProfileError where matplotlib is not installed."""
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ProfileError(
            "a .png needs matplotlib: pip install 'slurm-green[plot]'; an .html page does without"
        ) from error
    phases = sorted({one.phase for one in charts})
    figure = Figure(figsize=(4.2 * _COLUMNS, 3.6 * len(phases) + 0.6), layout="constrained")
    FigureCanvasAgg(figure)
    figure.suptitle(title.replace("$", r"\$"))
    grid = figure.subplots(len(phases), _COLUMNS, squeeze=False)
    for row, phase in enumerate(phases):
        own = [one for one in charts if one.phase == phase]
        for column in range(_COLUMNS):
            axes = grid[row][column]
            if column >= len(own):
                axes.set_axis_off()
                continue
            chart = own[column]
            for line in chart.lines:
                x, y = np.array(line.x), np.array(line.y)
                good = np.array(line.front or (True,) * len(x))
                (drawn,) = axes.plot(
                    x[good], y[good], marker="o", markersize=4, linewidth=1.2, label=line.label
                )
                axes.plot(
                    x[~good], y[~good], "o", markersize=3, fillstyle="none", color=drawn.get_color()
                )
            axes.set(title=f"{phase}: {chart.title}", xlabel=chart.x_label, ylabel=chart.y_label)
            axes.set_ylim(bottom=0)
            axes.grid(alpha=0.3)
            axes.legend(fontsize="x-small")
    out = io.BytesIO()
    figure.savefig(out, format="png", dpi=110)
    return out.getvalue()
