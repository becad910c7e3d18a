# SPDX-License-Identifier: Apache-2.0
"""The prices at which the jobs' best responses fit the site. Pure.

First the prices walk uphill on the dual, a step for each answer of all jobs (Adam, Kingma and Ba
2015); the answers form a pool of ways. Then the prices that balance the pool, at a falling
temperature, with each answer to them added to the pool, until the proven bound stops rising.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from slurm_green.plan.options import Options
from slurm_green.plan.outcome import Prices, Weights
from slurm_green.plan.overlap import overlap
from slurm_green.plan.pool import Expected, Pool, Ways
from slurm_green.plan.problem import (
    JOULES_PER_KWH,
    SECONDS_PER_HOUR,
    Floats,
    Ints,
    Problem,
    Site,
)
from slurm_green.plan.slot_table import SlotTable
from slurm_green.plan.split import split_response

__all__ = [
    "DEAREST",
    "Answer",
    "Found",
    "PriceSearch",
    "first_prices",
    "idle_prices",
    "inside",
    "standing_g",
]

_WALK = 10
_WALK_GREEN = 15  # renewable supply makes the walk longer: two kinds of prices move
_WALK_WARM = 2
_TEMPERATURES = (0.01, 0.003, 0.001, 0.0005, 0.0003)  # of a job's usual cost
_TEMPERATURES_WARM = (0.0005,)
_RISEN_ENOUGH = 2e-5
# Where jobs have much freedom prices need longer: the walk goes on while the last steps rose so
# much, and pools are balanced again, nearer to the best prices each time that led astray.
_STRIDE, _UPHILL, _WALK_MOST = 6, 0.02, 30
_RADIUS, _ASTRAY = 1.0, 0.01
_RADIUS_TIGHT = 0.1  # where there is no such room prices would rise without bounds
_RISEN_LITTLE, _MORE, _MORE_JOBS = 3e-4, 20, 200_000
_FAR = 1e-3  # of the value: earlier prices that rise by more were those of another problem
DEAREST = 20.0  # times the usual price of a GPU-hour: more says that there is no room


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What all jobs do at some prices, and the value of the dual there."""

    value_g: float
    jobs_g: float  # the sum of what the jobs cost, each taken as positive
    ways: Ways
    gpu_h: Floats
    energy_kwh: Floats


@dataclass(frozen=True, kw_only=True)
class Found:
    """The best prices found, their dual value, and the pool that led there.

    `option` and `start_s` are the runs that were best at some prices on the way; `usual_g` is what
    a usual job costs.
    """

    prices: Prices
    value_g: float
    pool: Pool
    temperature_g: float
    option: Ints
    start_s: Floats
    scale: float = 1.0
    usual_g: float = 1.0

    @cached_property
    def expected(self) -> Expected:
        """What each job is expected to use at the prices."""
        return self.pool.expected(self.prices, self.temperature_g)

    def softer(self, share: float) -> "Found":
        """The same ways, and prices at which jobs are unsure by this share of what one costs."""
        temperature_g = share * self.usual_g
        prices = self.pool.balance(
            self.prices,
            temperature_g,
            scale=self.scale,
            limit=DEAREST * self.scale,
            radius=_RADIUS,
        )
        return replace(self, prices=prices, temperature_g=temperature_g)

    def tighter(self, spare: float) -> Prices:
        """Prices at which the ways found leave this share of the GPUs idle where they are full."""
        return self.pool.balance(
            self.prices,
            self.temperature_g,
            scale=self.scale,
            limit=DEAREST * self.scale,
            radius=_RADIUS_TIGHT,
            spare=spare,
        )


def first_prices(site: Site) -> Prices:
    """Where a search begins that knows nothing yet."""
    nothing = np.zeros(site.slots)
    mu = site.carbon_g_per_kwh * np.where(site.green, 0.7, 1.0)
    return Prices(mu=mu, lam=nothing, nu=nothing.copy())


def idle_prices(site: Site) -> Prices:
    """Prices of a site where nothing is planned."""
    mu = np.where(site.base_power_w > site.renewable_w, site.carbon_g_per_kwh, 0.0)
    nothing = np.zeros(site.slots)
    return Prices(mu=mu, lam=nothing, nu=nothing.copy())


def inside(problem: Problem, prices: Prices) -> Prices:
    """Prices that may be those of another forecast, moved into this problem's domain."""
    carbon, green = problem.site.carbon_g_per_kwh, problem.site.green
    mu = np.where(green, np.minimum(prices.mu, carbon), carbon)
    return Prices(mu=mu, lam=prices.lam, nu=prices.nu)


def standing_g(problem: Problem, prices: Prices) -> float:
    """The dual's value at these prices without what the jobs cost, in g."""
    site = problem.site
    hours, kwh = site.step_s / SECONDS_PER_HOUR, site.step_s / JOULES_PER_KWH
    value = float(prices.mu @ (site.base_power_w - site.renewable_w)) * kwh
    value -= float(prices.lam.sum()) * site.gpus * hours
    if np.isfinite(site.power_cap_w):
        value += float(prices.nu @ (site.base_power_w - site.power_cap_w)) * kwh
    return value


