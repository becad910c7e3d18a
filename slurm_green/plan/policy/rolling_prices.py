# SPDX-License-Identifier: Apache-2.0
"""Prices of the hours ahead for what waits and what may still come. Pure.

Each item takes its starts by odds that fall with their cost (logit), so what it is expected to
use is smooth in the prices, and L-BFGS-B climbs the dual in a few dozen cheap evaluations from the
prices of an hour ago. There is no pool of ways as in plan/pool.py: over a window of days the
starts at slot borders are few enough to list.
"""

from dataclasses import dataclass

import numpy as np
from scipy import optimize

from slurm_green.plan.outcome import Prices
from slurm_green.plan.policy.arrivals import Likely
from slurm_green.plan.policy.rolling_use import Uses
from slurm_green.plan.policy.rolling_ways import Items, Ways, ways_of
from slurm_green.plan.problem import JOULES_PER_KWH, SECONDS_PER_HOUR, Floats, Problem, Site

__all__ = ["Ahead", "find_prices", "look_ahead", "uses_of"]

_TEMPERATURE, _TEMPERATURE_PIECES = 0.003, 0.01  # of a usual cost; softer for who may pause
_MOST, _MOST_GREEN = 25, 50  # steps; prices of own supply are slower to settle
_PIECES, _LIKELY_PIECES = 12, 4  # of a job that may be split, at most
_DEAREST = 20.0  # times the usual price of a GPU-hour
# Neither supply nor who else will want it is known: by so much of itself it counts as less or more,
# from some hours ahead on. It is more than all of it because others may come who want all of it.
_UNSURE, _UNSURE_FROM_H = 1.5, 12.0


def uses_of(site: Site, ways: Ways, temperature: float | Floats = _TEMPERATURE) -> Uses:
    """What the ways use; `temperature` is a share of a taker's usual cost, one for all or each."""
    least_kwh, _ = _least(site, ways)
    return Uses(ways, site.slots, temperature * _usual(site) * np.maximum(least_kwh, 1e-12))


def _unsure_w(site: Site) -> Floats:
    """By how many watts own supply may be less or more in each slot; that of the first is known.

    Everything between counts as equally likely, so that what the grid gives grows smoothly: for
    prices and for the lists that are made with them, or those would not fit together.
    """
    ahead_h = np.arange(site.slots) * (site.step_s / SECONDS_PER_HOUR)
    return np.asarray(_UNSURE * np.minimum(ahead_h / _UNSURE_FROM_H, 1.0) * site.renewable_w)


def find_prices(
    site: Site,
    free_gpus: Floats,
    ways: Ways,
    uses: Uses,
    warm: Prices,
    *,
    most: int,
    unsure_w: Floats,
) -> Prices:
    """Prices at which the expected use fits, from `warm` ones on, in so many steps.

    `free_gpus` is what is left per slot (slot averages), own supply may be `unsure_w` less or more.
    """
    slots, carbon = site.slots, site.carbon_g_per_kwh
    if not ways.weight.any():  # with no weight at all no price is worth looking for
        mu = np.where(site.green, 0.0, carbon)
        return Prices(mu=mu, lam=np.zeros(slots), nu=np.zeros(slots))
    green = np.flatnonzero(site.green)
    kwh, hours = site.step_s / JOULES_PER_KWH, site.step_s / SECONDS_PER_HOUR
    least_kwh, least_gpu_h = _least(site, ways)
    size = max(float(ways.weight @ np.maximum(least_kwh, 1e-12)) * _usual(site), 1e-9)
    scale = size / max(float(ways.weight @ least_gpu_h), 1e-9)
    base = (site.base_power_w - site.renewable_w) * kwh
    unsure = unsure_w[green] * kwh
    mu = carbon.copy()

    def negative(x: Floats) -> tuple[float, Floats]:
        lam = x[:slots] * scale
        grid = x[slots:]  # how likely it is that a kWh more is the grid's
        mu[green] = grid * carbon[green]
        value, gpus, watts = uses.at(mu * kwh, lam * hours, watts=bool(len(green)))
        value += float(mu[green] @ base[green]) - float(lam @ free_gpus) * hours
        slope = [(gpus - free_gpus) * hours * scale]
        if len(green):
            # At this price as much is wanted as supply is with that likelihood.
            value -= float((unsure * carbon[green]) @ (grid * (grid - 1.0)))
            short = (watts * kwh + base)[green] - unsure * (2.0 * grid - 1.0)
            slope.append(short * carbon[green])
        return -value / size, -np.concatenate(slope) / size

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
    mu[green] = found[slots:] * carbon[green]
    return Prices(mu=mu, lam=found[:slots] * scale, nu=np.zeros(slots))


