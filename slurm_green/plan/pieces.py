# SPDX-License-Identifier: Apache-2.0
"""Preemptible jobs on a board: each takes the cheapest seconds that are free. Pure.

In each slot a job runs in one shape for some of the seconds in which that many GPUs are free, and
perhaps in a narrower one for others; in the slot where its work is just done, in two at most for
each number of free GPUs.
"""

from itertools import pairwise

import numpy as np

from slurm_green.plan.board import Board
from slurm_green.plan.offers import CRUMB, TOLERANCE_S, Offers, Piece, buy, joined, rooms_of
from slurm_green.plan.problem import JOULES_PER_KWH, Floats, Ints, Problem
from slurm_green.plan.profile import GRID, rounded, rounded_up

__all__ = ["Piece", "Pieces"]


class Pieces:
    """Splits jobs (the problem's numbers) over what is free on the board."""

    def __init__(self, board: Board) -> None:
        self.board = board
        self._problem: Problem = board.problem
        self.of: dict[int, list[Piece]] = {}
        # Where set, what a kWh costs; else what it adds to the site's carbon, exactly.
        self.mu: Floats | None = None
        site = board.problem.site
        self._opens_s = rounded_up(site.edges_s)
        self._closes_s = np.floor(site.edges_s[1:] * GRID + 1e-6) / GRID
        self._per_joule = site.carbon_g_per_kwh / JOULES_PER_KWH

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
        missing = [job for job in jobs if job not in self.of]
        return not [job for job in missing if self.put(job, float(until_s[job])) is None]

    def take(self, job: int) -> list[Piece]:
        """Takes a job out; where it was."""
        pieces = self.of.pop(job)
        self._book(pieces, -1)
        return pieces

    def put_back(self, job: int, pieces: list[Piece]) -> None:
        """Places a job where it was."""
        self.of[job] = pieces
        self._book(pieces, 1)

    def put_as(self, job: int, stretches: list[Piece], until_s: float) -> bool:
        """Places a job in these stretches, which may be longer than slots, if that is allowed."""
        problem, board = self._problem, self.board
        shapes, early = problem.shapes, float(rounded_up(problem.jobs.earliest_s[job]))
        pieces: list[Piece] = []
        done, free_s, slowest = 0.0, early, np.inf
        for shape, start_s, end_s in sorted(stretches, key=lambda stretch: stretch.start_s):
            start, end = rounded(start_s), rounded(end_s)
            if start < free_s or not board.profile.fits(int(shapes.gpus[shape]), start, end):
                return False
            low, high = self._opens_s.searchsorted([start, end], "right").tolist()
            cuts = [start, *self._opens_s[low:high].tolist(), end]
            pieces += [Piece(shape, one, two) for one, two in pairwise(cuts) if two > one]
            done += (end - start) * float(shapes.rate[shape])
            free_s, slowest = end, min(slowest, float(shapes.rate[shape]))
        if done < float(problem.jobs.work[job]) - TOLERANCE_S * slowest or free_s > until_s:
            return False
        self.put_back(job, pieces)
        if not board.holds():
            self.take(job)
            return False
        return True

    def settle(self, jobs: list[int], until_s: Floats) -> int:
        """Every job in turn is split anew where that is cheaper; how many changed."""
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

    def added_g(self, pieces: list[Piece]) -> float:
        """What pieces that are not placed would add to the cost by the guide."""
        slot, drawn_j, gpu_s = self.uses(pieces)
        carbon_g = self._carbon_g(self._by_slot(slot, drawn_j))
        return carbon_g + float(self.board.lam_per_gpu_s[slot] @ gpu_s)

    def uses(self, pieces: list[Piece]) -> tuple[Ints, Floats, Floats]:
        """The slot of each piece, its joules and its GPU-seconds."""
        table = np.array(pieces, dtype=np.float64).reshape(-1, 3)
        shape = table[:, 0].astype(np.int64)
        seconds = table[:, 2] - table[:, 1]
        slot = (table[:, 1] + table[:, 2]) / 2 // self._problem.site.step_s
        shapes = self._problem.shapes
        return slot.astype(np.int64), seconds * shapes.power_w[shape], seconds * shapes.gpus[shape]

    def _carbon_g(self, energy_j: Floats) -> float:
        """What more energy in each slot adds to the site's carbon."""
        if not self.board.green:
            return float(self._per_joule @ energy_j)
        net = self.board.net_j[:-1]
        more = np.maximum(net + energy_j, 0.0) - np.maximum(net, 0.0)
        return float(self._per_joule @ more)

    def _book(self, pieces: list[Piece], sign: int) -> None:
        board, gpus = self.board, self._problem.shapes.gpus
        for piece in joined(pieces):
            board.profile.add(piece.start_s, piece.end_s, sign * int(gpus[piece.shape]))
        slot, drawn_j, _ = self.uses(pieces)
        energy_j = self._by_slot(slot, sign * drawn_j)
        board.cost_g += self._carbon_g(energy_j)
        if board.green:
            board.net_j[:-1] += energy_j
        if board.limits is not None:
            board.limits.book(0, len(energy_j), energy_j)

    def _by_slot(self, slot: Ints, amount: Floats) -> Floats:
        return np.bincount(slot, amount, self._problem.site.slots).astype(np.float64, copy=False)

    def _best(self, job: int, until_s: float) -> list[Piece] | None:
        """Where the job is cheapest now; None where there is no room."""
        offers = self._offers(job, until_s)
        work, rate = float(self._problem.jobs.work[job]), self._problem.shapes.rate
        capped = self.board.limits is not None
        return None if offers is None else buy(offers, work, rate, capped=capped)

    def _offers(self, job: int, until_s: float) -> Offers | None:
        board, site, shapes = self.board, self._problem.site, self._problem.shapes
        number = self._problem.jobs.class_index[job]
        own = np.arange(shapes.first[number], shapes.first[number + 1])
        own = own[shapes.gpus[own] <= site.gpus]
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
