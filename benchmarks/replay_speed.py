# SPDX-License-Identifier: Apache-2.0
# ruff: noqa: E402
"""How long each policy takes for 40,000 jobs over a year, and what it makes of them.

`python benchmarks/replay_speed.py [POLICY ...]` replays GAIA's first 40,000 PAI jobs, stretched
over the year 2022, on as many GPUs as make a load of 0.7 under the carbon of one zone; without
names all baselines. A bar: at most 120 s for each. `--kind elastic` gives each class eight shapes
and lets half of the jobs pause. Without $SLURM_GREEN_DATA jobs and carbon are made up.
"""

import argparse
import time
from dataclasses import replace

from slurm_green.threads import one_thread

one_thread()  # before numpy is imported: later it changes nothing

import numpy as np
from plan_traces import DATA, carbon_g_per_kwh, rows

from slurm_green.plan.policy.registry import OWN, entry
from slurm_green.plan.problem import Jobs, Problem, Shapes, Site
from slurm_green.replay.builtin import built_in
from slurm_green.replay.inputs import Inputs, prepared
from slurm_green.replay.run import replay

__all__ = ["year"]

_HOURS = 8760
_GPUS = np.array([1, 2, 4, 8])
_SHARES = (0.7, 0.1, 0.15, 0.05)
_W_PER_GPU = 400.0
# CarbonScaler-like: work per second by workers, and half of the clock for 60 % of the watts.
_SPEED = {1: 1.0, 2: 1.9, 4: 3.4, 8: 5.6}


def year(zone: str, kind: str, count: int, seed: int = 0) -> Inputs:
    """Jobs of GAIA's trace (or made up) over the year, with limits of 1.3 times their length."""
    random = np.random.default_rng(seed)
    arrival_h, length_h = _jobs(count, random)
    size = random.choice(len(_GPUS), count, p=_SHARES)
    gpus = _GPUS[size]
    shapes = _rigid() if kind == "rigid" else _elastic()
    index = size if kind == "rigid" else np.zeros(count, dtype=np.int64)
    speed = 1.0 if kind == "rigid" else np.array([_SPEED[one] for one in gpus.tolist()])
    work = 1.3 * length_h * 3600 * speed
    slack_h = np.where(length_h <= 2, 6.0, 24.0)
    longest_h = 1.3 * length_h * (1 if kind == "rigid" else 3)
    deadline_h = np.minimum(arrival_h + longest_h + slack_h, _HOURS)
    hours = np.arange(_HOURS, dtype=np.float64)
    site = Site(
        gpus=max(8, round(float((length_h * gpus).sum()) / _HOURS / 0.7)),
        start_s=1_640_995_200.0,  # 2022
        step_s=3600.0,
        carbon_g_per_kwh=carbon_g_per_kwh(zone, hours, random),
        renewable_w=np.zeros(_HOURS),
        base_power_w=np.zeros(_HOURS),
    )
    jobs = Jobs(
        ids=tuple(map(str, range(count))),
        class_index=index.astype(np.int64),
        work=work,
        earliest_s=arrival_h * 3600,
        deadline_s=deadline_h * 3600,
        preemptible=(random.random(count) < 0.5) & (kind != "rigid"),
    )
    return prepared(Problem(site=site, shapes=shapes, jobs=jobs), actual_work=work / 1.3)


def _jobs(count: int, random: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Arrivals and lengths in hours."""
    name = "gaia_jobs/pai-100k_first40pct.csv.xz"
    if (DATA / name).exists():
        _, table = rows(name)
        arrival_h, length_h = np.array([row[:2] for row in table[:count]], dtype=np.float64).T
    else:
        arrival_h = np.sort(random.uniform(0, 1, count))
        length_h = random.lognormal(0, 1.2, count)
    repeat = np.resize(np.arange(len(arrival_h)), count)
    arrival_h, length_h = arrival_h[repeat], np.maximum(length_h[repeat], 0.02)
    order = np.argsort(arrival_h, kind="stable")
    arrival_h = arrival_h[order] * ((_HOURS - 120) / arrival_h.max())
    return arrival_h, length_h[order]


def _rigid() -> Shapes:
    classes = len(_GPUS)
    return Shapes(
        class_names=tuple(f"gpus-{one}" for one in _GPUS),
        first=np.arange(classes + 1),
        workers=_GPUS,
        clock_mhz=np.zeros(classes, dtype=np.int64),
        gpus=_GPUS,
        rate=np.ones(classes),
        power_w=_W_PER_GPU * _GPUS,
    )


def _elastic() -> Shapes:
    speed = np.array(list(_SPEED.values()))
    gpus = np.array(list(_SPEED))
    return Shapes(
        class_names=("any",),
        first=np.array([0, 2 * len(gpus)]),
        workers=np.tile(gpus, 2),
        clock_mhz=np.repeat([900, 1410], len(gpus)),
        gpus=np.tile(gpus, 2),
        rate=np.concatenate([0.8 * speed, speed]),
        power_w=np.concatenate([0.6 * _W_PER_GPU * gpus, _W_PER_GPU * gpus]),
    )


def main() -> None:
    """Print a line for each policy as soon as it is done."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("policies", nargs="*")
    parser.add_argument("--zone", default="DE")
    parser.add_argument("--kind", choices=("rigid", "elastic"), default="rigid")
    parser.add_argument("--jobs", type=int, default=40_000)
    asked = parser.parse_args()
    inputs = year(asked.zone, asked.kind, asked.jobs)
    names = asked.policies or [one for one in OWN if one not in {"prices", "oracle"}]
    known = [entry(name).name for name in names]
    began_s = time.process_time()
    inputs = replace(inputs, forecasts=built_in(inputs.problem.site))
    print(f"built-in forecasts of the year: {time.process_time() - began_s:.1f} s of one core")
    print("| policy | CPU s | wall s | carbon t | mean wait h | late |")
    print("|---|---:|---:|---:|---:|---:|")
    for name in known:
        began_s = time.process_time()
        found = replay(inputs, [name], bound=False).results[name].json()
        print(
            f"| {name} | {time.process_time() - began_s:.1f} | {found['wall_s']:.1f} "
            f"| {found['carbon_g'] / 1e6:.2f} | {found['mean_wait_s'] / 3600:.2f} "
            f"| {found['late_jobs']} |",
            flush=True,
        )


if __name__ == "__main__":
    main()
