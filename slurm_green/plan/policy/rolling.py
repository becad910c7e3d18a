# SPDX-License-Identifier: Apache-2.0
"""The hours ahead as a planning problem: what runs, what waits, and lists of it. Pure."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np

from slurm_green.plan.board import Board
from slurm_green.plan.improve import Improver
from slurm_green.plan.kernel.board import lendable
from slurm_green.plan.options import Options, options_of
from slurm_green.plan.outcome import Prices, Weights
from slurm_green.plan.policy.protocol import Job, Run
from slurm_green.plan.policy.rolling_prices import Ahead
from slurm_green.plan.pool import Expected
from slurm_green.plan.problem import SECONDS_PER_HOUR, Floats, Ints, Jobs, Problem, Shapes, Site
from slurm_green.plan.profile import Profile, rounded_up
from slurm_green.plan.slot_table import SlotTable
from slurm_green.plan.squeaky import Aim, PriceTags, build, places
from slurm_green.plan.start_now import slot_average

__all__ = ["Busy", "HeldBoard", "Planned", "busy_of", "first_rooms", "list_of", "window"]

_ABSENT = 3.0  # usual job's costs
_GUIDES = (1.0, 0.5)  # of the price of GPU-hours, while jobs settle
_MOVES_PER_JOB, _MOST_MOVES = 20, 1500


class Planned(NamedTuple):
    """When a job is to start (the policy's clock), in which shape, and when it ends at most."""

    start_s: float
    shape: int
    end_s: float


@dataclass(frozen=True, kw_only=True)
class Busy:
    """GPUs that are taken, from when until when (seconds of the window), and their watts."""

    start_s: Floats
    end_s: Floats
    gpus: Ints
    power_w: Floats

    def average(self, amount: Floats | Ints, site: Site) -> Floats:
        """Slot averages of amounts that hold while these are busy."""
        return slot_average(site, self.start_s, self.end_s, amount)

    def and_also(self, places: Sequence[Planned], site: Site, shapes: Shapes) -> "Busy":
        """These and what has such places."""
        if not places:
            return self
        span = _span_s(places, site)
        shape = [place.shape for place in places]
        return Busy(
            start_s=np.append(self.start_s, span[:, 0]),
            end_s=np.append(self.end_s, span[:, 1]),
            gpus=np.append(self.gpus, shapes.gpus[shape]),
            power_w=np.append(self.power_w, shapes.power_w[shape]),
        )

    def held(self, site: Site, gpus: Floats) -> "Busy":
        """These, and in each slot so many GPUs more, as far as they are free in all of it."""
        more = np.round(gpus).astype(np.int64)
        if not more.any():
            return self
        edges = rounded_up(site.edges_s)
        meets = (self.start_s[:, None] < edges[1:]) & (self.end_s[:, None] > edges[:-1])
        more = np.minimum(more, site.gpus - self.gpus @ meets)
        some = np.flatnonzero(more > 0)
        return Busy(
            start_s=np.append(self.start_s, edges[some]),
            end_s=np.append(self.end_s, edges[some + 1]),
            gpus=np.append(self.gpus, more[some]),
            power_w=np.append(self.power_w, np.zeros(len(some))),
        )


def _span_s(places: Sequence[Planned], site: Site) -> Floats:
    """From when until when places hold their GPUs within the window, shape (places, 2)."""
    span = np.array([(place.start_s, place.end_s) for place in places])
    return np.minimum(rounded_up(span - site.start_s), site.horizon_s)


def busy_of(runs: Sequence[Run], shapes: Shapes, now_s: float, site: Site) -> Busy:
    """What these runs take in this slot and from now on, by their limits."""
    zero_s, horizon_s = site.start_s, site.horizon_s
    since = np.array([run.since_s for run in runs], dtype=np.float64) - zero_s
    shape = np.array([run.shape for run in runs], dtype=np.int64)
    end = np.array([run.ends_by_s for run in runs], dtype=np.float64) - zero_s
    return Busy(
        start_s=rounded_up(np.clip(since, 0.0, now_s - zero_s)),
        end_s=rounded_up(np.clip(end, now_s - zero_s, horizon_s)),
        gpus=shapes.gpus[shape],
        power_w=shapes.power_w[shape],
    )


class HeldBoard(Board):
    """A board on which some GPUs are taken whatever is cleared, and supply may be unsure."""

    def __init__(
        self, problem: Problem, options: Options, busy: Busy, unsure_w: Floats | None = None
    ) -> None:
        self._busy: Busy | None = None
        super().__init__(problem, options, Weights(), unsure_w)
        self._busy = busy
        self.clear()

    def clear(self) -> None:
        """Takes all jobs out, but not what is held."""
        super().clear()
        if self._busy is not None and len(self._busy.gpus):
            self.profile.add_all(self._busy.start_s, self._busy.end_s, self._busy.gpus)


def window(
    site: Site,
    shapes: Shapes,
    jobs: Sequence[Job],
    work_left: dict[str, float],
    now_s: float,
    busy: Busy,
) -> Problem:
    """The waiting jobs over the slots of `site` (times from its first slot), beside what runs."""
    zero, horizon = site.start_s, site.horizon_s
    held_w = busy.average(busy.power_w, site)
    return Problem(
        site=replace(site, start_s=0.0, base_power_w=site.base_power_w + held_w),
        shapes=shapes,
        jobs=Jobs(
            ids=tuple(job.job_id for job in jobs),
            class_index=np.array([job.class_index for job in jobs], dtype=np.int64),
            work=np.array([work_left[job.job_id] for job in jobs], dtype=np.float64),
            earliest_s=np.array([max(job.earliest_s, now_s, zero) - zero for job in jobs]),
            deadline_s=np.array([min(job.deadline_s - zero, horizon) for job in jobs]),
            preemptible=np.array([job.preemptible for job in jobs], dtype=np.bool_),
        ),
    )


def first_rooms(
    jobs: Sequence[Job],
    work_left: dict[str, float],
    site: Site,
    shapes: Shapes,
    now_s: float,
    busy: Busy,
) -> dict[str, Planned]:
    """Where jobs, one after the other, are done first beside what is busy, whatever that emits."""
    profile = Profile(site.gpus, 4 * (len(busy.gpus) + len(jobs)) + 16)
    profile.add_all(busy.start_s, busy.end_s, busy.gpus)
    found = {}
    for job in jobs:
        place = _first_room(job, work_left[job.job_id], site, shapes, now_s, profile)
        found[job.job_id] = place
        begin, end = _span_s([place], site)[0].tolist()
        if begin < end:
            profile.add(begin, end, int(shapes.gpus[place.shape]))
    return found


def _first_room(
    job: Job, work: float, site: Site, shapes: Shapes, now_s: float, profile: Profile
) -> Planned:
    # Now may be before the first slot by an error of rounding.
    early = max(now_s, job.earliest_s, site.start_s) - site.start_s
    best: Planned | None = None
    for shape in shapes.of(job.class_index):
        gpus, duration = int(shapes.gpus[shape]), work / float(shapes.rate[shape])
        if gpus > site.gpus:
            continue
        begin, end = profile.free(gpus, early, math.inf)
        at = begin[np.flatnonzero(end - begin >= duration)[0]]
        start = float(at) + site.start_s
        if best is None or start + duration < best.end_s:
            best = Planned(start, shape, start + duration)
    assert best is not None  # jobs wider than the site are never shown
    return best


def list_of(
    problem: Problem,
    start_s: float,
    busy: Busy,
    ahead: Ahead,
    *,
    rounds: int,
    held: Busy | None = None,
) -> dict[str, Planned]:
    """The best of some lists of the problem's jobs around what is busy, where they find room.

    `start_s` is the policy's time of the first slot, `held` what is busy and kept for others.
    """
    site, count, prices = problem.site, len(problem.jobs), ahead.prices
    options = options_of(problem, np.arange(count), problem.jobs.deadline_s)
    board = HeldBoard(problem, options, held or busy, ahead.unsure_w)
    tags = PriceTags(board, prices)
    hours = site.step_s / SECONDS_PER_HOUR
    # One row per job, and one for all that is not placed here.
    gpus, watts = np.zeros((2, count + 1, site.slots))
    for row, job_id in enumerate(problem.jobs.ids):
        at = ahead.row.get(job_id)
        if at is not None:
            gpus[row], watts[row] = ahead.gpus[at], ahead.watts[at]
    gpus[-1] = ahead.others_gpus + busy.average(busy.gpus, site)
    watts[-1] = ahead.others_w
    expected = Expected(
        gpu_h=SlotTable.of_dense(gpus * hours), energy_j=SlotTable.of_dense(watts * site.step_s)
    )
    position = places(options.ease())
    dear = _ABSENT * float(np.abs(tags.least_g).mean())
    aim = Aim(tags=tags, lam=prices.lam, expected=expected)
    best: tuple[float, list[int], Floats] | None = None
    for _ in range(rounds):
        built = build(board, aim, position, rounds=1)
        absent_g = (tags.least_g[built.absent] + dear).sum()
        score = float(tags.regrets_g().sum() + absent_g)
        if best is None or score < best[0]:
            best = score, built.option, built.start_s
        position = built.rank
    assert best is not None
    board.restore(best[1], best[2], watts[-1] * site.step_s)
    if board.green and lendable(board):
        _move(board, tags, prices)
    found = {}
    for job_id, option, start in zip(
        problem.jobs.ids, board.option, board.start_s.tolist(), strict=True
    ):
        if option >= 0:
            begin = start + start_s
            end = begin + float(options.duration_s[option])
            found[job_id] = Planned(begin, int(options.shape[option]), end)
    return found


def _move(board: Board, tags: PriceTags, prices: Prices) -> None:
    """Jobs look for cheaper places than their lists gave them; none loses its place."""
    option = np.array(board.option)
    improver = Improver(
        board,
        tags,
        np.flatnonzero(option < 0).tolist(),
        option=tags.option,
        start_s=tags.start_s,
        lam=prices.lam,
        seed=0,
    )
    for share in _GUIDES:
        improver.settle(share, _never)
    improver.eject(min(_MOVES_PER_JOB * len(option), _MOST_MOVES), _never, free=False)


def _never() -> bool:
    return False
