# SPDX-License-Identifier: Apache-2.0
"""Preemptible jobs on a board: each takes the cheapest seconds that are free. Pure.

In each slot a job runs in at most one shape, or in two one after the other in the slot where its
work is just done. Which slots and shapes, says one price of work: the least at which enough is
bought.
"""

from typing import NamedTuple

import numpy as np

from slurm_green.plan.board import Board
from slurm_green.plan.overlap import overlap
from slurm_green.plan.problem import JOULES_PER_KWH, Floats, Ints, Problem
from slurm_green.plan.profile import GRID, rounded_up

__all__ = ["Piece", "Pieces"]

_HALVINGS = 40
_SHORTEST_S = 1.0  # crumbs of free time are left alone


class Piece(NamedTuple):
    """A stretch of a job in one shape (index into `Shapes`)."""

    shape: int
    start_s: float
    end_s: float


class _Offers(NamedTuple):
    """What each slot of a window offers, shape (slots, ways); a way is a shape for some seconds."""

    first_slot: int
    seconds: Floats
    work: Floats
    cost_g: Floats
    shape: Ints  # (ways,)


class Pieces:
    """Splits jobs (the problem's numbers) over what is free on the board."""

    def __init__(self, board: Board) -> None:
        self.board = board
        self._problem: Problem = board.problem
        self.of: dict[int, list[Piece]] = {}
        # Where set, what a kWh costs; else what it adds to the site's carbon, exactly.
        self.mu: Floats | None = None

    def put(self, job: int, until_s: float) -> float | None:
        """Places a job before `until_s`; what it adds to the cost by the guide, None if no room."""
        offers = self._offers(job, until_s)
        work = float(self._problem.jobs.work[job])
        chosen = _choose(offers, work) if offers is not None else None
        if offers is None or chosen is None:
            return None
        pieces: list[Piece] = []
        shapes = self._problem.shapes
        cost, done = 0.0, 0.0
        for row, ways in chosen:
            slot = offers.first_slot + row
            begin = max(slot * self._problem.site.step_s, self._early(job))
            end = min((slot + 1) * self._problem.site.step_s, until_s)
            for way, seconds in ways:
                shape = int(offers.shape[way])
                for piece in self._stretches(shape, begin, end, seconds):
                    pieces.append(piece)
                    done += (piece.end_s - piece.start_s) * float(shapes.rate[shape])
                    cost += self._book(piece, 1)
                    begin = max(begin, piece.end_s)
        self.board.cost_g += cost
        self.of[job] = pieces
        slowest = float(shapes.rate[pieces[-1].shape]) if pieces else 0.0
        if done < work * (1 - 1e-7) - 5e-4 * slowest:
            self.take(job)
            return None
        return cost + sum(self._guided(piece) for piece in pieces)

    def take(self, job: int) -> tuple[list[Piece], float]:
        """Takes a job out; where it was, and what it cost by the guide."""
        pieces = self.of.pop(job)
        cost = sum(-self._book(piece, -1) for piece in reversed(pieces))
        self.board.cost_g -= cost
        return pieces, cost + sum(self._guided(piece) for piece in pieces)

    def put_back(self, job: int, pieces: list[Piece]) -> None:
        """Places a job where it was."""
        self.of[job] = pieces
        self.board.cost_g += sum(self._book(piece, 1) for piece in pieces)

    def settle(self, jobs: list[int], until_s: Floats) -> int:
        """Every job in turn is split anew where that is cheaper; how many changed."""
        moved = 0
        for job in jobs:
            if job not in self.of:
                continue
            old, before = self.take(job)
            after = self.put(job, float(until_s[job]))
            better = after is not None and after < before - 1e-9 * abs(before)
            if better and self.board.holds():
                moved += 1
                continue
            if after is not None:
                self.take(job)
            self.put_back(job, old)
        return moved

    def _early(self, job: int) -> float:
        return float(rounded_up(self._problem.jobs.earliest_s[job]))

    def _book(self, piece: Piece, sign: int) -> float:
        shapes = self._problem.shapes
        power, gpus = float(shapes.power_w[piece.shape]), int(shapes.gpus[piece.shape])
        return self.board.book(power, gpus, piece.start_s, piece.end_s, sign)

    def _guided(self, piece: Piece) -> float:
        slot = int(piece.start_s // self._problem.site.step_s)
        lam = float(self.board.lam_per_gpu_s[slot])
        return lam * int(self._problem.shapes.gpus[piece.shape]) * (piece.end_s - piece.start_s)

    def _offers(self, job: int, until_s: float) -> _Offers | None:
        problem, board = self._problem, self.board
        site, shapes = problem.site, problem.shapes
        early, step = self._early(job), site.step_s
        own = [
            shape
            for shape in shapes.of(int(problem.jobs.class_index[job]))
            if shapes.gpus[shape] <= site.gpus
        ]
        low, high = int(early // step), min(site.slots, int(np.ceil(until_s / step)))
        if not own or high <= low:
            return None
        free = {}
        for gpus in {int(shapes.gpus[shape]) for shape in own}:
            begin, end = board.profile.free(gpus, early, until_s)
            met = overlap(begin, end, step_s=step, slots=site.slots)
            long = met.seconds >= _SHORTEST_S
            total = np.bincount(met.slot[long], met.seconds[long], site.slots)
            free[gpus] = total[low:high].astype(np.float64)
        seconds: Floats = np.stack([free[int(shapes.gpus[shape])] for shape in own], axis=1)
        power = shapes.power_w[own]
        net = board.net_j[low:high, None]
        if board.limits is not None:
            room = np.maximum(board.limits.room_j()[low:high, None], 0.0)
            seconds = np.minimum(seconds, np.divide(
                room, power, out=np.full(seconds.shape, np.inf), where=power > 0))  # fmt: skip
        ways = np.array(own)
        if board.green:
            # Only as long as renewable supply lasts.
            covered = np.divide(-net, power, out=np.zeros(seconds.shape), where=power > 0)
            part = np.where((covered >= _SHORTEST_S) & (covered < seconds), covered, 0.0)
            seconds = np.concatenate([seconds, part], axis=1)
            power, ways = np.tile(power, 2), np.tile(ways, 2)
        added = np.maximum(net + seconds * power, 0.0) - np.maximum(net, 0.0)
        if not board.green:
            added = seconds * power
        cost = added * (site.carbon_g_per_kwh[low:high, None] / JOULES_PER_KWH)
        if self.mu is not None:
            cost = seconds * power * (self.mu[low:high, None] / JOULES_PER_KWH)
        cost += seconds * shapes.gpus[ways] * board.lam_per_gpu_s[low:high, None]
        work = np.asarray(seconds * shapes.rate[ways])
        return _Offers(low, seconds, work, np.asarray(cost), ways)

    def _stretches(self, shape: int, begin: float, end: float, seconds: float) -> list[Piece]:
        """The first free stretches in which the shape can run for so long."""
        if end - begin < 2 / GRID or seconds < 2 / GRID:
            return []
        gpus = int(self._problem.shapes.gpus[shape])
        found = []
        left = np.ceil(seconds * GRID) / GRID
        for start, stop in zip(*self.board.profile.free(gpus, begin, end), strict=True):
            long = min(float(stop - start), float(left))
            if long < min(_SHORTEST_S, float(left)):
                continue
            until = float(np.floor((start + long) * GRID) / GRID)
            if until > start:
                found.append(Piece(shape, float(start), until))
                left -= until - start
            if left < 2 / GRID:
                break
        return found


def _choose(offers: _Offers, work: float) -> list[tuple[int, list[tuple[int, float]]]] | None:
    """Rows with their ways and seconds, enough for the work; None if all of it is too little."""
    rows = np.arange(len(offers.work))
    if float(offers.work.max(axis=1).sum()) < work * (1 - 1e-9):
        return None

    def at_price(price: float) -> tuple[Ints, float]:
        gain = price * offers.work - offers.cost_g
        way = gain.argmax(axis=1)
        way = np.where(gain[rows, way] > 0, way, -1)
        return way, float(np.where(way >= 0, offers.work[rows, way], 0.0).sum())

    with np.errstate(divide="ignore", invalid="ignore"):
        dearest = np.nanmax(np.where(offers.work > 0, offers.cost_g / offers.work, 0.0))
    low, high = 0.0, max(float(dearest), 1e-12) * 2
    while at_price(high)[1] < work:
        high *= 4
        if high > 1e30:
            return None
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        if at_price(middle)[1] < work:
            low = middle
        else:
            high = middle
    way, total = at_price(low)
    better, _ = at_price(high)
    chosen: dict[int, list[tuple[int, float]]] = {
        int(row): [(int(way[row]), float(offers.seconds[row, way[row]]))]
        for row in np.flatnonzero(way >= 0)
    }
    for row in np.flatnonzero(better != way).tolist():
        lack = work - total
        if lack <= 0:
            break
        before = float(offers.work[row, way[row]]) if way[row] >= 0 else 0.0
        total += _upgrade(chosen, offers, row, int(way[row]), int(better[row]), before, lack)
    return sorted(chosen.items())


def _upgrade(
    chosen: dict[int, list[tuple[int, float]]],
    offers: _Offers,
    row: int,
    way: int,
    better: int,
    before: float,
    lack: float,
) -> float:
    """Lets a slot do more, all of it or as much as is lacking; by how much."""
    more = float(offers.work[row, better]) - before
    seconds = float(offers.seconds[row, better])
    if more <= lack or better < 0:
        chosen[row] = [(better, seconds)]
        return more
    rate = float(offers.work[row, better]) / seconds
    if way < 0:
        chosen[row] = [(better, lack / rate)]
        return lack
    old_seconds = float(offers.seconds[row, way])
    old_rate = before / old_seconds
    if rate <= old_rate:
        # The same shape for longer, or a slower one for much longer: no mixing, just its share.
        chosen[row] = [(better, min(seconds, (before + lack) / rate))]
        return lack
    # The faster shape first, then the slower one for what is left of its seconds.
    fast = min(seconds, lack / (rate - old_rate))
    chosen[row] = [(better, fast), (way, max(0.0, old_seconds - fast))]
    return lack
