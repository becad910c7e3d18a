# SPDX-License-Identifier: Apache-2.0
"""Prices of the hours ahead for what waits and what may still come. Pure.

Each item takes its starts by odds that fall with their cost (logit), so what it is expected to
use is smooth in the prices, and L-BFGS-B climbs the dual in a few dozen cheap evaluations from the
prices of an hour ago. There is no pool of ways as in plan/pool.py: over a window of days the
starts at slot borders are few enough to list. A job that may be split counts as pieces of about
a slot, one after the other.
"""

from dataclasses import dataclass

import numpy as np
from scipy import optimize

from slurm_green.plan.outcome import Prices
from slurm_green.plan.policy.arrivals import Likely
from slurm_green.plan.problem import (
    JOULES_PER_KWH,
    SECONDS_PER_HOUR,
    Floats,
    Ints,
    Problem,
    Shapes,
    Site,
)

__all__ = ["Ahead", "Items", "Starts", "expected_of", "find_prices", "look_ahead", "starts_of"]

_TOLERANCE_S = 1e-3
_TEMPERATURE = 0.01  # of a job's usual cost
_MOST, _MOST_GREEN = 25, 100  # steps; prices of own supply are slower to settle
_MOST_PIECES = 12  # of a job that may be split; those of longer jobs are longer than a slot
_DEAREST = 20.0  # times the usual price of a GPU-hour


@dataclass(frozen=True, kw_only=True)
class Items:
    """What wants to run, one entry each; times in seconds from the first slot.

    `weight` is how many of it there are: a share for jobs that may come. `split` ones may pause.
    """

    class_index: Ints
    work: Floats
    earliest_s: Floats
    deadline_s: Floats
    weight: Floats
    split: Ints


@dataclass(frozen=True, kw_only=True)
class Starts:
    """Ways to run items: in one shape, from one moment on. `first` is where each item's begin.

    Positions are in slots. Items without a way are left out: `item` counts in those asked for.
    """

    item: Ints
    first: Ints
    weight: Floats
    gpus: Floats
    power_w: Floats
    begin: Floats
    end: Floats


def starts_of(items: Items, shapes: Shapes, gpus: int, step_s: float, slots: int) -> Starts:
    """The starts at slot borders, at the first and at the last moment, of every shape that fits."""
    owner, work, early, late = _pieces(items, shapes, step_s)
    late = np.minimum(late, slots * step_s)
    number = items.class_index[owner]
    many = shapes.first[number + 1] - shapes.first[number]
    piece = np.repeat(np.arange(len(owner)), many)
    shape = shapes.first[number[piece]] + np.arange(len(piece)) - np.repeat(
        np.cumsum(many) - many, many)  # fmt: skip
    duration = work[piece] / shapes.rate[shape]
    first, last = early[piece], late[piece] - duration
    fits = (last >= first - _TOLERANCE_S) & (shapes.gpus[shape] <= gpus)
    piece, shape, duration = piece[fits], shape[fits], duration[fits] / step_s
    first, last = first[fits] / step_s, np.maximum(last[fits], first[fits]) / step_s
    # The borders strictly between the first and the last start, and those two.
    border = np.floor(first + 1e-6).astype(np.int64) + 1
    between = np.maximum(np.ceil(last - 1e-6).astype(np.int64) - border, 0)
    count = between + 2
    option = np.repeat(np.arange(len(piece)), count)
    place = np.arange(len(option)) - np.repeat(np.cumsum(count) - count, count)
    begin = (border[option] + place - 1).astype(np.float64)
    begin = np.where(place == 0, first[option], begin)
    begin = np.where(place == count[option] - 1, last[option], begin)
    of = piece[option]
    new = np.flatnonzero(np.diff(of, prepend=-1))
    return Starts(
        item=owner[of],
        first=new,
        weight=items.weight[owner[of[new]]],
        gpus=shapes.gpus[shape[option]].astype(np.float64),
        power_w=shapes.power_w[shape[option]],
        begin=begin,
        end=np.minimum(begin + duration[option], slots),
    )


def _pieces(items: Items, shapes: Shapes, step_s: float) -> tuple[Ints, Floats, Floats, Floats]:
    """Owner, work, earliest start and deadline of each piece; most items are one piece."""
    fastest = items.work / shapes.fastest_rate[items.class_index]
    count = np.where(items.split > 0, np.ceil(fastest / step_s - 1e-6), 1).astype(np.int64)
    count = np.clip(count, 1, _MOST_PIECES)
    owner = np.repeat(np.arange(len(count)), count)
    rank = np.arange(len(owner)) - np.repeat(np.cumsum(count) - count, count)
    length = (fastest / count)[owner]
    early = items.earliest_s[owner] + rank * length
    late = items.deadline_s[owner] - (count[owner] - 1 - rank) * length
    return owner, items.work[owner] / count[owner], early, late


