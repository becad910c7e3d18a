# SPDX-License-Identifier: Apache-2.0
"""The planner's file of inference services: a table of clocks for each.

The trap: how much a service has to do is not in this file but in the signal's, column NAME_rate.
"""

import math
from pathlib import Path

import numpy as np

from slurm_green.errors import BadInputError
from slurm_green.plan.csv_table import LEAST, CsvTable, read_table
from slurm_green.plan.problem import Floats, Service

__all__ = ["read_services"]

_SERVICES = ("service", "clock_mhz", "max_rate", "power_w", "latency_s")


def read_services(path: Path, signal: CsvTable) -> tuple[Service, ...]:
    """Read V.csv, one row per clock; the load per slot is the signal's column NAME_rate."""
    table = read_table(path, ",".join(_SERVICES))
    table.require(*_SERVICES)
    names = [cell.strip() for cell in table.texts("service")]
    if "" in names:
        raise table.bad(names.index(""), "service", "is empty; wanted the name of the service")
    clock_mhz = table.numbers("clock_mhz", 0, whole=True).astype(np.int64)
    max_rate = table.numbers("max_rate", LEAST)
    power_w = table.numbers("power_w", 0)
    latency_s = table.numbers("latency_s", LEAST)
    idle_w = table.numbers("idle_power_w", 0, empty=math.nan)
    idle_w = np.where(np.isnan(idle_w), power_w, idle_w)
    if (idle_w > power_w).any():
        row = int(np.argmax(idle_w > power_w))
        raise table.bad(
            row, "idle_power_w", f"{idle_w[row]:g} is above power_w; load does not save power"
        )
    slo_s = table.numbers("latency_slo_s", LEAST, empty=math.nan)
    weight = table.numbers("weight", 0, empty=math.nan)
    _refuse_repeated(table, names, clock_mhz.tolist())
    found = []
    for name in dict.fromkeys(names):
        rows = [row for row, one in enumerate(names) if one == name]
        found.append(
            Service(
                name=name,
                load_per_s=_load(table, rows[0], name, signal),
                clock_mhz=clock_mhz[rows],
                max_rate=max_rate[rows],
                power_w=power_w[rows],
                idle_power_w=idle_w[rows],
                latency_s=latency_s[rows],
                latency_slo_s=_one(table, "latency_slo_s", slo_s, rows, math.inf),
                weight=_one(table, "weight", weight, rows, 1.0),
            )
        )
    return tuple(found)


def _load(table: CsvTable, row: int, name: str, signal: CsvTable) -> Floats:
    column = f"{name}_rate"
    if column not in signal.names:
        raise BadInputError(
            f"{signal.path}: line 1: no column {column}, the requests per second of service "
            f"{name[:40]!r} ({table.path}: line {table.line(row)}); add it"
        )
    return signal.numbers(column, 0)


def _one(table: CsvTable, column: str, values: Floats, rows: list[int], none: float) -> float:
    """What all rows of a service that say anything agree on."""
    said = [row for row in rows if not math.isnan(values[row])]
    for row in said:
        if values[row] != values[said[0]]:
            raise table.bad(
                row,
                column,
                f"{values[row]:g}, but {values[said[0]]:g} on line {table.line(said[0])}; "
                "one value for the whole service",
            )
    return float(values[said[0]]) if said else none


def _refuse_repeated(table: CsvTable, names: list[str], clocks: list[int]) -> None:
    seen: set[tuple[str, int]] = set()
    for row, key in enumerate(zip(names, clocks, strict=True)):
        if key in seen:
            raise table.bad(
                row, "clock_mhz", f"service {key[0][:40]!r} has {key[1]} MHz twice; leave one out"
            )
        seen.add(key)
