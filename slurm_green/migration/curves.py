# SPDX-License-Identifier: Apache-2.0
"""What power costs a job here and there, slot by slot, at the loads that moves make. Pure.

A job's power is the last that a site covers: it is judged on top of everything else that draws
there. Curves are kept per site and level of power, and made anew where a load has changed.
"""

from collections.abc import Sequence

import numpy as np

from slurm_green.migration.windows import Outlook
from slurm_green.plan.problem import JOULES_PER_KWH, Floats, Ints

__all__ = ["Curves"]

_LEVELS = 12


class Curves:
    """Seconds not covered, and grams per watt, summed from now to each border of a slot."""

    def __init__(
        self, outlooks: Sequence[Outlook], load_w: Floats, power_w: Floats, extra_g: float = 0.0
    ) -> None:
        """`load_w` of each site, which the caller changes; `power_w` of each job.

        `extra_g` is what a kWh costs on top of the grid's intensity.
        """
        self._outlooks = outlooks
        self._extra_g = extra_g
        self._carbon = [one.carbon_g_per_kwh + extra_g for one in outlooks]
        self._load_w = load_w
        self.levels_w = _levels(power_w)
        self.level = np.abs(power_w[:, np.newaxis] - self.levels_w).argmin(axis=1)
        self._step_s = outlooks[0].step_s
        self.horizon_s = float(outlooks[0].edges_s[-1])
        shape = (2, len(outlooks), len(self.levels_w), len(outlooks[0]) + 1)
        self._dark_s = np.zeros(shape)
        self._g_per_w = np.zeros(shape)
        self._rate = np.zeros((*shape[:3], len(outlooks[0])))
        self._stale = np.ones(shape[:3], dtype=np.bool_)

    def changed(self, site: int) -> None:
        """The load of a site is another one now."""
        self._stale[:, site] = True

    def greener_s(
        self, here: Ints, level: Ints, outside: Ints, there: int, low_w: Floats
    ) -> Floats:
        """For how long a job's power there, on a supply of `low_w`, emits no more than here."""
        shape = self._stale.shape
        some, back = np.unique(
            np.ravel_multi_index((outside, here, level), shape), return_inverse=True
        )
        keys = np.unravel_index(some, shape)
        self._refresh(keys[1], keys[2], keys[0])
        extra_w = np.maximum(self.levels_w[keys[2]], 1e-9)[:, np.newaxis]
        dark = np.clip((self._load_w[there] + extra_w - low_w) / extra_w, 0.0, 1.0)
        worse = dark * self._carbon[there] > self._rate[keys]
        slots = np.where(worse.any(axis=1), worse.argmax(axis=1), worse.shape[1])
        return np.asarray(slots[back] * self._step_s, dtype=np.float64)

    def dark_s(self, site: Ints, level: Ints, outside: Ints, until_s: Floats) -> Floats:
        """Expected seconds up to `until_s` for which a job's power is not covered.

        `outside` is 0 where the job is part of the load of the site, 1 where it would come on top.
        """
        return self._at(self._dark_s, site, level, outside, until_s)

    def grams(self, site: Ints, level: Ints, outside: Ints, until_s: Floats) -> Floats:
        """Expected grams per watt up to `until_s`."""
        return self._at(self._g_per_w, site, level, outside, until_s)

    def g_per_w(
        self,
        site: Ints,
        level: Ints,
        outside: Ints,
        from_s: Floats,
        until_s: Floats,
        *,
        plain: bool = False,
    ) -> Floats:
        """Expected grams per watt between two times; past the horizon as on average before.

        `plain` leaves `extra_g` out.
        """
        between = site, level, outside, from_s, until_s
        found = self._between(self._g_per_w, *between)
        if plain:
            found = found - self._extra_g / JOULES_PER_KWH * self._between(self._dark_s, *between)
        return found

    def _between(
        self,
        curves: Floats,
        site: Ints,
        level: Ints,
        outside: Ints,
        from_s: Floats,
        until_s: Floats,
    ) -> Floats:
        first = self._at(curves, site, level, outside, from_s)
        last = self._at(curves, site, level, outside, until_s)
        mean = curves[outside, site, level, -1] / self.horizon_s
        beyond_s = np.maximum(until_s - np.maximum(from_s, self.horizon_s), 0.0)
        return np.asarray(last - first + mean * beyond_s)

    def _at(
        self, curves: Floats, site: Ints, level: Ints, outside: Ints, until_s: Floats
    ) -> Floats:
        self._refresh(site, level, outside)
        slot = np.clip(until_s / self._step_s, 0.0, curves.shape[-1] - 1.0)
        left = np.minimum(slot.astype(np.int64), curves.shape[-1] - 2)
        below = curves[outside, site, level, left]
        return np.asarray(below + (slot - left) * (curves[outside, site, level, left + 1] - below))

    def _refresh(self, site: Ints, level: Ints, outside: Ints) -> None:
        stale = self._stale[outside, site, level]
        if not np.any(stale):
            return
        asked = np.zeros_like(self._stale)
        asked[outside, site, level] = True
        asked &= self._stale
        for mode, place in zip(*np.nonzero(asked.any(axis=2)), strict=True):
            rows = np.flatnonzero(asked[mode, place])
            extra_w = self.levels_w[rows]
            below_w = self._load_w[place] - (extra_w if mode == 0 else 0.0 * extra_w)
            outlook = self._outlooks[place]
            dark = outlook.shortfall(np.maximum(below_w, 0.0), extra_w)
            rate = dark * self._carbon[place]
            self._rate[mode, place, rows] = rate
            self._dark_s[mode, place, rows, 1:] = dark.cumsum(axis=1) * self._step_s
            self._g_per_w[mode, place, rows, 1:] = (
                rate.cumsum(axis=1) * self._step_s / JOULES_PER_KWH
            )
        self._stale &= ~asked


def _levels(power_w: Floats) -> Floats:
    """A few powers that stand for all; the powers themselves where they are few."""
    found = np.unique(power_w)
    if len(found) <= _LEVELS:
        return found if len(found) else np.zeros(1)
    # What draws little would be taken for what draws nothing, which emits nothing anywhere.
    return np.unique(np.quantile(power_w[power_w > 0], np.linspace(0.0, 1.0, _LEVELS)))
