# SPDX-License-Identifier: Apache-2.0
"""What a routing replay reads besides requests: sites, their power, and forecasts of it."""

from collections.abc import Sequence
from itertools import groupby, pairwise
from pathlib import Path
from typing import Any

import numpy as np

from profiling.table import NUMBER, Column, Row, read_bytes, read_rows
from profiling.toml_file import TomlFile
from serving.replay.route.run import Site
from serving.replay.route.supply import Forecast, Supply
from slurm_green.errors import BadInputError

__all__ = ["read_forecast", "read_power", "read_sites"]

_KEYS = ("name", "gpus", "rtt_ms", "power_column", "tp")


def read_sites(path: Path) -> tuple[list[Site], list[str]]:
    """Read SITES.toml: sites, and the column of power of each; BadInputError or ProfileError."""
    document = TomlFile.read(path).values
    for key in document:
        if key != "site":
            raise BadInputError(f"{path}: {key}: no such table; wanted [[site]] for each site")
    tables = document.get("site")
    if not isinstance(tables, list) or not tables or not all(isinstance(x, dict) for x in tables):
        raise BadInputError(f"{path}: names no site; wanted a table [[site]] for each")
    sites, columns = [], []
    for number, table in enumerate(tables, 1):
        where = f"{path}: [[site]] {number}"
        for key in table:
            if key not in _KEYS:
                raise BadInputError(f"{where}: {key}: no such key; there are {', '.join(_KEYS)}")
        gpus = _whole(table, "gpus", where)
        tp = _whole(table, "tp", where, 1)
        if gpus % tp:
            raise BadInputError(f"{where}: gpus {gpus}: not a multiple of tp {tp}")
        sites.append(
            Site(
                name=_text(table, "name", where),
                gpus=gpus,
                rtt_s=_amount(table, "rtt_ms", where) / 1e3,
                tp=tp,
            )
        )
        columns.append(_text(table, "power_column", where))
        if columns[-1] == "start_s":
            raise BadInputError(f"{where}: power_column: start_s holds times; wanted watts")
    names = [one.name for one in sites]
    for name in names:
        if names.count(name) > 1:
            raise BadInputError(f"{path}: site {name} is there twice; give each its own name")
    if len({one.tp for one in sites}) > 1:
        raise BadInputError(f"{path}: sites with different tp; a replay has one kind of replica")
    return sites, columns


def read_power(path: Path, columns: Sequence[str]) -> Supply:
    """Read P.csv; rows must rise."""
    rows = list(read_rows(read_bytes(path), path, ("start_s", *columns)))
    if not rows:
        raise BadInputError(f"{path}: has no rows")
    starts: list[float] = []
    watts: list[list[float]] = []
    for row in rows:
        values = row.values(_columns(columns))
        if starts and values["start_s"] <= starts[-1]:
            raise BadInputError(f"{path}: line {row.line}: column start_s: must rise")
        starts.append(values["start_s"])
        watts.append([values[name] for name in columns])
    return Supply(start_s=np.array(starts), watts=np.ascontiguousarray(np.array(watts).T))


def read_forecast(path: Path, columns: Sequence[str], supply: Supply) -> Forecast:
    """Read F.csv: `issued_s,start_s`, the columns of power, and their `_p10` where they are known.

    Without one, half of what is expected is taken for it.
    """
    needed = ("issued_s", "start_s", *columns)
    rows = sorted(
        (_forecast_row(row, columns) for row in read_rows(read_bytes(path), path, needed)),
        key=lambda one: one[:2],
    )
    if not rows:
        raise BadInputError(f"{path}: has no rows; leave --forecast out if there is none")
    for one, other in pairwise(rows):
        if one[:2] == other[:2]:
            raise BadInputError(
                f"{path}: two rows have issued_s {one[0]:g} and start_s {one[1]:g}; leave one out"
            )
    issued, tables = [], []
    for issued_s, group in groupby(rows, key=lambda one: one[0]):
        issued.append(issued_s)
        tables.append([one[1:] for one in group])
    return Forecast(supply=supply, issued_s=issued, rows=tables)


def _forecast_row(
    row: Row, columns: Sequence[str]
) -> tuple[float, float, list[float], list[float]]:
    values = row.values(
        (
            Column(name="issued_s", kind=NUMBER, needed=True, signed=True),
            *_columns(columns),
            *(Column(name=f"{one}_p10", kind=NUMBER, zero=True) for one in columns),
        )
    )
    expected = [values[one] for one in columns]
    low = [
        0.5 * values[one] if values[f"{one}_p10"] is None else values[f"{one}_p10"]
        for one in columns
    ]
    return values["issued_s"], values["start_s"], expected, low


def _columns(names: Sequence[str]) -> tuple[Column, ...]:
    return (
        Column(name="start_s", kind=NUMBER, needed=True, signed=True),
        *(Column(name=one, kind=NUMBER, needed=True, zero=True) for one in dict.fromkeys(names)),
    )


def _text(table: dict[str, Any], key: str, where: str) -> str:
    value = table.get(key)
    if not isinstance(value, str) or not value:
        raise BadInputError(f"{where}: {key}: wanted a text; {_shown(value)}")
    return value


def _amount(table: dict[str, Any], key: str, where: str) -> float:
    value = table.get(key)
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < 1e6:
        raise BadInputError(f"{where}: {key}: wanted a number from 0; {_shown(value)}")
    return float(value)


def _whole(table: dict[str, Any], key: str, where: str, default: int | None = None) -> int:
    value = table.get(key, default)
    if type(value) is not int or not 1 <= value <= 100_000:
        raise BadInputError(
            f"{where}: {key}: wanted a whole number from 1 to 100000; {_shown(value)}"
        )
    return value


def _shown(value: Any) -> str:
    return "it is missing" if value is None else f"it is {value!r}"
