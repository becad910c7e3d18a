# SPDX-License-Identifier: Apache-2.0
"""A signal over the hours ahead, and what windows of it cost. Pure.

Where the site has supply of its own, a slot counts with the share of a fully used site's load
that it would not cover: the baselines were made for the grid alone, this is our reading.
"""

import numpy as np

from slurm_green.plan.policy.protocol import Outlook, Setup
from slurm_green.plan.problem import Floats, Site

__all__ = ["Ahead", "carbon_ahead", "full_w", "net"]


class Ahead:
    """A step function from `start_s` on; beyond its end its mean goes on."""

    def __init__(self, start_s: float, step_s: float, values: Floats) -> None:
        self.start_s, self.step_s, self.values = start_s, step_s, values
        self._edges_s = start_s + step_s * np.arange(len(values) + 1)
        self._sums = np.concatenate([[0.0], np.cumsum(values)]) * step_s
        self.mean = float(values.mean())

    def windows(self, begin_s: float, latest_s: float, length_s: float) -> tuple[Floats, Floats]:
        """Starts from begin to latest, and the integral over each window.

        Those at which window or slot borders meet: the least integral is at one of them.
        """
        if latest_s <= begin_s:
            starts_s = np.array([begin_s])
        else:
            inside = np.concatenate(
                [self._borders(begin_s, latest_s), self._borders(begin_s, latest_s, length_s)]
            )
            inside.sort()
            starts_s = np.concatenate([[begin_s], inside, [latest_s]])
        return starts_s, self._until(starts_s + length_s) - self._until(starts_s)

    def cheapest(self, begin_s: float, latest_s: float, length_s: float) -> tuple[float, float]:
        """The first start with the least integral, and that."""
        starts_s, costs = self.windows(begin_s, latest_s, length_s)
        least = float(costs.min())
        at = int(np.argmax(costs <= least + 1e-9 * abs(least)))
        return float(starts_s[at]), least

    def _borders(self, begin_s: float, latest_s: float, length_s: float = 0.0) -> Floats:
        """Starts at which a window of that length ends on a border, between the two."""
        first = np.searchsorted(self._edges_s, begin_s + length_s, "right")
        last = np.searchsorted(self._edges_s, latest_s + length_s, "left")
        return np.asarray(self._edges_s[first:last] - length_s)

    def _until(self, moments_s: Floats) -> Floats:
        beyond_s = np.maximum(moments_s - self._edges_s[-1], 0.0)
        within = np.interp(moments_s, self._edges_s, self._sums)
        return np.asarray(within + self.mean * beyond_s)


def full_w(setup: Setup) -> float:
    """Watts of all GPUs in use: the median shape's watts per GPU."""
    shapes = setup.shapes
    if not len(shapes.gpus):
        return 0.0
    return float(np.median(shapes.power_w / shapes.gpus)) * setup.gpus


def net(values: Floats, site: Site, full_w: float) -> Floats:
    """The values by the share of the full load that a slot's own supply leaves to the grid."""
    spare_w = site.renewable_w - site.base_power_w
    if full_w <= 0 or not (spare_w > 0).any():
        return values
    return np.asarray(values * (1 - np.clip(spare_w / full_w, 0.0, 1.0)))


def carbon_ahead(outlook: Outlook, setup: Setup) -> Ahead:
    """Expected g per kWh of the grid, own supply taken off."""
    site = outlook.site
    return Ahead(site.start_s, site.step_s, net(site.carbon_g_per_kwh, site, full_w(setup)))
