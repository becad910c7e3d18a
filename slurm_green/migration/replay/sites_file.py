# SPDX-License-Identifier: Apache-2.0
"""SITES.toml: the sites of a replay with their signals and forecasts, and links between them."""

import math
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from slurm_green.errors import BadInputError
from slurm_green.migration.moves import Link
from slurm_green.migration.replay.inputs import Costs, Issue, ReplaySite
from slurm_green.plan.csv_table import MOST, read_table
from slurm_green.plan.files import read_site
from slurm_green.plan.problem import SECONDS_PER_HOUR
from slurm_green.plan.problem import Site as Signal

__all__ = ["Sites", "read_sites"]

_FORECAST = ("issued_s", "start_s")
_KEYS = {
    "moves": ("cycle_s", "horizon_h", "snapshot_s", "restart_s", "network_j_per_gb", "gbps",
              "efficiency"),
    "site": ("name", "gpus", "nodes", "signal", "forecast", "projects"),
    "link": ("between", "gbps", "efficiency"),
}  # fmt: skip
_MOST_BYTES = 2**22
_MOST_AHEAD = 100_000  # slots; each decision makes an outlook of so many


@dataclass(frozen=True, kw_only=True)
class Sites:
    """What the file says; `start_s` is the caller's time of the first slot."""

    sites: tuple[ReplaySite, ...]
    links: tuple[Link, ...]
    costs: Costs
    start_s: float
    step_s: float
    cycle_s: float
    horizon_s: float


def read_sites(path: Path) -> Sites:
    """Read the file and those it names, beside it; raises BadInputError."""
    document = _document(path)
    moves = _Table(path, "moves", document.get("moves", {}))
    tables = _tables(path, document, "site")
    if len(tables) < 2:
        raise BadInputError(f"{path}: {len(tables)} [[site]]; wanted at least two to move between")
    signals = [read_site(path.parent / table.text("signal")) for table in tables]
    _same_slots(path, tables, signals)
    first = signals[0]
    sites = tuple(_site(path, table, signal) for table, signal in zip(tables, signals, strict=True))
    names = [site.name for site in sites]
    for table, name in zip(tables, names, strict=True):
        if names.count(name) > 1:
            raise table.bad("name", f"{name!r} is there twice; wanted a name of its own")
    cycle_s = moves.number("cycle_s", max(900.0, first.step_s))
    if cycle_s < first.step_s or abs(cycle_s / first.step_s % 1.0) > 1e-9:
        raise moves.bad("cycle_s", f"{cycle_s:g} is no multiple of the slots' {first.step_s:g} s")
    horizon_h = moves.number("horizon_h", 24.0)
    if (ahead := SECONDS_PER_HOUR * horizon_h / first.step_s) > _MOST_AHEAD:
        raise moves.bad(
            "horizon_h",
            f"{horizon_h:g} is {ahead:g} slots of {first.step_s:g} s; wanted at most {_MOST_AHEAD}",
        )
    return Sites(
        sites=sites,
        links=_links(path, document, moves, names),
        costs=Costs(
            snapshot_s=moves.number("snapshot_s", 30.0),
            restart_s=moves.number("restart_s", 120.0),
            network_j_per_gb=moves.number("network_j_per_gb", 0.0),
        ),
        start_s=first.start_s,
        step_s=first.step_s,
        cycle_s=cycle_s,
        horizon_s=max(SECONDS_PER_HOUR * horizon_h, first.step_s),
    )


@dataclass(frozen=True, slots=True)
class _Table:
    """One table of the file, whose values are checked as they are asked for."""

    path: Path
    label: str
    values: Mapping[str, Any]

    def bad(self, key: str, why: str) -> BadInputError:
        return BadInputError(f"{self.path}: [{self.label}] {key}: {why}")

    def text(self, key: str) -> str:
        value = self.values.get(key)
        if not isinstance(value, str) or not value.strip():
            raise self.bad(key, f"{_said(value)}; wanted a text")
        return value

    def number(self, key: str, default: float | None = None, *, above: float = -1.0) -> float:
        value = self.values.get(key, default)
        good = isinstance(value, int | float) and not isinstance(value, bool)
        if not good or not max(above, -1e-300) < value <= MOST:
            wanted = "above 0" if above >= 0 else f"from 0 to {MOST:g}"
            raise self.bad(key, f"{_said(value)}; wanted a number {wanted}")
        return float(value)

    def count(self, key: str, default: int | None = None) -> int | None:
        value = self.values.get(key, default)
        if value is None and key in ("nodes",):
            return None
        if type(value) is not int or not 1 <= value <= 10**9:
            raise self.bad(key, f"{_said(value)}; wanted a whole number from 1")
        return value

    def texts(self, key: str) -> frozenset[str] | None:
        value = self.values.get(key)
        if value is None:
            return None
        if not isinstance(value, list) or not all(isinstance(one, str) for one in value):
            raise self.bad(key, f"{value!r} is not allowed; wanted a list of texts")
        return frozenset(value)


def _said(value: Any) -> str:
    return "is missing" if value is None else f"{value!r} is not allowed"


