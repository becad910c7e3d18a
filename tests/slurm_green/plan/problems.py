# SPDX-License-Identifier: Apache-2.0
"""Small problems for the planner's tests: hand-made, drawn at random, and solved by brute force.

Times are hours, work is counted so that a rate of 1 does one unit an hour.
"""

import itertools
import math
from collections.abc import Collection, Sequence
from typing import Any, NamedTuple

import numpy as np
from hypothesis import strategies as st
from scipy.optimize import linprog

from slurm_green.plan.outcome import Prices
from slurm_green.plan.pieces import Pieces
from slurm_green.plan.policy.arrivals import Likely
from slurm_green.plan.problem import JOULES_PER_KWH, Jobs, Problem, Service, Shapes, Site
from slurm_green.plan.schedule import Schedule

HOUR = 3600.0
CELLS_PER_HOUR = 2
NOBODY = Likely(
    class_index=np.zeros(0, int),
    work=np.zeros(0),
    earliest_s=np.zeros(0),
    deadline_s=np.zeros(0),
    weight=np.zeros(0),
    preemptible=np.zeros(0, int),
)

# A shape is (GPUs, rate, power_w); a job (class, work, earliest_h, deadline_h, preemptible).
Shape = tuple[int, float, float]
Job = tuple[int, float, float, float, bool]


def make(
    classes: Sequence[Sequence[Shape]],
    jobs: Sequence[Job],
    carbon: Sequence[float],
    *,
    gpus: int = 4,
    renewable_w: Sequence[float] | float = 0.0,
    base_w: Sequence[float] | float = 0.0,
    step_s: float = HOUR,
    services: Sequence[Service] = (),
    **limits: float,
) -> Problem:
    """A problem; `limits` are power_cap_w and ramp_w_per_slot."""
    shapes = [shape for one in classes for shape in one]
    slots = len(carbon)
    horizon_s = slots * step_s
    return Problem(
        site=Site(
            gpus=gpus,
            start_s=0.0,
            step_s=step_s,
            carbon_g_per_kwh=np.array(carbon, dtype=float),
            renewable_w=np.array(np.broadcast_to(renewable_w, slots), dtype=float),
            base_power_w=np.array(np.broadcast_to(base_w, slots), dtype=float),
            **limits,
        ),
        shapes=Shapes(
            class_names=tuple(f"c{at}" for at in range(len(classes))),
            first=np.cumsum([0, *map(len, classes)]),
            workers=np.array([shape[0] for shape in shapes], dtype=np.int64),
            clock_mhz=np.arange(len(shapes)),
            gpus=np.array([shape[0] for shape in shapes], dtype=np.int64),
            rate=np.array([shape[1] for shape in shapes], dtype=float) / HOUR,
            power_w=np.array([shape[2] for shape in shapes], dtype=float),
        ),
        jobs=Jobs(
            ids=tuple(f"j{at}" for at in range(len(jobs))),
            class_index=np.array([job[0] for job in jobs], dtype=np.int64),
            work=np.array([job[1] for job in jobs], dtype=float),
            earliest_s=np.array([job[2] for job in jobs], dtype=float) * HOUR,
            deadline_s=np.minimum(np.array([job[3] for job in jobs], float) * HOUR, horizon_s),
            preemptible=np.array([job[4] for job in jobs], dtype=bool),
        ),
        services=tuple(services),
    )


def service(
    load: Sequence[float], clocks: Sequence[tuple[float, float, float]], **more: Any
) -> Service:
    """A service; a clock is (max_rate, power_w, latency_s), drawing a fifth of it when idle."""
    max_rate, power_w, latency_s = np.array(clocks, dtype=float).T
    return Service(
        name="chat",
        load_per_s=np.array(load, dtype=float),
        clock_mhz=np.arange(len(clocks)) * 100 + 500,
        max_rate=max_rate,
        power_w=power_w,
        idle_power_w=0.2 * power_w,
        latency_s=latency_s,
        **more,
    )


def prices(slots: int, **given: Any) -> Prices:
    """Prices per slot, 0 where not given."""
    arrays = {"mu": 0.0, "lam": 0.0, "nu": 0.0, **given}
    return Prices(
        **{name: np.array(np.broadcast_to(one, slots), float) for name, one in arrays.items()}
    )


def permuted(problem: Problem, order: Sequence[int]) -> Problem:
    """The same jobs in another order."""
    at, jobs = np.array(order, dtype=np.int64), problem.jobs
    return Problem(
        site=problem.site,
        shapes=problem.shapes,
        jobs=Jobs(
            ids=tuple(jobs.ids[one] for one in order),
            class_index=jobs.class_index[at],
            work=jobs.work[at],
            earliest_s=jobs.earliest_s[at],
            deadline_s=jobs.deadline_s[at],
            preemptible=jobs.preemptible[at],
        ),
        services=problem.services,
    )