class _Between:
    """Integrals of slot values between positions, and back: amounts spread over slots."""

    def __init__(self, begin: Floats, end: Floats, slots: int) -> None:
        self._slots = slots
        self._at = [np.minimum(x.astype(np.int64), slots - 1) for x in (begin, end)]
        self._part = [x - at for x, at in zip((begin, end), self._at, strict=True)]

    def integral(self, value: Floats) -> Floats:
        area = np.append(0.0, np.cumsum(value))
        low, high = (area[at] + part * value[at] for at, part in zip(self._at, self._part,
                                                                    strict=True))  # fmt: skip
        return np.asarray(high - low)

    def spread(self, amount: Floats) -> Floats:
        """Slot averages of amounts that hold from begin to end."""
        size = self._slots + 1
        whole = np.zeros(size)
        for at, part, sign in zip(self._at, self._part, (1.0, -1.0), strict=True):
            # Full from the slot after on, in the slot itself what is left of it.
            whole += sign * np.bincount(at, amount * (1 - part), size)
            whole += sign * np.bincount(at + 1, amount * part, size)
        return np.asarray(np.cumsum(whole)[:-1])


def find_prices(
    site: Site,
    free_gpus: Floats,
    starts: Starts,
    warm: Prices,
    *,
    temperature: float,
    most: int,
) -> tuple[Prices, Floats]:
    """Prices at which the expected use fits, from `warm` ones on, and the odds of each start.

    `free_gpus` is what is left per slot (slot averages). `temperature` is a share of an item's
    usual cost: how much dearer a start may be and still be as likely as not.
    """
    slots = site.slots
    carbon = site.carbon_g_per_kwh
    green = np.flatnonzero(site.green)
    kwh, hours = site.step_s / JOULES_PER_KWH, site.step_s / SECONDS_PER_HOUR
    between = _Between(starts.begin, starts.end, slots)
    length = starts.end - starts.begin
    count = np.diff(np.append(starts.first, len(starts.item)))
    usual_ci = max(float(np.mean(carbon)), 1e-9)
    energy = starts.power_w * length * kwh
    some = starts.first
    wanted = bool(starts.weight.any())  # with no weight at all no price is worth looking for
    per_item = np.maximum(np.minimum.reduceat(energy, some), 1e-12) if len(some) else np.zeros(0)
    heat = temperature * usual_ci * per_item
    heat_of = np.repeat(heat, count)
    weight_of = np.repeat(starts.weight, count)
    scale = usual_ci * float(np.sum(starts.weight * per_item)) / max(
        float(np.sum(starts.weight * np.minimum.reduceat(starts.gpus * length * hours, some))), 1e-9
    ) if wanted else 1.0  # fmt: skip
    size = max(float(np.sum(starts.weight * per_item)) * usual_ci, 1e-9)
    base = (site.base_power_w - site.renewable_w) * kwh
    fixed = carbon.copy()
    fixed[green] = 0.0
    own = starts.power_w * kwh * between.integral(fixed)
    odds = np.zeros(len(starts.item))

    def negative(x: Floats) -> tuple[float, Floats]:
        nonlocal odds
        lam = x[:slots] * scale
        cost = own + starts.gpus * hours * between.integral(lam)
        value = -float(lam @ free_gpus) * hours
        if len(green):
            mu = np.zeros(slots)
            mu[green] = x[slots:] * carbon[green]
            cost = cost + starts.power_w * kwh * between.integral(mu)
            value += float(mu @ base)
        least = np.minimum.reduceat(cost, some)
        odds = np.exp((np.repeat(least, count) - cost) / heat_of)
        total = np.add.reduceat(odds, some)
        odds /= np.repeat(total, count)
        value += float(starts.weight @ (least - heat * np.log(total)))
        share = odds * weight_of
        slope = [(between.spread(share * starts.gpus) - free_gpus) * hours * scale]
        if len(green):
            used = between.spread(share * starts.power_w) * kwh
            slope.append((used + base)[green] * carbon[green])
        return -value / size, -np.concatenate(slope) / size

    if not wanted:
        mu = np.where(site.green, 0.0, carbon)
        return Prices(mu=mu, lam=np.zeros(slots), nu=np.zeros(slots)), odds
    begin = [np.minimum(warm.lam / scale, _DEAREST), np.clip(
        warm.mu[green] / np.maximum(carbon[green], 1e-12), 0, 1)]  # fmt: skip
    found = optimize.minimize(
        negative,
        np.concatenate(begin),
        jac=True,
        method="L-BFGS-B",
        bounds=[(0.0, _DEAREST)] * slots + [(0.0, 1.0)] * len(green),
        options={"maxiter": most, "maxcor": 10, "ftol": 1e-7, "gtol": 1e-7},
    ).x
    negative(found)
    mu = carbon.copy()
    mu[green] = found[slots:] * carbon[green]
    return Prices(mu=mu, lam=found[:slots] * scale, nu=np.zeros(slots)), odds


