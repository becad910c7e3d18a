# SPDX-License-Identifier: Apache-2.0
"""A move given up: the job goes on at the source, then its traces at the destination go. Pure."""

from dataclasses import replace

from slurm_green.errors import SlurmError
from slurm_green.migration.execute.access import Seen
from slurm_green.migration.execute.leave import FAILED, copy_token
from slurm_green.migration.execute.pair import Pair, Wait
from slurm_green.migration.execute.record import MoveRecord, Step, Way

__all__ = ["back", "sweep"]

# slurmd takes a job that starts anew in the second in which it was stopped for the old one, whose
# credential is revoked, and Slurm then ends it for good.
_SAME_SECOND_S = 2.0


def back(move: MoveRecord, pair: Pair, now_s: float) -> MoveRecord | Wait:
    """Release the job where it was; whether or not the destination answers.

    One thing comes before: a copy that its user released may run, and ends.
    """
    here = pair.here(move)
    if here is None or here.ended:
        return move.at(Step.SWEEP, now_s, outcome=Step.ENDED)
    if _waits(here, move):
        stopped_s = move.since_s if move.stopped_s is None else move.stopped_s
        if move.ran and 0 <= now_s - stopped_s < _SAME_SECOND_S:
            return Wait("a moment passes between stop and start")
        if (there := _released(move, pair, now_s)) is not None:
            pair.destination.cancel(there.job_id)
            return Wait("somebody released its copy at the destination; it is being cancelled")
        if move.way is Way.FEDERATION:
            pair.keeper.route(move.job_id, pair.source.name)
        pair.keeper.release(move.job_id, at_once=move.ran)
        return Wait("the job is being released at the source", replace(move, freed_s=now_s))
    if here.state == "COMPLETING":
        # Asked to stop, and not yet held.
        return Wait("the job is being stopped")
    return move.at(Step.SWEEP, now_s)


def sweep(move: MoveRecord, pair: Pair, now_s: float) -> MoveRecord | Wait:
    """Its transfers, its copy and what was transferred."""
    assert move.outcome is not None
    for number in range(1, move.copies + 2):
        for job in pair.source.named(copy_token(move, number)):
            if not job.ended:
                pair.source.cancel(job.job_id)
    for number in range(1, move.copies + 1 if move.store else 0):
        for job in pair.destination.named(f"{move.token}.f{number}"):
            if not job.ended:
                pair.destination.cancel(job.job_id)
    if move.way is Way.RESUBMIT:
        alive = [job for job in pair.destination.named(move.token) if not job.ended]
        for job in alive:
            pair.destination.cancel(job.job_id)
        if alive:
            return Wait("its copy at the destination is being cancelled")
    here = pair.here(move)
    if move.outcome is Step.STAYED and here and _waits(here, move):
        # A stop that nobody had answered came to pass after all, or its release was forgotten.
        return move.at(Step.BACK, now_s)
    if now_s - move.since_s < move.limits.settle_s:
        return Wait("Slurm is given time to write down what was done")
    try:
        pair.source.unclaim(move.directory, move.token)
        if move.bytes is not None:
            if not move.why.startswith(FAILED):  # else the transfers' logs say why
                pair.source.sweep(move.directory, move.token)
            pair.destination.sweep(move.target, move.token)
            if move.store:
                pair.destination.unstore(move.store)
    except SlurmError:
        # Rubbish that a full or broken file system keeps does not keep the move open.
        if now_s - move.since_s <= move.limits.other_s:
            raise
    return move.at(move.outcome, now_s)


def _released(move: MoveRecord, pair: Pair, now_s: float) -> Seen | None:
    """The copy, where it may run; not for ever, nor where its site does not say."""
    if move.way is Way.FEDERATION or now_s - move.since_s > move.limits.other_s:
        return None
    try:
        there = pair.there(move)
    except SlurmError:
        return None
    return None if there is None or there.ended or (there.pending and there.held) else there


def _waits(here: Seen, move: MoveRecord) -> bool:
    """Whether it waits for us.

    Once released it may wait for a clock of its site that is behind, or, where it had not run, for
    the begin time that it had before.
    """
    if not (here.parked and move.held):
        return False
    return here.held or move.freed_s is None or (move.ran and not here.soon)