class Plans(NamedTuple):
    """Every plan on the grid that is allowed: one entry each."""

    carbon_g: np.ndarray
    performance: np.ndarray


class _Ways(NamedTuple):
    """Ways of a job, or of several: GPUs per cell, energy per slot, performance."""

    gpus: np.ndarray
    energy_j: np.ndarray
    performance: np.ndarray


def all_plans(
    problem: Problem, *, late: Collection[int] = (), unplaced: Collection[int] = ()
) -> Plans | None:
    """All plans whose jobs start and change shape at half hours; None if they are too many.

    Jobs in `late` have until the horizon, those in `unplaced` do not run, all others are in time.
    """
    site = problem.site
    cells = round(site.slots * site.step_s / HOUR * CELLS_PER_HOUR)
    so_far = _Ways(np.zeros((1, cells), np.int64), np.zeros((1, site.slots)), np.zeros(1))
    for job in range(len(problem.jobs)):
        if job in unplaced:
            continue
        end_s = site.horizon_s if job in late else float(problem.jobs.deadline_s[job])
        ways = _ways(problem, job, end_s, cells)
        if len(so_far.gpus) * len(ways.gpus) > 40_000:
            return None
        gpus = (so_far.gpus[:, None] + ways.gpus).reshape(-1, cells)
        fits = np.flatnonzero((gpus <= site.gpus).all(axis=1))
        so_far = _Ways(
            gpus[fits],
            (so_far.energy_j[:, None] + ways.energy_j).reshape(-1, site.slots)[fits],
            (so_far.performance[:, None] + ways.performance).ravel()[fits],
        )
    power_w = so_far.energy_j / site.step_s + site.base_power_w
    keeps = (power_w <= site.power_cap_w + 1e-9).all(axis=1)
    keeps &= (np.diff(power_w, axis=1) <= site.ramp_w_per_slot + 1e-9).all(axis=1)
    net_w = np.maximum(power_w[keeps] - site.renewable_w, 0.0)
    carbon = net_w @ site.carbon_g_per_kwh * site.step_s / JOULES_PER_KWH
    return Plans(carbon, so_far.performance[keeps])


