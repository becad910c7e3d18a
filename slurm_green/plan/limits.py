# SPDX-License-Identifier: Apache-2.0
"""Power cap and ramp: which runs they allow beside what is placed. Pure.

Both look at a slot's average power. The ramp binds upwards only, so a run can break it where it
begins, and where its end leaves a hole before what follows.
"""

import numpy as np
from numpy.typing import NDArray

from slurm_green.plan.problem import Floats, Site

__all__ = ["Limits"]

_SLACK = 1e-7  # relative, well inside what a checker tolerates


class Limits:
    """Keeps the energy of each slot, base load included, against what is allowed."""

    def __init__(self, site: Site) -> None:
        self._step = site.step_s
        self._slots = site.slots
        self._cap_j = site.power_cap_w * site.step_s
        self._ramp_j = site.ramp_w_per_slot * site.step_s
        self.energy_j = site.base_power_w * site.step_s
        self._slack_j = _SLACK * max(float(np.abs(self.energy_j).max(initial=0.0)), site.step_s)

    @staticmethod
    def any(site: Site) -> bool:
        """Whether the site has a cap or a ramp."""
        return bool(np.isfinite(site.power_cap_w) or np.isfinite(site.ramp_w_per_slot))

    def book(self, first: int, final: int, energy_j: Floats) -> None:
        """Adds energy to the slots from first to before final."""
        self.energy_j[first:final] += energy_j

    def room_j(self) -> Floats:
        """What the cap leaves in each slot; infinite without one."""
        return np.asarray(self._cap_j - self.energy_j)

    def hold(self) -> bool:
        """Whether cap and ramp are kept now."""
        rise = np.diff(self.energy_j)
        return bool(
            (self.energy_j <= self._cap_j + self._slack_j).all()
            and (rise <= self._ramp_j + self._slack_j).all()
        )

    def turning(self, first: int, final: int) -> list[Floats]:
        """Energies per slot at which a run's first or last slot would meet a limit."""
        found = []
        if np.isfinite(self._cap_j):
            found.append(self._cap_j - self.energy_j[first:final])
        if np.isfinite(self._ramp_j):
            rise = np.diff(self.energy_j, prepend=-np.inf)[first:final]
            left = np.where(np.isfinite(rise), self._ramp_j - rise, 0.0)
            found.append(left)
            found.append(np.append(left[1:], 0.0))
        return found

    def allow(self, power_w: float, start_s: Floats, end_s: Floats) -> NDArray[np.bool_]:
        """Which of these runs keep cap and ramp."""
        step = self._step
        first = np.minimum((start_s / step).astype(np.int64), self._slots - 1)
        final = np.clip(np.ceil(end_s / step).astype(np.int64) - 1, first, self._slots - 1)
        lead = power_w * (np.minimum(end_s, (first + 1) * step) - start_s)
        tail = power_w * (end_s - np.maximum(final * step, start_s))
        allowed = np.ones(len(start_s), dtype=np.bool_)
        if np.isfinite(self._cap_j):
            room = self._cap_j - self.energy_j + self._slack_j
            narrow = np.append(0, np.cumsum(power_w * step > room))
            allowed &= (lead <= room[first]) & (tail <= room[final])
            allowed &= narrow[np.maximum(final, first + 1)] == narrow[first + 1]
        if np.isfinite(self._ramp_j):
            left = self._ramp_j + self._slack_j - np.diff(self.energy_j, prepend=np.inf)
            second = np.minimum(first + 1, self._slots - 1)
            into_second = np.where(final > first + 1, power_w * step, tail) - lead
            allowed &= lead <= left[first]
            allowed &= (final == first) | (into_second <= left[second])
        return allowed
