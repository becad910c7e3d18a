# SPDX-License-Identifier: Apache-2.0
"""What each job must cost at given prices, whatever its starts and shapes.

The bound's own arithmetic, apart from how plans are made. The trap: the cost of a run is linear in
its start only while neither its start nor its end meets a slot's border; the starts at which one
does, the earliest and the latest are all that can be cheapest. Pure.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from slurm_green.plan.problem import JOULES_PER_KWH, SECONDS_PER_HOUR, Floats, Ints, Problem

__all__ = ["Question", "least_costs_g"]

_TOLERANCE_S = 1e-3
_TOLERANCE = 1e-6
_BLOCK = 1 << 20  # numbers per array at a time: a few of them stay below 100 MB
_ENDS = 24


@dataclass(frozen=True, kw_only=True)
class Question:
    """Prices per slot, gCO2e per kWh and per GPU-hour, and what may be done at them.

    `deadline_s` has one entry per job of the problem. `performance_g` is what a job's performance,
    its fastest duration / (end - earliest), takes off its cost.
    """

    problem: Problem
    energy_price: Floats
    gpu_price: Floats
    deadline_s: Floats
    performance_g: float = 0.0


def least_costs_g(question: Question, jobs: Ints) -> Floats:
    """The least cost of each of these jobs in g, or less; infinite where a job does not fit.

    Exact for jobs in one piece and, without a reward for performance, for preemptible ones.
    """
    problem = question.problem
    costs = np.full(len(jobs), np.inf)
    split = problem.jobs.preemptible[jobs]
    if not split.all():
        costs[~split] = _whole(question, jobs[~split])
    for block in _blocks(problem, jobs, np.flatnonzero(split)):
        pieces = _Pieces(question, jobs[block])
        costs[block] = pieces.least() if question.performance_g == 0 else pieces.least_rewarded()
    return costs


class _Price:
    """A price per slot and second, summed up to any instant."""

    def __init__(self, per_s: Floats, step_s: float) -> None:
        self.step_s = step_s
        self.slots = len(per_s)
        # One more: what ends with the horizon, or a tolerance after it, pays the last slot's.
        self.at = np.append(per_s, per_s[-1])
        self.sums = np.concatenate(([0.0], np.cumsum(per_s) * step_s))

    def until(self, at_s: Floats) -> Floats:
        slot = np.clip(at_s // self.step_s, 0, self.slots - 1).astype(np.int64)
        return np.asarray(self.sums[slot] + self.at[slot] * (at_s - slot * self.step_s))


# Jobs in one piece.


class _Runs:
    """Every job in every shape of its class, one entry each."""

    def __init__(self, question: Question, jobs: Ints) -> None:
        problem = question.problem
        first, of_class = problem.shapes.first, problem.jobs.class_index[jobs]
        counts = first[of_class + 1] - first[of_class]
        self.begins = np.cumsum(counts) - counts
        job = np.repeat(jobs, counts)
        shape = np.arange(len(job)) + np.repeat(first[of_class] - self.begins, counts)
        self.length_s = problem.jobs.work[job] / problem.shapes.rate[shape]
        self.earliest_s = problem.jobs.earliest_s[job]
        latest_s = question.deadline_s[job] - self.length_s
        self.fits = latest_s >= self.earliest_s - _TOLERANCE_S
        self.latest_s = np.maximum(latest_s, self.earliest_s)
        self.power = problem.shapes.power_w[shape]
        self.gpus = problem.shapes.gpus[shape].astype(np.float64)
        self.fastest_s = problem.fastest_s[job]
        self.performance_g = question.performance_g

    def reward(self, on: Ints, end_s: Floats) -> Floats | float:
        """What ending there takes off the cost of these runs."""
        if self.performance_g == 0:
            return 0.0
        fastest_s = self.fastest_s[on]
        took_s = np.maximum(end_s - self.earliest_s[on], fastest_s)
        return np.asarray(self.performance_g * fastest_s / took_s)


def _whole(question: Question, jobs: Ints) -> Floats:
    site, runs = question.problem.site, _Runs(question, jobs)
    step_s = site.step_s
    energy = _Price(question.energy_price / JOULES_PER_KWH, step_s)
    gpu = _Price(question.gpu_price / SECONDS_PER_HOUR, step_s)
    best = np.full(len(runs.fits), np.inf)

    def offer(on: Ints, energy_sum: Floats, gpu_sum: Floats, end_s: Floats) -> None:
        cost = runs.power[on] * energy_sum + runs.gpus[on] * gpu_sum - runs.reward(on, end_s)
        best[on] = np.minimum(best[on], cost)

    fit = np.flatnonzero(runs.fits)
    for start_s in (runs.earliest_s[fit], runs.latest_s[fit]):
        end_s = start_s + runs.length_s[fit]
        offer(
            fit,
            energy.until(end_s) - energy.until(start_s),
            gpu.until(end_s) - gpu.until(start_s),
            end_s,
        )
    # Runs are so many whole slots and a rest. One that begins at a border ends with its rest in
    # the slot after the whole ones; one that ends at a border begins with it, in the slot before.
    whole = np.floor(runs.length_s / step_s).clip(max=site.slots).astype(np.int64)
    rest_s = runs.length_s - whole * step_s
    # The outermost borders are the earliest or the latest of whatever meets them.
    for border in range(1, site.slots):
        at_s = border * step_s
        on = np.flatnonzero(runs.fits & (runs.earliest_s <= at_s) & (at_s <= runs.latest_s))
        if len(on):
            last, rest = np.minimum(border + whole[on], site.slots), rest_s[on]
            offer(
                on,
                energy.sums[last] - energy.sums[border] + energy.at[last] * rest,
                gpu.sums[last] - gpu.sums[border] + gpu.at[last] * rest,
                at_s + runs.length_s[on],
            )
        start_s = at_s - runs.length_s
        on = np.flatnonzero(runs.fits & (runs.earliest_s <= start_s) & (start_s <= runs.latest_s))
        if len(on):
            first, rest = np.maximum(border - whole[on], 0), rest_s[on]
            offer(
                on,
                energy.sums[border] - energy.sums[first] + energy.at[first - 1] * rest,
                gpu.sums[border] - gpu.sums[first] + gpu.at[first - 1] * rest,
                np.full(len(on), at_s),
            )
    return np.asarray(np.minimum.reduceat(best, runs.begins))


# Preemptible jobs: in every slot any mix of shapes, each slot's cheapest work first.


def _blocks(problem: Problem, jobs: Ints, place: Ints) -> Iterator[Ints]:
    """Places of preemptible jobs, some at a time; classes of as many shapes are side by side."""
    of_class = problem.jobs.class_index[jobs[place]]
    shapes = np.diff(problem.shapes.first)[of_class]
    place = place[np.lexsort((of_class, shapes))]
    size = np.maximum.accumulate(np.sort(shapes)) * problem.site.slots
    block = np.cumsum(size) // _BLOCK
    yield from np.split(place, np.flatnonzero(np.diff(block)) + 1) if len(place) else ()


class _Pieces:
    """Per class and slot, the lower hull of cost over rate: work at rising marginal cost.

    `gain` is the rate a piece adds, `slope` its cost per unit of work; both have the shape
    (classes, slots x most shapes), cheapest first, and gain 0 where there is no piece.
    """

    def __init__(self, question: Question, jobs: Ints) -> None:
        problem, site = question.problem, question.problem.site
        self.question, self.step_s = question, site.step_s
        classes, self.row = np.unique(problem.jobs.class_index[jobs], return_inverse=True)
        first = problem.shapes.first
        counts = first[classes + 1] - first[classes]
        column = np.arange(int(counts.max()))
        shape = np.minimum(first[classes][:, None] + column, first[classes + 1][:, None] - 1)
        # Shape (classes, 1, shapes): a class of fewer shapes repeats its last one.
        self.rate = problem.shapes.rate[shape][:, None, :]
        per_s = question.energy_price / JOULES_PER_KWH, question.gpu_price / SECONDS_PER_HOUR
        self.cost = (
            per_s[0][None, :, None] * problem.shapes.power_w[shape][:, None, :]
            + per_s[1][None, :, None] * problem.shapes.gpus[shape][:, None, :]
        )
        slope, gain = self._hull()
        self.slot, self.slope, self.gain = self._cheapest_first(slope, gain)
        self.earliest_s = problem.jobs.earliest_s[jobs][:, None]
        self.deadline_s = question.deadline_s[jobs][:, None]
        self.fastest_s = problem.fastest_s[jobs][:, None]
        quickest = self.rate.max(axis=(1, 2))[self.row]
        work = problem.jobs.work[jobs]
        self.shortest_s = (work / quickest)[:, None]
        # A plan may stay below its work by the tolerance, so must the bound.
        self.need = work[:, None] * (1 - _TOLERANCE)
        self.edges_s = site.edges_s[None, :]

    def _hull(self) -> tuple[Floats, Floats]:
        """Wrapped from no work on: always the shape that adds work at the least cost per unit."""
        classes, slots, shapes = self.cost.shape
        rate, cost = np.zeros((classes, slots, 1)), np.zeros((classes, slots, 1))
        slopes = np.full((classes, slots, shapes), np.inf)
        gains = np.zeros((classes, slots, shapes))
        for piece in range(shapes):
            more = self.rate - rate
            with np.errstate(divide="ignore", invalid="ignore"):
                slope = np.where(more > 0, (self.cost - cost) / more, np.inf)
            best = np.argmin(slope, axis=2)[:, :, None]
            found = np.take_along_axis(slope, best, axis=2)
            there = np.isfinite(found)
            if not there.any():
                break
            new_rate = np.take_along_axis(np.broadcast_to(self.rate, slope.shape), best, axis=2)
            slopes[:, :, piece] = found[:, :, 0]
            gains[:, :, piece] = np.where(there, new_rate - rate, 0.0)[:, :, 0]
            cost = np.where(there, np.take_along_axis(self.cost, best, axis=2), cost)
            rate = np.where(there, new_rate, rate)
        return slopes, gains

    def _cheapest_first(self, slope: Floats, gain: Floats) -> tuple[Ints, Floats, Floats]:
        classes, _, shapes = slope.shape
        slope, gain = slope.reshape(classes, -1), gain.reshape(classes, -1)
        order = np.argsort(slope, axis=1, kind="stable")
        gain = np.take_along_axis(gain, order, axis=1)
        slope = np.where(gain > 0, np.take_along_axis(slope, order, axis=1), 0.0)
        return order // shapes, slope, gain

    def least(self) -> Floats:
        """Exact: the cheapest pieces inside each job's window until its work is done."""
        done = self._done(self.deadline_s)
        costs = (np.diff(done, axis=1, prepend=0.0) * self.slope[self.row]).sum(axis=1)
        return np.asarray(np.where(done[:, -1] >= self.need[:, 0], costs, np.inf))

    def least_rewarded(self) -> Floats:
        """A bound where an early end is worth something.

        For any worth y of a unit of work, ending at E costs at least y x work - (what the window
        up to E earns by working at y in every slot) - the reward for E: between two borders a
        concave function of E, so least at one of them. Each such stretch takes the y that says
        most, of the marginal costs that are right for some ends.
        """
        soonest_s = self.earliest_s + self.shortest_s
        latest_s = np.maximum(self.deadline_s, soonest_s)
        fits = (self.deadline_s >= soonest_s - _TOLERANCE_S)[:, 0]
        # Densest where the reward falls fastest, which is just after the soonest end.
        longest = (latest_s - self.earliest_s) / self.fastest_s
        some_s = self.earliest_s + self.fastest_s * longest ** np.linspace(0.0, 1.0, _ENDS) ** 2
        borders_s = np.broadcast_to(self.edges_s, (len(fits), self.edges_s.shape[1]))
        end_s = np.sort(np.clip(np.hstack((borders_s, some_s)), soonest_s, latest_s), axis=1)
        took_s = np.maximum(end_s - self.earliest_s, self.fastest_s)
        reward = self.question.performance_g * self.fastest_s / took_s
        best = np.full((len(fits), end_s.shape[1] - 1), -np.inf)
        for end in range(_ENDS):
            worth = self._marginal(some_s[:, end : end + 1])
            bound = worth * self.need - reward - self._earned(worth, end_s)
            np.maximum(best, np.minimum(bound[:, 1:], bound[:, :-1]), out=best)
        return np.asarray(np.where(fits, best.min(axis=1), np.inf))

    def _done(self, end_s: Floats) -> Floats:
        """Work done by then with each piece and all cheaper ones, shape (jobs, pieces)."""
        edges_s = self.edges_s
        open_s = np.minimum(end_s, edges_s[:, 1:]) - np.maximum(self.earliest_s, edges_s[:, :-1])
        room = np.take_along_axis(np.maximum(open_s, 0.0), self.slot[self.row], axis=1)
        room *= self.gain[self.row]
        return np.asarray(np.minimum(np.cumsum(room, axis=1, out=room), self.need))

    def _marginal(self, end_s: Floats) -> Floats:
        """What the last unit of work costs if all is to be done by then, shape (jobs, 1)."""
        done = self._done(end_s)
        last = np.argmax(done >= done[:, -1:], axis=1)
        return np.asarray(self.slope[self.row, last][:, None])

    def _earned(self, worth: Floats, end_s: Floats) -> Floats:
        """What work paid at its worth earns from each job's earliest start to these ends."""
        rate, cost = self.rate[self.row], self.cost[self.row]
        per_s = np.maximum(worth[:, :, None] * rate - cost, 0.0).max(axis=2)
        sums = np.zeros((len(per_s), per_s.shape[1] + 1))
        np.cumsum(per_s * self.step_s, axis=1, out=sums[:, 1:])

        def until(at_s: Floats) -> Floats:
            slot = np.clip(at_s // self.step_s, 0, per_s.shape[1] - 1).astype(np.int64)
            part = np.take_along_axis(per_s, slot, axis=1) * (at_s - slot * self.step_s)
            return np.asarray(np.take_along_axis(sums, slot, axis=1) + part)

        return until(end_s) - until(self.earliest_s)
