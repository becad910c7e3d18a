# SPDX-License-Identifier: Apache-2.0
"""The best responses of all jobs at once: for each job and shape the cheapest start. Pure.

The cost of a run is an integral of prices that are constant within a slot, so over starts it is
piecewise linear, and its least value lies where the start or the end meets a border of slots or
of the job's window. The performance term is concave between those points: the same ones suffice.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from slurm_green.plan.outcome import Prices, Weights
from slurm_green.plan.problem import JOULES_PER_KWH, SECONDS_PER_HOUR, Floats, Ints, Problem

__all__ = ["Options", "Response", "options_of"]

_SLIVER = 1e-9  # of a slot
_TOLERANCE_S = 1e-3
_CELLS = 400_000  # per chunk: what stays in the cache of one core


@dataclass(frozen=True, kw_only=True)
class Response:
    """One entry per option: its least cost in g, and the start that has it."""

    cost_g: Floats
    start_s: Floats


@dataclass(frozen=True, kw_only=True)
class Options:
    """Pairs of a job and a shape in which it can keep its deadline, in the order of the jobs.

    A job that runs in one go starts between `earliest_s` and `latest_s`. `first` has one entry
    per job and one more: where its options begin.
    """

    job: Ints
    shape: Ints
    first: Ints
    gpus: Floats
    power_w: Floats
    duration_s: Floats
    earliest_s: Floats
    latest_s: Floats
    fastest_s: Floats

    def __len__(self) -> int:
        """Number of options."""
        return len(self.job)

    def by_job(self, reduce: np.ufunc, of_option: Floats) -> Floats:
        """One figure per job from its options' (np.minimum, np.maximum); 0 without any."""
        found = np.zeros(len(self.first) - 1)
        some = np.flatnonzero(np.diff(self.first))
        if len(some):
            found[some] = reduce.reduceat(of_option, self.first[some])
        return found

    def ease(self) -> Floats:
        """Slack of each job over its shortest duration: who has little is hard to place."""
        slack = self.by_job(np.maximum, self.latest_s - self.earliest_s)
        return slack / np.maximum(self.by_job(np.minimum, self.duration_s), 1e-9)

    def least(self, cost_g: Floats) -> Ints:
        """The cheapest option of every job that has one, in the order of the jobs."""
        if not len(self):
            return np.zeros(0, dtype=np.int64)
        some = np.flatnonzero(np.diff(self.first))
        begin = self.first[some]
        least = np.minimum.reduceat(cost_g, begin)
        hit = np.flatnonzero(cost_g == np.repeat(least, np.diff(self.first)[some]))
        # The first of equals.
        _, at = np.unique(self.job[hit], return_index=True)
        return np.asarray(hit[at])

    def respond(self, problem: Problem, prices: Prices, weights: Weights) -> Response:
        """The cheapest start of every option at these prices."""
        site = problem.site
        step = site.step_s
        energy = np.append(0.0, np.cumsum(prices.mu + prices.nu)) * (step / JOULES_PER_KWH)
        busy = np.append(0.0, np.cumsum(prices.lam)) * (step / SECONDS_PER_HOUR)
        cost, start = np.empty(len(self)), np.empty(len(self))
        for rows, width in self._chunks(site.slots, step):
            cost[rows], start[rows] = self._cheapest(
                rows, width, energy, busy, step, weights.performance_g
            )
        return Response(cost_g=cost, start_s=start)

    def performance(self, option: Ints, start_s: Floats) -> Floats:
        """What runs in these options from these starts add to performance."""
        end = start_s + self.duration_s[option]
        fastest = self.fastest_s[option]
        return fastest / np.maximum(end - self.earliest_s[option], fastest)

    def _chunks(self, slots: int, step: float) -> Iterator[tuple[Ints, int]]:
        """Options with windows of about the same number of slots, few enough for the cache."""
        width = ((self.latest_s - self.earliest_s) / step).astype(np.int64) + 2
        order = np.argsort(width, kind="stable")
        ranked = width[order]
        at, most = 0, max(1, _CELLS // slots)
        while at < len(order):
            alike = np.searchsorted(ranked, max(ranked[at] * 1.3, ranked[at] + 4), side="right")
            until = min(at + most, int(alike))
            yield order[at:until], int(ranked[until - 1])
            at = until

    def _cheapest(
        self,
        rows: Ints,
        width: int,
        energy: Floats,
        busy: Floats,
        step: float,
        performance_g: float,
    ) -> tuple[Floats, Floats]:
        slots = len(energy) - 1
        count = len(rows)
        power, gpus = self.power_w[rows, None], self.gpus[rows, None]
        early, late = self.earliest_s[rows], self.latest_s[rows]
        duration = self.duration_s[rows]
        whole = np.floor(duration / step + _SLIVER).astype(np.int64)
        part = np.clip(duration / step - whole, 0.0, 1.0)[:, None]
        # Integral of the price at each border, once more at the end, and a little after each.
        at_border = np.empty((count, slots + 2))
        at_border[:, :-1] = power * energy + gpus * busy
        at_border[:, -1] = at_border[:, -2]
        rise = np.diff(at_border, axis=1) * part
        after, before = at_border[:, :-1] + rise, at_border[:, 1:] - rise
        row = np.arange(count)[:, None]
        ahead = np.arange(width)
        # Starts at borders.
        low = np.ceil(early / step - _SLIVER).astype(np.int64)
        number = np.minimum(np.floor(late / step + _SLIVER).astype(np.int64), slots - whole) - low
        begin = low[:, None] + np.minimum(ahead, np.maximum(number, 0)[:, None])
        begin = np.minimum(begin, slots - whole[:, None])
        cost = [after[row, begin + whole[:, None]] - at_border[row, begin]]
        cost[0][number < 0] = np.inf
        # Ends at borders.
        low = np.ceil((early + duration) / step - _SLIVER).astype(np.int64)
        number = np.minimum(np.floor((late + duration) / step + _SLIVER).astype(np.int64), slots)
        number -= low
        end = np.minimum(low[:, None] + np.minimum(ahead, np.maximum(number, 0)[:, None]), slots)
        back = end - whole[:, None] - 1
        cost.append(at_border[row, end] - np.where(back < 0, 0.0, before[row, np.maximum(back, 0)]))
        cost[1][number < 0] = np.inf
        # The borders of the window.
        edge = np.stack([early, late], axis=1)
        cost.append(_between(at_border, edge + duration[:, None], step)
                    - _between(at_border, edge, step))  # fmt: skip
        starts = np.concatenate([begin * step, end * step - duration[:, None], edge], axis=1)
        costs = np.concatenate(cost, axis=1)
        if performance_g:
            since = np.maximum(starts - early[:, None], 0.0) + duration[:, None]
            fastest = self.fastest_s[rows, None]
            costs -= performance_g * fastest / np.maximum(since, fastest)
        best = costs.argmin(axis=1)
        at = np.arange(count)
        return costs[at, best], np.clip(starts[at, best], early, late)


def _between(at_border: Floats, moment_s: Floats, step: float) -> Floats:
    slot = np.clip((moment_s // step).astype(np.int64), 0, at_border.shape[1] - 2)
    low = np.take_along_axis(at_border, slot, axis=1)
    high = np.take_along_axis(at_border, slot + 1, axis=1)
    return np.asarray(low + (moment_s / step - slot) * (high - low))


def options_of(problem: Problem, jobs: Ints, deadline_s: Floats) -> Options:
    """The options of these jobs (indices in rising order) with these deadlines.

    `first` counts in these jobs, `job` in the problem's. Shapes wider than the site are none.
    """
    shapes, all_jobs = problem.shapes, problem.jobs
    classes = all_jobs.class_index[jobs]
    many = shapes.first[classes + 1] - shapes.first[classes]
    rank = np.repeat(np.arange(len(jobs)), many)
    job = jobs[rank]
    offset = np.arange(many.sum()) - np.repeat(np.cumsum(many) - many, many)
    shape = shapes.first[all_jobs.class_index[job]] + offset
    duration = all_jobs.work[job] / shapes.rate[shape]
    early = all_jobs.earliest_s[job]
    late = np.minimum(deadline_s[rank], problem.site.horizon_s) - duration
    fits = (late >= early - _TOLERANCE_S) & (shapes.gpus[shape] <= problem.site.gpus)
    job, shape, rank = job[fits], shape[fits], rank[fits]
    return Options(
        job=job,
        shape=shape,
        first=np.searchsorted(rank, np.arange(len(jobs) + 1)),
        gpus=shapes.gpus[shape].astype(np.float64),
        power_w=shapes.power_w[shape],
        duration_s=duration[fits],
        earliest_s=early[fits],
        latest_s=np.maximum(late, early)[fits],
        fastest_s=problem.fastest_s[job],
    )
