# SPDX-License-Identifier: Apache-2.0
"""Prices as a point of a box, for who looks for the best ones: each by its usual value. Pure.

The price of a kWh is free where the renewable supply may exceed the load; elsewhere it is the
grid's intensity.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from slurm_green.plan.outcome import Prices
from slurm_green.plan.problem import Floats, Ints, Site

__all__ = ["PriceBox"]


@dataclass(frozen=True, kw_only=True)
class PriceBox:
    """Prices of GPU-hours, then those of kWh that are free, then those of a cap where there is one.

    `scale_g` is a usual price of a GPU-hour, `limit_g` the greatest allowed.
    """

    site: Site
    scale_g: float
    limit_g: float

    @cached_property
    def green(self) -> Ints:
        """The slots whose kWh has a price of its own."""
        return np.flatnonzero(self.site.green)

    @cached_property
    def capped(self) -> bool:
        """Whether there is a power cap."""
        return bool(np.isfinite(self.site.power_cap_w))

    @cached_property
    def usual_g(self) -> float:
        """A usual price of a kWh."""
        return max(self.site.usual_carbon_g_per_kwh, 1e-9)

    @cached_property
    def top(self) -> Floats:
        """The corner of the dearest; that of the cheapest is 0."""
        dearest = np.full(self.site.slots, self.limit_g / self.scale_g)
        return np.concatenate([dearest, np.ones(len(self.green)), *[dearest] * self.capped])

    def point(self, prices: Prices) -> Floats:
        """Where these prices are, which may be outside."""
        carbon = np.maximum(self.site.carbon_g_per_kwh[self.green], 1e-12)
        lam = np.minimum(prices.lam, self.limit_g) / self.scale_g
        mu = prices.mu[self.green] / carbon
        return np.concatenate([lam, mu, *[prices.nu / self.usual_g] * self.capped])

    def prices(self, point: Floats) -> Prices:
        """The prices at a point."""
        slots, green, mu = self.site.slots, self.green, self.site.carbon_g_per_kwh.copy()
        mu[green] = point[slots : slots + len(green)] * mu[green]
        nu = point[slots + len(green) :] * self.usual_g if self.capped else np.zeros(slots)
        return Prices(mu=mu, lam=point[:slots] * self.scale_g, nu=nu)

    def slope(self, over_gpu_h: Floats, net_kwh: Floats, over_kwh: Floats) -> Floats:
        """How the dual rises, by what is used in each slot beyond the GPUs, supply and cap."""
        over = [over_kwh * self.usual_g] * self.capped
        net = (net_kwh * self.site.carbon_g_per_kwh)[self.green]
        return np.concatenate([over_gpu_h * self.scale_g, net, *over])
