# SPDX-License-Identifier: Apache-2.0
"""Whether one more run keeps cap and ramp: slot averages, as they come true. Pure."""

import math

import numpy as np

from slurm_green.plan.overlap import seconds_by_slot
from slurm_green.plan.problem import Site

__all__ = ["PowerBook"]

_TOLERANCE = 1e-6


class PowerBook:
    """The joules of each slot that base and runs draw, if what runs goes on to its real end."""

    def __init__(self, site: Site) -> None:
        self._site = site
        self._limited = math.isfinite(site.power_cap_w) or math.isfinite(site.ramp_w_per_slot)
        self._average_w = site.base_power_w.astype(np.float64)

    def keeps(self, start_s: float, end_s: float, power_w: float) -> bool:
        """Whether a run may be added."""
        if not self._limited or end_s <= start_s:
            return True
        site = self._site
        met, seconds = seconds_by_slot(start_s, end_s, step_s=site.step_s, slots=site.slots)
        before = self._average_w[max(met.start - 1, 0) : met.stop + 1]
        after = before.copy()
        offset = met.start - max(met.start - 1, 0)
        after[offset : offset + len(seconds)] += power_w * seconds / site.step_s
        if (after > np.maximum(site.power_cap_w, before) * (1 + _TOLERANCE)).any():
            return False
        rise = np.diff(after)
        allowed = np.maximum(site.ramp_w_per_slot, np.diff(before)) + _TOLERANCE * after[1:]
        return bool((rise <= allowed).all())

    def add(self, start_s: float, end_s: float, power_w: float) -> None:
        """A run begins; with negative power the rest of one is taken back."""
        if not self._limited or end_s <= start_s:
            return
        site = self._site
        met, seconds = seconds_by_slot(start_s, end_s, step_s=site.step_s, slots=site.slots)
        self._average_w[met] += power_w * seconds / site.step_s