def expected_of(starts: Starts, odds: Floats, items: int, slots: int) -> tuple[Floats, Floats]:
    """GPUs and watts (slot averages) that each item is expected to use, shape (items, slots)."""
    size = slots + 2
    count = np.diff(np.append(starts.first, len(starts.item)))
    share = odds * np.repeat(starts.weight, count)
    found = []
    for amount in (share * starts.gpus, share * starts.power_w):
        whole = np.zeros(items * size)
        for moment, sign in ((starts.begin, 1.0), (starts.end, -1.0)):
            at = moment.astype(np.int64)
            part = moment - at
            row = starts.item * size + at
            whole += np.bincount(row, sign * amount * (1 - part), items * size)
            whole += np.bincount(row + 1, sign * amount * part, items * size)
        table = np.cumsum(whole.reshape(items, size), axis=1)[:, :slots]
        table[np.abs(table) < 1e-9 * max(float(np.abs(table).max(initial=0.0)), 1e-30)] = 0.0
        found.append(table)
    return found[0], found[1]


@dataclass(frozen=True, kw_only=True)
class Ahead:
    """The prices of the slots from `start_s` on, and what is expected to be used, slot averages.

    `gpus` and `watts` have one row for each job known; `others_*` are those that may come or pause.
    """

    start_s: float
    prices: Prices
    row: dict[str, int]
    gpus: Floats
    watts: Floats
    others_gpus: Floats
    others_w: Floats


def look_ahead(
    problem: Problem,
    start_s: float,
    now_s: float,
    free_gpus: Floats,
    likely: Likely,
    before: Ahead | None,
) -> Ahead:
    """Prices for the problem's jobs on `free_gpus` (slot averages), beside those that may come."""
    site, jobs = problem.site, problem.jobs
    early = np.maximum(likely.earliest_s, now_s) - start_s
    items = Items(
        class_index=np.concatenate([jobs.class_index, likely.class_index]),
        work=np.concatenate([jobs.work, likely.work]),
        earliest_s=np.concatenate([jobs.earliest_s, early]),
        deadline_s=np.concatenate([jobs.deadline_s, likely.deadline_s - start_s]),
        weight=np.concatenate([np.ones(len(jobs)), likely.weight]),
        split=np.concatenate([jobs.preemptible.astype(np.int64), likely.preemptible]),
    )
    starts = starts_of(items, problem.shapes, site.gpus, site.step_s, site.slots)
    prices, odds = find_prices(
        site,
        free_gpus,
        starts,
        _shifted(before, site, start_s),
        temperature=_TEMPERATURE,
        most=_MOST_GREEN if site.green.any() else _MOST,
    )
    gpus, watts = expected_of(starts, odds, len(items.work), site.slots)
    count = len(jobs)
    # Those that may pause are planned slot by slot, beside the others.
    apart = np.append(jobs.preemptible, np.ones(len(likely), dtype=np.bool_))
    return Ahead(
        start_s=start_s,
        prices=prices,
        row={job_id: row for row, job_id in enumerate(jobs.ids)},
        gpus=gpus[:count],
        watts=watts[:count],
        others_gpus=gpus[apart].sum(axis=0),
        others_w=watts[apart].sum(axis=0),
    )


def _shifted(before: Ahead | None, site: Site, start_s: float) -> Prices:
    """The prices of an earlier look, for the slots from now on; a guess where it saw none."""
    lam, mu = np.zeros(site.slots), 0.7 * site.carbon_g_per_kwh
    if before is not None:
        past = round((start_s - before.start_s) / site.step_s)
        known = before.prices.lam[past:][: site.slots]
        lam[: len(known)] = known
        mu[: len(known)] = before.prices.mu[past:][: site.slots]
    return Prices(mu=mu, lam=lam, nu=np.zeros(site.slots))
