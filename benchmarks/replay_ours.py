# SPDX-License-Identifier: Apache-2.0
# ruff: noqa: E402
"""Policy `prices` against its bars: real jobs and carbon, forecasts of provider quality.

`python benchmarks/replay_ours.py` prints a row per instance and the mean: of the saving that the
lower bound leaves over `fifo`, the share that `prices` gets, what it emits beyond `oracle`, and
jobs late. `--kind`, `--trace`, `--zones`, `--wind-and-sun`, `--forecast`, `--jobs`; `--stretches`
for the twelve of docs/rolling.md, 1,500 jobs each, most of them calmer than the trace's beginning.
With `--past-h 672` forecasts are learned from four weeks before the first job, as at a site.

Jobs are those of gaia_jobs (lengths and widths, 1 to 8 GPUs) or gavel (Philly). A job may wait
6 h beyond its length where that is at most 2 h, else 24 h (GAIA's queues); power per GPU is drawn
from 180 to 400 W per class, with a seed. The site has as many GPUs as make the load.
A forecast of provider quality is the truth times (1 + noise): noise is an AR(1) process whose
mean absolute value is 8.7, 11.8, 13.1 and 14.3 % on days 1 to 4, issued every day. `--shared` is
the share of its variance that consecutive issues have in common: at 0 they err independently,
which a policy may make use of.
Data: $SLURM_GREEN_DATA, else ../shared/data beside the checkout.
"""

import argparse
import csv
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace

from slurm_green.threads import one_thread

one_thread()  # before numpy is imported: later it changes nothing

import numpy as np
from numpy.typing import NDArray
from plan_traces import DATA, carbon_g_per_kwh, rows  # type: ignore[import-not-found, unused-ignore]

from slurm_green.plan.problem import Jobs, Problem, Shapes, Site
from slurm_green.replay.forecasts import Forecasts
from slurm_green.replay.inputs import prepared
from slurm_green.replay.run import replay

__all__ = ["Case", "problem_of", "provider_forecasts"]

Floats = NDArray[np.float64]

_HOUR_S = 3600.0
_MAPE = (0.087, 0.118, 0.131, 0.143)
_MEAN_OF_NORMAL = 0.7979  # mean |x| of a standard normal
_TAIL_H = 96
_CLASSES = 24
_WIDTHS = (0.5, 1.0, 2.0)  # of what the trace says, where jobs are elastic
_CLOCKS = ((1000, 1.0, 1.0), (700, 0.82, 0.66))  # MHz, speed, power
_STRETCH_JOBS = 1_500
# Zone, first job (and seed), first hour: the first six were looked at while settings were chosen.
_STRETCHES = (
    ("DE", 0, 720),
    ("US-CAL-CISO", 0, 720),
    ("GB", 6000, 2000),
    ("US-CAL-CISO", 20000, 4400),
    ("FR", 12000, 6000),
    ("DE", 30000, 3000),
    ("PL", 9000, 1200),
    ("AU-SA", 15000, 5000),
    ("GB", 24000, 7000),
    ("FR", 3000, 3300),
    ("US-CAL-CISO", 27000, 200),
    ("DE", 18000, 5200),
)


@dataclass(frozen=True, kw_only=True)
class Case:
    """One instance."""

    zone: str
    trace: str = "gaia"
    kind: str = "rigid"
    jobs: int = 3000
    load: float = 0.7
    first_hour: int = 720
    first_job: int = 0
    past_h: int = 0
    wind_and_sun: float = 0.0
    forecast: str = "provider"
    correlation: float = 0.9
    shared: float = 0.0
    seed: int = 0


def _trace(case: Case) -> tuple[Floats, Floats, NDArray[np.int64]]:
    """Arrival and length in seconds, and GPUs."""
    if case.trace == "gaia":
        _, table = rows("gaia_jobs/pai-100k_first40pct.csv.xz")
        some = np.array(table[case.first_job :][: case.jobs], dtype=np.float64)
        submit: Floats = some[:, 0] * _HOUR_S
        length: Floats = some[:, 1] * _HOUR_S
        gpus: Floats = np.clip(some[:, 2], 1.0, 8.0).astype(np.float64)
    else:
        header, table = rows("gavel/philly_seed0_0e4a51.csv.xz")
        at = [header.index(name) for name in ("job_type", "total_steps", "arrival_time_s",
                                              "scale_factor")]  # fmt: skip
        speed = _speeds()
        found = []
        for row in table[: case.jobs]:
            model, steps, arrival, width = (row[column] for column in at)
            rate = speed.get((model, int(width)), 0.0) or speed.get((model, 1), 0.0)
            if rate > 0:
                found.append((float(arrival), float(steps) / rate, float(width)))
        some = np.array(found)
        submit, length, gpus = some[:, 0], some[:, 1], some[:, 2]
    order = np.argsort(submit, kind="stable")
    submit = np.round(submit[order] - submit.min())
    return (
        submit,
        np.round(np.clip(length[order], 60.0, 48 * _HOUR_S)).astype(np.float64),
        gpus[order].astype(np.int64),
    )


