# SPDX-License-Identifier: Apache-2.0
"""Carbon of what replicas drew, slot by slot. Pure.

As everywhere: intensity times what the site draws beyond its renewable supply, netted over the
slot, base load included. Only slots in which something ran count.
"""

from collections.abc import Callable, Iterable

import numpy as np

from slurm_green.errors import BadInputError
from slurm_green.plan.problem import JOULES_PER_KWH, Floats, Site

__all__ = ["carbon_g", "check_covers", "marginal"]


def carbon_g(spans: Iterable[tuple[float, float, float]], site: Site) -> float:
    """Grams of (begin_s, end_s, watts) on the site's clock; after its last slot as within it."""
    begin_s, end_s, watts = np.array(list(spans), dtype=np.float64).reshape(-1, 3).T
    if not len(watts):
        return 0.0
    first_s, last_s = float(begin_s.min()), float(end_s.max())
    edges_s = site.start_s + site.edges_s
    edges_s[-1] = max(edges_s[-1], last_s)
    drawn_j = _energy_before(edges_s, begin_s, end_s, watts)
    lasted_s = np.diff(np.clip(edges_s, first_s, last_s))
    net_j = np.diff(drawn_j) + (site.base_power_w - site.renewable_w) * lasted_s
    return float((site.carbon_g_per_kwh * np.maximum(net_j, 0.0)).sum() / JOULES_PER_KWH)


def marginal(site: Site, most_w: float) -> Callable[[float], float]:
    """Grams that one more kWh costs at a time: none where the surplus covers so many watts."""
    free = site.renewable_w - site.base_power_w >= most_w
    mu = np.where(free, 0.0, site.carbon_g_per_kwh).tolist()
    start_s, step_s, last = site.start_s, site.step_s, site.slots - 1

    def at(now_s: float) -> float:
        value: float = mu[min(max(int((now_s - start_s) // step_s), 0), last)]
        return value

    return at


def check_covers(site: Site, first_s: float, last_s: float) -> None:
    """Refuse a signal that does not reach from the first to the last arrival; BadInputError."""
    begin_s, end_s = site.start_s, site.start_s + site.horizon_s
    if not begin_s <= first_s <= last_s <= end_s:
        raise BadInputError(
            f"--signal: reaches from {begin_s:g} to {end_s:g} s, the requests arrive from "
            f"{first_s:g} to {last_s:g} s; give one that covers them, on the same clock"
        )


def _energy_before(at_s: Floats, begin_s: Floats, end_s: Floats, watts: Floats) -> Floats:
    """Energy drawn before each time: power as steps, summed up."""
    times = np.concatenate([begin_s, end_s])
    order = np.argsort(times, kind="stable")
    power_w = np.cumsum(np.concatenate([watts, -watts])[order])
    edges_s = times[order]
    energy_j = np.concatenate([[0.0], np.cumsum(power_w[:-1] * np.diff(edges_s))])
    return np.asarray(np.interp(at_s, edges_s, energy_j))
