# SPDX-License-Identifier: Apache-2.0
"""Seeded planning instances that are known to be solvable without a late job.

`python benchmarks/plan_instances.py rigid FOLDER --jobs 1000 --seed 1` writes jobs.csv, classes.csv
and signal.csv as `sgreen plan` reads them, instance.json with the site's figures, and witness.csv:
the list schedule from which the deadlines were made, itself a valid plan of the instance.

Carbon intensities (eurosys24_ci) and wind and sun (pgscen_ercot) are real where the traces are
found ($SLURM_GREEN_DATA, else ../shared/data beside the checkout), else a made-up daily curve:
the same seed then gives another instance.
"""

import argparse
import csv
import heapq
import json
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from plan_traces import carbon_g_per_kwh, rows, weather  # type: ignore[import-not-found, unused-ignore]

__all__ = ["KINDS", "make"]

KINDS = ("rigid", "moldable", "preemptible", "mixed", "tight")
_LOAD = {"tight": 0.95}
_WORKERS = (1, 2, 4, 8)
_SHARE_OF_WORKERS = (0.5, 0.25, 0.15, 0.1)
_HOUR = 3600.0

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


@dataclass(frozen=True, kw_only=True)
class _Shapes:
    """Rows of classes.csv, and for each class the row that the witness uses."""

    rows: list[tuple[str, int, int, int, float, float]]
    usual: Ints
    flexible: NDArray[np.bool_]
    preemptible: NDArray[np.bool_]

    def column(self, number: int) -> Floats:
        """A column of the usual rows, one entry a class."""
        return np.array([self.rows[row][number] for row in self.usual], dtype=np.float64)


