# SPDX-License-Identifier: Apache-2.0
"""Lists of jobs, each placed in turn where it is cheapest: whoever was hurt goes earlier. Pure.

Squeaky wheel optimisation (Joslin and Clements 1999). The blame of a job is what it pays, at the
prices of the relaxation, beyond its best response; a job without a place has all of it.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from slurm_green.plan.board import Board
from slurm_green.plan.kernel import lists
from slurm_green.plan.kernel.board import lendable
from slurm_green.plan.outcome import Prices
from slurm_green.plan.pool import Expected
from slurm_green.plan.problem import JOULES_PER_KWH, SECONDS_PER_HOUR, Floats, Ints
from slurm_green.plan.steering import STEER_EVERY, Steering

__all__ = ["Aim", "Built", "PriceTags", "build", "bumped", "places"]

_ABSENT = 0.5  # of a usual job's cost: what a job without a place costs beyond its own, twice
_BUMP = 0.05  # of the list, for a job with 1/20 of all blame or more
_BUMP_ABSENT = 0.3


class PriceTags:
    """What jobs pay at the prices of the relaxation, and the least they could."""

    def __init__(self, board: Board, prices: Prices) -> None:
        step = board.problem.site.step_s
        self.energy = np.append(0.0, np.cumsum(prices.mu + prices.nu)) * (step / JOULES_PER_KWH)
        self.busy = np.append(0.0, np.cumsum(prices.lam)) * (step / SECONDS_PER_HOUR)
        self._board = board
        options = board.options
        response = options.respond(board.problem, prices, board.weights)
        jobs = len(options.first) - 1
        self.least_g = np.zeros(jobs)
        some = np.flatnonzero(np.diff(options.first))
        least = options.least(response.cost_g)
        self.least_g[some] = response.cost_g[least]
        self._dear_g = _ABSENT * float(np.abs(self.least_g).mean()) if jobs else 0.0
        # The best response of every job that has one, in the order of the jobs.
        self.option = least
        self.start_s = response.start_s[least]
        self.least_by_option_g = response.cost_g
        self.option_g: list[float] = response.cost_g.tolist()
        owner = np.repeat(np.arange(jobs), np.diff(options.first))
        self.ranking = np.lexsort((response.cost_g, owner))
        self._ranked: list[int] = self.ranking.tolist()
        self._first: list[int] = options.first.tolist()

    def ranked(self, job: int) -> list[int]:
        """The options of a job, the cheapest at these prices first."""
        return self._ranked[self._first[job] : self._first[job + 1]]

    def within(self, job: int, cost_g: float) -> list[int]:
        """Those of its options that could cost no more than that at these prices."""
        return [option for option in self.ranked(job) if self.option_g[option] <= cost_g]

    def paid_g(self, job: int) -> float:
        """What a placed job pays at these prices."""
        return self._board.price(job, self.energy, self.busy)

    def dear_g(self, absent: list[int]) -> float:
        """What jobs without a place count: moves find them one later, at about this."""
        return float(2 * self.least_g[absent].sum() + len(absent) * self._dear_g)

    def regret_g(self, job: int) -> float:
        """What a placed job pays beyond its best response."""
        return self.paid_g(job) - float(self.least_g[job])

    def regrets_g(self) -> Floats:
        """The same of all jobs; 0 for one without a place."""
        board = self._board
        option = np.array(board.option, dtype=np.int64)
        placed = np.flatnonzero(option >= 0)
        of, chosen, borders = board.options, option[placed], board.problem.site.edges_s
        start, end = board.start_s[placed], board.end_s[placed]
        paid = of.power_w[chosen] * (
            np.interp(end, borders, self.energy) - np.interp(start, borders, self.energy)
        ) + of.gpus[chosen] * (
            np.interp(end, borders, self.busy) - np.interp(start, borders, self.busy)
        )
        if board.weights.performance_g:
            fastest = of.fastest_s[chosen]
            waited = np.maximum(end - board.arrays["early"][chosen], fastest)
            paid -= board.weights.performance_g * fastest / waited
        regret = np.zeros(len(option))
        regret[placed] = paid - self.least_g[placed]
        return regret


@dataclass(frozen=True, kw_only=True)
class Aim:
    """What lists go by: prices, what each job is expected to use at them, GPUs to leave spare.

    `lam` is what a GPU-hour costs while lists are made. `expected` is what each job not placed
    yet is expected to use: renewable supply and GPUs are then not all taken by who comes first.
    Of all GPUs the share `spare` is expected to stay idle.
    """

    tags: PriceTags
    lam: Floats
    expected: Expected
    spare: float = 0.0


@dataclass(frozen=True, kw_only=True)
class Built:
    """One list schedule: where each job runs, who has no place, and what all of it costs.

    `rank` is the order of the next list.
    """

    option: list[int]
    start_s: Floats
    absent: list[int]
    cost_g: float
    rank: Floats


def build(
    board: Board,
    aim: Aim,
    rank: Floats,
    *,
    rounds: int,
    kept: list[tuple[int, int, float]] | None = None,
    stay: tuple[Ints, Floats] | None = None,
    enough: Callable[[], bool] = lambda: False,
    progress: Callable[[float], None] = lambda done: None,
) -> Built:
    """The best of some list schedules, the first in the order of `rank`.

    `kept` are jobs with the options and starts that they keep, where there is still room. With
    `stay` (an option, or -1, and a start for each job) a job stays there when its turn comes, if
    there is room; no more lists are made than it takes to have nobody without a place.
    """
    best: tuple[float, Built] | None = None
    tags = aim.tags
    position = places(rank)
    for number in range(rounds):
        order = np.argsort(position, kind="stable")
        absent = _place_all(board, aim, order, kept or [], stay)
        position = bumped(position, tags.regrets_g(), absent)
        score = board.cost_g + tags.dear_g(absent)
        if best is None or score < best[0]:
            best = (
                score,
                Built(
                    option=list(board.option),
                    start_s=board.start_s.copy(),
                    absent=absent,
                    cost_g=board.cost_g,
                    rank=position,
                ),
            )
        progress((number + 1) / rounds)
        settled = stay is not None and not absent
        if enough() or settled or number + 1 == rounds:
            break
    assert best is not None
    return replace(best[1], rank=position)


def bumped(
    position: Floats,
    blame: Floats,
    absent: list[int],
    *,
    strength: float = _BUMP,
    strength_absent: float = _BUMP_ABSENT,
) -> Floats:
    """Places in the next list: earlier for the blamed, far earlier for those without a place."""
    count = len(position)
    blame = np.maximum(blame, 0.0)
    bump = count * strength * np.minimum(1.0, blame * count / (20 * max(blame.sum(), 1e-12)))
    bump[absent] = count * strength_absent
    return places(position - bump)


def places(key: Floats) -> Floats:
    """The place of each entry in the sorted order."""
    places = np.empty(len(key))
    places[np.argsort(key, kind="stable")] = np.arange(len(key))
    return places


def _place_all(
    board: Board,
    aim: Aim,
    order: Ints,
    kept: list[tuple[int, int, float]],
    stay: tuple[Ints, Floats] | None,
) -> list[int]:
    board.clear()
    board.guide(aim.lam)
    if lendable(board) and not kept:
        tags = aim.tags
        absent = lists.place_all(
            board,
            tags.ranking,
            tags.least_by_option_g,
            order,
            aim.lam,
            aim.expected,
            stay,
            aim.spare,
        )
    else:
        absent = _place_slowly(board, aim, order, kept)
    board.recount()
    return absent


def _place_slowly(
    board: Board,
    aim: Aim,
    order: Ints,
    kept: list[tuple[int, int, float]],
) -> list[int]:
    tags = aim.tags
    steering = Steering(board, aim.lam, aim.expected, aim.spare)
    number_of = board.number_of.tolist()
    absent = []
    for job, option, start in kept:
        if board.has_room(option, start):
            steering.leaves(number_of[job])
            board.put(job, option, start)
            steering.takes(start, start + board.duration_s[option], board.gpus_of(option))
    for number, job in enumerate(order.tolist()):
        if board.option[job] >= 0:
            continue
        ranked = tags.ranked(job)
        if not ranked:
            absent.append(job)
            continue
        if number % STEER_EVERY == 0:
            steering.guide()
        steering.leaves(number_of[job])
        place = board.best(job, ranked, tags.option_g)
        if place is None:
            absent.append(job)
        else:
            board.put(job, place.option, place.start_s)
            end = place.start_s + board.duration_s[place.option]
            steering.takes(place.start_s, end, board.gpus_of(place.option))
    return absent
