# SPDX-License-Identifier: Apache-2.0
"""What others read of a profile: latency, power and the best clock at any setting. Pure.

How it goes on between and beyond points is `grid`'s rule. The trap: latency is of one iteration
and power of the whole tensor-parallel group or training shape, idle GPUs elsewhere not included.
"""

import math
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import ArrayLike

from profiling.errors import ProfileError
from profiling.grid import Grid
from profiling.law import Floats
from profiling.profile import Profile

_Points: TypeAlias = dict[tuple[float | None, float, float | None], tuple[float, float | None]]

__all__ = ["SLACK", "Curve", "best_setting"]

_CAPPED = "points under a power cap only; power_cap_w is to be empty where none held it back"
# Energy is flat at its least: a thousandth of it may buy several clock steps of speed.
SLACK = 1e-3


def best_setting(setting: Floats, energy: Floats) -> int:
    """Index of the highest setting with an energy within `SLACK` of the least; NaN is none."""
    good = np.flatnonzero(energy <= np.nanmin(energy) * (1 + SLACK))
    return int(good[np.argmax(setting[good])])


@dataclass(frozen=True, kw_only=True)
class Curve:
    """A profile between its points.

    Points whose clock or context is not known count only where no other point of their phase
    has one; points under a power cap are left out.
    """

    inference: dict[tuple[str, int], Grid]  # by phase and tensor parallelism
    training: dict[tuple[int, int], Grid]  # by workers and GPUs per worker; time of a work unit

    @classmethod
    def of(cls, profile: Profile) -> "Curve":
        """Arrange the points of a profile."""
        inference: dict[tuple[str, int], _Points] = {}
        for one in profile.inference:
            if one.power_cap_w is None:
                points = inference.setdefault((one.phase, one.tp), {})
                at = (one.context_tokens, float(one.batch), one.clock_mhz)
                points[at] = (one.latency_s, one.power_w)
        training: dict[tuple[int, int], _Points] = {}
        for shape in profile.training:
            if shape.power_cap_w is None:
                points = training.setdefault((shape.workers, shape.gpus_per_worker), {})
                points[None, 1.0, shape.clock_mhz] = (1 / shape.rate, shape.power_w)
        return cls(
            inference={key: _grid(points) for key, points in inference.items()},
            training={key: _grid(points) for key, points in training.items()},
        )

    def latency_s(
        self, phase: str, batch: ArrayLike, context: ArrayLike, clock_mhz: ArrayLike, *, tp: int = 1
    ) -> Floats:
        """Seconds of one iteration; arguments broadcast. ProfileError for a phase it has not."""
        return self.grid(phase, tp).time_at(context, batch, clock_mhz)

    def power_w(
        self, phase: str, batch: ArrayLike, context: ArrayLike, clock_mhz: ArrayLike, *, tp: int = 1
    ) -> Floats:
        """Watts of the group, NaN where not known; as `latency_s`."""
        return self.grid(phase, tp).power_at(context, batch, clock_mhz)

    def rate(self, workers: int, clock_mhz: ArrayLike, *, gpus_per_worker: int = 1) -> Floats:
        """Work units per second of a training shape; ProfileError for one it has not."""
        return 1 / self.shape(workers, gpus_per_worker).time_at(0, 1, clock_mhz)

    def training_power_w(
        self, workers: int, clock_mhz: ArrayLike, *, gpus_per_worker: int = 1
    ) -> Floats:
        """Watts of a training shape, NaN where not known; as `rate`."""
        return self.shape(workers, gpus_per_worker).power_at(0, 1, clock_mhz)

    def optimal_clock_mhz(
        self,
        phase: str,
        batch: float,
        context: float,
        *,
        tp: int = 1,
        max_latency_s: float = math.inf,
    ) -> float | None:
        """The measured clock that spends least per token within a latency.

        The fastest of those within `SLACK` of the least; the highest clock where none is fast
        enough, None where power is not known.
        """
        grid = self.grid(phase, tp)
        latency_s = grid.time_at(context, batch, grid.clocks)
        energy_j = latency_s * grid.power_at(context, batch, grid.clocks)
        if np.isnan(energy_j).all():
            return None
        allowed = latency_s <= max_latency_s
        if not allowed.any():
            return float(grid.clocks[-1])
        best = best_setting(grid.clocks, np.where(allowed, energy_j, np.nan))
        return float(grid.clocks[best])

    def grid(self, phase: str, tp: int = 1) -> Grid:
        """The grid of a phase; raises ProfileError for one it has not."""
        if (phase, tp) not in self.inference:
            has = ", ".join(f"{name} at tp {width}" for name, width in sorted(self.inference))
            has = has or ("training" if self.training else _CAPPED)
            raise ProfileError(f"the profile has no {phase} at tp {tp}; it has {has}")
        return self.inference[phase, tp]

    def shape(self, workers: int, gpus_per_worker: int = 1) -> Grid:
        """The grid of a training shape; raises ProfileError for one it has not."""
        if (workers, gpus_per_worker) not in self.training:
            has = ", ".join(f"{count} x {gpus}" for count, gpus in sorted(self.training))
            raise ProfileError(
                f"the profile has no training with {workers} x {gpus_per_worker} GPUs; it has "
                f"{has or ('inference' if self.inference else _CAPPED)}"
            )
        return self.training[workers, gpus_per_worker]


def _grid(points: _Points) -> Grid:
    for axis in (0, 2):
        if any(key[axis] is not None for key in points):
            points = {key: value for key, value in points.items() if key[axis] is not None}
    return Grid.of(
        {
            (context or 0.0, batch, math.inf if clock is None else clock): (
                time_s,
                math.nan if power_w is None else power_w,
            )
            for (context, batch, clock), (time_s, power_w) in points.items()
        }
    )