class PriceSearch:
    """Looks for prices for one problem, its jobs with these deadlines.

    `runs` are the options of jobs that run in one go, `splits` the jobs that may be split.
    Owners in the pool are the problem's job numbers.
    """

    def __init__(
        self,
        problem: Problem,
        weights: Weights,
        runs: Options,
        splits: Ints,
        deadline_s: Floats,
    ) -> None:
        self._problem = problem
        self._weights = weights
        self._runs = runs
        self._splits = splits
        self._deadline_s = deadline_s
        self._seen = np.zeros(0, dtype=np.int64)
        self._tried: list[tuple[Ints, Floats]] = []

    def search(
        self,
        warm: Prices | None = None,
        *,
        enough: Callable[[], bool] = lambda: False,
        progress: Callable[[float, float], None] = lambda done, best: None,
    ) -> Found:
        """Walks, then balances; from `warm` prices after a short walk around them.

        Where those turn out to be far off, it starts anew. Stops early when `enough` says so.
        `progress` hears the share done and the best value.
        """
        site = self._problem.site
        scale = self._usual_lam()
        green = bool(site.green.any())
        pool = Pool(self._problem)
        prices = first_prices(site) if warm is None else inside(self._problem, warm)
        if not len(self._runs) and not len(self._splits):
            return self._found(idle_prices(site), 0.0, pool, 1.0)
        steps = _WALK_WARM if warm is not None else (_WALK_GREEN if green else _WALK)
        temperatures: tuple[float, ...] = _TEMPERATURES if warm is None else _TEMPERATURES_WARM
        best, best_prices, jobs_g = -np.inf, prices, 0.0
        count = max(1, len(np.unique(self._runs.job)) + len(self._splits))
        walk = _Walk(self._problem, scale, green, gentle=warm is not None)
        values: list[float] = []
        for step in range(max(steps, _WALK_MOST if warm is None else 0)):
            answer = self.answer(prices)
            pool.add(answer.ways)
            values.append(max(answer.value_g, best))
            if answer.value_g > best:
                best, best_prices, jobs_g = answer.value_g, prices, answer.jobs_g
            if enough():
                return self._found(best_prices, best, pool, 1.0)
            if step + 1 >= steps and best - values[-min(_STRIDE, len(values))] < _UPHILL * abs(
                best
            ):
                break
            progress(0.5 * min(1.0, (step + 1) / steps), best)
            prices = walk.step(prices, answer)
        usual = max(jobs_g / count, 1e-9)
        prices = best_prices
        radius = _RADIUS
        more = min(_MORE, max(1, _MORE_JOBS // count)) if warm is None else 0
        for number in range(len(temperatures) + more):
            temperature = temperatures[min(number, len(temperatures) - 1)]
            prices = pool.balance(
                prices, temperature * usual, scale=scale, limit=DEAREST * scale, radius=radius
            )
            answer = self.answer(prices)
            risen = answer.value_g - best
            if risen > 0:
                best, best_prices = answer.value_g, prices
            elif risen < -_ASTRAY * abs(best):
                radius /= 2
                prices = best_prices
            progress(0.5 + 0.5 * min(1.0, (number + 1) / len(temperatures)), best)
            if enough() or (0 <= risen < _RISEN_ENOUGH * abs(best) and number >= 2):
                break
            if number + 1 >= len(temperatures) and abs(risen) < _RISEN_LITTLE * abs(best):
                break
            pool.add(answer.ways)
        if warm is not None and best - values[0] > _FAR * abs(best):
            self._seen = self._seen[:0]
            return self.search(enough=enough, progress=progress)
        return self._found(best_prices, best, pool, temperatures[-1] * usual, usual)

    def _found(
        self,
        prices: Prices,
        value_g: float,
        pool: Pool,
        temperature_g: float,
        usual_g: float = 1.0,
    ) -> Found:
        nothing = (np.zeros(0, dtype=np.int64), np.zeros(0))
        option, start = (np.concatenate(part) for part in zip(nothing, *self._tried, strict=True))
        return Found(
            prices=prices,
            value_g=value_g,
            pool=pool,
            temperature_g=temperature_g,
            option=option,
            start_s=start,
            scale=self._usual_lam(),
            usual_g=usual_g,
        )

    def answer(self, prices: Prices) -> Answer:
        """The best responses of all jobs, only ways not seen before; their sum is complete."""
        problem, site = self._problem, self._problem.site
        value = standing_g(problem, prices)
        runs = self._runs
        response = runs.respond(problem, prices, self._weights)
        least = runs.least(response.cost_g)
        value += float(response.cost_g[least].sum())
        jobs_g = float(np.abs(response.cost_g[least]).sum())
        start = response.start_s[least]
        met = overlap(start, start + runs.duration_s[least], step_s=site.step_s, slots=site.slots)
        gpu_h = runs.gpus[least][met.stretch] * met.seconds / SECONDS_PER_HOUR
        energy = runs.power_w[least][met.stretch] * met.seconds / JOULES_PER_KWH
        used_h = np.bincount(met.slot, gpu_h, site.slots).astype(np.float64)
        used_kwh = np.bincount(met.slot, energy, site.slots).astype(np.float64)
        new = self._unseen(least, start)
        ways = [
            Ways(
                owner=runs.job[least][new],
                gpu_h=SlotTable.of(met.first, met.slot, gpu_h, site.slots).rows(new),
                energy_kwh=SlotTable.of(met.first, met.slot, energy, site.slots).rows(new),
                worth_g=self._weights.performance_g * runs.performance(least, start)[new],
            )
        ]
        if len(self._splits):
            found = split_response(problem, prices, self._splits, self._deadline_s[self._splits])
            fits = np.flatnonzero(np.isfinite(found.cost_g))
            # Performance of a split job is bounded by that of an uninterrupted one: at most 1.
            value += float(found.cost_g[fits].sum()) - self._weights.performance_g * len(fits)
            jobs_g += float(found.cost_g[fits].sum())
            used_h += found.gpu_h.by_slot()
            used_kwh += found.energy_kwh.by_slot()
            ways.append(
                Ways(
                    owner=self._splits[fits],
                    gpu_h=found.gpu_h.rows(fits),
                    energy_kwh=found.energy_kwh.rows(fits),
                    worth_g=np.full(len(fits), self._weights.performance_g),
                )
            )
        both = Ways(
            owner=np.concatenate([w.owner for w in ways]),
            gpu_h=SlotTable.stacked([w.gpu_h for w in ways]),
            energy_kwh=SlotTable.stacked([w.energy_kwh for w in ways]),
            worth_g=np.concatenate([w.worth_g for w in ways]),
        )
        return Answer(value_g=value, jobs_g=jobs_g, ways=both, gpu_h=used_h, energy_kwh=used_kwh)

    def _unseen(self, option: Ints, start_s: Floats) -> Ints:
        """Which of these runs are new to the pool."""
        key = option * (int(self._problem.site.horizon_s) + 2) + np.round(start_s).astype(np.int64)
        new = np.flatnonzero(~np.isin(key, self._seen))
        self._seen = np.concatenate([self._seen, key[new]])
        self._tried.append((option[new], start_s[new]))
        return new

    def _usual_lam(self) -> float:
        """g per GPU-hour of a usual job at usual intensity."""
        worth = 0.0
        if self._weights.performance_g and len(self._runs):
            hours = self._runs.gpus * self._runs.duration_s / SECONDS_PER_HOUR
            worth = self._weights.performance_g * float(np.median(1 / np.maximum(hours, 1e-9)))
        return max(self._problem.usual_gpu_hour_g + worth, 1e-6)


class _Walk:
    """Adam's steps along the supergradient of the dual, projected onto the prices' domain."""

    def __init__(self, problem: Problem, scale: float, green: bool, *, gentle: bool) -> None:
        self._site = problem.site
        self._green = green
        self._size = 0.03 if gentle else 0.3
        self._scale = scale
        self._number = 0
        slots = problem.site.slots
        self._mean = np.zeros((3, slots))
        self._square = np.zeros((3, slots))

    def step(self, prices: Prices, answer: Answer) -> Prices:
        site = self._site
        hours, kwh = site.step_s / SECONDS_PER_HOUR, site.step_s / JOULES_PER_KWH
        size = self._size / (1 + 0.15 * self._number)
        self._number += 1
        load = answer.energy_kwh / kwh + site.base_power_w
        usual = float(answer.energy_kwh.mean() / kwh) + 1e-9
        busy = (answer.gpu_h / hours - site.gpus) / max(site.gpus, 1)
        lam = np.maximum(0.0, prices.lam + size * self._scale * self._direction(0, busy))
        mu, nu = prices.mu, prices.nu
        if self._green:
            toward = self._direction(1, (load - site.renewable_w) / usual)
            moved = np.clip(mu + size * site.carbon_g_per_kwh * toward, 0, site.carbon_g_per_kwh)
            mu = np.where(site.green, moved, site.carbon_g_per_kwh)
        if np.isfinite(site.power_cap_w):
            toward = self._direction(2, (load - site.power_cap_w) / usual)
            middle = max(float(np.median(site.carbon_g_per_kwh)), 1e-9)
            nu = np.maximum(0.0, nu + size * middle * toward)
        return Prices(mu=mu, lam=lam, nu=nu)

    def _direction(self, kind: int, slope: Floats) -> Floats:
        self._mean[kind] = 0.7 * self._mean[kind] + 0.3 * slope
        self._square[kind] = 0.9 * self._square[kind] + 0.1 * slope**2
        return np.asarray(self._mean[kind] / (np.sqrt(self._square[kind]) + 0.02))