def _document(path: Path) -> dict[str, Any]:
    try:
        with path.open("rb") as file:
            data = file.read(_MOST_BYTES)
        document = tomllib.loads(data.decode("utf-8-sig"))
    except OSError as error:
        raise BadInputError(f"{path}: cannot be read: {error.strerror or error}") from error
    except ValueError as error:  # no TOML, not UTF-8, or a number of thousands of digits
        raise BadInputError(f"{path}: not TOML: {error}") from error
    for name in document:
        if name not in _KEYS:
            raise BadInputError(f"{path}: {name!r} is not known; there are {', '.join(_KEYS)}")
    _known(path, "moves", document.get("moves", {}))
    return document


def _tables(path: Path, document: dict[str, Any], kind: str) -> list[_Table]:
    values = document.get(kind, [])
    if not isinstance(values, list):
        raise BadInputError(f"{path}: write [[{kind}]], with two brackets, for each {kind}")
    for value in values:
        _known(path, kind, value)
    return [_Table(path, f"{kind} {at}", value) for at, value in enumerate(values, 1)]


def _known(path: Path, kind: str, values: Any) -> None:
    if not isinstance(values, dict):
        raise BadInputError(f"{path}: {kind}: wanted a table")
    for key in values:
        if key not in _KEYS[kind]:
            raise BadInputError(
                f"{path}: [{kind}] {key}: not known; there are {', '.join(_KEYS[kind])}"
            )


def _site(path: Path, table: _Table, signal: Signal) -> ReplaySite:
    issues: list[Issue] = []
    if "forecast" in table.values:
        issues = _issues(path.parent / table.text("forecast"), signal.start_s)
    gpus = table.count("gpus")
    assert gpus is not None
    return ReplaySite(
        name=table.text("name"),
        gpus=gpus,
        supply_w=signal.renewable_w,
        carbon_g_per_kwh=signal.carbon_g_per_kwh,
        base_w=signal.base_power_w,
        issues=issues,
        nodes=table.count("nodes"),
        projects=table.texts("projects"),
    )


def _same_slots(path: Path, tables: list[_Table], signals: list[Signal]) -> None:
    first = signals[0]
    for table, one in zip(tables, signals, strict=True):
        if (one.start_s, one.slots) != (first.start_s, first.slots) or not math.isclose(
            one.step_s, first.step_s
        ):
            raise table.bad(
                "signal",
                f"{one.slots} slots of {one.step_s:g} s from {one.start_s:g}, where the first site "
                f"has {first.slots} of {first.step_s:g} s from {first.start_s:g}; wanted the same",
            )


def _issues(path: Path, zero_s: float) -> list[Issue]:
    """Forecasts by issue, in time; empty cells and missing columns say nothing."""
    table = read_table(path, "issued_s,start_s,carbon_g_per_kwh,renewable_w")
    table.require(*_FORECAST)
    issued_s = table.numbers("issued_s", -MOST) - zero_s
    start_s = table.numbers("start_s", -MOST) - zero_s
    columns = {
        name: table.numbers(name, 0, empty=np.nan) for name in ("renewable_w", "carbon_g_per_kwh")
    }
    if not len(start_s):  # nobody forecast anything
        return []
    order = np.lexsort((start_s, issued_s))
    times, first = np.unique(issued_s[order], return_index=True)
    found = []
    for time_s, rows in zip(times.tolist(), np.split(order, first[1:]), strict=True):
        steps = np.diff(start_s[rows])
        if (steps <= 0).any():
            at = int(rows[int(np.argmax(steps <= 0)) + 1])
            raise table.bad(at, "start_s", "a second row of the same issue and start; leave it out")
        found.append(
            Issue(
                issued_s=time_s,
                middle_s=start_s[rows] + (float(np.median(steps)) if len(steps) else 3600.0) / 2,
                supply_w=columns["renewable_w"][rows],
                carbon_g_per_kwh=columns["carbon_g_per_kwh"][rows],
            )
        )
    return found


def _links(
    path: Path, document: dict[str, Any], moves: _Table, names: list[str]
) -> tuple[Link, ...]:
    """Of every pair of sites: as `moves` says, or as a link of its own."""
    speeds: dict[tuple[str, str], tuple[float, float]] = {}
    usual = _efficiency(moves, 0.8)
    if "gbps" in moves.values:
        gbps = moves.number("gbps", above=0.0)
        speeds = {(one, other): (gbps, usual) for one in names for other in names if one != other}
    for table in _tables(path, document, "link"):
        between = table.values.get("between")
        if not isinstance(between, list) or len(between) != 2 or between[0] == between[1]:
            raise table.bad("between", f"{between!r} is not allowed; wanted two sites")
        for name in between:
            if name not in names:
                raise table.bad("between", f"no site is called {name!r}; {', '.join(names)}")
        speed = table.number("gbps", above=0.0), _efficiency(table, usual)
        speeds[between[0], between[1]] = speeds[between[1], between[0]] = speed
    return tuple(
        Link(source=one, destination=other, gbps=gbps, efficiency=efficiency)
        for (one, other), (gbps, efficiency) in speeds.items()
    )


def _efficiency(table: _Table, usual: float) -> float:
    value = table.number("efficiency", usual, above=0.0)
    if value > 1:
        raise table.bad("efficiency", f"{value:g} is not allowed; wanted at most 1")
    return value
