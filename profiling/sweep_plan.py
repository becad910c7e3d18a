# SPDX-License-Identifier: Apache-2.0
"""Which settings a sweep measures: a few first, then those that would change the choice. Pure.

The trap: whoever judges a fit must not pick its settings by looking at the others. These rules
see the range of settings, the power at the highest one, and fits of what was measured.
"""

from collections.abc import Sequence

import numpy as np

from profiling.curve import best_setting
from profiling.fit import Fit, bootstrap
from profiling.law import Floats

__all__ = ["first_caps", "first_clocks", "next_settings"]

_REPLICAS = 24
_REGRET = 0.005  # energy that the choice may cost over the best one, on average
_CLEAR = 0.02  # power and time are known everywhere to this, on average


def first_clocks(supported: Sequence[float], count: int = 5) -> list[float]:
    """Clocks to begin with: the lowest, the highest, and between them at equal distances."""
    low, high = min(supported), max(supported)
    return _snapped(np.linspace(low, high, count), supported)


def first_caps(supported: Sequence[float], highest_w: float, count: int = 5) -> list[float]:
    """Power caps to begin with, once the power at the highest one is known.

    The highest, and in equal ratios from the lowest up towards the power drawn there: a cap
    above does nothing, and time grows with the ratio of caps, not with their difference.
    """
    low, high = min(supported), max(supported)
    ratio = max(min(highest_w, high) / low, 1.25)
    ratios = ratio ** (np.arange(count - 1) / (count - 1))
    return _snapped(np.append(high, low * ratios), supported)


def next_settings(
    fit: Fit, supported: Sequence[float], replicas: Sequence[Fit] | None = None
) -> dict[str, float]:
    """For each load that is not settled, the setting to measure next, if one would help.

    A load is settled when its best setting is expected to cost at most 0.5 % more energy than
    the truly best one, and time and power are known to 2 %. Else the setting is next at which
    the replicas disagree most: about energy among those that any of them would choose, then
    about time and power anywhere. Without replicas, 24 are drawn, always the same.
    """
    drawn = replicas or bootstrap(fit, _REPLICAS, np.random.default_rng(0))
    grid = np.unique(np.asarray(supported, dtype=np.float64))
    wanted = {}
    for name in fit.names:
        doubt = np.where(np.isin(grid, fit.seen(name)), -1.0, _doubt(fit, drawn, name, grid))
        if doubt.max() > 0:
            wanted[name] = float(grid[doubt.argmax()])
    return wanted


def _doubt(fit: Fit, drawn: Sequence[Fit], name: str, grid: Floats) -> Floats:
    """How much is to be learnt at each setting; nothing where the load is settled."""
    runs = np.array([one.predict(name, grid) for one in drawn])
    spread = np.log(runs).std(axis=0)
    energy_j = runs.prod(axis=1) * np.exp(fit.left_over(name, grid).sum(axis=0))
    if fit.knows_power(name):
        choices = [best_setting(grid, one) for one in energy_j]
        chosen = energy_j[:, best_setting(grid, np.prod(fit.predict(name, grid), axis=0))]
        if (chosen / energy_j.min(axis=1)).mean() - 1 > _REGRET:
            open_to = np.isin(np.arange(len(grid)), choices)
            return np.where(open_to, np.log(energy_j).std(axis=0), 0.0)
    else:
        spread = spread[:1]
    unclear = spread.mean(axis=1).max() > _CLEAR
    return np.asarray(spread.sum(axis=0) if unclear else np.zeros(len(grid)), dtype=np.float64)


def _snapped(wanted: Floats, supported: Sequence[float]) -> list[float]:
    """The nearest supported settings, each taken once, rising."""
    free = sorted(set(supported))
    taken = []
    for one in wanted[: len(free)]:
        nearest = min(free, key=lambda setting: (abs(setting - one), setting))
        free.remove(nearest)
        taken.append(nearest)
    return sorted(taken)
