# SPDX-License-Identifier: Apache-2.0
"""Ways to run jobs that were best at some prices, and the prices at which they balance. Pure.

The dual of the time-indexed relaxation, restricted to the ways collected so far, is a concave
function of the prices with a kink wherever a job changes its mind. Replacing each job's least
cost by the soft minimum -T log sum exp(-cost / T) makes it smooth: L-BFGS-B then finds its top in
a few dozen cheap evaluations, and a falling temperature T leads to the top of the true one
(Nesterov, "Smooth minimization of non-smooth functions", 2005).
"""

from dataclasses import dataclass

import numpy as np

from slurm_green.plan.outcome import Prices
from slurm_green.plan.price_box import PriceBox
from slurm_green.plan.problem import JOULES_PER_KWH, SECONDS_PER_HOUR, Floats, Ints, Problem
from slurm_green.plan.slot_table import SlotTable

__all__ = ["Expected", "Pool", "Ways"]


@dataclass(frozen=True, kw_only=True)
class Ways:
    """One row per way: whose it is, what it uses per slot, and what it costs beside energy.

    `owner` counts in the jobs of the pool. `worth_g` is the performance of the way times what
    performance is worth.
    """

    owner: Ints
    gpu_h: SlotTable
    energy_kwh: SlotTable
    worth_g: Floats


@dataclass(frozen=True, kw_only=True)
class Expected:
    """What jobs would use per slot if each took its ways by their odds, shape (jobs, slots)."""

    energy_j: SlotTable
    gpu_h: SlotTable

    def only(self, jobs: Ints) -> "Expected":
        """The same, nothing expected of other jobs."""
        return Expected(energy_j=self.energy_j.only(jobs), gpu_h=self.gpu_h.only(jobs))


class Pool:
    """The ways of all jobs; the same way twice does no harm but time."""

    def __init__(self, problem: Problem) -> None:
        self._problem = problem
        self._ways: list[Ways] = []

    def add(self, ways: Ways) -> None:
        """Adds ways, each with all its slots."""
        if len(ways.owner):
            self._ways.append(ways)

    def balance(
        self,
        prices: Prices,
        temperature_g: float,
        *,
        scale: float,
        limit: float,
        radius: float = np.inf,
        most: int = 150,
        spare: float = 0.0,
    ) -> Prices:
        """The best prices at this temperature, starting from the given ones; those without ways.

        `scale` is a usual price of a GPU-hour, `limit` the greatest allowed. No price moves by
        more than `radius` times its usual value. The site has a share `spare` of its GPUs less.
        """
        from scipy import optimize  # half a second that a quick plan after a plan does without

        ways = self._together()
        if ways is None:
            return prices
        site = self._problem.site
        box = PriceBox(site=site, scale_g=scale, limit_g=limit)
        slots, green, capped = site.slots, box.green, box.capped
        hours, kwh = site.step_s / SECONDS_PER_HOUR, site.step_s / JOULES_PER_KWH
        carbon = site.carbon_g_per_kwh
        has = np.concatenate([[True], ways.owner[1:] != ways.owner[:-1]])
        first, segment = np.flatnonzero(has), np.cumsum(has) - 1
        gpu_h_of, kwh_of = ways.gpu_h.matrix(), ways.energy_kwh.matrix()
        gpu_t, energy_t = gpu_h_of.T.tocsr(), kwh_of.T.tocsr()
        fixed = carbon.copy()
        fixed[green] = 0.0
        own = kwh_of @ fixed - ways.worth_g
        base = (site.base_power_w - site.renewable_w) * kwh
        room = (site.power_cap_w - site.base_power_w) * kwh if capped else np.zeros(slots)
        gpu_h = site.gpus * hours * (1 - spare)
        size = len(first) * temperature_g + float(np.abs(own).sum() / len(own) * len(first)) + 1e-9

        def negative(x: Floats) -> tuple[float, Floats]:
            lam = x[:slots] * scale
            # A kWh's price: mu where it is not fixed, and nu.
            per_kwh = np.zeros(slots)
            per_kwh[green] = x[slots : slots + len(green)] * carbon[green]
            value = float(per_kwh @ base) - float(lam.sum()) * gpu_h
            if capped:
                nu = x[slots + len(green) :] * box.usual_g
                value -= float(nu @ room)
                per_kwh += nu
            cost = own + gpu_h_of @ lam
            if capped or len(green):
                cost += kwh_of @ per_kwh
            least = np.minimum.reduceat(cost, first)
            share = np.exp((least[segment] - cost) / temperature_g)
            total = np.add.reduceat(share, first)
            share /= total[segment]
            value += float((least - temperature_g * np.log(total)).sum())
            energy = energy_t @ share if capped or len(green) else np.zeros(slots)
            slope = box.slope(gpu_t @ share - gpu_h, energy + base, energy - room)
            return -value / size, -slope / size

        begin, top = box.point(prices), box.top
        low = np.clip(begin - radius, 0.0, top)
        found = optimize.minimize(
            negative,
            begin,
            jac=True,
            method="L-BFGS-B",
            bounds=optimize.Bounds(low, np.minimum(begin + radius, top)),
            options={"maxiter": most, "maxcor": 20, "ftol": 1e-9, "gtol": 1e-7},
        ).x
        return box.prices(found)

    def expected(self, prices: Prices, temperature_g: float) -> "Expected":
        """What each job is expected to use at these prices."""
        jobs, slots = len(self._problem.jobs), self._problem.site.slots
        ways = self._together()
        if ways is None:
            nothing = SlotTable.empty(jobs, slots)
            return Expected(energy_j=nothing, gpu_h=nothing)
        gpu_h, energy_kwh = ways.gpu_h.matrix(), ways.energy_kwh.matrix()
        cost = energy_kwh @ (prices.mu + prices.nu) + gpu_h @ prices.lam - ways.worth_g
        has = np.concatenate([[True], ways.owner[1:] != ways.owner[:-1]])
        first, segment = np.flatnonzero(has), np.cumsum(has) - 1
        share = np.exp((np.minimum.reduceat(cost, first)[segment] - cost) / temperature_g)
        share /= np.add.reduceat(share, first)[segment]
        ones = np.arange(len(share))
        spread = SlotTable.of_cells(ways.owner, ones, share, (jobs, len(share))).matrix()
        return Expected(
            energy_j=SlotTable.of_matrix(spread @ energy_kwh).times(JOULES_PER_KWH),
            gpu_h=SlotTable.of_matrix(spread @ gpu_h),
        )

    def _together(self) -> Ways | None:
        """All ways, by owner; None without any."""
        if len(self._ways) > 1:
            owner = np.concatenate([ways.owner for ways in self._ways])
            order = np.argsort(owner, kind="stable")
            self._ways = [
                Ways(
                    owner=owner[order],
                    gpu_h=SlotTable.stacked([w.gpu_h for w in self._ways]).rows(order),
                    energy_kwh=SlotTable.stacked([w.energy_kwh for w in self._ways]).rows(order),
                    worth_g=np.concatenate([w.worth_g for w in self._ways])[order],
                )
            ]
        return self._ways[0] if self._ways else None
