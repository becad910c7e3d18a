# SPDX-License-Identifier: Apache-2.0
"""What a site expects of its own supply, and how long that covers a load. Pure.

The supply of a slot is taken for normally distributed around its forecast. A window lasts as long
as a low quantile of it covers the load.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from scipy.special import ndtr, ndtri

from slurm_green.plan.problem import Floats

__all__ = ["Outlook", "lasting_s"]

_ROOT_TWO_PI = float(np.sqrt(2 * np.pi))


@dataclass(frozen=True, kw_only=True)
class Outlook:
    """The slots ahead, the first one beginning now; arrays have one entry per slot.

    `supply_w` is the expected renewable supply, `supply_sd_w` its standard error (0: known),
    `base_w` what the site draws without jobs.
    """

    step_s: float
    supply_w: Floats
    supply_sd_w: Floats
    carbon_g_per_kwh: Floats
    base_w: Floats

    def __len__(self) -> int:
        """Number of slots."""
        return len(self.supply_w)

    def first(self, slots: int) -> "Outlook":
        """The same, and no more than so many slots of it."""
        return Outlook(
            step_s=self.step_s,
            supply_w=self.supply_w[:slots],
            supply_sd_w=self.supply_sd_w[:slots],
            carbon_g_per_kwh=self.carbon_g_per_kwh[:slots],
            base_w=self.base_w[:slots],
        )

    @cached_property
    def edges_s(self) -> Floats:
        """Borders of the slots, counted from now; one more than slots."""
        return np.arange(len(self) + 1, dtype=np.float64) * self.step_s

    def low_w(self, quantile: float) -> Floats:
        """What the supply leaves above the base load at that quantile of it."""
        return np.asarray(self.supply_w + float(ndtri(quantile)) * self.supply_sd_w - self.base_w)

    def window_s(self, load_w: Floats | float, quantile: float) -> Floats:
        """How long that load of jobs is covered from now on, shape of `load_w`."""
        return lasting_s(np.minimum.accumulate(self.low_w(quantile)), load_w, self.step_s)

    def shortfall(self, load_w: Floats, extra_w: Floats) -> Floats:
        """Expected share of `extra_w` on top of `load_w` that is not covered: (loads, slots)."""
        top = self._uncovered_w((load_w + extra_w)[:, np.newaxis])
        bottom = self._uncovered_w(load_w[:, np.newaxis])
        return np.clip((top - bottom) / np.maximum(extra_w, 1e-9)[:, np.newaxis], 0.0, 1.0)

    def _uncovered_w(self, load_w: Floats) -> Floats:
        """Expected load beyond the supply, by the normal loss function."""
        gap_w = load_w + self.base_w - self.supply_w
        sd_w = np.maximum(self.supply_sd_w, 1e-9)
        z = np.clip(gap_w / sd_w, -8.0, 8.0)
        loss_w = gap_w * ndtr(z) + sd_w * np.exp(-0.5 * z * z) / _ROOT_TWO_PI
        return np.where(np.abs(z) < 8.0, loss_w, np.maximum(gap_w, 0.0))


def lasting_s(lowest_w: Floats, load_w: Floats | float, step_s: float) -> Floats:
    """For how long a load is covered by what never rises again, the least up to each slot."""
    slots = np.searchsorted(-lowest_w, -np.asarray(load_w), side="right")
    return np.asarray(slots * step_s, dtype=np.float64)
