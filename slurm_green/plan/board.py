# SPDX-License-Identifier: Apache-2.0
"""A schedule in the making: where each job could go now, and what it would cost exactly. Pure.

The cost of a run here is what it adds to the site's carbon, netted against renewable supply slot
by slot, plus what the guide asks for GPU-hours and for supply. Over starts it bends only where an
end of the run meets a border of slots or the limit of free supply, and the performance term is
concave in between, so comparing those points finds the best start that has room. Where supply is
unsure the cost curves around that limit, too: the best of those points is then close to the best.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from slurm_green.plan.limits import Limits
from slurm_green.plan.options import Options
from slurm_green.plan.outcome import Weights
from slurm_green.plan.overlap import seconds_by_slot
from slurm_green.plan.problem import JOULES_PER_KWH, SECONDS_PER_HOUR, Floats, Ints, Problem
from slurm_green.plan.profile import GRID, Profile, rounded, rounded_down, rounded_up

__all__ = ["Board", "Place"]


class Place(NamedTuple):
    """Where a job may run: an option, its start, and the cost by which it was chosen, in g."""

    option: int
    start_s: float
    cost_g: float


class Board:
    """Runs of jobs on the site; jobs are numbered as in the options, `first` of which it uses.

    `cost_g` is carbon of all runs placed (beyond what the site emits without them) minus what
    their performance is worth. Supply may be `unsure_w` less or more (not for pieces).
    """

    def __init__(
        self, problem: Problem, options: Options, weights: Weights, unsure_w: Floats | None = None
    ) -> None:
        site = problem.site
        self.problem = problem
        self.options = options
        self.weights = weights
        self._step = site.step_s
        self._slots = site.slots
        self._borders = site.edges_s
        # A run of no length would leave a step of none in the profile.
        duration = np.maximum(rounded_up(options.duration_s), 1 / GRID)
        early = rounded_up(options.earliest_s)
        until = rounded_down(options.latest_s + options.duration_s)
        until = np.maximum(np.minimum(until, site.horizon_s), early + duration)
        # Arrays for the kernel, lists for single entries.
        self.arrays = {
            "first": options.first.astype(np.int64),
            "option_gpus": options.gpus.astype(np.int64),
            "power": np.ascontiguousarray(options.power_w),
            "duration": duration,
            "early": early,
            "until": until,
            "fastest": np.ascontiguousarray(options.fastest_s),
        }
        self.duration_s: list[float] = duration.tolist()
        self.early_s: list[float] = early.tolist()
        self.until_s: list[float] = until.tolist()
        self._gpus: list[int] = options.gpus.astype(np.int64).tolist()
        self._power: list[float] = options.power_w.tolist()
        self._fastest: list[float] = options.fastest_s.tolist()
        self._first: list[int] = options.first.tolist()
        self._per_joule = np.append(site.carbon_g_per_kwh, 0.0) / JOULES_PER_KWH
        self._sum = np.append(0.0, np.cumsum(self._per_joule[:-1])) * self._step
        self.arrays |= {"per_joule": self._per_joule, "sum": self._sum}
        self.green = bool(site.green.any())
        self._unsure_j: Floats | None = None
        if self.green and unsure_w is not None and unsure_w.any():
            self._unsure_j = self.arrays["unsure"] = np.append(unsure_w, 0.0) * self._step
        net_j = (site.base_power_w - site.renewable_w) * self._step
        # What the site emits without jobs.
        self.bare_g = float(self._per_joule[:-1] @ self.drawn_j(net_j))
        self.clear()
        self.guide(np.zeros(site.slots))

    def clear(self) -> None:
        """Takes all jobs out."""
        site = self.problem.site
        jobs = len(self._first) - 1
        self.profile = Profile(site.gpus, 4 * jobs + 16)
        self.option: list[int] = [-1] * jobs
        self.start_s = np.full(jobs, np.nan)
        self.end_s = np.full(jobs, np.nan)
        self.cost_g = 0.0
        self.net_j = np.append(site.base_power_w - site.renewable_w, 0.0) * self._step
        self.limits = Limits(site) if Limits.any(site) else None

    def restore(
        self, option: Sequence[int], start_s: Floats, expected_j: Floats | None = None
    ) -> None:
        """Only these runs, one entry a job (-1: none), beside a load that is only expected."""
        self.clear()
        if expected_j is not None and (self.green or self.limits is not None):
            self.add_energy(np.asarray(expected_j).ravel(), 1.0)
        self.option = list(option)
        placed = [job for job, chosen in enumerate(self.option) if chosen >= 0]
        chosen = [self.option[job] for job in placed]
        self.start_s[placed] = start = start_s[placed]
        self.end_s[placed] = end = start + np.array([self.duration_s[one] for one in chosen])
        gpus = np.array([self._gpus[one] for one in chosen], dtype=np.int64)
        self.profile.add_all(start, end, gpus)
        for one, begin, until in zip(chosen, start.tolist(), end.tolist(), strict=True):
            self.cost_g += self._load(self._power[one], begin, until)
            self.cost_g -= self._worth(one, until)

    @property
    def lam_per_gpu_s(self) -> Floats:
        """What the guide asks for a GPU-second in each slot."""
        return self._lam[:-1]

    @property
    def guides(self) -> tuple[Floats, Floats]:
        """The guide, in g per GPU-second, and its integral at the borders."""
        return self._lam, self._lam_sum

    @property
    def supply_guides(self) -> tuple[Floats, Floats]:
        """The guide in g per joule that renewable supply covers, and its integral."""
        return self._supply, self._supply_sum

    @property
    def number_of(self) -> Ints:
        """The problem's number of each job that has an option."""
        options = self.options
        if not len(options):
            return np.zeros(len(options.first) - 1, dtype=np.int64)
        return np.asarray(options.job[options.first[:-1].clip(max=len(options) - 1)])

    def guide(self, lam: Floats, mu: Floats | None = None) -> None:
        """What a GPU-hour is to cost in each slot, for choosing only.

        `mu` (g per kWh, at most the intensity) is what a kWh costs that renewable supply covers:
        it is free, but not when others could use it, too.
        """
        self._lam, self._lam_sum = self.integrals(lam)
        self._supply, self._supply_sum = self.energy_integrals(0.0 * lam if mu is None else mu)
        self._guided = bool(lam.any())

    def integrals(self, lam: Floats) -> tuple[Floats, Floats]:
        """A price of GPU-hours as one of GPU-seconds, and its integral at the borders."""
        total = np.append(0.0, np.cumsum(lam)) * (self._step / SECONDS_PER_HOUR)
        return np.append(lam, 0.0) / SECONDS_PER_HOUR, total

    def energy_integrals(self, mu: Floats) -> tuple[Floats, Floats]:
        """A price of a kWh as one of joules, and its integral at the borders, per watt."""
        per_joule = np.append(mu, 0.0) / JOULES_PER_KWH
        return per_joule, np.append(0.0, np.cumsum(per_joule[:-1])) * self._step

    def best(
        self, job: int, options: Sequence[int] | None = None, least_g: Sequence[float] | None = None
    ) -> Place | None:
        """The cheapest place with room for a job that has none now; None if there is no room.

        Only these `options` are looked at, if given; with `least_g`, what any place costs at
        least in each option of the board, only until the next cannot be better.
        """
        low, high = self._first[job], self._first[job + 1]
        if low == high:
            return None
        early, until = self.early_s[low], self.until_s[low]
        if high - low > 1:
            until = max(self.until_s[low:high])
        step = self._step
        slot = int(early // step)
        last = min(self._slots, int(until // step) + 1)
        border = self._borders[slot : last + 1]
        free: dict[int, tuple[Floats, Floats]] = {}
        best: Place | None = None
        for option in range(low, high) if options is None else options:
            if best is not None and least_g is not None and best.cost_g <= least_g[option]:
                break
            gpus, duration = self._gpus[option], self.duration_s[option]
            if gpus not in free:
                free[gpus] = self.profile.free(gpus, early, until)
            begin, end = free[gpus]
            end = end - duration
            if len(begin) > 1:
                wide = end >= begin
                begin, end = begin[wide], end[wide]
            elif len(begin) and end[0] < begin[0]:
                continue
            if not len(begin):
                continue
            starts = self.starts(self._power[option], duration, begin, end, border, slot)
            cost = self._added(option, starts, slot, last)
            if self.limits is not None:
                cost[~self.limits.allow(self._power[option], starts, starts + duration)] = np.inf
            at = int(cost.argmin())
            value = float(cost[at])
            if value < math.inf and (best is None or value < best.cost_g):
                best = Place(option, float(starts[at]), value)
        return best

    def put(self, job: int, option: int, start_s: float) -> None:
        """Places a job that has no place."""
        start = rounded(start_s)
        end = start + self.duration_s[option]
        self.option[job] = option
        self.start_s[job], self.end_s[job] = start, end
        self.cost_g += self.book(self._power[option], self._gpus[option], start, end, 1)
        self.cost_g -= self._worth(option, end)

    def take(self, job: int) -> Place:
        """Takes a job out, and returns where it was."""
        option, start, end = self.option[job], float(self.start_s[job]), float(self.end_s[job])
        self.option[job] = -1
        self.start_s[job] = self.end_s[job] = np.nan
        change = self.book(self._power[option], self._gpus[option], start, end, -1)
        change += self._worth(option, end)
        self.cost_g += change
        return Place(option, start, -change)

    def guided_g(self, place: Place) -> float:
        """What the guide asks beside carbon for a place that a job has left."""
        end = place.start_s + self.duration_s[place.option]
        busy = self._integral(self._lam_sum, end) - self._integral(self._lam_sum, place.start_s)
        met, seconds = seconds_by_slot(place.start_s, end, step_s=self._step, slots=self._slots)
        energy_j, net_j = self._power[place.option] * seconds, self.net_j[met]
        covered_j = energy_j - (self.drawn_j(net_j + energy_j, met) - self.drawn_j(net_j, met))
        return self._gpus[place.option] * busy + float(self._supply[met] @ covered_j)

    def price(self, job: int, per_joule_sum: Floats, lam_sum: Floats) -> float:
        """What a placed job costs at prices given as their integrals at the borders."""
        option, start, end = self.option[job], float(self.start_s[job]), float(self.end_s[job])
        power, gpus = self._power[option], self._gpus[option]
        total = power * per_joule_sum + gpus * lam_sum
        return self._integral(total, end) - self._integral(total, start) - self._worth(option, end)

    def has_room(self, option: int, start_s: float) -> bool:
        """Whether a run fits its window, the free GPUs, cap and ramp."""
        start = rounded(start_s)
        end = start + self.duration_s[option]
        inside = self.early_s[option] <= start and end <= self.until_s[option]
        fits = inside and self.profile.fits(self._gpus[option], start, end)
        return fits and self.allows(option, start)

    def holds(self) -> bool:
        """Whether cap and ramp are kept now."""
        return self.limits is None or self.limits.hold()

    def allows(self, option: int, start_s: float) -> bool:
        """Whether cap and ramp allow a run."""
        if self.limits is None:
            return True
        start = np.array([start_s])
        end = start + self.duration_s[option]
        return bool(self.limits.allow(self._power[option], start, end)[0])

    def add_energy(self, energy_j: Floats, sign: float) -> None:
        """Adds a load per slot, of jobs that are only expected or of services."""
        self.net_j[:-1] += sign * energy_j

    def carbon_g(self) -> float:
        """What the site emits with all loads on the board; only where supply is netted."""
        return float(self._per_joule[:-1] @ self.drawn_j(self.net_j[:-1]))

    def drawn_j(self, net_j: Floats, slots: slice | Ints = slice(-1)) -> Floats:
        """What the grid is expected to give for loads beyond supply in these slots.

        All that supply may be is equally likely, so it is the mean of max(net, 0) over a span of
        twice what is unsure.
        """
        sure = np.maximum(net_j, 0.0)
        if self._unsure_j is None:
            return sure
        unsure = self._unsure_j[slots]
        some = np.abs(net_j) < unsure
        mean = np.divide((net_j + unsure) ** 2, 4.0 * unsure, out=np.zeros_like(sure), where=some)
        return np.where(some, mean, sure)

    def recount(self) -> None:
        """Takes the cost as that of the runs alone, without loads that were only expected."""
        if not self.green and self.limits is None:
            return  # it has only ever been that
        self.cost_g = self.carbon_g() - self.bare_g
        for job, option in enumerate(self.option):
            if option >= 0:
                self.cost_g -= self._worth(option, float(self.end_s[job]))

    def gpus_of(self, option: int) -> int:
        """GPUs of an option."""
        return self._gpus[option]

    def starts(
        self, power: float, duration: float, begin: Floats, end: Floats, border: Floats, slot: int
    ) -> Floats:
        """All starts that can be best or first: window borders, slot borders, and turning points.

        Windows of starts are from `begin` to `end`, in order; `border` are those of the slots that
        they meet, from that of `slot` on.
        """
        # Off the grid the nearest start may be a hair beyond a limit: that side of it which is not.
        up, down = (
            (rounded_up, rounded_down) if self.limits is not None else (np.asarray, np.asarray)
        )
        kinks = [up(border), down(border - duration)]
        if self.green or self.limits is not None:
            turns = []
            if self.green:
                turns.append(-self.net_j[slot : slot + len(border) - 1])
            if self.limits is not None:
                turns += self.limits.turning(slot, slot + len(border) - 1)
            for room in turns:
                inside = np.flatnonzero((room > 0) & (room < power * self._step))
                span = room[inside] / power if power else room[inside]
                kinks += [up(border[inside + 1] - span), down(border[inside] + span - duration)]
                if self.limits is not None:
                    kinks.append(down(border[inside] + span))
        points = np.concatenate(kinks)
        if len(begin) == 1:
            points = points[(points >= begin[0]) & (points <= end[0])]
        else:
            at = begin.searchsorted(points, "right") - 1
            points = points[(at >= 0) & (points <= end[np.maximum(at, 0)])]
        if self.green or self.limits is not None:
            # Off the grid a start would be moved into a neighbour.
            points = np.clip(np.round(points * GRID) / GRID, begin[0], end[-1])
            at = begin.searchsorted(points, "right") - 1
            points = points[points <= end[at]]
        return np.concatenate([begin, end, points])

    def _added(self, option: int, start: Floats, slot: int, last: int) -> Floats:
        """What a run would add to the cost for each start; `slot` and `last` bound its window."""
        step, power, duration = self._step, self._power[option], self.duration_s[option]
        low = start / step
        first = low.astype(np.int64)
        end = start + duration
        high = end / step
        final = high.astype(np.int64)
        if not self.green:
            per_joule, total = self._per_joule, self._sum
            cost = total[final] + (high - final) * (step * per_joule[final])
            cost -= total[first] + (low - first) * (step * per_joule[first])
            cost *= power
        else:
            met, supply = slice(slot, last + 1), self._supply_sum
            net, per_joule = self.net_j[met], (self._per_joule - self._supply)[met]
            now = self.drawn_j(net, met)
            more = self.drawn_j(net + power * step, met) - now
            full = np.append(0.0, np.cumsum(per_joule * more))
            a, b = first - slot, np.minimum(final - slot, len(net) - 1)
            lead = np.minimum(end, (first + 1) * step) - start
            cost = per_joule[a] * (self.drawn_j(net[a] + power * lead, first) - now[a])
            tail = (end - final * step) * power
            more = self.drawn_j(net[b] + tail, b + slot) - now[b]
            more = full[b] - full[a + 1] + per_joule[b] * more
            cost += np.where(b > a, more, 0.0)
            covered = supply[final] + (high - final) * (step * self._supply[final])
            covered -= supply[first] + (low - first) * (step * self._supply[first])
            cost += power * covered
        if self._guided:
            rate, total = self._lam, self._lam_sum
            busy = total[final] + (high - final) * (step * rate[final])
            busy -= total[first] + (low - first) * (step * rate[first])
            cost += self._gpus[option] * busy
        if self.weights.performance_g:
            fastest = self._fastest[option]
            since = np.maximum(end - self.early_s[option], fastest)
            cost -= self.weights.performance_g * fastest / since
        return np.asarray(cost)

    def book(self, power_w: float, gpus: int, start: float, end: float, sign: int) -> float:
        """Books a stretch in or out; returns by how much carbon changes, in g."""
        self.profile.add(start, end, sign * gpus)
        return self._load(sign * power_w, start, end)

    def _load(self, power: float, start: float, end: float) -> float:
        if not self.green and self.limits is None:
            return power * (self._integral(self._sum, end) - self._integral(self._sum, start))
        met, seconds = seconds_by_slot(start, end, step_s=self._step, slots=self._slots)
        energy = power * seconds
        net = self.net_j[met]
        before = self.drawn_j(net, met)
        net += energy
        if self.limits is not None:
            self.limits.book(met.start, met.stop, energy)
        return float(self._per_joule[met] @ (self.drawn_j(net, met) - before))

    def _worth(self, option: int, end: float) -> float:
        if not self.weights.performance_g:
            return 0.0
        fastest = self._fastest[option]
        return self.weights.performance_g * fastest / max(end - self.early_s[option], fastest)

    def _integral(self, at_border: Floats, moment: float) -> float:
        slot = min(int(moment // self._step), self._slots - 1)
        low = float(at_border[slot])
        return low + (moment / self._step - slot) * (float(at_border[slot + 1]) - low)
