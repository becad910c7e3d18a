# SPDX-License-Identifier: Apache-2.0
"""The example that `sgreen replay --example` runs: four weeks of a small site, all of it generated.

Nothing in it was measured or happened. One seed gives one example, on every system.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from slurm_green.plan.problem import Floats
from slurm_green.replay.classes import Shape
from slurm_green.replay.traces import PastJob, Trace, write_rows, write_trace

__all__ = ["NOTES", "ExampleFiles", "example_forecast", "example_signal", "example_trace", "write"]

NOTES = (
    "GENERATED EXAMPLE: jobs, classes, power, carbon intensity, wind and sun are made up by"
    " slurm-green; no figure says anything about a real site.",
)
_HOUR_S = 3600.0
_DAYS = 28
_QUIET_DAYS = 4  # at the end, so that what came last has room to wait
_GPUS = 16
_IDLE_W = 100.0
_SEED = 1
_AHEAD_HOURS = 96
_ISSUE_HOURS = 12
# Errors of a day-ahead forecast of provider quality, by days ahead: mean absolute, relative.
_ERRORS = (0.087, 0.118, 0.131, 0.143)
# Rate of a shape: workers to this power. Clock -> (share of speed, share of power).
_SCALING = 0.92
_CLOCKS = {1410: (1.0, 1.0), 1095: (0.88, 0.70)}
_BUSY_W = 300.0  # what a busy GPU draws beyond an idle one


@dataclass(frozen=True, slots=True)
class _Kind:
    """A class of jobs: share of arrivals, its widths in GPUs, hours of work, slack in hours."""

    name: str
    share: float
    workers: tuple[int, ...]
    clocks: tuple[int, ...]
    median_hours: float  # on the first width at full clock
    preemptible: bool
    slack_hours: tuple[float, ...]


_KINDS = (
    _Kind("evaluate", 0.40, (1,), (1410,), 0.8, False, (2.0, 6.0, 24.0)),
    _Kind("finetune", 0.22, (4,), (1410,), 4.0, False, (6.0, 24.0, 48.0)),
    _Kind("sweep", 0.20, (1,), (1410,), 6.0, True, (24.0, 48.0)),
    _Kind("train", 0.10, (8, 4, 2), (1410, 1095), 8.0, False, (24.0, 48.0, 72.0)),
    _Kind("elastic", 0.08, (4, 2, 1), (1410, 1095), 10.0, True, (24.0, 48.0, 72.0)),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class ExampleFiles:
    """Where the example lies and what its site is."""

    jobs: Path
    classes: Path
    signal: Path
    forecast: Path
    gpus: int = _GPUS
    idle_w_per_gpu: float = _IDLE_W


def write(directory: Path, seed: int = _SEED) -> ExampleFiles:
    """Write the example's four files into a directory; raises BadInputError."""
    files = ExampleFiles(
        jobs=directory / "jobs.csv",
        classes=directory / "classes.csv",
        signal=directory / "signal.csv",
        forecast=directory / "forecast.csv",
    )
    signal = example_signal(seed)
    write_trace(example_trace(seed), files.jobs, files.classes)
    rows = ((_HOUR_S * at, *row) for at, row in enumerate(zip(*signal, strict=True)))
    write_rows(files.signal, ("start_s", "carbon_g_per_kwh", "renewable_w"), map(_cells, rows))
    write_rows(
        files.forecast,
        ("issued_s", "start_s", "carbon_g_per_kwh", "renewable_w"),
        map(_cells, example_forecast(signal, seed)),
    )
    return files


def example_trace(seed: int = _SEED, jobs: int = 300) -> Trace:
    """Jobs that come by day and on working days, in five classes of which three can adapt."""
    random = np.random.default_rng(seed)
    hours = np.arange((_DAYS - _QUIET_DAYS) * 24)
    day, hour = hours // 24 % 7, hours % 24
    weight = np.where(day < 5, 1.0, 0.35) * np.where((hour >= 8) & (hour < 19), 1.0, 0.25)
    arrival = random.choice(hours, size=jobs, p=weight / weight.sum()) + random.random(jobs)
    made = []
    for at, submit_h in enumerate(np.sort(arrival).tolist()):
        kind = _KINDS[int(random.choice(len(_KINDS), p=[one.share for one in _KINDS]))]
        work_s = kind.median_hours * _HOUR_S * float(np.clip(random.lognormal(0, 0.7), 0.1, 4))
        limit_s = work_s * float(random.uniform(1.1, 2.0))
        submit_s = round(submit_h * _HOUR_S)
        slack_s = float(random.choice(kind.slack_hours)) * _HOUR_S
        made.append(
            PastJob(
                job_id=f"{kind.name}-{at + 1}",
                class_name=kind.name,
                work=round(limit_s),
                actual_work=round(work_s),
                submit_s=submit_s,
                earliest_s=submit_s,
                deadline_s=round(submit_s + limit_s + slack_s),
                preemptible=kind.preemptible,
            )
        )
    shapes = tuple(shape for kind in _KINDS for shape in _shapes(kind))
    return Trace(jobs=tuple(made), shapes=shapes, gpus=_GPUS, idle_w=_IDLE_W, notes=NOTES)