def _usual(site: Site) -> float:
    """The usual g/kWh."""
    return max(float(np.mean(site.carbon_g_per_kwh)), 1e-9)


def _least(site: Site, ways: Ways) -> tuple[Floats, Floats]:
    """The least kWh and the least GPU-hours of each taker."""
    some = ways.first[:-1]
    if not len(some):
        return np.zeros(0), np.zeros(0)
    kwh, hours = site.step_s / JOULES_PER_KWH, site.step_s / SECONDS_PER_HOUR
    return (
        np.minimum.reduceat(ways.power_w * ways.length * kwh, some),
        np.minimum.reduceat(ways.gpus * ways.length * hours, some),
    )


@dataclass(frozen=True, kw_only=True)
class Ahead:
    """The prices of the slots from `start_s` on, and what is expected to be used, slot averages.

    `gpus` and `watts` have one row for each job known; `others_*` are those that may come or pause.
    Own supply was reckoned with as up to `unsure_w` less or more, as lists are to do, too.
    """

    start_s: float
    prices: Prices
    unsure_w: Floats
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
    *,
    sure: bool = False,
) -> Ahead:
    """Prices for the problem's jobs on `free_gpus` (slot averages), beside those that may come.

    Where it is `sure`, own supply is taken for what is forecast.
    """
    site, jobs = problem.site, problem.jobs
    early = np.maximum(likely.earliest_s, now_s) - start_s
    items = Items(
        class_index=np.concatenate([jobs.class_index, likely.class_index]),
        work=np.concatenate([jobs.work, likely.work]),
        earliest_s=np.concatenate([jobs.earliest_s, early]),
        deadline_s=np.concatenate([jobs.deadline_s, likely.deadline_s - start_s]),
        weight=np.concatenate([np.ones(len(jobs)), likely.weight]),
        pieces=np.concatenate(
            [
                np.where(jobs.preemptible, _PIECES, 1),
                np.where(likely.preemptible > 0, _LIKELY_PIECES, 1),
            ]
        ),
    )
    ways = ways_of(items, problem.shapes, site.gpus, site.step_s, site.slots)
    soft = np.where(items.pieces > 1, _TEMPERATURE_PIECES, _TEMPERATURE)
    uses = uses_of(site, ways, soft[ways.item])
    most = _MOST_GREEN if site.green.any() else _MOST
    unsure_w = np.zeros(site.slots) if sure else _unsure_w(site)
    prices = find_prices(
        site,
        free_gpus,
        ways,
        uses,
        _shifted(before, site, start_s),
        most=most,
        unsure_w=unsure_w,
    )
    count = len(jobs)
    # Those that may pause are planned slot by slot, beside the others.
    row = np.where(jobs.preemptible, count, np.arange(count))
    row = np.append(row, np.full(len(likely), count))[ways.item]
    kwh, hours = site.step_s / JOULES_PER_KWH, site.step_s / SECONDS_PER_HOUR
    _, gpus, watts = uses.by(prices.mu * kwh, prices.lam * hours, row, count + 1)
    for table in (gpus, watts):
        table[np.abs(table) < 1e-9 * max(float(np.abs(table).max(initial=0.0)), 1e-30)] = 0.0
    return Ahead(
        start_s=start_s,
        prices=prices,
        unsure_w=unsure_w,
        row={job_id: at for at, job_id in enumerate(jobs.ids)},
        gpus=gpus[:count],
        watts=watts[:count],
        others_gpus=gpus[count],
        others_w=watts[count],
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
