# SPDX-License-Identifier: Apache-2.0
"""The second half of a move: the job and its checkpoint at the destination. Pure.

A release is the point of no return. Before it the source's job can go on and the copy is held;
from when it was tried, the source's job stays held until the destination's was seen to run, and
its slurmctld must have written that down: one that is killed has forgotten the start, lets the job
start anew, and where that happens in the second in which the first start was ended slurmd refuses
it and Slurm ends the job for good ("Job credential revoked").
"""

import math
from dataclasses import replace

from slurm_green.errors import SlurmError
from slurm_green.migration.execute.access import Copy, Seen, staging_of
from slurm_green.migration.execute.leave import first_there
from slurm_green.migration.execute.pair import Pair, Wait
from slurm_green.migration.execute.record import MoveRecord, Step, Way
from slurm_green.words import length

__all__ = ["cancel", "clean", "fetch", "place", "release", "start", "submit", "verify"]

_COPY_GONE = "its copy was cancelled at the destination"
_FAILED_THERE = "its copy failed at the destination right after its start"
_UNKNOWN_THERE = "its copy is not known at the destination, and nobody saw it run"
_WRITTEN_EVERY_S = 10.0


def fetch(move: MoveRecord, pair: Pair, now_s: float) -> MoveRecord | Wait:
    """From the object store, as a job at the destination; where it fails, both halves again."""
    token = f"{move.token}.f{move.copies}"
    jobs = pair.destination.named(token)
    if any(not job.ended for job in jobs):
        return Wait("the transfer from the store runs")
    if any(job.state == "COMPLETED" for job in jobs):
        return move.at(first_there(move), now_s)
    if jobs:
        return move.at(Step.COPY, now_s, bad_copies=move.copies)
    pair.destination.copy(
        Copy(
            directory=move.directory,
            target=move.target,
            token=token,
            reach="",
            kib_per_s=move.limits.kib_per_s,
            limit_s=move.limits.copy_s,
            compare=move.copies > 1,
            store=move.store,
            fetch=True,
        )
    )
    return Wait("the transfer from the store is waiting")


def submit(move: MoveRecord, pair: Pair, now_s: float) -> MoveRecord | Wait:
    """A held copy of the job; one that a dead process submitted is found by its token."""
    assert move.order is not None
    found = sorted(pair.destination.named(move.token), key=lambda job: job.job_id)
    alive = [job for job in found if not job.ended]
    if found and not alive:
        return move.back(_COPY_GONE, now_s)
    new_job = alive[0].job_id if alive else pair.destination.submit(move.order, move.token)
    return move.at(Step.VERIFY, now_s, new_job=new_job)


def verify(move: MoveRecord, pair: Pair, now_s: float) -> MoveRecord | Wait:
    """Every byte there is what it is here; else once more, comparing contents."""
    if not move.manifest:
        return move.at(Step.RELEASE, now_s)
    found = pair.destination.manifest(staging_of(move.target, move.token))
    if found.digest == move.manifest:
        return move.at(Step.PLACE, now_s)
    return move.at(Step.COPY, now_s, bad_copies=move.copies)


def place(move: MoveRecord, pair: Pair, now_s: float) -> MoveRecord | Wait:
    """Put it where the job looks for it."""
    pair.destination.place(move.target, move.token)
    return move.at(Step.RELEASE, now_s)


def release(move: MoveRecord, pair: Pair, now_s: float) -> MoveRecord | Wait:
    """Let it run there, if the source's job is still ours to replace."""
    here, there = pair.here(move), pair.there(move)
    if move.release_tried and there is None:
        there = pair.ended_there(move)
    if move.release_tried and there is not None and not (there.pending and there.held):
        return move.at(Step.START, now_s)
    if here is None or here.ended:
        return move.ended("the job was cancelled while it moved", now_s)
    if not here.parked:
        return move.back("the job was released at the source", now_s)
    if there is None or there.ended:
        return move.back(_COPY_GONE, now_s)
    if move.way is Way.RESUBMIT and not there.held:
        return move.back("somebody released its copy at the destination", now_s)
    done_s = max((at for at in (move.stopped_s, move.left_s(Step.SUBMIT)) if at), default=-math.inf)
    if now_s - done_s < move.limits.settle_s:
        return Wait("Slurm is given time to write down that the job was stopped, and its copy")
    if not here.held:
        # From here on it must not start by itself any more.
        pair.keeper.hold(move.job_id)
        return Wait("the source's job is being held")
    if not there.held:
        return move.back("somebody released it", now_s)
    if not move.release_tried:
        return replace(move, release_tried=True)
    if move.way is Way.FEDERATION:
        pair.keeper.route(move.job_id, pair.destination.name)
        # A begin time that slurm-green gave it was for power here: it is to start there now.
        pair.keeper.release(move.job_id, at_once=True)
    else:
        # It was never queued anew, so nothing keeps it: a begin time would be by our clock.
        pair.destination.release(there.job_id, at_once=False)
    return move.at(Step.START, now_s)


def start(move: MoveRecord, pair: Pair, now_s: float) -> MoveRecord | Wait:
    """Until it runs there; or until it was waited for long enough, and it can be taken back."""
    there = pair.there(move)
    if move.way is Way.FEDERATION and (there is None or not there.pending):
        return move.at(Step.CLEAN, now_s)
    if there is None or not there.pending or (move.way is Way.RESUBMIT and there.restarts):
        return _started(move, pair, there, now_s)
    if not there.held and move.free_there_s is None:
        return replace(move, free_there_s=now_s)
    if move.taking_back and there.held:
        if now_s - move.since_s <= move.limits.start_s + move.limits.settle_s:
            return Wait("Slurm is given time to write down that it is held again")
        why = f"it did not start within {length(move.limits.start_s)}"
        return move.back(why, now_s)
    if there.held and not move.taking_back:
        return _held(move, pair, there, now_s, move.free_there_s)
    if now_s - move.since_s <= move.limits.start_s:
        return Wait("it waits to start there", _waiting(move, now_s))
    if not move.taking_back:
        return replace(move, taking_back=True)
    (pair.keeper if move.way is Way.FEDERATION else pair.destination).hold(there.job_id)
    return Wait("it is being taken back")