def _speeds() -> dict[tuple[str, int], float]:
    """Steps per second of each model and number of GPUs on a V100."""
    text = (DATA / "gavel/simulation_throughputs_isolated.csv").read_text(encoding="utf-8")
    found = {}
    for row in csv.DictReader(text.splitlines()):
        if row["worker_type"] == "v100":
            found[row["job"], int(row["scale_factor"])] = float(row["steps_per_s"])
    return found


def problem_of(case: Case) -> Problem:
    """The truth of an instance."""
    random = np.random.default_rng(case.seed)
    submit, length, gpus = _trace(case)
    past_h = min(case.past_h, case.first_hour)
    slots = past_h + int(np.ceil(submit[-1] / _HOUR_S)) + _TAIL_H
    watts = random.uniform(180, 400, _CLASSES)
    number = random.integers(0, _CLASSES, len(submit))
    pairs, class_index = np.unique(np.stack([number, gpus]), axis=1, return_inverse=True)
    shapes: list[tuple[int, int, float, float]] = []
    first = [0]
    for kind, width in pairs.T.tolist():
        if case.kind == "moldable":
            for share in _WIDTHS:
                workers = round(width * share)
                for mhz, speed, power in _CLOCKS if workers else ():
                    rate = (workers / width) ** 0.85 * speed
                    shapes.append((workers, mhz, rate, watts[kind] * workers * power))
        else:
            shapes.append((width, 1000, 1.0, watts[kind] * width))
        first.append(len(shapes))
    table = np.array(shapes, dtype=np.float64)
    wide, clock = table[:, :2].astype(np.int64).T
    mean_w = float((watts[number] * gpus) @ length) / (submit[-1] + 1)
    busy = float(gpus @ length)
    first_hour = case.first_hour - past_h
    hour = np.arange(slots, dtype=np.float64)
    carbon = carbon_g_per_kwh(case.zone, first_hour + hour, random)
    supply, base = np.zeros(slots), np.zeros(slots)
    if case.wind_and_sun:
        base += 0.1 * mean_w
        supply = _wind_and_sun(first_hour, slots) * case.wind_and_sun * (mean_w + base[0])
    wait = np.where(length <= 2 * _HOUR_S, 6, 24) * _HOUR_S
    gpus_of_site = max(int(np.ceil(busy / (case.load * submit[-1]))), int(gpus.max()))
    submit = submit + past_h * _HOUR_S
    return Problem(
        site=Site(
            gpus=gpus_of_site,
            start_s=0.0,
            step_s=_HOUR_S,
            carbon_g_per_kwh=carbon,
            renewable_w=supply,
            base_power_w=base,
        ),
        shapes=Shapes(
            class_names=tuple(f"c{kind}x{width}" for kind, width in pairs.T.tolist()),
            first=np.array(first),
            workers=wide,
            clock_mhz=clock,
            gpus=wide,
            rate=table[:, 2],
            power_w=table[:, 3],
        ),
        jobs=Jobs(
            ids=tuple(f"j{at}" for at in range(len(submit))),
            class_index=class_index.ravel().astype(np.int64),
            work=length,
            earliest_s=submit,
            deadline_s=np.minimum(submit + length + wait, slots * _HOUR_S),
            preemptible=np.full(len(submit), case.kind == "preemptible"),
        ),
    )


def _wind_and_sun(first_hour: int, slots: int) -> Floats:
    """As much energy from each, mean 1, from the RTS-GMLC's day-ahead series."""
    total = np.zeros(slots)
    for name in ("wind", "pv"):
        _, table = rows(f"rts_gmlc/{name}_dayahead_1h.csv.xz")
        year = np.array([sum(map(float, row[4:])) for row in table])
        total += np.resize(year, first_hour + slots)[first_hour:] / year.mean() / 2
    return total


def provider_forecasts(case: Case, site: Site) -> Forecasts:
    """Issued every day for four days, with a provider's errors."""
    random = np.random.default_rng([case.seed, 1])
    common = [_noise(random, site.slots, case.correlation) for _ in range(2)]
    issued, start, first = [], [], [0]
    carbon, supply = [], []
    for at in range(0, site.slots, 24):
        until = min(at + 96, site.slots)
        size = np.repeat(np.array(_MAPE) / _MEAN_OF_NORMAL, 24)[: until - at]
        errors = [
            size
            * (
                np.sqrt(case.shared) * one[at:until]
                + np.sqrt(1 - case.shared) * _noise(random, until - at, case.correlation)
            )
            for one in common
        ]
        if case.forecast == "perfect":
            errors = [0 * one for one in errors]
        issued.append(at * site.step_s)
        start.append(np.arange(at, until) * site.step_s)
        carbon.append(site.carbon_g_per_kwh[at:until] * np.maximum(1 + errors[0], 0))
        supply.append(site.renewable_w[at:until] * np.maximum(1 + 2 * errors[1], 0))
        first.append(first[-1] + until - at)
    return Forecasts(
        issued_s=np.array(issued),
        first=np.array(first),
        start_s=np.concatenate(start),
        step_s=site.step_s,
        columns={
            "carbon_g_per_kwh": np.concatenate(carbon),
            "renewable_w": np.concatenate(supply),
        },
    )


