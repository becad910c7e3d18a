# SPDX-License-Identifier: Apache-2.0
"""Jobs one after the other as time goes by, whoever must start first before the others. Pure.

Carbon counts for nothing here: this is for sites so full that lists by cost leave jobs without a
place. What it finds is where moves begin then.
"""

import heapq
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from slurm_green.plan.board import Board
from slurm_green.plan.problem import SECONDS_PER_HOUR, Floats, Ints

__all__ = ["Urgent", "most_urgent_first"]

_HOLD_H = (2.0, 0.0, 8.0)  # a job that must start so soon is waited for
_SLACK = 0.3  # of its duration: with less a job runs in its fastest shape


class Urgent(NamedTuple):
    """Where each of a board's jobs runs (option -1: nowhere), and who has no place."""

    option: list[int]
    start_s: Floats
    absent: list[int]


def most_urgent_first(board: Board) -> Iterator[Urgent]:
    """Some such schedules, one at a time; cap and ramp are not looked at."""
    chosen = _chosen(board)
    for hold_h in _HOLD_H:
        yield _dispatch(board, chosen, hold_h * SECONDS_PER_HOUR)


def _chosen(board: Board) -> Ints:
    """For each job the option with the fewest GPU-hours that leaves some slack; -1 without any."""
    options, duration = board.options, board.arrays["duration"]
    slack = board.arrays["until"] - board.arrays["early"] - duration
    hours = options.gpus * duration
    owner = np.repeat(np.arange(len(board.option)), np.diff(options.first))
    key = np.where(slack < _SLACK * duration, duration + hours.sum(), hours)
    order = np.lexsort((key, owner))
    found = np.full(len(board.option), -1)
    some = np.flatnonzero(np.diff(options.first))
    found[some] = order[options.first[some]]
    return found


def _dispatch(board: Board, chosen: Ints, hold_s: float) -> Urgent:
    jobs = np.flatnonzero(chosen >= 0)
    option = chosen[jobs]
    early, until, duration, gpus = (np.zeros(len(chosen)) for _ in range(4))
    for column, name in (
        (early, "early"), (until, "until"), (duration, "duration"), (gpus, "option_gpus")
    ):  # fmt: skip
        column[jobs] = board.arrays[name][option]
    latest = (until - duration).tolist()
    lengths, sizes, earliest = duration.tolist(), gpus.astype(np.int64).tolist(), early.tolist()
    coming = jobs[np.argsort(early[jobs], kind="stable")].tolist()
    waiting: dict[int, list[tuple[float, int]]] = {sizes[job]: [] for job in coming}
    running: list[tuple[float, int]] = []
    free, came, now = board.problem.site.gpus, 0, 0.0
    found = np.full(len(chosen), -1)
    start_s = np.full(len(chosen), np.nan)
    while came < len(coming) or running:
        now = min(
            running[0][0] if running else np.inf,
            earliest[coming[came]] if came < len(coming) else np.inf,
        )
        while running and running[0][0] <= now:
            free += heapq.heappop(running)[1]
        while came < len(coming) and earliest[coming[came]] <= now:
            job = coming[came]
            heapq.heappush(waiting[sizes[job]], (latest[job], job))
            came += 1
        while True:
            for queue in waiting.values():
                while queue and queue[0][0] < now:
                    heapq.heappop(queue)
            heads = [(queue[0][0], size) for size, queue in waiting.items() if queue]
            if not heads:
                break
            head, size = min(heads)
            if size > free:
                fitting = [one for one in heads if one[1] <= free]
                if not fitting or head < now + hold_s:
                    break
                size = min(fitting)[1]
            job = heapq.heappop(waiting[size])[1]
            found[job], start_s[job] = chosen[job], now
            free -= size
            heapq.heappush(running, (now + lengths[job], size))
    return Urgent(found.tolist(), start_s, np.flatnonzero(found < 0).tolist())
