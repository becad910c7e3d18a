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

from slurm_green.plan.climb import climb
from slurm_green.plan.kernel import library
from slurm_green.plan.kernel.smooth import KernelSmooth
from slurm_green.plan.outcome import Prices
from slurm_green.plan.pool import Expected
from slurm_green.plan.price_box import PriceBox
from slurm_green.plan.prices import DEAREST, standing_g
from slurm_green.plan.problem import JOULES_PER_KWH, SECONDS_PER_HOUR, Floats, Ints, Problem
from slurm_green.plan.slot_table import SlotTable
from slurm_green.plan.split import Buy, Splits, slow_response

__all__ = ["SmoothDual", "unsure"]

_TEMPERATURE = 0.01  # of what a unit of work usually costs
_LEAST_G = 1e-200  # work that costs nothing
_SETTLED = 1e-6


class SmoothDual:
    """The dual of a problem in which these jobs, and no others, run: all of them may be split.

    What is usual is told by `prices`, from which the climb starts.
    """

    def __init__(
        self,
        problem: Problem,
        splits: Ints,
        deadline_s: Floats,
        prices: Prices,
    ) -> None:
        order = np.argsort(problem.jobs.class_index[splits], kind="stable")
        self._problem = problem
        self._jobs = splits[order]
        scale_g = max(problem.usual_gpu_hour_g, 1e-6)
        self._box = PriceBox(site=problem.site, scale_g=scale_g, limit_g=DEAREST * scale_g)
        usual_g = np.maximum(_usual_g(problem, prices), _LEAST_G)
        temperature_g = _TEMPERATURE * usual_g
        deadline_s = deadline_s[order]
        self._respond: Callable[[Prices], Splits]
        if library() is not None:
            kernel = KernelSmooth(problem, self._jobs, deadline_s, usual_g, temperature_g)
            self._respond = kernel.respond
        else:
            buy = unsure(temperature_g)
            self._respond = lambda at: slow_response(problem, at, self._jobs, deadline_s, buy)
        self.prices = prices
        self._used = self._respond(prices)

    def climb(self, most: int) -> None:
        """Moves the prices up in so many questions at most."""
        begin, top = self._box.point(self.prices), self._box.top
        found = climb(self._ask, begin, top, most=most, settled=_SETTLED)
        self.prices = self._box.prices(found)
        self._used = self._respond(self.prices)

    def expected(self) -> Expected:
        """What each of the problem's jobs is expected to use at the prices."""
        count, used = len(self._problem.jobs), self._used

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


def _usual_g(problem: Problem, prices: Prices) -> Floats:
    """What a unit of work costs in the mean of the slots, at least; shape (classes,)."""
    shapes, site = problem.shapes, problem.site
    fits = np.flatnonzero(shapes.gpus <= site.gpus)
    per_s = np.outer(shapes.power_w[fits], (prices.mu + prices.nu) / JOULES_PER_KWH)
    per_s += np.outer(shapes.gpus[fits], prices.lam / SECONDS_PER_HOUR)
    found = np.zeros(len(shapes.class_names))
    least = per_s / shapes.rate[fits, None]
    class_of = np.searchsorted(shapes.first, fits, "right") - 1
    for number in np.unique(class_of).tolist():
        found[number] = least[class_of == number].min(axis=0).mean()
    return found
