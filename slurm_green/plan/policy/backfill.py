# SPDX-License-Identifier: Apache-2.0
"""A queue as Slurm's backfill (EASY) works it off, in GPUs and watts. Pure.

The first in line gets the shape that ends first, now or once enough runs have ended by their
limits; others may go before it where they do not delay it (Lifka 1995; Mu'alem and Feitelson 2001).
"""

import math
from collections.abc import Callable, Sequence
from itertools import islice
from typing import NamedTuple

from slurm_green.plan.policy.protocol import Job, Setup, Start, View

__all__ = ["Option", "backfill", "fitting", "useful"]

_DEPTH = 100  # how far down the queue is looked, as Slurm's bf_max_job_test


class Option(NamedTuple):
    """A shape that a job may start in."""

    gpus: int
    rate: float
    power_w: float
    shape: int


def fitting(setup: Setup) -> list[tuple[Option, ...]]:
    """For each class its shapes that fit the site: fewest GPUs first, of those the fastest."""
    shapes = setup.shapes
    return [
        tuple(
            sorted(
                (
                    Option(int(shapes.gpus[k]), float(shapes.rate[k]), float(shapes.power_w[k]), k)
                    for k in shapes.of(one)
                    if shapes.gpus[k] <= setup.gpus
                ),
                key=lambda option: (option.gpus, -option.rate, option.power_w),
            )
        )
        for one in range(len(shapes.class_names))
    ]


def useful(own: Sequence[Option]) -> tuple[Option, ...]:
    """Of a class's shapes as `fitting` sorts them, those faster than all with fewer GPUs."""
    found: list[Option] = []
    for option in own:
        if not found or option.rate > found[-1].rate:
            found.append(option)
    return tuple(found)


def backfill(
    view: View,
    setup: Setup,
    queue: Sequence[Job],
    options: Callable[[Job], Sequence[Option]],
    *,
    cap_w: float = math.inf,
) -> list[Start]:
    """What to start of a queue of eligible jobs, first come first; `cap_w` bounds jobs and base."""
    if not queue or view.free_gpus <= 0:
        return []
    return _Round(view, setup, min(cap_w, setup.power_cap_w)).starts(queue, options)


class _Round:
    def __init__(self, view: View, setup: Setup, cap_w: float) -> None:
        self._view = view
        self._gpus, self._power = setup.shapes.gpus, setup.shapes.power_w
        self._free = view.free_gpus
        self._watts = math.inf
        if cap_w < math.inf:
            busy_w = sum(float(self._power[run.shape]) for run in view.running)
            self._watts = cap_w * (1 + 1e-9) - busy_w - float(view.outlook.site.base_power_w.max())
        self._ends: list[tuple[float, int, float]] | None = None
        self._more: list[tuple[float, int, float]] = []  # started in this round
        self._begun: list[Start] = []

    def starts(
        self, queue: Sequence[Job], options: Callable[[Job], Sequence[Option]]
    ) -> list[Start]:
        for place, job in enumerate(queue):
            first = self._first_end(job, options(job))
            if first is None:  # no shape ever fits: nobody waits for it
                continue
            at_s, gpus, watts, option = first
            if at_s > self._view.now_s:
                rest = islice(queue, place + 1, place + 1 + _DEPTH)
                self._fill(rest, options, at_s, gpus, watts)
                break
            self._start(job, option)
            if self._free <= 0:
                break
        return self._begun

    def _first_end(
        self, job: Job, options: Sequence[Option]
    ) -> tuple[float, int, float, Option] | None:
        """(start, GPUs and watts left over then, shape) of the earliest end."""
        now_s, work = self._view.now_s, self._view.work_left[job.job_id]
        best_s, best = math.inf, None
        free, watts, at_s, gone = self._free, self._watts, now_s, 0
        for option in options:  # fewest GPUs first
            if option.gpus > free or option.power_w > watts:
                ends = self._sorted_ends()
                while gone < len(ends) and (option.gpus > free or option.power_w > watts):
                    at_s, freed, freed_w = ends[gone]
                    free, watts, gone = free + freed, watts + freed_w, gone + 1
                if option.gpus > free or option.power_w > watts:
                    continue
            end_s = at_s + work / option.rate
            if end_s < best_s:
                best_s = end_s
                best = (at_s, free - option.gpus, watts - option.power_w, option)
        return best

    def _fill(
        self,
        rest: "islice[Job]",
        options: Callable[[Job], Sequence[Option]],
        reserved_s: float,
        spare: int,
        spare_w: float,
    ) -> None:
        """Start jobs that end before the reservation, or fit beside it."""
        now_s = self._view.now_s
        for job in rest:
            if self._free <= 0:
                return
            for option in reversed(options(job)):
                if option.gpus > self._free or option.power_w > self._watts:
                    continue
                beside = option.gpus <= spare and option.power_w <= spare_w
                if now_s + self._view.work_left[job.job_id] / option.rate > reserved_s:
                    if not beside:
                        continue
                    spare, spare_w = spare - option.gpus, spare_w - option.power_w
                self._start(job, option)
                break

    def _start(self, job: Job, option: Option) -> None:
        self._free -= option.gpus
        self._watts -= option.power_w
        end_s = self._view.now_s + self._view.work_left[job.job_id] / option.rate
        self._more.append((end_s, option.gpus, option.power_w))
        self._ends = None
        self._begun.append(Start(job.job_id, option.shape))

    def _sorted_ends(self) -> list[tuple[float, int, float]]:
        if self._ends is None:
            gpus, power = self._gpus, self._power
            running = [
                (run.ends_by_s, int(gpus[run.shape]), float(power[run.shape]))
                for run in self._view.running
            ]
            self._ends = sorted(running + self._more)
        return self._ends
