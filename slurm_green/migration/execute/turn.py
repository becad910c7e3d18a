# SPDX-License-Identifier: Apache-2.0
"""One turn of a move: look at both sites, do at most one thing, say what is next. Pure.

Whatever a turn does may be done again: a process that dies between doing and writing down finds
the same step in the journal, and looks first. What must be known before it is done (that the job
was stopped by us, that its copy was released) is written down in a turn of its own.
"""

from collections.abc import Callable, Mapping
from dataclasses import replace

from slurm_green.errors import SlurmError
from slurm_green.migration.execute import arrive, back, leave
from slurm_green.migration.execute.pair import Pair, Wait
from slurm_green.migration.execute.record import MoveRecord, Step, Way
from slurm_green.words import length

__all__ = ["turn"]

_HANDLERS: Mapping[Step, Callable[[MoveRecord, Pair, float], "MoveRecord | Wait"]] = {
    Step.SIGNAL: leave.signal,
    Step.STOP: leave.stop,
    Step.LIST: leave.listed,
    Step.COPY: leave.copy,
    Step.FETCH: arrive.fetch,
    Step.SUBMIT: arrive.submit,
    Step.VERIFY: arrive.verify,
    Step.PLACE: arrive.place,
    Step.RELEASE: arrive.release,
    Step.START: arrive.start,
    Step.CANCEL: arrive.cancel,
    Step.CLEAN: arrive.clean,
    Step.BACK: back.back,
    Step.SWEEP: back.sweep,
}
# The job at the source waits, and must not start as long as somebody cares for the move.
_PARKED = frozenset({Step.LIST, Step.COPY, Step.FETCH, Step.SUBMIT, Step.VERIFY, Step.PLACE})


def turn(move: MoveRecord, pair: Pair, now_s: float) -> MoveRecord | Wait:
    """What the move is next, to be written down; or what it waits for."""
    if move.settled:
        return move
    if move.abortable and (why := _overdue(move, now_s)):
        return move.back(why, now_s)
    try:
        if move.step in _PARKED and _lapses(move, now_s):
            return leave.park(move, pair, now_s)
        return _HANDLERS[move.step](move, pair, now_s)
    except SlurmError as error:
        said = str(error)
        return Wait(said, None if said == move.trouble else replace(move, trouble=said))


def _lapses(move: MoveRecord, now_s: float) -> bool:
    if move.way is Way.FEDERATION or not move.ran:
        return False  # a job that waited has a begin time of its own, and stays held
    return move.parked_s is None or now_s - move.parked_s > move.limits.lease_s / 3


def _overdue(move: MoveRecord, now_s: float) -> str:
    if move.until_s is not None and now_s > move.until_s:
        return f"no time is left for the move (at step {move.step})"
    limits = move.limits
    own_s = {
        Step.SIGNAL: limits.signal_s,
        Step.STOP: limits.stop_s,
        Step.COPY: limits.copy_s,
        Step.FETCH: limits.copy_s,
    }
    limit_s = own_s.get(move.step, limits.other_s)
    if now_s - move.since_s <= limit_s:
        return ""
    if move.step is Step.SIGNAL and move.signals_s:
        return f"no new checkpoint within {length(limit_s)} after the signal"
    why = f": {move.trouble}" if move.trouble else ""
    return f"step {move.step} took more than {length(limit_s)}{why}"
