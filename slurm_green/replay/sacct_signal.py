# SPDX-License-Identifier: Apache-2.0
"""The carbon intensity of a site's past as S.csv: out of a history's table, or of our own ledger.

Histories are what `sgreen signal backtest` reads: dated, packed or not, with gaps. Short gaps are
filled in a straight line and counted; nobody may take them for what was measured.
"""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np

from profiling.whole import whole_file
from slurm_green.errors import BadInputError, SignalError
from slurm_green.ledger.store import Store
from slurm_green.plan.problem import Floats
from slurm_green.signals.column_files import read_columns
from slurm_green.signals.measured import Measured
from slurm_green.signals.quantity import BASE_POWER, CARBON, PRICE, RENEWABLE
from slurm_green.signals.table import read_history

__all__ = ["plain_signal", "site_signal"]

_LEARN = timedelta(days=60)
_TABLES = (".csv", ".csv.gz", ".csv.xz", ".parquet")
_LONGEST_GAP_S = 6 * 3600.0


def plain_signal(path: Path, directory: Path) -> tuple[Path, tuple[str, ...]]:
    """A signal's file as `sgreen plan` reads it, and what was done to it.

    A CSV with start_s is that already. Another table becomes one in `directory`. Raises
    BadInputError.
    """
    if not path.name.endswith(_TABLES):
        return path, ()
    try:
        table = read_columns(path)
        names = table.names
        if path.suffix == ".csv" and "start_s" in names:
            return path, ()
        columns: dict[str, Floats] = {}
        notes: list[str] = []
        carbon = read_history(path)
        start_s, step_s = carbon.start_utc.timestamp(), carbon.step_s
        columns[CARBON.name] = _filled(path, carbon, notes)
        others = [one.name for one in (RENEWABLE, BASE_POWER, PRICE) if one.name in names]
        for name in (one for one in others if np.isfinite(table.amounts(one, one)).any()):
            more = read_history(path, name, step_s)
            columns[name] = _filled(path, more, notes)
    except SignalError as error:
        raise BadInputError(str(error)) from error
    return _written(directory, start_s, step_s, columns), tuple(notes)


def site_signal(
    store: Store, first_s: float, last_s: float, directory: Path
) -> tuple[Path, tuple[str, ...]]:
    """What the site's own signal said over that time, and if it goes so far back, before.

    Raises BadInputError where the ledger does not know all of it.
    """
    first, last = (datetime.fromtimestamp(one, UTC) for one in (first_s, last_s))
    series = store.signal(first - _LEARN, last) or store.signal(first, last)
    if series is None or series.time_scale != 1.0:
        raise BadInputError(
            f"the ledger {store.path} does not know the signal of all of {first:%Y-%m-%d %H:%M} to"
            f" {last:%Y-%m-%d %H:%M} UTC: give --signal, the carbon intensity of that time"
        )
    path = _written(
        directory, series.start_utc.timestamp(), series.step_s, {CARBON.name: series.values}
    )
    return path, (f"The signal is what {series.provider} told sgreend, {series.basis}.",)


def _filled(path: Path, past: Measured, notes: list[str]) -> Floats:
    """Without its gaps; BadInputError for one longer than six hours."""
    values = past.values
    known = np.flatnonzero(~np.isnan(values))
    gaps_s = (np.diff(known, prepend=-1, append=len(values)) - 1) * past.step_s
    for before, gap_s in zip([-1, *known.tolist()], gaps_s.tolist(), strict=True):
        if gap_s > _LONGEST_GAP_S:
            begins = past.start_utc + timedelta(seconds=(before + 1) * past.step_s)
            raise BadInputError(
                f"{path}: column {past.quantity}: {gap_s / 3600:g} h are missing from"
                f" {begins:%Y-%m-%d %H:%M} UTC on; gaps of up to 6 h are filled, fill in this one"
                " or give another file"
            )
    missing = len(values) - len(known)
    if missing:
        notes.append(f"{missing} steps without {past.quantity} are filled in a straight line.")
    return np.interp(np.arange(len(values)), known, values[known])


def _written(directory: Path, start_s: float, step_s: float, columns: Mapping[str, Floats]) -> Path:
    path = directory / "whole-signal.csv"
    amounts = list(zip(*(column.tolist() for column in columns.values()), strict=True))
    with whole_file(path) as file:
        file.write(",".join(("start_s", *columns)) + "\n")
        for at, row in enumerate(amounts):
            cells = (f"{start_s + at * step_s:.16g}", *(f"{one:.9g}" for one in row))
            file.write(",".join(cells) + "\n")
    return path
