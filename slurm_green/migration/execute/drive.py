# SPDX-License-Identifier: Apache-2.0
"""Moves to their end: turn after turn, each written down before the next."""

import time
from collections.abc import Callable, Iterable
from dataclasses import replace

from slurm_green.migration.execute.journal import Journal
from slurm_green.migration.execute.pair import Pair, Wait
from slurm_green.migration.execute.record import MoveRecord
from slurm_green.migration.execute.turn import turn

__all__ = ["drive", "step_once"]

_MANY = 1000  # turns without a wait: far more than a move has
_LONG_S = 60.0  # more than a turn takes, but where a checkpoint is read


def step_once(
    move: MoveRecord,
    pair: Pair,
    journal: Journal,
    now_s: Callable[[], float],
    unwanted: Callable[[MoveRecord], str] = lambda _: "",
) -> tuple[MoveRecord, str]:
    """As far as it goes without waiting; the move, and what it waits for ("" once settled).

    `unwanted` says why the move no longer makes sense; it ends where it still can.
    """
    if move.abortable and (why := unwanted(move)):
        move = move.back(why, now_s())
        journal.save(move)
    for _ in range(_MANY):
        if move.settled:
            return move, ""
        found = turn(move, pair, now_s())
        if isinstance(found, Wait):
            if found.record is not None:
                journal.save(found.record)
            return found.record or move, found.why
        if found.step is not move.step:
            # Reading a checkpoint takes long, and is no time of the step that follows.
            found = found.entered(now_s())
        journal.save(found)
        move = found
    raise AssertionError(f"move {move.token} turns in circles at {move.step}")


def drive(
    moves: Iterable[MoveRecord],
    pairs: Callable[[MoveRecord], Pair],
    journal: Journal,
    *,
    poll_s: float = 2.0,
    give_up_s: float | None = None,
    tell: Callable[[MoveRecord, str], None] = lambda *_: None,
    unwanted: Callable[[MoveRecord], str] = lambda _: "",
) -> list[MoveRecord]:
    """All of them side by side until they are settled; after `give_up_s` as they are then.

    The time in which another move's checkpoint is read is none of this one's step: nobody looked.
    """
    current = {move.token: move for move in moves}
    waits: dict[str, str] = {}
    read_s, seen_s = 0.0, dict.fromkeys(current, 0.0)
    began = time.monotonic()
    while True:
        for token, move in current.items():
            if move.settled:
                continue
            begun_s = time.monotonic()
            looked_at = replace(move, since_s=move.since_s + read_s - seen_s[token])
            current[token], why = step_once(looked_at, pairs(move), journal, time.time, unwanted)
            took_s = time.monotonic() - begun_s
            read_s += took_s if took_s > _LONG_S else 0.0
            seen_s[token] = read_s
            if why != waits.get(token) or current[token].step != move.step:
                tell(current[token], why)
            waits[token] = why
        if all(move.settled for move in current.values()):
            break
        if give_up_s is not None and time.monotonic() - began > give_up_s:
            break
        time.sleep(poll_s)
    return list(current.values())