def make(
    kind: str,
    *,
    folder: Path,
    jobs: int = 1000,
    seed: int = 0,
    load: float | None = None,
    zone: str = "DE",
    days: float = 14.0,
    step_s: float = _HOUR,
    posix: bool = False,
    renewable_share: float | None = None,
    lengths: str = "lognormal",
) -> dict[str, Any]:
    """Writes one instance; returns gpus, cap, ramp, the load it has, and the options for a plan.

    `load` is the GPU-hours of all jobs over those of the site (0.75; tight: 0.95).
    `renewable_share` is the part of the demand that wind and sun would cover if the witness ran
    (0.35 for flexible kinds, 0 for rigid ones). `posix` puts the first slot at a time of day of
    2022 instead of 0. `lengths` is lognormal or gaia.
    """
    if kind not in KINDS:
        raise ValueError(f"kind {kind}: one of {', '.join(KINDS)}")
    random = np.random.default_rng([seed, KINDS.index(kind), jobs])
    load = _LOAD.get(kind, 0.75) if load is None else load
    if renewable_share is None:
        renewable_share = 0.0 if kind in ("rigid", "tight") else 0.35
    slots = round(days * 24 * _HOUR / step_s)
    horizon_s = slots * step_s

    shapes = _shapes(kind, max(4, min(80, jobs // 4)), random)
    class_of = random.integers(0, len(shapes.usual), jobs)
    duration_s = _durations(lengths, jobs, min(48 * _HOUR, horizon_s / 4), random)
    rate = shapes.column(4)[class_of]
    # What is written is rounded, and the witness must hold for what is written.
    work = np.maximum(np.round(duration_s * rate, 3), 0.001)
    duration_s = work / rate
    need = (shapes.column(1) * shapes.column(2))[class_of].astype(np.int64)
    gpus = max(
        math.ceil(float(need @ duration_s) / (load * horizon_s)),
        int(need.max()) if jobs else 8,
    )
    earliest_s, wanted_s, open_end = _wishes(duration_s, horizon_s, random)
    start_s, gpus, earliest_s = _witness(need, duration_s, earliest_s, wanted_s, gpus, horizon_s)
    end_s = start_s + duration_s
    deadline_s = np.minimum(np.ceil(np.maximum(wanted_s, end_s)), horizon_s)

    power_w = shapes.column(5)[class_of]
    planned_w = _slot_average_w(start_s, end_s, power_w, step_s, slots)
    hours: Floats = np.arange(slots, dtype=np.float64) * step_s / _HOUR
    first_hour = int(random.integers(0, 8000 - round(days * 24)))
    carbon = carbon_g_per_kwh(zone, first_hour + hours, random)
    base_w = np.zeros(slots)
    if kind not in ("rigid", "tight"):
        # Cooling and serving: a fifth of what the jobs draw, more in the afternoon.
        daily = 1 + 0.3 * np.sin(2 * np.pi * (hours + first_hour - 9) / 24)
        base_w = np.round(0.2 * planned_w.mean() * daily, 1)
    renewable_w = _scaled(weather(first_hour + hours, random), base_w + planned_w, renewable_share)
    cap_w = ramp_w = None
    if kind == "mixed":
        # The witness keeps both; a site with more GPUs than it used would like to do more at once.
        site_w = base_w + planned_w
        cap_w = float(np.ceil(site_w.max() * 1.01))
        ramp_w = float(np.ceil(max(np.diff(site_w).max() * 1.05, 0.05 * site_w.max())))
        gpus = math.ceil(1.2 * gpus)

    began = 0.0
    if posix:
        began = datetime(2022, 1, 1, tzinfo=UTC).timestamp() + first_hour * _HOUR
    folder.mkdir(parents=True, exist_ok=True)
    ids = [f"{kind[0]}{number}" for number in range(jobs)]
    names = [row[0] for row in (shapes.rows[one] for one in shapes.usual)]
    _write(
        folder / "jobs.csv",
        "job_id,class,work,earliest_s,deadline_s,preemptible",
        (
            (one, names[index], f"{amount:.3f}", f"{early:.0f}", "" if free else f"{late:.0f}", pre)
            for one, index, amount, early, late, free, pre in zip(
                ids,
                class_of.tolist(),
                work.tolist(),
                (began + earliest_s).tolist(),
                (began + deadline_s).tolist(),
                open_end.tolist(),
                shapes.preemptible[class_of].astype(int).tolist(),
                strict=True,
            )
        ),
    )
    _write(
        folder / "classes.csv", "class,workers,gpus_per_worker,clock_mhz,rate,power_w", shapes.rows
    )
    _write(
        folder / "signal.csv",
        "start_s,carbon_g_per_kwh,renewable_w,price_per_kwh,base_power_w",
        (
            (f"{began + number * step_s:.0f}", *rest)
            for number, rest in enumerate(
                zip(
                    np.round(carbon, 2).tolist(),
                    np.round(renewable_w, 1).tolist(),
                    np.round(0.04 + carbon / 5000, 5).tolist(),
                    base_w.tolist(),
                    strict=True,
                )
            )
        ),
    )
    usual = [shapes.rows[one] for one in shapes.usual]
    _write(
        folder / "witness.csv",
        "job_id,start_s,end_s,workers,clock_mhz,energy_j",
        (
            (one, repr(began + s), repr(began + e), usual[index][1], usual[index][3], round(w, 1))
            for one, index, s, e, w in zip(
                ids,
                class_of.tolist(),
                start_s.tolist(),
                end_s.tolist(),
                (power_w * duration_s).tolist(),
                strict=True,
            )
        ),
    )
    options = ["--jobs", str(folder / "jobs.csv"), "--classes", str(folder / "classes.csv")]
    options += ["--signal", str(folder / "signal.csv"), "--gpus", str(gpus)]
    options += [] if cap_w is None else ["--power-cap-w", repr(cap_w)]
    options += [] if ramp_w is None else ["--ramp-w-per-slot", repr(ramp_w)]
    site_j = (base_w + planned_w).sum()
    made: dict[str, Any] = {
        "kind": kind,
        "jobs": jobs,
        "seed": seed,
        "zone": zone,
        "gpus": gpus,
        "slots": slots,
        "step_s": step_s,
        "power_cap_w": cap_w,
        "ramp_w_per_slot": ramp_w,
        "load": float(need @ duration_s) / (gpus * horizon_s),
        "renewable_share": float(np.minimum(renewable_w, base_w + planned_w).sum() / site_j)
        if site_j
        else 0.0,
        "witness_carbon_g": float(
            (np.round(carbon, 2) * np.maximum(base_w + planned_w - renewable_w, 0)).sum()
            * step_s
            / 3.6e6
        ),
        "options": options,
    }
    (folder / "instance.json").write_text(json.dumps(made, indent=1) + "\n", encoding="utf-8")
    return made


def _shapes(kind: str, classes: int, random: np.random.Generator) -> _Shapes:
    """Classes of one shape, or of 4 worker counts x 2 clocks; mixed has both."""
    flexible = np.full(classes, kind in ("moldable", "preemptible"))
    preemptible = np.full(classes, kind == "preemptible")
    if kind == "mixed":
        flexible = np.arange(classes) % 3 > 0
        preemptible = np.arange(classes) % 3 == 2
    rows: list[tuple[str, int, int, int, float, float]] = []
    usual = []
    # Stratified, so that the mean size of a job does not depend on a few draws.
    order = random.permutation(classes)
    quantile = (order + random.random(classes)) / classes
    sizes = np.searchsorted(np.cumsum(_SHARE_OF_WORKERS), quantile)
    for number in range(classes):
        name = f"{'fpm'[int(flexible[number]) + int(preemptible[number])]}{number}"
        gpu_w = float(random.uniform(300, 700))
        speed = float(np.round(random.uniform(0.5, 20), 3))
        workers = _WORKERS[min(int(sizes[number]), 3)]
        if not flexible[number]:
            usual.append(len(rows))
            rows.append((name, workers, 1, 1410, speed, round(workers * gpu_w, 1)))
            continue
        # Sub-linear growth with workers; and the clock that needs least energy: on an A100 about
        # 1.2 times the time for 0.73 times the energy (perseus_sosp24), less for memory-bound work.
        growth = random.uniform(0.75, 0.95)
        slower = random.uniform(1.08, 1.25)
        power = random.uniform(0.72, 0.85) / slower
        for count in _WORKERS:
            if count == workers:
                usual.append(len(rows))
            fast = round(speed * count**growth, 4)
            full_w = round(count * gpu_w, 1)
            rows.append((name, count, 1, 1410, fast, full_w))
            rows.append((name, count, 1, 1080, round(fast / slower, 4), round(full_w * power, 1)))
    return _Shapes(
        rows=rows,
        usual=np.array(usual, dtype=np.int64),
        flexible=flexible,
        preemptible=preemptible,
    )


def _durations(
    lengths: str, jobs: int, longest_s: float, random: np.random.Generator
) -> NDArray[np.float64]:
    """10 min to 48 h (a quarter of a short horizon), the median about 3 h."""
    if lengths == "gaia":
        _, table = rows("gaia_jobs/pai-100k_first40pct.csv.xz")
        pool = np.array([float(row[1]) for row in table]) * _HOUR
        drawn = random.choice(pool[pool >= 600], jobs)
    else:
        drawn = random.lognormal(math.log(3 * _HOUR), 1.2, jobs)
    return np.asarray(np.clip(drawn, 600.0, longest_s), dtype=np.float64)


def _wishes(
    duration_s: Floats, horizon_s: float, random: np.random.Generator
) -> tuple[Floats, Floats, NDArray[np.bool_]]:
    """Earliest starts, deadlines as their owners would like them, and who has none."""
    jobs = len(duration_s)
    # A tenth waits already when the plan is made.
    arrival = np.where(random.random(jobs) < 0.1, 0.0, random.random(jobs))
    earliest_s = np.floor(arrival * np.maximum(0.0, 0.92 * horizon_s - 1.1 * duration_s))
    slack_s = random.uniform(0, 48 * _HOUR, jobs)
    sort = random.random(jobs)
    slack_s[sort < 0.25] = random.uniform(0, 3 * _HOUR, int((sort < 0.25).sum()))
    slack_s[sort < 0.08] = 0.0
    stretch = np.where(sort < 0.08, 0.0, random.uniform(0, 0.5, jobs))
    wanted_s = np.ceil(earliest_s + duration_s * (1 + stretch) + slack_s)
    open_end = sort > 0.92
    wanted_s = np.where(open_end, horizon_s, np.minimum(wanted_s, horizon_s))
    return earliest_s, wanted_s, open_end


def _witness(
    need: Ints,
    duration_s: Floats,
    earliest_s: Floats,
    wanted_s: Floats,
    gpus: int,
    horizon_s: float,
) -> tuple[Floats, int, Floats]:
    """Starts on a site that ends within the horizon: jobs come earlier, then GPUs are added."""
    for attempt in range(200):
        start_s = _list_schedule(need, duration_s, earliest_s, wanted_s, gpus)
        if not len(need) or (start_s + duration_s).max() <= horizon_s - 1:
            return start_s, gpus, earliest_s
        if attempt < 6:
            earliest_s = np.floor(0.85 * earliest_s)
        else:
            gpus = math.ceil(gpus * 1.01)
    raise RuntimeError("no list schedule ends within the horizon: fewer jobs or a lower load")


def _list_schedule(
    need: Ints, duration_s: Floats, earliest_s: Floats, wanted_s: Floats, gpus: int
) -> Floats:
    """Whoever must start first does, smaller jobs overtake one that can wait for two hours more."""
    starts = np.zeros(len(need))
    order = np.argsort(earliest_s, kind="stable").tolist()
    early, sizes, length = earliest_s.tolist(), need.tolist(), duration_s.tolist()
    latest = (wanted_s - duration_s).tolist()
    waiting: dict[int, list[tuple[float, int]]] = {size: [] for size in sorted(set(sizes))}
    running: list[tuple[float, int]] = []
    free, came, now = gpus, 0, 0.0
    while came < len(order) or running or any(waiting.values()):
        while came < len(order) and early[order[came]] <= now:
            one = order[came]
            heapq.heappush(waiting[sizes[one]], (latest[one], one))
            came += 1
        while heads := [(queue[0][0], size) for size, queue in waiting.items() if queue]:
            head, size = min(heads)
            if size > free:
                fitting = [one for one in heads if one[1] <= free]
                if not fitting or head < now + 2 * _HOUR:
                    break
                size = min(fitting)[1]
            _, one = heapq.heappop(waiting[size])
            starts[one] = now
            free -= size
            heapq.heappush(running, (now + length[one], size))
        upcoming = [running[0][0]] if running else []
        upcoming += [early[order[came]]] if came < len(order) else []
        if not upcoming:
            break
        now = min(upcoming)
        while running and running[0][0] <= now:
            free += heapq.heappop(running)[1]
    return starts


def _slot_average_w(
    start_s: Floats, end_s: Floats, power_w: Floats, step_s: float, slots: int
) -> Floats:
    """Average power of all stretches per slot, from the integral of their steps."""
    joules = np.zeros(slots + 2)  # second difference of the energy up to each border
    for time_s, sign in ((start_s, 1.0), (end_s, -1.0)):
        slot = np.minimum(time_s / step_s, slots).astype(np.int64)
        inside = power_w * (step_s * (slot + 1) - time_s)
        np.add.at(joules, slot, sign * inside)
        np.add.at(joules, slot + 1, sign * (power_w * step_s - inside))
    return np.asarray(np.maximum(np.cumsum(joules)[:slots] / step_s, 0.0))


def _scaled(shape: Floats, demand_w: Floats, share: float) -> Floats:
    """Times a factor such that this share of the demand is covered."""
    if share <= 0 or not demand_w.any():
        return np.zeros(len(shape))
    low, high = 0.0, 100 * demand_w.max() / shape.mean()
    for _ in range(60):
        middle = (low + high) / 2
        covered = np.minimum(middle * shape, demand_w).sum() / demand_w.sum()
        low, high = (middle, high) if covered < share else (low, middle)
    return low * shape


def _write(path: Path, header: str, rows: Iterable[Sequence[object]]) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        file.write(header + "\n")
        csv.writer(file, lineterminator="\n").writerows(rows)


def main() -> None:
    """One instance from the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("kind", choices=KINDS)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--jobs", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--load", type=float, help="GPU-hours of the jobs over the site's")
    parser.add_argument("--zone", default="DE", help="of eurosys24_ci, or synthetic")
    parser.add_argument("--days", type=float, default=14.0)
    parser.add_argument("--step-s", type=float, default=_HOUR)
    parser.add_argument("--posix", action="store_true", help="times as POSIX seconds of 2022")
    parser.add_argument("--renewable-share", type=float)
    parser.add_argument("--lengths", choices=("lognormal", "gaia"), default="lognormal")
    print(json.dumps(make(**vars(parser.parse_args())), indent=1))


if __name__ == "__main__":
    main()
