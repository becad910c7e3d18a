# SPDX-License-Identifier: Apache-2.0
"""The site of the evaluation: GPUs that train, replicas that serve, a week of jobs and signals.

Jobs are GAIA's (arrivals, lengths, widths), the load of inference is ServeGen's m-large week,
wind and sun are ERCOT's of 2018, intensities of 2022. Which of it is assumed: docs/ca-rm.md.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from plan_traces import carbon_g_per_kwh, rows, weather

from ca_rm.chat import CLOCKS_MHZ
from profiling.files import read_profile
from profiling.shipped import shipped
from slurm_green.plan.problem import Floats, Ints, Jobs, Problem, Shapes, Site

__all__ = ["LOADS", "Case", "Instance", "instance"]

LOADS = {"low": 0.3, "mid": 0.6, "high": 0.9}

_HOUR_S = 3600.0
_TAIL_H = 48
_WIDEST = 8
_USUAL_PRICE = 0.06  # USD per kWh


@dataclass(frozen=True, kw_only=True)
class Case:
    """One week at one load. `renewable_share` is of what the site draws at full clock, mid load."""

    zone: str
    load: str
    first_hour: int
    days: int = 7
    gpus: int = 16
    replicas: int = 8
    renewable_share: float = 0.5
    host_w_per_gpu: float = 0.0
    seed: int = 0

    @property
    def share(self) -> float:
        """The load as a share of what the GPUs can do."""
        return LOADS[self.load]


@dataclass(frozen=True, kw_only=True)
class Instance:
    """The jobs beside idle GPUs only, and requests per second of each replica in each slot."""

    problem: Problem
    rate_rps: Floats


def instance(case: Case, most_rps: float) -> Instance:
    """Jobs and requests of a case; `most_rps` is what a replica can serve in time."""
    random = np.random.default_rng(case.seed)
    slots = case.days * 24 + _TAIL_H
    hour = np.arange(slots, dtype=np.float64) + case.first_hour
    shapes, idle_w, busy_w = _shapes(case.host_w_per_gpu)
    requests = _requests(slots)
    serve_w = float(np.mean(requests)) * LOADS["mid"] * case.replicas * busy_w
    usual_w = case.gpus * (idle_w + LOADS["mid"] * busy_w) + case.replicas * idle_w + serve_w
    supply = weather(hour, random)
    return Instance(
        problem=Problem(
            site=Site(
                gpus=case.gpus,
                start_s=0.0,
                step_s=_HOUR_S,
                carbon_g_per_kwh=carbon_g_per_kwh(case.zone, hour, random),
                renewable_w=supply / supply.mean() * (case.renewable_share * usual_w),
                base_power_w=np.full(slots, case.gpus * idle_w),
                price_per_kwh=_price(hour),
            ),
            shapes=shapes,
            jobs=_jobs(case, shapes, slots * _HOUR_S, random),
        ),
        rate_rps=requests * case.share * most_rps,
    )


def _shapes(host_w: float) -> tuple[Shapes, float, float]:
    """A class for each width asked for, half to twice as wide; idle watts, and those of full load.

    Power is what a shape adds to idle GPUs.
    """
    profile = read_profile(shipped(Path("rtx-4090-training")))
    point = {(one.workers, round(one.clock_mhz)): one for one in profile.training}
    idle_w = float(profile.gpu.idle_w or 0.0)
    table, first, names = [], [0], []
    for width in (1, 2, 4, 8):
        names.append(f"w{width}")
        for workers in (width // 2, width, 2 * width):
            for mhz in CLOCKS_MHZ if 1 <= workers <= _WIDEST else ():
                one = point[workers, mhz]
                more_w = one.power_w + workers * (host_w - idle_w)
                table.append((workers, mhz, one.rate, more_w))
        first.append(len(table))
    whole = np.array(table, dtype=np.float64)
    workers, clock = whole[:, :2].astype(np.int64).T
    busy_w = float((whole[:, 3] / workers).max())
    return Shapes(
        class_names=tuple(names),
        first=np.array(first),
        workers=workers,
        clock_mhz=clock,
        gpus=workers,
        rate=whole[:, 2],
        power_w=whole[:, 3],
    ), idle_w, busy_w  # fmt: skip


def _jobs(case: Case, shapes: Shapes, horizon_s: float, random: np.random.Generator) -> Jobs:
    """Jobs drawn from the trace until their GPU-hours, as they asked, are the load."""
    _, table = rows("gaia_jobs/pai-100k_first40pct.csv.xz")
    some = np.array(table, dtype=np.float64)
    begin = some[:, 0].min() + case.first_hour % 168
    some = some[(some[:, 0] >= begin) & (some[:, 0] < begin + case.days * 24)]
    submit_s = (some[:, 0] - begin) * _HOUR_S
    length_s = np.clip(some[:, 1], 1 / 60, 48.0) * _HOUR_S
    kind = np.round(np.log2(np.clip(some[:, 2], 1, _WIDEST))).astype(np.int64)
    order = random.permutation(len(some))
    wanted = case.share * case.gpus * case.days * 24 * _HOUR_S
    until = int(np.cumsum((length_s * 2**kind)[order]).searchsorted(wanted)) + 1
    chosen = np.sort(order[:until])
    submit_s, length_s, kind = (one[chosen] for one in (submit_s, length_s, kind))
    wait_s = np.where(length_s <= 2 * _HOUR_S, 6, 24) * _HOUR_S
    return Jobs(
        ids=tuple(f"j{at}" for at in range(len(chosen))),
        class_index=kind,
        work=length_s * _as_asked(shapes)[kind],
        earliest_s=submit_s,
        deadline_s=np.minimum(submit_s + length_s + wait_s, horizon_s),
        preemptible=np.zeros(len(chosen), dtype=np.bool_),
    )


def _as_asked(shapes: Shapes) -> Floats:
    """The rate of each class at the width asked for and full clock."""
    wide = 2 ** np.arange(len(shapes.class_names))
    asked: Ints = np.array(
        [max((k for k in shapes.of(at) if shapes.workers[k] == width),
             key=lambda k: shapes.rate[k]) for at, width in enumerate(wide.tolist())]
    )  # fmt: skip
    return np.asarray(shapes.rate[asked])


def _requests(slots: int) -> Floats:
    """Hourly means of the week, again and again; the peak is 1."""
    _, table = rows("servegen/m-large_rate_week1.csv.xz")
    rate = np.array([float(row[1]) for row in table])
    hourly = rate[: len(rate) // 6 * 6].reshape(-1, 6).mean(axis=1)
    return np.resize(hourly / hourly.max(), slots)


def _price(hour: Floats) -> Floats:
    """What the grid's residual load makes of a usual price: proportional to it (assumed)."""
    total = 0.0
    for name, sign in (("load", 1.0), ("wind", -1.0), ("solar", -1.0)):
        _, table = rows(f"pgscen_ercot/{name}_actual.csv.xz")
        year = {row[0]: sum(map(float, row[1:])) for row in table if row[0] >= "2018"}
        total = total + sign * np.array([year[at] for at in sorted(year)])[hour.astype(np.int64)]
    residual = np.maximum(np.asarray(total), 0.0)
    return np.asarray(_USUAL_PRICE * residual / residual.mean())
