# SPDX-License-Identifier: Apache-2.0
"""Job by job, what a plan still gains under an objective that is no sum over the jobs. Pure.

Weights find plans on the border of what carbon buys, and between two of them a budget is not
spent. So each job in turn goes where it is best at one of some weights, if the whole gains by it,
and then as far towards an earlier such place as the whole gains.
"""

import math
from collections.abc import Callable, Sequence

import numpy as np

from slurm_green.plan.as_before import places_of
from slurm_green.plan.board import Board, Place
from slurm_green.plan.options import options_of
from slurm_green.plan.outcome import Weights
from slurm_green.plan.problem import Problem
from slurm_green.plan.schedule import Schedule

__all__ = ["polish"]

_MOST_JOBS = 2_000  # of more jobs one does not count
_SWEEPS = 4
_GAIN = 1e-9
_HALVINGS = 12

Score = Callable[[float, float], float]


def polish(
    problem: Problem,
    schedule: Schedule,
    *,
    carbon_g: float,
    performance: float,
    weights: Sequence[Weights],
    score: Score,
    expired: Callable[[], bool],
) -> Schedule | None:
    """The schedule, some jobs elsewhere, so that `score` of carbon (g) and performance is more.

    None where nothing is gained, or where a job is split. One that is late stays where it is.
    """
    count = len(problem.jobs)
    if not 0 < count <= _MOST_JOBS or len(schedule) != int(schedule.placed(problem).sum()):
        return None
    late = schedule.late(problem)
    deadline_s = np.where(late, problem.site.horizon_s, problem.jobs.deadline_s)
    options = options_of(problem, np.arange(count), deadline_s)
    board = Board(problem, options, Weights())
    places = places_of(board, schedule)
    if len(places.row) != len(schedule):
        return None
    option, begins_s = np.full(count, -1, dtype=np.int64), np.full(count, np.nan)
    option[places.row], begins_s[places.row] = places.option, places.start_s
    board.restore(option.tolist(), begins_s)
    now = score(carbon_g, performance)
    gained = False
    for _ in range(_SWEEPS):
        moved = False
        for job in places.row[~late[places.row]].tolist():
            if expired():
                break
            old = board.take(job)
            rest_g, rest = (
                carbon_g - old.cost_g,
                performance - _worth(board, old.option, old.start_s),
            )
            best = now + _GAIN * abs(now), old.option, old.start_s, carbon_g, performance
            earlier: list[Place] = []
            for one in weights:
                board.weights = one
                place = board.best(job)
                board.weights = Weights()
                if place is None:
                    continue
                worth = _worth(board, place.option, place.start_s)
                # What a place costs at other weights says what it emits.
                grams = (place.cost_g + one.performance_g * worth) / one.carbon
                found = score(rest_g + grams, rest + worth)
                if found > best[0]:
                    best = found, place.option, place.start_s, rest_g + grams, rest + worth
                else:
                    earlier.append(place)
            before = [one.start_s for one in earlier if one.option == best[1]]
            over_s = max((one for one in before if one < best[2]), default=best[2])
            for _ in range(_HALVINGS if over_s < best[2] else 0):
                start_s = (over_s + best[2]) / 2
                found = -math.inf
                if board.has_room(best[1], start_s):
                    board.put(job, best[1], start_s)
                    grams = board.take(job).cost_g
                    worth = _worth(board, best[1], start_s)
                    found = score(rest_g + grams, rest + worth)
                if found > best[0]:
                    best = found, best[1], start_s, rest_g + grams, rest + worth
                else:
                    over_s = start_s
            board.put(job, best[1], best[2])
            if best[1:3] != (old.option, old.start_s):
                if board.holds():
                    now, carbon_g, performance = best[0], best[3], best[4]
                    moved = True
                else:
                    board.take(job)
                    board.put(job, old.option, old.start_s)
        gained |= moved
        if not moved:
            break
    if not gained:
        return None
    on = places.row
    chosen = np.array(board.option, dtype=np.int64)[on]
    return Schedule(
        job=on, shape=options.shape[chosen], start_s=board.start_s[on], end_s=board.end_s[on]
    )


def _worth(board: Board, option: int, start_s: float) -> float:
    """The performance of a job that runs there."""
    return float(board.options.performance(np.array([option]), np.array([start_s]))[0])
