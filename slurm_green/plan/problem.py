# SPDX-License-Identifier: Apache-2.0
"""What a plan is made for: a site over uniform slots, classes of shapes, and jobs. Pure.

Times are seconds from the start of the first slot. Arrays are read-only by convention.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "JOULES_PER_KWH",
    "SECONDS_PER_HOUR",
    "Floats",
    "Ints",
    "Jobs",
    "Problem",
    "Service",
    "Shapes",
    "Site",
]

JOULES_PER_KWH = 3.6e6
SECONDS_PER_HOUR = 3600.0

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Site:
    """One site: arrays have one entry per slot.

    `start_s` is the caller's time of the first slot's start; everything else counts from there.
    Cap and ramp are infinite where there is none. The ramp bounds how much the average power of
    a slot may exceed that of the slot before.
    """

    gpus: int
    start_s: float
    step_s: float
    carbon_g_per_kwh: Floats
    renewable_w: Floats
    base_power_w: Floats
    price_per_kwh: Floats | None = None
    power_cap_w: float = np.inf
    ramp_w_per_slot: float = np.inf

    @property
    def slots(self) -> int:
        """Number of slots."""
        return len(self.carbon_g_per_kwh)

    @property
    def horizon_s(self) -> float:
        """Where the last slot ends; no job runs past it."""
        return self.step_s * self.slots

    @property
    def green(self) -> NDArray[np.bool_]:
        """Slots in which renewable supply exceeds the base load: jobs may run on it."""
        return self.renewable_w > self.base_power_w

    @property
    def usual_carbon_g_per_kwh(self) -> float:
        """The median, or half of the mean where most slots have next to none."""
        carbon = self.carbon_g_per_kwh
        return max(float(np.median(carbon)), 0.5 * float(carbon.mean())) if self.slots else 0.0

    @property
    def edges_s(self) -> Floats:
        """The borders of the slots, one more than slots."""
        return np.arange(self.slots + 1, dtype=np.float64) * self.step_s


@dataclass(frozen=True, kw_only=True)
class Shapes:
    """All shapes of all classes, one after another.

    The shapes of class c are those from `first[c]` to before `first[c + 1]`. `gpus` is workers
    times GPUs per worker; `rate` (work per second) and `power_w` are of the whole shape.
    """

    class_names: tuple[str, ...]
    first: Ints
    workers: Ints
    clock_mhz: Ints
    gpus: Ints
    rate: Floats
    power_w: Floats

    def of(self, class_index: int) -> range:
        """The shapes of a class."""
        return range(int(self.first[class_index]), int(self.first[class_index + 1]))

    @cached_property
    def fastest_rate(self) -> Floats:
        """The greatest rate of each class, shape (classes,)."""
        return np.asarray(np.maximum.reduceat(self.rate, self.first[:-1]))


@dataclass(frozen=True, kw_only=True)
class Jobs:
    """The jobs, one entry each.

    `earliest_s` is at least 0; `deadline_s` at most the horizon. `class_index` points into the
    classes of `Shapes`.
    """

    ids: tuple[str, ...]
    class_index: Ints
    work: Floats
    earliest_s: Floats
    deadline_s: Floats
    preemptible: NDArray[np.bool_]

    def __len__(self) -> int:
        """Number of jobs."""
        return len(self.ids)


@dataclass(frozen=True, slots=True, kw_only=True)
class Service:
    """Inference beside the jobs, on GPUs of its own: in each slot it runs at one of its clocks.

    `load_per_s` has one entry per slot, the other arrays one per clock. `idle_power_w` is what a
    clock draws without load; power grows with load / max_rate from there to `power_w`. A clock
    may be used in a slot whose load it can serve, with a latency within `latency_slo_s`; where
    none can, the one with the greatest rate is. `weight` says how many jobs' performance the
    service is worth: one slot's share of it is its share of the load, times the least latency of
    all clocks over that of the chosen one.
    """

    name: str
    load_per_s: Floats
    clock_mhz: Ints
    max_rate: Floats
    power_w: Floats
    idle_power_w: Floats
    latency_s: Floats
    latency_slo_s: float = np.inf
    weight: float = 1.0


@dataclass(frozen=True, kw_only=True)
class Problem:
    """Everything a plan depends on."""

    site: Site
    shapes: Shapes
    jobs: Jobs
    services: tuple[Service, ...] = ()

    @cached_property
    def usual_gpu_hour_g(self) -> float:
        """g of a GPU-hour: the median shape at the usual intensity."""
        shapes, carbon = self.shapes, self.site.carbon_g_per_kwh
        if not len(shapes.gpus) or not len(carbon):
            return 0.0
        watts = float(np.median(shapes.power_w / shapes.gpus))
        return self.site.usual_carbon_g_per_kwh * watts / 1000

    @cached_property
    def fitting(self) -> tuple[Ints, ...]:
        """For each class the shapes that the site has GPUs for."""
        fits = self.shapes.gpus <= self.site.gpus
        borders = zip(self.shapes.first[:-1], self.shapes.first[1:], strict=True)
        return tuple(low + np.flatnonzero(fits[low:high]) for low, high in borders)

    @cached_property
    def fastest_s(self) -> Floats:
        """The shortest duration of each job here; on a larger site where no shape fits this one."""
        shapes = self.shapes
        rate = np.where(shapes.gpus <= self.site.gpus, shapes.rate, 0.0)
        here = np.maximum.reduceat(rate, shapes.first[:-1])
        rate = np.where(here > 0, here, shapes.fastest_rate)
        return np.asarray(self.jobs.work / rate[self.jobs.class_index])
