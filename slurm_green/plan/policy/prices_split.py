# SPDX-License-Identifier: Apache-2.0
"""Which of the jobs that may pause run now, at the prices of the hours ahead. Pure.

Each job would run in its cheapest slots (split_one.py). What it would lose by not running in this
slot says who goes first where GPUs are too few. Own supply that is left in this slot costs nothing
until it is used up: at the price of the relaxation all would run, or nobody.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from slurm_green.plan.outcome import Prices
from slurm_green.plan.policy.demand import Demand, demand_of, fastest_shape
from slurm_green.plan.policy.protocol import Job, Run, Setup, Start
from slurm_green.plan.problem import JOULES_PER_KWH, SECONDS_PER_HOUR, Floats, Shapes, Site
from slurm_green.plan.split_one import Hulls, hulls_of, split_along

__all__ = ["Choice", "Room", "Wishes", "choose"]

_MARGIN = 0.04  # of the time a job can wait
_HAIR = 1e-9
_SAFE = 0.8  # of the GPUs: the rest is for who is yet to come


@dataclass(frozen=True, kw_only=True)
class _Ways:
    """The shapes of a class that fit the site, and what its work costs in them.

    `need` are watts and GPUs of each, shape (shapes, 2).
    """

    shapes: list[int]
    need: Floats
    rate: Floats
    hulls: Hulls


@dataclass(frozen=True, kw_only=True)
class Wishes:
    """What was found at some prices, in some slot: what each job would do, and a class's ways.

    The second part of a key is whether own supply is left.
    """

    found: dict[tuple[str, bool], tuple[int, float]] = field(default_factory=dict)
    ways: dict[tuple[int, bool], _Ways] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Choice:
    """What to start or reshape, and what to pause."""

    starts: list[Start]
    pauses: list[str]


class Room:
    """GPUs and watts that are free now."""

    def __init__(self, shapes: Shapes, gpus: int, watts: float) -> None:
        self._shapes = shapes
        self._gpus = gpus
        self._watts = watts

    def take(self, shape: int) -> bool:
        """Takes what a shape needs, if it is there."""
        gpus, watts = int(self._shapes.gpus[shape]), float(self._shapes.power_w[shape])
        if gpus > self._gpus or watts > self._watts:
            return False
        self._gpus -= gpus
        self._watts -= watts
        return True


def choose(
    jobs: Sequence[Job],
    work_left: Mapping[str, float],
    running: Mapping[str, Run],
    room: Room,
    site: Site,
    prices: Prices,
    setup: Setup,
    now_s: float,
    wishes: Wishes,
    free_gpus: Floats,
    supply_w: float,
) -> Choice:
    """Who runs now in that room, which these jobs have for themselves.

    `wishes` keeps what each job would do, for as long as prices and slot stay the same.
    `free_gpus` is what they have in each slot from now on, `supply_w` what is left of the site's
    own supply in this one.
    """
    grid = np.stack([(prices.mu + prices.nu) / JOULES_PER_KWH, prices.lam / SECONDS_PER_HOUR])
    own = grid.copy()
    slot = int((now_s - site.start_s) / site.step_s + _HAIR)
    grid[0, slot] = (site.carbon_g_per_kwh[slot] + prices.nu[slot]) / JOULES_PER_KWH
    own[0, slot] = prices.nu[slot] / JOULES_PER_KWH

    def wish(job: Job, fed: bool) -> tuple[int, float]:
        key, number = (job.job_id, fed), (job.class_index, fed)
        price = own if fed else grid
        if number not in wishes.ways:
            wishes.ways[number] = _ways(job.class_index, price, setup)
        if key not in wishes.found:
            run, left = running.get(job.job_id), work_left[job.job_id]
            ways = wishes.ways[number]
            wishes.found[key] = _wish(job, left, run, site, price, ways, setup, now_s)
        return wishes.found[key]

    found = demand_of(jobs, work_left, site, setup, now_s, free_gpus)
    laxity_s, pressed = found.wait_s.tolist(), _pressed(found)
    fed = supply_w > 0
    wanted: list[tuple[float, float, str, int, int]] = []
    for at, job in enumerate(jobs):
        shape, loss = wish(job, fed)
        must = pressed[at] or math.isinf(loss)
        if shape < 0 and must:
            shape = fastest_shape(job.class_index, setup)
        if shape >= 0:
            # Who must run comes first, in the order in which time runs out.
            per_gpu = -math.inf if must else -loss / int(setup.shapes.gpus[shape])
            wanted.append((per_gpu, laxity_s[at], job.job_id, at, shape))
    starts: list[Start] = []
    stays: set[str] = set()
    power_w = setup.shapes.power_w
    for per_gpu, _, job_id, at, shape in sorted(wanted):
        if fed and per_gpu > -math.inf and supply_w < power_w[shape] / 2:
            shape, _ = wish(jobs[at], False)
            if shape < 0:
                continue
        if not room.take(shape):
            narrower = sorted(
                setup.shapes.of(jobs[at].class_index), key=setup.shapes.rate.__getitem__
            )
            shape = next((k for k in reversed(narrower) if room.take(k)), -1)
            if shape < 0:
                continue
        supply_w -= float(power_w[shape])
        stays.add(job_id)
        if job_id not in running or running[job_id].shape != shape:
            starts.append(Start(job_id, shape))
    return Choice(starts=starts, pauses=[name for name in running if name not in stays])


def _pressed(found: Demand) -> list[bool]:
    """Of each job whether it must run lest GPUs be too few later.

    Where what must be done until some moment comes near what the GPUs can do until then, the jobs
    that it consists of are pressed.
    """
    short = found.must.sum(axis=0) > _SAFE * found.able
    pressed: list[bool] = np.asarray((found.must[:, short] > 0).any(axis=1)).tolist()
    return pressed


def _ways(number: int, price: Floats, setup: Setup) -> _Ways:
    shapes = setup.shapes
    own = [k for k in shapes.of(number) if shapes.gpus[k] <= setup.gpus]
    need = np.stack([shapes.power_w[own], shapes.gpus[own].astype(np.float64)], axis=1)
    rate = shapes.rate[own]
    return _Ways(shapes=own, need=need, rate=rate, hulls=hulls_of(price, need, rate))


def _wish(
    job: Job,
    work: float,
    run: Run | None,
    site: Site,
    price: Floats,
    ways: _Ways,
    setup: Setup,
    now_s: float,
) -> tuple[int, float]:
    """The shape in which it would run now (-1: none), and what it loses in g if it does not."""
    step, own, need, rate = site.step_s, ways.shapes, ways.need, ways.rate
    fastest = own[int(np.argmax(rate))]
    early = (now_s - site.start_s) / step
    slack = job.deadline_s - job.earliest_s - job.work / float(rate.max())
    until = (job.deadline_s - _MARGIN * max(slack, 0.0) - site.start_s) / step
    if until > site.slots:
        # Its share of what can be seen.
        work *= (site.slots - early) / (until - early)
        until = float(site.slots)
    if run is None:
        work += setup.pause_cost_s * float(rate.max())

    def best(since: float, work: float = work) -> tuple[float, int, int]:
        """Cost, shape at once (-1: none), and the slot in which it begins."""
        found = split_along(ways.hulls, step_s=step, work=work, early=since, until=until)
        if found is None:
            return math.inf, fastest, int(since)
        if not found.parts:
            return found.cost_g, -1, int(since)
        first = found.parts[0]
        # Within a slot all moments cost the same: what begins later in this one begins now.
        now = first.begin < math.floor(since + _HAIR) + 1 - _HAIR
        return found.cost_g, own[first.row] if now else -1, int(first.begin + _HAIR)

    cost, shape, begins = best(early)
    if shape < 0 and run is None:
        return -1, 0.0
    if math.isinf(cost):
        return fastest, math.inf
    border = math.floor(early + _HAIR) + 1.0
    later, _, _ = best(border)
    if run is not None:
        # To pause and to go on costs a restart.
        row, slot = own.index(run.shape), int(early + _HAIR)
        later += setup.pause_cost_s * float(price[:, slot] @ need[row])
        if shape < 0 and setup.pause_cost_s:
            rests = cost + setup.pause_cost_s * float(price[:, begins] @ need[row])
            here_s = min((border - early) * step, work / float(rate[row]))
            stays = here_s * float(price[:, slot] @ need[row])
            left = work - here_s * float(rate[row])
            if left > _HAIR * work:
                stays += best(border, left)[0]
            return (run.shape, rests - stays) if rests > stays else (-1, 0.0)
        if shape < 0:
            return -1, 0.0
    return shape, later - cost