def _noise(random: np.random.Generator, count: int, correlation: float) -> Floats:
    noise = random.normal(size=count)
    for at in range(1, count):
        noise[at] = correlation * noise[at - 1] + np.sqrt(1 - correlation**2) * noise[at]
    return noise


def _row(case: Case) -> tuple[Case, dict[str, float]]:
    truth = problem_of(case)
    forecasts = None if case.forecast == "built-in" else provider_forecasts(case, truth.site)
    found = replay(prepared(truth, forecasts=forecasts), ["fifo", "prices", "oracle"])
    fifo, ours, oracle = (found.results[name] for name in ("fifo", "prices", "oracle"))
    bound = found.lower_bound_g or 0.0
    left = max(fifo.carbon_g - bound, 1e-9)
    return case, {
        "saving": 100 * left / fifo.carbon_g,
        "ours": 100 * (fifo.carbon_g - ours.carbon_g) / left,
        "oracle": 100 * (fifo.carbon_g - oracle.carbon_g) / left,
        "beyond": 100 * (ours.carbon_g / max(oracle.carbon_g, 1e-9) - 1),
        "late": float(ours.late.sum()) - float(fifo.late.sum()),
        "fifo late": float(fifo.late.sum()),
        "wall_s": ours.wall_s,
    }


def main() -> None:
    """Print the table."""
    header, _ = rows("eurosys24_ci/ci_lca_2022_dev16.csv.xz")
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--kind", default="rigid", choices=("rigid", "moldable", "preemptible"))
    parser.add_argument("--trace", default="gaia", choices=("gaia", "gavel"))
    parser.add_argument("--zones", default=",".join(header[1:]))
    parser.add_argument("--jobs", type=int, default=3000)
    parser.add_argument("--first-job", type=int, default=0, help="of GAIA's trace")
    parser.add_argument("--first-hour", type=int, default=720, help="of the year")
    parser.add_argument("--past-h", type=int, default=0, help="signal before the first job")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--stretches", action="store_true", help="twelve of 1,500 jobs, not zones and one stretch"
    )
    parser.add_argument("--load", type=float, default=0.7)
    parser.add_argument("--wind-and-sun", type=float, default=0.0, help="share of the demand")
    parser.add_argument(
        "--forecast", default="provider", choices=("provider", "perfect", "built-in")
    )
    parser.add_argument("--correlation", type=float, default=0.9, help="of noise, hour to hour")
    parser.add_argument("--shared", type=float, default=0.0)
    parser.add_argument("--processes", type=int, default=2)
    asked = parser.parse_args()
    one = Case(
        zone="",
        kind=asked.kind,
        trace=asked.trace,
        jobs=asked.jobs,
        first_job=asked.first_job,
        first_hour=asked.first_hour,
        past_h=asked.past_h,
        seed=asked.seed,
        load=asked.load,
        wind_and_sun=asked.wind_and_sun,
        forecast=asked.forecast,
        correlation=asked.correlation,
        shared=asked.shared,
    )
    cases = [replace(one, zone=zone) for zone in asked.zones.split(",")]
    if asked.stretches:
        cases = [
            replace(one, jobs=_STRETCH_JOBS, zone=zone, first_job=job, seed=job, first_hour=hour)
            for zone, job, hour in _STRETCHES
        ]
    names = ["saving", "ours", "oracle", "beyond", "late", "fifo late", "wall_s"]
    print("| zone, first job, first hour | possible saving % | ours % of it | oracle % of it"
          " | ours beyond oracle % | late above fifo | late in fifo | wall s |")  # fmt: skip
    print("|---|" + "---:|" * len(names))
    found = []
    with ProcessPoolExecutor(asked.processes) as pool:
        for case, row in pool.map(_row, cases):
            found.append([row[name] for name in names])
            print(
                f"| {case.zone}, {case.first_job}, {case.first_hour} | "
                + " | ".join(f"{x:.1f}" for x in found[-1])
                + " |",
                flush=True,
            )
    mean = np.mean(found, axis=0)
    print("| mean | " + " | ".join(f"{x:.1f}" for x in mean) + " |")


if __name__ == "__main__":
    main()
