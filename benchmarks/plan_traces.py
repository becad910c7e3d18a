# SPDX-License-Identifier: Apache-2.0
"""Carbon intensity and weather for planning instances: real traces, or a made-up daily curve.

Real where eurosys24_ci and pgscen_ercot are found ($SLURM_GREEN_DATA, else ../shared/data beside
the checkout): the same seed gives another signal where they are not.
"""

import csv
import lzma
import os
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

__all__ = ["DATA", "carbon_g_per_kwh", "rows", "weather"]

DATA = Path(os.environ.get("SLURM_GREEN_DATA") or Path(__file__).parents[2] / "shared" / "data")

Floats = NDArray[np.float64]


def rows(name: str) -> tuple[list[str], list[list[str]]]:
    """Header and rows of a packed table."""
    with lzma.open(DATA / name, "rt", encoding="utf-8") as file:
        table = list(csv.reader(file))
    return table[0], table[1:]


def carbon_g_per_kwh(zone: str, hour: Floats, random: np.random.Generator) -> Floats:
    """Grams per kWh at these hours of 2022, between the hours a straight line."""
    name = "eurosys24_ci/ci_lca_2022_dev16.csv.xz"
    if zone == "synthetic" or not (DATA / name).exists():
        daily = np.sin(2 * np.pi * (hour - 14) / 24)
        weekly = np.sin(2 * np.pi * hour / 168)
        drift = np.convolve(random.normal(0, 12, len(hour) + 23), np.ones(24) / 5, "valid")
        return np.asarray(np.maximum(20.0, 350 + 120 * daily + 50 * weekly + drift))
    header, table = rows(name)
    if zone not in header[1:]:
        raise ValueError(f"zone {zone}: one of synthetic, {', '.join(header[1:])}")
    values = np.array([float(row[header.index(zone)]) for row in table])
    return np.asarray(np.interp(hour, np.arange(len(values)), values))


def weather(hour: Floats, random: np.random.Generator) -> Floats:
    """Wind and sun in the same hours of 2018, of any unit: as much energy from each."""
    if not (DATA / "pgscen_ercot/wind_actual.csv.xz").exists():
        wind = np.convolve(random.random(len(hour) + 29), np.ones(30) / 30, "valid") ** 3
        sun = np.maximum(0.0, np.sin(2 * np.pi * (hour - 8) / 24))
        return np.asarray(wind / wind.mean() + sun / max(sun.mean(), 1e-9))
    total = np.zeros(len(hour))
    for name in ("wind", "solar"):
        _, table = rows(f"pgscen_ercot/{name}_actual.csv.xz")
        year = np.array([sum(map(float, row[1:])) for row in table if row[0] >= "2018"])
        here = np.interp(hour, np.arange(len(year)), year)
        total += here / max(here.mean(), 1e-9)
    return total
