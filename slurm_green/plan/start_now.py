# SPDX-License-Identifier: Apache-2.0
"""What the same jobs would emit if nobody looked at carbon: first come, first served. Pure.

In the order of their earliest start, with EASY backfill as in Slurm: a later job may go first
only where it does not delay the first in line. Every job runs in one stretch, services at full
clock. The trap: power cap and ramp limit are ignored, and deadlines too, so that the comparison
may break what the plan keeps; say so beside the figure, with its late and unplaced jobs.
"""

from bisect import insort
from collections import deque
from collections.abc import Sequence
from itertools import islice
from typing import NamedTuple

import numpy as np

from slurm_green.plan.problem import Floats, Ints, Problem, Site
from slurm_green.plan.schedule import Schedule
from slurm_green.plan.verify import service_clocks_allowed

__all__ = ["full_clocks", "slot_average", "start_now"]


class _Option(NamedTuple):
    """A shape worth starting in: faster than every one with fewer GPUs."""

    gpus: int
    rate: float
    shape: int


def start_now(problem: Problem, *, depth: int = 100) -> Schedule:
    """Start each job as soon as it can in the shape that ends first.

    `depth` bounds how far down the queue backfill looks, as Slurm's bf_max_job_test does. A job
    that cannot end before the horizon has no stretch.
    """
    site, jobs = problem.site, problem.jobs
    options = _options(problem)
    queue = _Queue(site, depth, min((row[0].gpus for row in options if row), default=1))
    work, earliest = jobs.work.tolist(), jobs.earliest_s.tolist()
    classes = jobs.class_index.tolist()
    for job in np.argsort(jobs.earliest_s, kind="stable").tolist():
        if shapes := options[classes[job]]:
            queue.run_until(earliest[job])
            queue.waiting.append((shapes[0].gpus, job, work[job], shapes))
    queue.run_until(site.horizon_s)
    rows = queue.placed
    return Schedule(
        job=np.array([row[0] for row in rows], dtype=np.int64),
        shape=np.array([row[1] for row in rows], dtype=np.int64),
        start_s=np.array([row[2] for row in rows], dtype=np.float64),
        end_s=np.array([row[3] for row in rows], dtype=np.float64),
    )


class _Queue:
    """GPUs that are busy until known times, and jobs that wait for them."""

    def __init__(self, site: Site, depth: int, least_gpus: int) -> None:
        self.horizon_s = site.horizon_s
        self.depth = depth
        self.least_gpus = least_gpus
        self.free = site.gpus
        self.now_s = 0.0
        self.busy: list[tuple[float, int]] = []  # (until, GPUs), the first to end first
        # The fewest GPUs first: that is what backfill asks of most of them, and no more.
        self.waiting: deque[tuple[int, int, float, Sequence[_Option]]] = deque()
        self.placed: list[tuple[int, int, float, float]] = []

    def run_until(self, until_s: float) -> None:
        """Start everything that starts before this time; who arrives then comes after."""
        if until_s <= self.now_s:
            return
        while True:
            self._start()
            if not self.busy or self.busy[0][0] > until_s:
                break
            self._advance(self.busy[0][0])
        self._advance(until_s)

    def _advance(self, to_s: float) -> None:
        ended = 0
        for end_s, gpus in self.busy:
            if end_s > to_s:
                break
            self.free += gpus
            ended += 1
        del self.busy[:ended]
        self.now_s = to_s

    def _start(self) -> None:
        """First in line first; then whatever does not delay the first that has to wait."""
        while self.waiting and self.free >= self.least_gpus:
            _, job, work, options = self.waiting[0]
            best = self._first_end(work, options)
            if best is not None and best[0] > self.now_s:
                self._backfill(best[0], best[1])
                return
            self.waiting.popleft()
            if best is not None:
                self._place(job, work, best[2])

    def _first_end(
        self, work: float, options: Sequence[_Option]
    ) -> tuple[float, int, _Option] | None:
        """(start, GPUs left over then, shape) of the earliest end; None beyond the horizon."""
        free, at_s, next_end = self.free, self.now_s, 0
        best_end_s, best = self.horizon_s, None
        for option in options:
            while free < option.gpus:
                at_s = self.busy[next_end][0]
                free += self.busy[next_end][1]
                next_end += 1
            end_s = at_s + work / option.rate
            if end_s < best_end_s or (best is None and end_s <= best_end_s):
                best_end_s, best = end_s, (at_s, free - option.gpus, option)
        return best

    def _backfill(self, reserved_s: float, spare: int) -> None:
        """Start jobs that end before the reservation, or fit beside it."""
        gone: list[int] = []
        free = self.free
        for place, (least, job, work, options) in enumerate(
            islice(self.waiting, 1, self.depth + 1), 1
        ):
            if least > free:
                continue
            for option in reversed(options):
                if option.gpus > free:
                    continue
                end_s = self.now_s + work / option.rate
                if end_s > self.horizon_s or (end_s > reserved_s and option.gpus > spare):
                    continue
                if end_s > reserved_s:
                    spare -= option.gpus
                self._place(job, work, option)
                gone.append(place)
                free = self.free
                break
            if free < self.least_gpus:
                break
        for place in reversed(gone):
            del self.waiting[place]

    def _place(self, job: int, work: float, option: _Option) -> None:
        end_s = self.now_s + work / option.rate
        self.free -= option.gpus
        insort(self.busy, (end_s, option.gpus))
        self.placed.append((job, option.shape, self.now_s, end_s))


def _options(problem: Problem) -> list[list[_Option]]:
    """For each class the shapes that fit the site, fewest GPUs first; slower ones left out."""
    shapes, found = problem.shapes, []
    for one in range(len(shapes.class_names)):
        ordered = sorted(
            (int(shapes.gpus[k]), -float(shapes.rate[k]), float(shapes.power_w[k]), k)
            for k in shapes.of(one)
            if shapes.gpus[k] <= problem.site.gpus
        )
        useful: list[_Option] = []
        for gpus, minus_rate, _, k in ordered:
            if not useful or -minus_rate > useful[-1].rate:
                useful.append(_Option(gpus, -minus_rate, k))
        found.append(useful)
    return found


def full_clocks(problem: Problem) -> tuple[Ints, ...]:
    """Index of each service's allowed clock with the greatest rate, per slot."""
    return tuple(
        np.where(service_clocks_allowed(one), one.max_rate[:, None], -np.inf).argmax(axis=0)
        for one in problem.services
    )


def slot_average(site: Site, start_s: Floats, end_s: Floats, amount: Floats | Ints) -> Floats:
    """Average over each slot of the sum of amounts that hold from start to end, shape (slots,)."""
    slots = site.slots
    first = np.clip(start_s // site.step_s, 0, slots).astype(np.int64)
    last = np.clip(end_s // site.step_s, 0, slots).astype(np.int64)
    weight = np.asarray(amount, dtype=np.float64)
    # Full from the slot it starts in to before the one it ends in, then both ends put right.
    into_first = weight * (start_s / site.step_s - first)
    into_last = weight * (end_s / site.step_s - last)
    size = slots + 1
    whole = np.bincount(first, weight, size) - np.bincount(last, weight, size)
    ends = np.bincount(last, into_last, size) - np.bincount(first, into_first, size)
    # Sums that cancel may leave a hair below nothing.
    return np.asarray(np.maximum((np.cumsum(whole) + ends)[:slots], 0.0))
