# SPDX-License-Identifier: Apache-2.0
"""Preemptible jobs on a board: each takes the cheapest seconds that are free. Pure.

In each slot a job runs in one shape for some of the seconds in which that many GPUs are free, and
perhaps in a narrower one for others; in the slot where its work is just done, in two at most for
each number of free GPUs.
"""

import numpy as np

from slurm_green.plan.board import Board
from slurm_green.plan.kernel.board import lendable
from slurm_green.plan.kernel.splits import KernelSplits
from slurm_green.plan.offers import CRUMB, Offers, buy, joined, rooms_of
from slurm_green.plan.outcome import Prices
from slurm_green.plan.problem import JOULES_PER_KWH, SECONDS_PER_HOUR, Floats, Ints, Problem
from slurm_green.plan.profile import GRID, rounded_down, rounded_up

__all__ = ["Pieces"]


class Pieces:
    """Splits jobs (the problem's numbers) over what is free on the board.

    Where a job is are its stretches in order of time, shape (n, 3): shape, start and end in s,
    each within one slot.
    """

    def __init__(self, board: Board) -> None:
        self.board = board
        self._problem: Problem = board.problem
        self.of: dict[int, Floats] = {}
        # Where set, what a kWh costs; else what it adds to the site's carbon, exactly.
        self.mu: Floats | None = None
        site = board.problem.site
        self._opens_s = rounded_up(site.edges_s)
        self._closes_s = rounded_down(site.edges_s[1:])
        self._per_joule = site.carbon_g_per_kwh / JOULES_PER_KWH
        self.kernel = (
            KernelSplits(board, self._opens_s, self._closes_s) if lendable(board) else None
        )

    def put(self, job: int, until_s: float) -> float | None:
        """Places a job before `until_s`; what it adds to the cost by the guide, None if no room."""
        found = self._best(job, until_s)
        if found is None:
            return None
        cost = self.added_g(found)
        self.put_back(job, found)
        return cost

    def put_all(self, jobs: list[int], until_s: Floats) -> bool:
        """Places those of the jobs that have no place; whether all of them have one then."""
        if self.kernel is not None and self.mu is None:
            self.kernel.put(self.of, jobs, until_s)
            return all(job in self.of for job in jobs)
        missing = [job for job in jobs if job not in self.of]
        return not [job for job in missing if self.put(job, float(until_s[job])) is None]

    def take(self, job: int) -> Floats:
        """Takes a job out; where it was."""
        pieces = self.of.pop(job)
        self._book(pieces, -1)
        return pieces

    def put_back(self, job: int, pieces: Floats) -> None:
        """Places a job where it was."""
        self.of[job] = pieces
        self._book(pieces, 1)

    def put_all_back(self, of: dict[int, Floats]) -> None:
        """Places jobs where they were, all at once."""
        self.of.update(of)
        if of:
            pieces = np.concatenate(list(of.values()))
            # One job's piece may end where another's of the same shape begins: as one they use as
            # many GPUs.
            runs = joined(pieces)
            gpus = self._problem.shapes.gpus[runs[:, 0].astype(np.int64)]
            self.board.profile.add_all(runs[:, 1], runs[:, 2], gpus)
            self._add_energy(pieces, 1)

    def settle(self, jobs: list[int], until_s: Floats) -> int:
        """Every job in turn is split anew where that is cheaper; how many changed."""
        if self.kernel is not None:
            return self.kernel.settle(self.of, jobs, until_s)
        moved = 0
        for job in jobs:
            if job not in self.of:
                continue
            old = self.take(job)
            new = self._best(job, float(until_s[job]))
            before = self.added_g(old)
            if new is not None and self.added_g(new) < before - 1e-9 * abs(before):
                self.put_back(job, new)
                if self.board.holds():
                    moved += 1
                    continue
                self.take(job)
            self.put_back(job, old)
        return moved

    def added_g(self, pieces: Floats) -> float:
        """What pieces that are not placed would add to the cost by the guide."""
        board = self.board
        slot, drawn_j, gpu_s = self.uses(pieces)
        energy_j = self._by_slot(slot, drawn_j)
        covered_j = np.minimum(energy_j, np.maximum(-board.net_j[:-1], 0.0))
        guided_g = board.supply_guides[0][:-1] @ covered_j + board.lam_per_gpu_s[slot] @ gpu_s
        return self._carbon_g(energy_j) + float(guided_g)

    def paid_g(self, prices: Prices, order: list[int]) -> Floats:
        """What each of the jobs pays at the prices; nothing where it has no place."""
        placed = [row for row, job in enumerate(order) if job in self.of]
        if not placed:
            return np.zeros(len(order))
        tables = [self.of[order[row]] for row in placed]
        slot, energy_j, gpu_s = self.uses(np.concatenate(tables))
        paid = energy_j * ((prices.mu + prices.nu) / JOULES_PER_KWH)[slot]
        paid += gpu_s * (prices.lam / SECONDS_PER_HOUR)[slot]
        owner = np.repeat(placed, [len(table) for table in tables])
        return np.asarray(np.bincount(owner, paid, len(order)), dtype=np.float64)

    def uses(self, pieces: Floats) -> tuple[Ints, Floats, Floats]:
        """The slot of each piece, its joules and its GPU-seconds."""
        shape = pieces[:, 0].astype(np.int64)
        seconds = pieces[:, 2] - pieces[:, 1]
        slot = (pieces[:, 1] + pieces[:, 2]) / 2 // self._problem.site.step_s
        shapes = self._problem.shapes
        return slot.astype(np.int64), seconds * shapes.power_w[shape], seconds * shapes.gpus[shape]

    def _carbon_g(self, energy_j: Floats) -> float:
        """What more energy in each slot adds to the site's carbon."""
        if not self.board.green:
            return float(self._per_joule @ energy_j)
        net = self.board.net_j[:-1]
        more = np.maximum(net + energy_j, 0.0) - np.maximum(net, 0.0)
        return float(self._per_joule @ more)

    def _book(self, pieces: Floats, sign: int) -> None:
        gpus = self._problem.shapes.gpus
        for shape, start_s, end_s in joined(pieces).tolist():
            self.board.profile.add(start_s, end_s, sign * int(gpus[int(shape)]))
        self._add_energy(pieces, sign)

    def _add_energy(self, pieces: Floats, sign: int) -> None:
        board = self.board
        slot, drawn_j, _ = self.uses(pieces)
        energy_j = self._by_slot(slot, sign * drawn_j)
        board.cost_g += self._carbon_g(energy_j)
        if board.green:
            board.net_j[:-1] += energy_j
        if board.limits is not None:
            board.limits.book(0, len(energy_j), energy_j)

    def _by_slot(self, slot: Ints, amount: Floats) -> Floats:
        return np.bincount(slot, amount, self._problem.site.slots).astype(np.float64, copy=False)

    def _best(self, job: int, until_s: float) -> Floats | None:
        """Where the job is cheapest now; None where there is no room."""
        offers = self._offers(job, until_s)
        work, rate = float(self._problem.jobs.work[job]), self._problem.shapes.rate
        if offers is None:
            return None
        capped = self.board.limits is not None
        ramped = bool(np.isfinite(self._problem.site.ramp_w_per_slot))
        found = buy(offers, work, rate, capped=capped, ramped=ramped)
        return None if found is None else np.array(found, dtype=np.float64)

    def _offers(self, job: int, until_s: float) -> Offers | None:
        board, site, shapes = self.board, self._problem.site, self._problem.shapes
        number = self._problem.jobs.class_index[job]
        own = self._problem.fitting[number]
        early = float(rounded_up(self._problem.jobs.earliest_s[job]))
        late = float(np.floor(until_s * GRID + 1e-6) / GRID)
        sizes = np.unique(shapes.gpus[own])
        rooms = rooms_of(board.profile, sizes, early, late, self._opens_s, self._closes_s)
        if rooms is None:
            return None
        slot = rooms.slot
        total = np.bincount(rooms.room, rooms.end_s - rooms.begin_s, len(slot))
        # Rooms of one slot share what its supply and its limits still allow.
        share = (total / np.bincount(slot, total)[slot])[:, None]
        power, ways = shapes.power_w[own], own
        seconds = np.where(shapes.gpus[own] <= rooms.gpus[:, None], total[:, None], 0.0)
        if board.limits is not None:
            # Each slot by itself: more power in the slot before only makes a ramp easier to keep.
            rise = np.diff(board.limits.energy_j, prepend=np.inf)
            left = np.minimum(board.limits.room_j(), site.ramp_w_per_slot * site.step_s - rise)
            left = np.maximum(left[slot, None], 0.0) * share
            seconds = np.minimum(seconds, _down(_seconds(left, power)))
        supply = np.maximum(-board.net_j[slot, None], 0.0) * (share if board.green else 0.0)
        if supply.any():
            # Only as long as renewable supply lasts.
            covered = _down(_seconds(supply, power))
            crumb = CRUMB * site.step_s
            part = np.where((covered > crumb) & (covered < seconds - crumb), covered, 0.0)
            seconds = np.concatenate([seconds, part], axis=1)
            power, ways = np.tile(power, 2), np.tile(ways, 2)
        energy = seconds * power
        if self.mu is not None:
            cost = energy * (self.mu[slot, None] / JOULES_PER_KWH)
        else:
            cost = np.maximum(energy - supply, 0.0) * self._per_joule[slot, None]
            cost += np.minimum(energy, supply) * board.supply_guides[0][slot, None]
        cost += seconds * shapes.gpus[ways] * board.lam_per_gpu_s[slot, None]
        nothing = np.zeros((len(slot), 1))
        return Offers(
            rooms=rooms,
            shape=np.append(-1, ways),
            seconds=np.hstack([nothing, seconds]),
            work=np.hstack([nothing, seconds * shapes.rate[ways]]),
            cost_g=np.hstack([nothing, cost]),
        )


def _seconds(energy_j: Floats, power_w: Floats) -> Floats:
    """How long that energy lasts, shape (slots, shapes); for ever without power."""
    endless = np.full((len(energy_j), len(power_w)), np.inf)
    return np.asarray(np.divide(energy_j, power_w, out=endless, where=power_w > 0))


def _down(seconds: Floats) -> Floats:
    """The last multiples of the grid that are not after."""
    return np.asarray(np.floor(seconds * GRID) / GRID)