def _shapes(kind: _Kind) -> Iterable[Shape]:
    for workers in kind.workers:
        for clock_mhz in kind.clocks:
            speed, power = _CLOCKS[clock_mhz]
            yield Shape(
                class_name=kind.name,
                workers=workers,
                clock_mhz=clock_mhz,
                rate=speed * (workers / kind.workers[0]) ** _SCALING,
                power_w=_BUSY_W * power * workers,
            )


def example_signal(seed: int = _SEED) -> tuple[list[float], list[float]]:
    """Hourly carbon intensity (g/kWh) and the site's own wind and sun (W).

    The grid is dirty in the evening, cleaner at noon, at weekends and while the wind blows, which
    comes in spells of a day or two; the site's own turbine feels the same wind.
    """
    random = np.random.default_rng([seed, 1])
    slots = _DAYS * 24
    hour, day = np.arange(slots) % 24, np.arange(slots) // 24
    wind = 1 / (1 + np.exp(-_wander(random, slots, memory_h=30)))
    cloud = np.repeat(random.uniform(0.3, 1.0, _DAYS), 24)
    sun = np.maximum(np.sin((hour - 6) / 12 * np.pi), 0.0) * cloud
    evening = np.exp(-(((hour - 19) / 3.0) ** 2)) + 0.5 * np.exp(-(((hour - 8) / 2.0) ** 2))
    demand = 1.0 + 0.35 * evening - np.where(day % 7 >= 5, 0.12, 0.0)
    carbon = 420 * demand - 190 * wind - 140 * sun + 12 * _wander(random, slots, memory_h=4)
    renewable_w = 2000 * wind**2 + 2500 * sun
    return _rounded(np.maximum(carbon, 40.0)), _rounded(renewable_w)


def example_forecast(
    signal: tuple[list[float], list[float]], seed: int = _SEED
) -> list[tuple[float, float, float, float]]:
    """Rows of a forecast issued twice a day for four days, with errors that grow by the day."""
    random = np.random.default_rng([seed, 2])
    carbon, renewable_w = (np.array(one) for one in signal)
    rows: list[tuple[float, float, float, float]] = []
    for issued in range(0, len(carbon), _ISSUE_HOURS):
        until = min(issued + _AHEAD_HOURS, len(carbon))
        ahead = np.arange(until - issued)
        # A mean absolute error of e is a standard deviation of 1.25 e.
        size = 1.25 * np.interp(ahead, np.arange(4) * 24 + 12, _ERRORS)
        off, wind_off = (1 + size * _wander(random, len(ahead), memory_h=8) for _ in range(2))
        seen_g = _rounded(np.maximum(carbon[issued:until] * off, 10.0))
        seen_w = _rounded(np.maximum(renewable_w[issued:until] * wind_off, 0.0))
        for at, (grams, watts) in enumerate(zip(seen_g, seen_w, strict=True)):
            rows.append((issued * _HOUR_S, (issued + at) * _HOUR_S, grams, watts))
    return rows


def _wander(random: np.random.Generator, slots: int, memory_h: float) -> Floats:
    """A process of mean 0 and deviation 1 that forgets within so many hours."""
    keep = float(np.exp(-1 / memory_h))
    noise = random.standard_normal(slots) * np.sqrt(1 - keep**2)
    found = np.empty(slots)
    last = float(random.standard_normal())
    for at in range(slots):
        last = keep * last + float(noise[at])
        found[at] = last
    return found


def _rounded(values: Floats) -> list[float]:
    """Digits that no system's arithmetic differs in."""
    return [round(one, 2) for one in values.tolist()]


def _cells(row: Sequence[float]) -> list[str]:
    return [f"{cell:.10g}" for cell in row]
