# SPDX-License-Identifier: Apache-2.0
"""From a site's history and a signal to the four files that a replay reads.

The trap: the signal may be longer than the jobs. What lies before them is not replayed, but the
built-in forecaster has learned from it, as it would have.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from slurm_green.errors import BadInputError
from slurm_green.plan.csv_table import read_table
from slurm_green.plan.files import read_problem
from slurm_green.replay.builtin import built_in
from slurm_green.replay.forecasts import Forecasts
from slurm_green.replay.sacct import SacctTrace
from slurm_green.replay.traces import write_rows, write_trace

__all__ = ["HistoryFiles", "write_history"]

_WANTED = "start_s,carbon_g_per_kwh"
_LEARN_S = 60 * 86_400.0  # more of the past than this teaches little and takes time


@dataclass(frozen=True, slots=True, kw_only=True)
class HistoryFiles:
    """The files of a replay; `forecast` is None where the signal has no past to learn from."""

    jobs: Path
    classes: Path
    signal: Path
    forecast: Path | None
    notes: tuple[str, ...]


def write_history(
    found: SacctTrace,
    signal: Path,
    directory: Path,
    *,
    issue_every_s: float,
    gpus: int,
    named: Path | None = None,
) -> HistoryFiles:
    """Write jobs.csv, classes.csv, signal.csv and, with a past of four weeks, forecast.csv.

    The signal, whose start_s are POSIX seconds, must cover all jobs as they ran; what is beyond
    the last deadline is left out. Raises BadInputError, of a signal `named` so where it is.
    """
    files = [directory / f"{name}.csv" for name in ("jobs", "classes", "signal", "forecast")]
    write_trace(found.trace, files[0], files[1])
    table = read_table(signal, _WANTED)
    site = read_problem(files[0], files[1], table, gpus=gpus).site
    first_s, last_s = found.trace.span_s
    end_s = site.start_s + site.horizon_s
    if site.start_s > first_s or end_s < found.ended_s:
        raise BadInputError(
            f"{named or signal}: holds {_time(site.start_s)} to {_time(end_s)}, the jobs need"
            f" {_time(first_s)} to {_time(found.ended_s)} UTC: give a signal of that time, its"
            " start_s in POSIX seconds, or replay less of the jobs with --since and --until"
        )
    low = int((first_s - site.start_s) // site.step_s)
    high = min(site.slots, int(-(-(last_s - site.start_s) // site.step_s)))
    write_rows(files[2], table.names, table.rows[low:high])
    seen = slice(max(0, low - int(_LEARN_S // site.step_s)), high)
    past = replace(
        site,
        start_s=site.start_s + seen.start * site.step_s,
        carbon_g_per_kwh=site.carbon_g_per_kwh[seen],
        renewable_w=site.renewable_w[seen],
        base_power_w=site.base_power_w[seen],
    )
    forecasts = built_in(past, issue_every_s) if low > seen.start else None
    notes = []
    if last_s > end_s:
        late = sum(job.deadline_s > end_s for job in found.trace.jobs)
        notes.append(
            f"{late:,} jobs have deadlines after the signal's end, which cuts them short: a signal"
            f" until {_time(last_s)} UTC would not."
        )
    known = forecasts is not None and len(forecasts.start_s) > 0
    if forecasts is not None and known:
        write_rows(files[3], _forecast_names(forecasts), _rows(forecasts, past.start_s))
    else:
        notes.append(
            "The signal has less than four weeks before the first job: until then policies see"
            " what a short past lets expect."
        )
    return HistoryFiles(
        jobs=files[0],
        classes=files[1],
        signal=files[2],
        forecast=files[3] if known else None,
        notes=tuple(notes),
    )


def _forecast_names(forecasts: Forecasts) -> list[str]:
    return ["issued_s", "start_s", *forecasts.columns]


def _rows(forecasts: Forecasts, zero_s: float) -> Iterator[list[str]]:
    """F.csv, in the signal's own time; what is not known is an empty cell."""
    issued_s = np.repeat(forecasts.issued_s, np.diff(forecasts.first)) + zero_s
    columns = [column.tolist() for column in forecasts.columns.values()]
    starts_s = (forecasts.start_s + zero_s).tolist()
    for issue_s, start_s, *amounts in zip(issued_s.tolist(), starts_s, *columns, strict=True):
        cells = ("" if amount != amount else f"{amount:.9g}" for amount in amounts)
        yield [f"{issue_s:.16g}", f"{start_s:.16g}", *cells]


def _time(seconds: float) -> str:
    try:
        return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%d %H:%M}"
    except (ValueError, OverflowError, OSError):
        return f"{seconds:g}"