def _waiting(move: MoveRecord, now_s: float) -> MoveRecord | None:
    """What is to be written down of a copy that has not started yet; not at every look."""
    fresh = now_s - _unstarted_s(move) < _WRITTEN_EVERY_S
    return None if fresh else replace(move, waited_s=now_s)


def _unstarted_s(move: MoveRecord) -> float:
    """Until when its copy is known not to have run there.

    Not by `since_s`, of which the time is taken out in which nobody looked.
    """
    _, begun_s = move.history[-1]
    return begun_s if move.waited_s is None else max(begun_s, move.waited_s)


def _started(move: MoveRecord, pair: Pair, there: Seen | None, now_s: float) -> MoveRecord | Wait:
    """The copy has started: that is to be on the disk of its slurmctld."""
    if there is None:
        # Nobody looked for longer than Slurm remembers (a checkpoint was read, or we were dead).
        there = pair.ended_there(move)
    if there is None:
        return move.back(_UNKNOWN_THERE, now_s)
    if there.refused and now_s - _unstarted_s(move) <= 3 * move.limits.settle_s:
        return move.back(_FAILED_THERE, now_s)
    if there.pending:  # one that was queued anew has run
        return move.at(Step.CANCEL, now_s)
    if there.failed_within(move.limits.settle_s):
        return move.back(_FAILED_THERE, now_s)
    if there.changing:
        first = there.state == "CONFIGURING" and not there.restarts  # its prolog may still fail
        why = "its nodes there are being started, or it is being ended"
        return Wait(why, _waiting(move, now_s) if first else None)
    if there.ended:
        return move.at(Step.CANCEL, now_s)
    try:
        pair.destination.note(there.job_id)
    except SlurmError:
        if now_s - move.since_s <= move.limits.start_s:
            raise
    return move.at(Step.CANCEL, now_s, noted_s=now_s, noted_start=there.started)


def cancel(move: MoveRecord, pair: Pair, now_s: float) -> MoveRecord | Wait:
    """It runs there, and goes on to: the job at the source is no longer needed."""
    here = pair.here(move)
    if here is None or here.ended:
        return move.at(Step.CLEAN, now_s)
    if move.noted_s is not None and here.parked:
        there = pair.there(move) or pair.ended_there(move)
        fresh = now_s - move.noted_s < move.limits.settle_s
        if there is None and not move.lasted:  # nobody can say how it ended: perhaps at once
            return move.back("its copy was forgotten at the destination", now_s)
        if there is not None and (
            there.failed_within(move.limits.settle_s) or (there.refused and fresh)
        ):
            return move.back(_FAILED_THERE, now_s)
        if there is not None and not there.ended:
            forgotten = not there.restarts if there.pending else there.started != move.noted_start
            if forgotten:
                return move.at(Step.START, now_s, noted_s=None, lasted=False)
            if there.changing or (there.active and fresh):
                return Wait("Slurm is given time to write down that it runs there")
            if there.active and not move.lasted:
                return replace(move, lasted=True)
    pair.source.cancel(move.job_id)
    return Wait("the source's job is being cancelled")


def _held(
    move: MoveRecord, pair: Pair, there: Seen, now_s: float, free_s: float | None
) -> MoveRecord | Wait:
    """Released and held again: by a slurmctld that forgot, which is soon, or by its user.

    `free_s` is since when it was known not to be held, None where it never was.
    """
    if free_s is not None and now_s - free_s > 3 * move.limits.settle_s:
        return Wait("somebody holds it at the destination")
    federated = move.way is Way.FEDERATION
    site = pair.keeper if federated else pair.destination
    site.release(there.job_id, at_once=federated)
    return Wait("it is released once more")


def clean(move: MoveRecord, pair: Pair, now_s: float) -> MoveRecord | Wait:
    """What only the move needed. The checkpoint at the source is the user's, and stays.

    Both sites are looked at until they must have written down what they did.
    """
    there = pair.there(move)
    if there is not None and there.pending and there.held:
        return _held(move, pair, there, now_s, move.since_s)
    if move.way is Way.RESUBMIT:
        here = pair.here(move)
        if here is not None and not here.ended:
            return move.at(Step.CANCEL, now_s)
    if now_s - move.since_s < move.limits.settle_s:
        return Wait("Slurm is given time to write down what was done")
    try:
        if move.way is Way.RESUBMIT:
            for job in pair.destination.named(move.token):
                if job.job_id != move.new_job and not job.ended:
                    pair.destination.cancel(job.job_id)
        pair.source.unclaim(move.directory, move.token)
        pair.destination.sweep(move.target, move.token)
        if move.store:
            pair.destination.unstore(move.store)
            pair.source.sweep(move.directory, move.token)
    except SlurmError as error:
        if now_s - move.since_s <= move.limits.settle_s + move.limits.other_s:
            raise
        return move.at(Step.DONE, now_s, outcome=Step.DONE, why=f"left-overs remain: {error}")
    return move.at(Step.DONE, now_s, outcome=Step.DONE)
