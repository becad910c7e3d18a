# SPDX-License-Identifier: Apache-2.0
"""What a routing replay reads besides requests: sites, their power, and forecasts of it."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
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
_SITE = re.compile(r"\s*\[\[\s*site\s*\]\]")


def read_sites(path: Path) -> tuple[list[Site], list[str]]:
    """Read SITES.toml: sites, and the column of power of each; BadInputError or ProfileError."""
    file = TomlFile.read(path)
    document = file.values
    for key in document:
        if key != "site":
            raise BadInputError(f"{path}: {key}: no such table; wanted [[site]] for each site")
    tables = document.get("site")
    if not isinstance(tables, list) or not tables or not all(isinstance(x, dict) for x in tables):
        raise BadInputError(f"{path}: names no site; wanted a table [[site]] for each")
    sites, columns = [], []
    for number, table in enumerate(tables, 1):
        one = _Table(file=file, number=number, values=table)
        for key in table:
            if key not in _KEYS:
                raise one.bad(key, f"no such key; there are {', '.join(_KEYS)}")
        gpus, tp = one.whole("gpus"), one.whole("tp", 1)
        if gpus % tp:
            raise one.bad("gpus", f"{gpus} is not a multiple of tp {tp}")
        sites.append(
            Site(name=one.text("name"), gpus=gpus, rtt_s=one.amount("rtt_ms") / 1e3, tp=tp)
        )
        columns.append(one.text("power_column"))
        if columns[-1] == "start_s":
            raise one.bad("power_column", "start_s holds times; wanted watts")
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
                f"{path}: line {other[-1]}: column start_s: two rows have issued_s {one[0]:.15g} "
                f"and start_s {one[1]:.15g}; leave one out"
            )
    issued, tables = [], []
    for issued_s, group in groupby(rows, key=lambda one: one[0]):
        issued.append(issued_s)
        tables.append([one[1:-1] for one in group])
    return Forecast(supply=supply, issued_s=issued, rows=tables)


def _forecast_row(
    row: Row, columns: Sequence[str]
) -> tuple[float, float, list[float], list[float], int]:
    """When it was issued, from when it holds, what is expected, its p10; and its line."""
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
    return values["issued_s"], values["start_s"], expected, low, row.line


def _columns(names: Sequence[str]) -> tuple[Column, ...]:
    return (
        Column(name="start_s", kind=NUMBER, needed=True, signed=True),
        *(Column(name=one, kind=NUMBER, needed=True, zero=True) for one in dict.fromkeys(names)),
    )


@dataclass(frozen=True, kw_only=True)
class _Table:
    """One [[site]]: values checked as they are asked for; BadInputError names file, line, key."""

    file: TomlFile
    number: int
    values: dict[str, Any]

    def text(self, key: str) -> str:
        value = self.values.get(key)
        if not isinstance(value, str) or not value:
            raise self.bad(key, f"wanted a text; {_shown(value)}")
        return value

    def amount(self, key: str) -> float:
        value = self.values.get(key)
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < 1e6:
            raise self.bad(key, f"wanted a number from 0; {_shown(value)}")
        return float(value)

    def whole(self, key: str, default: int | None = None) -> int:
        value = self.values.get(key, default)
        if type(value) is not int or not 1 <= value <= 100_000:
            raise self.bad(key, f"wanted a whole number from 1 to 100000; {_shown(value)}")
        return value

    def bad(self, key: str, why: str) -> BadInputError:
        return BadInputError(
            f"{self.file.path}: {self._line(key)}[[site]] {self.number}: {key}: {why}"
        )

    def _line(self, key: str) -> str:
        """The key's, else that of its header; nothing where sites are written otherwise."""
        lines = self.file.body.splitlines()
        heads = [at for at, line in enumerate(lines, 1) if _SITE.match(line)]
        if len(heads) < self.number:
            return ""
        first, *after = [*heads[self.number - 1 :], len(lines) + 1]
        within = range(first + 1, after[0])
        found = (at for at in within if re.match(rf"\s*{re.escape(key)}\s*=", lines[at - 1]))
        return f"line {next(found, first)}: "


def _shown(value: Any) -> str:
    return "it is missing" if value is None else f"it is {value!r}"
