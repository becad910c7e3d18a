# SPDX-License-Identifier: Apache-2.0
"""What one submission's best response costs, on one core: 8 shapes, 336 hourly slots.

    python benchmarks/best_response.py [--jobs 2000] [--seed 1]

Half of the jobs may use the whole horizon, the other half have slack of up to three times their
length. The naive alternative tries, for each shape, starts in steps of an hour or of a minute from
the earliest on, with one numpy sum over the slots' prices for each; on some of the jobs only. It
also checks: no start that it tries may be cheaper. Prints markdown.
"""

import argparse
import gc
import math
import time
from datetime import UTC, datetime
from typing import NamedTuple

from slurm_green.threads import one_thread

one_thread()

import numpy as np  # noqa: E402  after one_thread

from slurm_green.plan.outcome import Objective, Prices, Weights  # noqa: E402
from slurm_green.plan.price_file import PriceFile  # noqa: E402
from slurm_green.plan.problem import Shapes  # noqa: E402
from slurm_green.plan.response import PriceCurve, best_response  # noqa: E402

SLOTS, HOUR, GPUS = 336, 3600.0, 410
START_S = 1_795_500_000.0
NAIVE_STEPS_S = (HOUR, 60.0)
PPC = Weights(performance_g=400.0)


class Job(NamedTuple):
    """What a submission asks for; `deadline_s` in the caller's clock."""

    work: float
    earliest_s: float
    deadline_s: float


def price_file(rng: np.random.Generator) -> PriceFile:
    """Two weeks with a solar valley every day, free hours, and scarce GPUs at noon."""
    hour = np.arange(SLOTS) % 24
    sun = np.maximum(0.0, np.sin((hour - 6) / 12 * np.pi))
    mu = np.maximum(0.0, 420 - 450 * sun * rng.uniform(0.4, 1.1, SLOTS) + rng.normal(0, 25, SLOTS))
    lam = np.maximum(0.0, 160 * sun + rng.normal(0, 30, SLOTS))
    return PriceFile(
        start_s=START_S,
        step_s=HOUR,
        gpus=GPUS,
        objective=Objective.PERFORMANCE_CONSTRAINED,
        prices=Prices(mu=mu, lam=lam, nu=np.zeros(SLOTS)),
        made_utc=datetime(2026, 11, 24, tzinfo=UTC),
    )


def eight_shapes() -> Shapes:
    """1, 2, 4 and 8 GPUs at full and at a lower clock; work is hours of one at full clock."""
    gpus = np.repeat([1, 2, 4, 8], 2)
    low = np.tile([False, True], 4)
    return Shapes(
        class_names=("train",),
        first=np.array([0, 8]),
        workers=gpus,
        clock_mhz=np.where(low, 1200, 1980),
        gpus=gpus,
        rate=gpus**0.92 * np.where(low, 0.8, 1.0) / HOUR,
        power_w=gpus * np.where(low, 430.0, 700.0),
    )


def jobs(rng: np.random.Generator, count: int) -> list[Job]:
    """Lengths on one GPU are log-normal around four hours."""
    found = []
    for number in range(count):
        work = float(min(rng.lognormal(math.log(4), 1.0), 100.0))
        whole = number % 2 == 0
        earliest_s = START_S + (0.0 if whole else float(rng.uniform(0, 200)) * HOUR)
        slack = math.inf if whole else float(rng.uniform(1.0, 4.0)) * work * HOUR
        found.append(Job(work, earliest_s, earliest_s + slack))
    return found


def naive_g(file: PriceFile, shapes: Shapes, job: Job, every_s: float) -> float:
    """The least cost over starts so far apart; infinite where none is in time."""
    edges = START_S + HOUR * np.arange(SLOTS + 1)
    energy = (file.prices.mu + file.prices.nu) / 3.6e6
    busy = file.prices.lam / HOUR
    until = min(job.deadline_s, float(edges[-1]))
    least = math.inf
    for shape in range(len(shapes.rate)):
        length_s = job.work / float(shapes.rate[shape])
        price = energy * shapes.power_w[shape] + busy * shapes.gpus[shape]
        for start_s in np.arange(job.earliest_s, until - length_s, every_s).tolist():
            inside = np.clip(edges, start_s, start_s + length_s)
            least = min(least, float(price @ np.diff(inside)))
    return least


def times_ms(
    curve: PriceCurve, shapes: Shapes, asked: list[Job], *, weights: Weights, preemptible: bool
) -> np.ndarray:
    """Milliseconds of each call, after a few that warm up; the collector stays on."""
    took = []
    for number, job in enumerate(asked[:50] + asked):
        began = time.perf_counter()
        best_response(
            curve,
            shapes,
            work=job.work,
            earliest_s=job.earliest_s,
            deadline_s=job.deadline_s,
            preemptible=preemptible,
            weights=weights,
        )
        if number >= 50:
            took.append(1e3 * (time.perf_counter() - began))
    return np.array(took)


def main() -> None:
    """One row per kind of job."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--jobs", type=int, default=2000)
    parser.add_argument("--naive-jobs", type=int, default=10, help="how many the naive way gets")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    rng = np.random.default_rng(options.seed)
    file, shapes = price_file(rng), eight_shapes()
    asked = jobs(rng, options.jobs)
    curve = PriceCurve.of(file)
    gc.collect()
    print(
        f"| best response, {len(shapes.rate)} shapes x {SLOTS} slots, {options.jobs} jobs "
        "| p50 | p99 | max |\n|---|---|---|---|"
    )
    usual_ms = 0.0
    for name, weights, preemptible in (
        ("in one go", Weights(), False),
        ("in one go, performance counts", PPC, False),
        ("may be split", Weights(), True),
    ):
        took = times_ms(curve, shapes, asked, weights=weights, preemptible=preemptible)
        p50, p99 = np.percentile(took, (50, 99))
        usual_ms = usual_ms or float(np.median(took))
        print(f"| {name} | {p50:.3f} ms | {p99:.3f} ms | {took.max():.2f} ms |", flush=True)
    print()
    for every_s in NAIVE_STEPS_S:
        naive_ms, dearer = [], []
        for job in asked[: options.naive_jobs]:
            began = time.perf_counter()
            naive = naive_g(file, shapes, job, every_s)
            naive_ms.append(1e3 * (time.perf_counter() - began))
            ours = best_response(curve, shapes, **job._asdict(), tolerance=0.0)
            if ours is None or ours.cost_g > naive + 1e-6:
                raise SystemExit(f"{job}: {naive} g found by trying, {ours} by best_response")
            dearer.append(naive / ours.cost_g - 1)
        print(
            f"- every start in steps of {every_s:.0f} s, one numpy sum each: "
            f"{np.mean(naive_ms):.0f} ms, {np.mean(naive_ms) / usual_ms:,.0f} times as long, "
            f"and {100 * np.mean(dearer):.2g} % dearer, never cheaper ({options.naive_jobs} jobs)",
            flush=True,
        )


if __name__ == "__main__":
    main()
