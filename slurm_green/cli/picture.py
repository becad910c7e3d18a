# SPDX-License-Identifier: Apache-2.0
"""The forecast as a picture; the only verb file that needs matplotlib, imported when asked for."""

import os
import tempfile
from datetime import datetime, timedelta, tzinfo
from pathlib import Path
from typing import Any

from slurm_green.errors import BadInputError, SlurmGreenError
from slurm_green.signals.series import Series

__all__ = ["draw"]

_KINDS = {".png", ".svg", ".pdf"}


def draw(path: Path, series: Series, rows: list[tuple[datetime, float]], zone: tzinfo) -> None:
    """Draw the steps; the file appears whole or not at all."""
    if path.suffix.lower() not in _KINDS:
        raise BadInputError(f"{path}: --plot writes {', '.join(sorted(_KINDS))}")
    try:
        import matplotlib
    except ImportError as error:
        raise SlurmGreenError("--plot needs matplotlib: pip install 'slurm-green[plot]'") from error
    matplotlib.use("Agg")
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 4), layout="constrained")
    axes = figure.add_subplot()
    end = rows[-1][0] + timedelta(seconds=series.step_s)
    edges: list[Any] = [at.astimezone(zone) for at, _ in rows] + [end.astimezone(zone)]
    values = [value for _, value in rows]
    axes.fill_between(edges, [*values, values[-1]], step="post", color="#2a7f4f", alpha=0.6)
    axes.set_ylabel(series.unit)
    axes.set_ylim(bottom=0)
    axes.set_title(f"Carbon intensity, {series.provider} {series.region}".rstrip())
    figure.autofmt_xdate()
    try:
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        os.close(handle)
        try:
            figure.savefig(name, format=path.suffix[1:].lower(), dpi=120)
            Path(name).chmod(0o644)
            Path(name).replace(path)
        finally:
            Path(name).unlink(missing_ok=True)
    except OSError as error:
        raise SlurmGreenError(f"{path}: cannot be written: {error.strerror}") from error
