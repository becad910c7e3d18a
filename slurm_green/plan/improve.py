# SPDX-License-Identifier: Apache-2.0
"""Moves that make a schedule better: a job that pays too much takes its place from others. Pure.

A move takes a job to one of the places that were best for it at some prices, ejects what is in
its way, and lets the ejected find new places. What makes the whole dearer is undone.
"""

import math
import random
from collections.abc import Callable

import numpy as np

from slurm_green.plan.board import Board, Place
from slurm_green.plan.kernel.board import lendable
from slurm_green.plan.kernel.moves import KernelMoves
from slurm_green.plan.problem import JOULES_PER_KWH, Floats, Ints
from slurm_green.plan.profile import rounded
from slurm_green.plan.squeaky import PriceTags

__all__ = ["Improver"]

_MOST_EJECTED = 12
_TOURNAMENT = 8
_SHAPES = 3  # the best of a job's shapes that an ejected job looks at first
_EPSILON = 1e-9
_IMPATIENCE = 0.005
_WORTH = 0.5
_TRIFLE = 1e-3
_LITTLE = 1e-3  # of the intensity
_GUIDE = 0.3  # of the prices of GPU-hours and supply, where moves are guided


class Improver:
    """Improves what is on a board; deterministic for a seed.

    `option` and `start_s` are places worth trying, in any order. With `haste` the kernel looks
    for places for whoever has none before anything else; patience finds more of them.
    """

    def __init__(
        self,
        board: Board,
        tags: PriceTags,
        absent: list[int],
        *,
        option: Ints,
        start_s: Floats,
        lam: Floats,
        mu: Floats | None = None,
        seed: int,
        haste: bool = False,
    ) -> None:
        self.board = board
        self.absent = list(absent)
        self._tags = tags
        self._lam, self._mu = lam, 0.0 * lam if mu is None else mu
        self._random = random.Random(seed)
        jobs = len(board.option)
        options = board.options
        count = np.diff(options.first)
        owner = np.repeat(np.arange(jobs), count)[option]
        order = np.argsort(owner, kind="stable")
        target_first = np.searchsorted(owner[order], np.arange(jobs + 1))
        self._target = option[order].tolist(), start_s[order].tolist()
        self._target_first = target_first.tolist()
        self._regret = tags.regrets_g()
        size = options.by_job(np.minimum, options.gpus * options.duration_s)
        self._ease = options.ease()
        self._size = size
        self._movable = np.flatnonzero(count)
        biggest = max(float(size.max(initial=0.0)), 1e-9)
        # What it is worth to find a place for a job that has none: at first only as much as some
        # jobs' cost, so that cheap places are found before dear ones are taken. Nobody gains by
        # having none, however much a quick run is worth.
        self._usual = _WORTH * _usual_g(board, tags)
        self._first_penalty = np.maximum(tags.least_g, 0.0) + self._usual * (
            1 + 0.5 * size / biggest
        )
        self._penalty = self._first_penalty.copy()
        nothing = np.zeros_like(lam)
        self._guides = ((nothing, nothing), (_GUIDE * lam, _GUIDE * self._mu))
        self._fast = None
        if lendable(board):
            guide, guide_sum = board.integrals(_GUIDE * lam)
            supply, supply_sum = board.energy_integrals(_GUIDE * self._mu)
            arrays: dict[str, Floats | Ints] = {
                "movable": self._movable,
                "target_first": target_first,
                "target_option": option[order],
                "target_start": start_s[order],
                "regret": self._regret,
                "penalty": self._penalty,
                "ease": self._ease,
                "size": size,
                "least_g": tags.least_g,
                "ranked": tags.ranking,
                "option_g": tags.least_by_option_g,
                "energy": tags.energy,
                "busy": tags.busy,
                "guide": guide,
                "guide_sum": guide_sum,
                "supply": supply,
                "supply_sum": supply_sum,
            }
            self._fast = KernelMoves(
                board, seed=seed, arrays=arrays, impatience=_IMPATIENCE, haste=haste
            )

    def calm(self) -> None:
        """All patience is new again."""
        self._penalty[:] = self._first_penalty

    def prize(self, share: float) -> None:
        """A place for a job is worth its least cost and this share of it; patience is new."""
        least_g = np.maximum(self._tags.least_g, 0.0)
        self._penalty[:] = (1 + share) * least_g + _TRIFLE * self._usual

    def begin_anew(self, absent: list[int]) -> None:
        """The board holds another schedule now, these jobs without a place."""
        self.absent = list(absent)
        self._regret[:] = self._tags.regrets_g()

    def settle(self, share: float, enough: Callable[[], bool]) -> None:
        """Every job in turn goes where it is cheapest now, at a share of the prices.

        Only shapes that could pay for themselves at the full prices are looked at.
        """
        board, tags = self.board, self._tags
        board.guide(share * self._lam, share * self._mu)
        order = self._movable.tolist()
        self._random.shuffle(order)
        if self._fast is not None:
            self._fast.settle(np.array(order, dtype=np.int64), enough)
            return
        for number, job in enumerate(order):
            if number % 256 == 0 and enough():
                return
            if board.option[job] < 0:
                continue
            options = tags.within(job, tags.paid_g(job))
            if board.option[job] not in options:
                options.append(board.option[job])
            old = board.take(job)
            old_g = old.cost_g + board.guided_g(old)
            place = board.best(job, options)
            if place is None or place.cost_g >= old_g - abs(old_g) * _EPSILON:
                board.put(job, old.option, old.start_s)
                continue
            board.put(job, place.option, place.start_s)
            if not board.holds():
                board.take(job)
                board.put(job, old.option, old.start_s)
                continue
            self._regret[job] = tags.regret_g(job)

    def eject(
        self,
        moves: int,
        enough: Callable[[], bool],
        *,
        free: bool = True,
        heat: float = 0.0,
        rise: float = math.inf,
    ) -> None:
        """Tries so many moves.

        Free ones may take a place from one job for another at any cost that patience allows.
        `heat` is by how much of a usual job's cost a move may at first make the whole dearer;
        `rise` by how much ever, beside the least costs of the jobs that it finds a place.
        """
        if self._fast is not None:
            usual_g = self._usual / _WORTH
            self.absent = self._fast.eject(
                self.absent,
                moves,
                enough,
                free=free,
                heat_g=heat * usual_g,
                rise_g=rise * usual_g if math.isfinite(rise) else rise,
            )
            return
        for number in range(moves):
            self._move()
            if number % 32 == 0 and enough():
                break

    def _move(self) -> bool:
        board, chance = self.board, self._random
        if not len(self._movable):
            return False
        if self.absent and chance.random() < 0.7:
            job = chance.choice(self.absent)
        elif chance.random() < 0.5:
            some = [int(self._movable[chance.randrange(len(self._movable))])
                    for _ in range(_TOURNAMENT)]  # fmt: skip
            job = max(some, key=self._regret.__getitem__)
        else:
            return self._shake()
        target = self._choose(job)
        if target is None:
            return False
        option, start = target
        end = start + board.duration_s[option]
        ejected = self._in_the_way(job, option, start, end)
        if ejected is not None:
            if board.option[job] >= 0:
                ejected.append(job)
            if self._try(ejected, (job, option, start)):
                return True
        if board.option[job] < 0:
            # The longer a job looks in vain, the more others may have to wait for it instead
            # (Nagata and Braysy 2009 on ejection pools).
            self._penalty[job] *= 1 + _IMPATIENCE
        return False

    def _shake(self) -> bool:
        """Some jobs that run around one moment look for places again."""
        board, chance = self.board, self._random
        job = int(self._movable[chance.randrange(len(self._movable))])
        low = board.options.first[job]
        moment = chance.uniform(board.early_s[low], board.until_s[low])
        width = 2 * board.problem.site.step_s
        near = np.flatnonzero((board.start_s < moment + width) & (board.end_s > moment - width))
        some = chance.sample(near.tolist(), min(chance.randint(2, 8), len(near)))
        if board.option[job] >= 0 and job not in some:
            some.append(job)
        return bool(some) and self._try(some, None)

    def _choose(self, job: int) -> tuple[int, float] | None:
        """Where the job is to go: a place that was best at some prices, or anywhere."""
        board, chance = self.board, self._random
        low, high = self._target_first[job], self._target_first[job + 1]
        if high == low:
            return None
        if self.absent and chance.random() < 0.4:
            first = int(board.options.first[job])
            option = chance.randrange(first, int(board.options.first[job + 1]))
            wanted = chance.uniform(board.early_s[option], board.until_s[option])
            wanted -= board.duration_s[option]
        else:
            # The later ones were found at better prices.
            at = low + int((high - low) * chance.random() ** 0.5)
            option, wanted = self._target[0][at], self._target[1][at]
        latest = board.until_s[option] - board.duration_s[option]
        start = rounded(min(max(wanted, board.early_s[option]), latest))
        if board.option[job] == option and abs(float(board.start_s[job]) - start) < 1:
            return None
        return option, start

    def _in_the_way(self, job: int, option: int, start: float, end: float) -> list[int] | None:
        """Jobs whose leaving makes room; None if too many would have to."""
        board, chance = self.board, self._random
        others = np.flatnonzero((board.start_s < end) & (board.end_s > start))
        times, used = board.profile.within(start, end)
        # The profile forgets where one run follows another: such moments are borders here.
        inner = np.concatenate([times, board.start_s[others], board.end_s[others]])
        fine = np.unique(np.clip(inner, times[0], end))
        fine = fine[fine < end]
        lack = used[times.searchsorted(fine, "right") - 1]
        lack += board.gpus_of(option) - board.profile.gpus
        times, until = fine, np.append(fine[1:], end)
        if board.option[job] >= 0:
            own = (times < board.end_s[job]) & (until > board.start_s[job])
            lack[own] -= board.gpus_of(board.option[job])
        lack[until <= start] = 0
        if not (lack > 0).any():
            return []
        others = others[others != job]
        weight = np.array([chance.random() for _ in range(len(others))])
        if chance.random() < 0.5:
            weight /= np.clip(self._ease[others], 0.05, 20)
        found = []
        for other in others[np.argsort(weight)].tolist():
            meets = (times < board.end_s[other]) & (until > board.start_s[other])
            if (lack[meets] > 0).any():
                lack[meets] -= board.gpus_of(board.option[other])
                found.append(other)
                if not (lack > 0).any():
                    return found
                if len(found) >= _MOST_EJECTED:
                    return None
        return None

    def _try(self, leaving: list[int], fixed: tuple[int, int, float] | None) -> bool:
        board, chance = self.board, self._random
        before = board.cost_g
        old: list[tuple[int, Place]] = [(job, board.take(job)) for job in leaving]
        placed: list[int] = []
        waiting = [job for job in leaving if fixed is None or job != fixed[0]]
        allowed = 0.0
        if fixed is not None:
            job, option, start = fixed
            if job not in leaving:
                allowed += float(self._penalty[job])
            if not board.allows(option, start):
                self._undo(placed, old)
                return False
            board.put(job, option, start)
            placed.append(job)
        hopeful = [job for job in self.absent if fixed is None or job != fixed[0]]
        hopeful = [job for job in hopeful if chance.random() < 0.3][:3]
        allowed += float(self._penalty[hopeful].sum()) if hopeful else 0.0
        waiting += hopeful
        luck = chance.random()
        if luck < 0.5:
            waiting.sort(key=self._ease.__getitem__)
        elif luck < 0.8:
            waiting.sort(key=self._size.__getitem__, reverse=True)
        else:
            chance.shuffle(waiting)
        board.guide(*self._guides[chance.random() < 0.5])
        lost = 0.0
        for job in waiting:
            place = board.best(job, self._tags.ranked(job)[:_SHAPES])
            if place is None:
                place = board.best(job)
            if place is None:
                lost += float(self._penalty[job])
                if lost > allowed:
                    break
            else:
                board.put(job, place.option, place.start_s)
                placed.append(job)
        gain = before + allowed - board.cost_g - lost
        if lost > allowed or gain <= _EPSILON * abs(before) or not board.holds():
            self._undo(placed, old)
            return False
        for job in placed:
            self._regret[job] = self._tags.regret_g(job)
        candidates = self.absent + leaving
        self.absent = [job for job in dict.fromkeys(candidates) if board.option[job] < 0]
        return True

    def _undo(self, placed: list[int], old: list[tuple[int, Place]]) -> None:
        for job in placed:
            self.board.take(job)
        for job, place in old:
            self.board.put(job, place.option, place.start_s)


def _usual_g(board: Board, tags: PriceTags) -> float:
    """What a job costs usually; a little even where all that it needs is clean."""
    if not len(tags.least_g):
        return 0.0
    options = board.options
    energy_kwh = options.by_job(np.minimum, options.power_w * options.duration_s) / JOULES_PER_KWH
    dirtiest = max(float(board.problem.site.carbon_g_per_kwh.max()), 1.0)
    floor_g = _LITTLE * max(float(energy_kwh.mean()), 1e-9) * dirtiest
    return max(float(np.abs(tags.least_g).mean()), floor_g)
