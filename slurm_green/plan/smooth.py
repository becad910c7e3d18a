# SPDX-License-Identifier: Apache-2.0
"""Prices for jobs that may be split, by what they use where nobody is quite sure of a tie. Pure.

At its best response a job changes its mind all at once where two hours cost the same, so that the
dual has a kink wherever somebody does. Here it buys a share of each edge of the slots' hulls (see
hull.py) that falls from all to none while the edge's price rises from a temperature below to one
above what its work costs: the best response where being unsure of an edge is worth something (a
quadratic term: Nesterov, "Smooth minimization of non-smooth functions", 2005). The dual of that is
smooth, a little below the true one, and what jobs use at its top is what can be expected of them.
"""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from slurm_green.plan.climb import climb
from slurm_green.plan.kernel import library
from slurm_green.plan.kernel.smooth import KernelSmooth
from slurm_green.plan.outcome import Prices
from slurm_green.plan.pool import Expected
from slurm_green.plan.price_box import PriceBox
from slurm_green.plan.prices import DEAREST, first_prices, standing_g
from slurm_green.plan.problem import JOULES_PER_KWH, SECONDS_PER_HOUR, Floats, Ints, Problem
from slurm_green.plan.slot_table import SlotTable
from slurm_green.plan.split import Buy, Splits, slow_response, split_response

__all__ = ["SmoothDual", "can_be_done", "unsure"]

_LEAST_G = 1e-200  # work that costs nothing
# Of the value, and of what all work usually costs where the value is next to nothing.
_SETTLED, _SETTLED_USUAL = 1e-6, 1e-8


class SmoothDual:
    """The dual of a problem in which these jobs, and no others, run: all of them may be split.

    `usual_g` is what all of their work usually costs.
    """

    def __init__(self, problem: Problem, splits: Ints, deadline_s: Floats, prices: Prices) -> None:
        order = np.argsort(problem.jobs.class_index[splits], kind="stable")
        scale_g = max(problem.usual_gpu_hour_g, 1e-6)
        self._problem = problem
        self._jobs, self._deadline_s = splits[order], deadline_s[order]
        self._box = PriceBox(site=problem.site, scale_g=scale_g, limit_g=DEAREST * scale_g)
        unit_g = np.maximum(_usual_g(problem), _LEAST_G)
        jobs = problem.jobs
        self.usual_g = float(unit_g[jobs.class_index[splits]] @ jobs.work[splits])
        self._unit_g, self._soft_g = unit_g, np.zeros(len(unit_g))
        self._respond: Callable[[Prices], Splits]
        if library() is not None:
            kernel = KernelSmooth(problem, *self._asked, unit_g, self._soft_g)
            self._respond = kernel.respond
        else:
            buy = unsure(self._soft_g)
            self._respond = lambda at: slow_response(problem, at, *self._asked, buy)
        self.prices = prices
        self.temperature = 0.0
        self.value_g = -np.inf
        self._used: Splits | None = None

    def climb(
        self, temperature: float, most: int, expired: Callable[[], bool] = lambda: False
    ) -> None:
        """Moves the prices up at this temperature, in so many questions at most.

        The temperature is a share of what work usually costs.
        """
        self.temperature = temperature
        self._soft_g[:] = temperature * self._unit_g
        begin, top = self._box.point(self.prices), self._box.top
        found = climb(
            self._ask,
            begin,
            top,
            most=most,
            settled=_SETTLED,
            settled_least=_SETTLED_USUAL * self.usual_g,
            expired=expired,
        )
        self.prices = self._box.prices(found)
        self._used = self._respond(self.prices)
        self.value_g = standing_g(self._problem, self.prices) + float(self._used.cost_g.sum())

    def proven_g(self, prices: Prices, jobs: Ints | None = None) -> float:
        """The true dual at any prices: what the problem costs at least, with these jobs or all."""
        some = slice(None) if jobs is None else np.isin(self._jobs, jobs)
        found = split_response(self._problem, prices, self._jobs[some], self._deadline_s[some])
        costs = found.cost_g[np.isfinite(found.cost_g)]
        return standing_g(self._problem, prices) + float(costs.sum())

    @property
    def _asked(self) -> tuple[Ints, Floats]:
        return self._jobs, self._deadline_s

    def expected(self) -> Expected:
        """What each of the problem's jobs is expected to use at the prices."""
        count, used = len(self._problem.jobs), self._used
        assert used is not None

        def of(table: SlotTable, unit: float) -> SlotTable:
            row = np.repeat(self._jobs, table.counts())
            return SlotTable.of_cells(
                row, table.slot.astype(np.int64), unit * table.value, (count, table.slots)
            )

        return Expected(energy_j=of(used.energy_kwh, JOULES_PER_KWH), gpu_h=of(used.gpu_h, 1.0))

    def _ask(self, point: Floats) -> tuple[float, Floats]:
        problem, site, prices = self._problem, self._problem.site, self._box.prices(point)
        used = self._respond(prices)
        hours, kwh = site.step_s / SECONDS_PER_HOUR, site.step_s / JOULES_PER_KWH
        drawn = used.energy_kwh.by_slot() + site.base_power_w * kwh
        slope = self._box.slope(
            used.gpu_h.by_slot() - site.gpus * hours,
            drawn - site.renewable_w * kwh,
            drawn - site.power_cap_w * kwh,
        )
        return standing_g(problem, prices) + float(used.cost_g.sum()), slope


def can_be_done(problem: Problem, jobs: Ints, deadline_s: Floats) -> NDArray[np.bool_]:
    """Whether the work of each job fits into its window, with all the GPUs that there are."""
    found = split_response(problem, first_prices(problem.site), jobs, deadline_s)
    return np.isfinite(found.cost_g)


def unsure(temperature_g: Floats) -> Buy:
    """Buys shares of edges, at a temperature for each class."""

    def buy(class_index: int, work: Floats, steep_g: Floats, need: float) -> tuple[Floats, float]:
        if not len(work):
            return work, 0.0
        soft = float(temperature_g[class_index])
        # Work is piecewise linear in its price: it grows from where an edge is begun to where all
        # of it is bought.
        corner = np.concatenate([steep_g - soft, steep_g + soft])
        order = np.argsort(corner, kind="stable")
        corner = corner[order]
        grows = np.cumsum((np.concatenate([work, -work]) / (2 * soft))[order])
        done = np.append(0.0, np.cumsum(grows[:-1] * np.diff(corner)))
        price = float(np.interp(need, done, corner))
        share = np.clip(0.5 + (price - steep_g) / (2 * soft), 0.0, 1.0)
        return share, soft * float(work @ ((share - 0.5) ** 2 - 0.25))

    return buy


def _usual_g(problem: Problem) -> Floats:
    """What a unit of work costs at the grid's usual intensity, at least; shape (classes,)."""
    shapes, site = problem.shapes, problem.site
    carbon = float(site.carbon_g_per_kwh.mean()) if site.slots else 0.0
    joules = np.where(shapes.gpus <= site.gpus, shapes.power_w / shapes.rate, np.inf)
    # One that draws nothing says nothing of what the others cost.
    joules = np.where(joules > 0, joules, np.inf)
    least = np.minimum.reduceat(joules, shapes.first[:-1]) if len(joules) else np.zeros(0)
    return np.asarray(np.where(np.isfinite(least), least, 0.0) * carbon / JOULES_PER_KWH)