def _ways(problem: Problem, job: int, end_s: float, cells: int) -> _Ways:
    jobs, shapes, site = problem.jobs, problem.shapes, problem.site
    cell_s = HOUR / CELLS_PER_HOUR
    begin = math.ceil(jobs.earliest_s[job] / cell_s - 1e-9)
    end = math.floor(end_s / cell_s + 1e-9)
    own = list(shapes.of(int(jobs.class_index[job])))
    rows: list[list[int]] = []
    if jobs.preemptible[job]:
        # In every cell it rests (-1) or runs; no cell more than the work needs.
        for choice in itertools.product([-1, *own], repeat=max(end - begin, 0)):
            done = [shapes.rate[one] * cell_s for one in choice if one >= 0]
            need = jobs.work[job] - 1e-9
            if done and sum(done) >= need > sum(done) - min(done):
                rows.append([-1] * begin + list(choice) + [-1] * (cells - end))
    else:
        for one in own:
            length = math.ceil(jobs.work[job] / shapes.rate[one] / cell_s - 1e-9)
            rows += [
                [-1] * start + [one] * length + [-1] * (cells - start - length)
                for start in range(begin, end - length + 1)
            ]
    chosen = np.array(rows, dtype=np.int64).reshape(-1, cells)
    runs = chosen >= 0
    power = np.where(runs, shapes.power_w[chosen], 0.0)
    last = cells - np.argmax(runs[:, ::-1], axis=1)
    took_s = last * cell_s - jobs.earliest_s[job]
    return _Ways(
        np.where(runs, shapes.gpus[chosen], 0),
        power.reshape(len(chosen), site.slots, cells // site.slots).sum(axis=2) * cell_s,
        problem.fastest_s[job] / took_s,
    )


def relaxation_g(problem: Problem) -> float | None:
    """Least carbon where jobs may do parts of their ways at once, and only averages must fit.

    On the grid of half hours this is the linear program whose dual the prices are; exact for
    problems whose numbers are on it. None where not even that is possible.
    """
    site, slots = problem.site, problem.site.slots
    cells = round(slots * site.step_s / HOUR * CELLS_PER_HOUR)
    hours = site.step_s / HOUR
    gpu_h: list[np.ndarray] = []
    energy_kwh: list[np.ndarray] = []
    owner: list[int] = []
    for job in range(len(problem.jobs)):
        ways = _ways(problem, job, float(problem.jobs.deadline_s[job]), cells)
        if not len(ways.gpus):
            return None
        gpu_h += list(ways.gpus.reshape(-1, slots, cells // slots).mean(axis=2) * hours)
        energy_kwh += list(ways.energy_j / JOULES_PER_KWH)
        owner += [job] * len(ways.gpus)
    count = len(owner)
    base_kwh = (site.base_power_w - site.renewable_w) * site.step_s / JOULES_PER_KWH
    energy, minus = np.array(energy_kwh).T, -np.eye(slots)
    rows = [np.hstack([energy, minus]), np.hstack([np.array(gpu_h).T, 0 * minus])]
    most = [-base_kwh, np.full(slots, site.gpus * hours)]
    if math.isfinite(site.power_cap_w):
        rows.append(np.hstack([energy, 0 * minus]))
        most.append((site.power_cap_w - site.base_power_w) * site.step_s / JOULES_PER_KWH)
    each = np.equal.outer(np.arange(len(problem.jobs)), np.array(owner)).astype(float)
    done = linprog(
        np.concatenate([np.zeros(count), site.carbon_g_per_kwh]),
        A_ub=np.vstack(rows),
        b_ub=np.concatenate(most),
        A_eq=np.hstack([each, np.zeros((len(each), slots))]),
        b_eq=np.ones(len(each)),
    )
    return float(done.fun) if done.status == 0 else None


# Drawn at random: everything on the grid of half hours, so that brute force is the optimum of it.

RATES = (1.0, 2.0)


@st.composite
def tiny(
    draw: st.DrawFn,
    *,
    preemptible: bool | None = None,
    cap: bool = False,
    ramp: bool = False,
    renewables: bool = True,
    jobs: int = 3,
    slots: int = 4,
    tight: bool = False,
) -> Problem:
    """One to `jobs` jobs; where not `tight`, each one alone fits before its deadline."""
    shape = st.tuples(
        st.integers(1, 2), st.sampled_from(RATES), st.sampled_from([300.0, 500.0, 800.0, 1000.0])
    )
    classes = draw(st.lists(st.lists(shape, min_size=1, max_size=2), min_size=1, max_size=2))
    kind = st.booleans() if preemptible is None else st.just(preemptible)
    rows: list[Job] = []
    for _ in range(draw(st.integers(1, jobs))):
        of_class = draw(st.integers(0, len(classes) - 1))
        work = draw(st.sampled_from([1.0, 2.0, 3.0]))
        fastest = 2 * math.ceil(work / max(shape[1] for shape in classes[of_class]))
        early = draw(st.integers(0, 2 * slots - fastest))
        if tight:
            late = draw(st.integers(0, 2 * slots))
        else:
            late = draw(st.integers(early + fastest, 2 * slots))
        split = draw(kind) and late - early <= 6
        rows.append((of_class, work, early / 2, late / 2, split))
    numbers = st.sampled_from([0.0, 50.0, 100.0, 200.0, 400.0])
    each = st.lists(numbers, min_size=slots, max_size=slots)
    green = draw(st.lists(st.sampled_from([0.0, 400.0, 900.0]), min_size=slots, max_size=slots))
    limits = {}
    if cap:
        limits["power_cap_w"] = draw(st.sampled_from([800.0, 1000.0, 1500.0]))
    if ramp:
        limits["ramp_w_per_slot"] = draw(st.sampled_from([300.0, 500.0, 800.0, 1000.0]))
    return make(
        classes,
        rows,
        draw(each),
        gpus=draw(st.integers(1, 3)),
        renewable_w=green if renewables else 0.0,
        **limits,
    )


def schedule(pieces: Pieces) -> Schedule:
    """What of jobs that may be split is on a board."""
    job = np.repeat(np.array(list(pieces.of)), [len(one) for one in pieces.of.values()])
    rows = np.concatenate(list(pieces.of.values()))
    order = np.lexsort((rows[:, 1], job))
    return Schedule(
        job=job[order],
        shape=rows[order, 0].astype(np.int64),
        start_s=rows[order, 1],
        end_s=rows[order, 2],
    )


def some_prices(problem: Problem, seed: int, share: tuple[float, float] = (0.0, 1.0)) -> Prices:
    """Prices at random; where there is supply a kWh costs between these shares of the grid's."""
    rng = np.random.default_rng(seed + 1)
    carbon, slots = problem.site.carbon_g_per_kwh, problem.site.slots
    mu = np.where(problem.site.green, rng.uniform(*share, slots) * carbon, carbon)
    return prices(slots, mu=mu, lam=np.maximum(rng.uniform(-50, 100, slots), 0))
