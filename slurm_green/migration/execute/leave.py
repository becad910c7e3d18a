# SPDX-License-Identifier: Apache-2.0
"""The first half of a move: a fresh checkpoint, the job stopped, its checkpoint copied. Pure."""

from dataclasses import replace

from slurm_green.migration.execute.access import Copy, claim_of
from slurm_green.migration.execute.pair import Pair, Wait
from slurm_green.migration.execute.record import MoveRecord, Step, Way
from slurm_green.words import length

__all__ = ["FAILED", "copy", "copy_token", "first_there", "listed", "park", "signal", "stop"]

FAILED = "the transfer failed"
_GONE = "the job had ended before it was stopped"
# A transfer is judged once it had this share of its time, and never sooner than this.
_JUDGED_AFTER = 0.1
_JUDGED_AFTER_S = 3.0


def signal(move: MoveRecord, pair: Pair, now_s: float) -> MoveRecord | Wait:
    """Ask for a checkpoint, and again until there is a new one that no longer changes.

    Two runs, each with a journal of its own, would start a copy each: the first to come has the
    job. The listing before the signal is taken in the same turn: a process that died in between
    takes a new one. A job that waits has nothing to write.
    """
    job = pair.here(move)
    if job is None or job.ended:
        return move.ended(_GONE, now_s)
    if not move.signals_s and not _claimed(move, pair):
        mark = claim_of(move.directory, move.token)
        return move.left(f"another run moves it, with another journal; see {mark}", now_s)
    if job.pending:
        return move.at(Step.STOP, now_s)
    found = pair.source.listing(move.directory)
    if not move.signals_s:
        if move.signal is not None:
            pair.source.signal(move.job_id, move.signal)
        return replace(move, before=found.digest, signals_s=(now_s,))
    if found.files and found.digest != move.before:
        if found.digest == move.listing:
            return move.at(Step.STOP, now_s)
        return Wait("a checkpoint is being written", replace(move, listing=found.digest))
    if move.signal is not None and now_s - move.signals_s[-1] > move.limits.again_s:
        pair.source.signal(move.job_id, move.signal)
        return replace(move, signals_s=(*move.signals_s, now_s))
    return Wait("no new checkpoint yet")


def _claimed(move: MoveRecord, pair: Pair) -> bool:
    """Whether the move has the job now; a mark that an ended move could not take away is none."""
    if pair.source.claim(move.directory, move.token):
        return True
    if not move.earlier:
        return False
    pair.source.unclaim(move.directory, *move.earlier)
    return pair.source.claim(move.directory, move.token)


def stop(move: MoveRecord, pair: Pair, now_s: float) -> MoveRecord | Wait:
    """Back into the source's queue, where it waits."""
    job = pair.here(move)
    if job is None or job.ended:
        return move.ended(_GONE, now_s)
    if job.held and not move.held:
        return move.left("somebody holds it", now_s)
    if job.parked:
        return move.at(Step.LIST, now_s, held=True, stopped_s=now_s)
    if not move.held:
        return replace(move, held=True)
    pair.keeper.stop(move.job_id)
    return Wait("the job is being stopped")


def park(move: MoveRecord, pair: Pair, now_s: float) -> MoveRecord | Wait:
    """Should we die now, the job goes on at the source by itself, in a while."""
    job = pair.here(move)
    if job is None or job.ended:
        return move.ended("the job was cancelled while it moved", now_s)
    if not job.parked:
        return move.back("the job was released at the source", now_s)
    pair.source.park(move.job_id, move.limits.lease_s)
    return replace(move, parked_s=now_s)


def listed(move: MoveRecord, pair: Pair, now_s: float) -> MoveRecord | Wait:
    """Read the whole checkpoint, now that nobody writes it; see that it fits there."""
    found = pair.source.manifest(move.directory)
    if not found.files:
        if move.ran:
            return move.back("the job's checkpoint has vanished", now_s)
        return move.at(first_there(move), now_s, bytes=0)
    free = pair.destination.prepare(move.target, move.token)
    if free < found.bytes:
        why = f"{pair.destination.name} has {free:,} bytes free, the checkpoint has {found.bytes:,}"
        return move.back(why, now_s)
    return move.at(Step.COPY, now_s, manifest=found.digest, bytes=found.bytes)


def copy(move: MoveRecord, pair: Pair, now_s: float) -> MoveRecord | Wait:
    """Transfer as a job at the source, again when it failed; give up a link that is too slow."""
    number = move.copies
    if number > move.bad_copies:
        jobs = pair.source.named(copy_token(move, number))
        alive = [job for job in jobs if not job.ended]
        if alive:
            if not any(job.active for job in alive):
                return Wait("the transfer waits for its turn")
            if move.copying_since_s is None:
                return replace(move, copying_since_s=now_s)
            why = "" if move.store else _too_slow(move, pair, now_s)
            return move.back(why, now_s) if why else Wait("the transfer runs")
        # One that Slurm has forgotten may have worked: its bytes tell.
        if not jobs or any(job.state == "COMPLETED" for job in jobs):
            return move.at(Step.FETCH if move.store else first_there(move), now_s)
    if number >= move.limits.copies:
        where = f"{move.directory}/../.*.sgreen-{move.token}.c{number}.log"
        return move.back(f"{FAILED} {number} times; see {where}", now_s)
    following = copy_token(move, number + 1)
    if not pair.source.named(following):
        pair.source.copy(
            Copy(
                directory=move.directory,
                target=move.target,
                token=following,
                reach=pair.destination.reach,
                kib_per_s=move.limits.kib_per_s,
                limit_s=move.limits.copy_s,
                compare=number > 0,
                store=move.store,
                delta=move.limits.delta,
            )
        )
    return replace(move, copies=number + 1, copying_since_s=None)


def copy_token(move: MoveRecord, number: int) -> str:
    """The token of the move's transfer of that number, from 1."""
    return f"{move.token}.c{number}"


def first_there(move: MoveRecord) -> Step:
    """The step after the transfer."""
    if move.way is Way.RESUBMIT:
        return Step.SUBMIT
    return Step.VERIFY


def _too_slow(move: MoveRecord, pair: Pair, now_s: float) -> str:
    """Whether the transfer cannot end in time at the rate that was seen."""
    assert move.copying_since_s is not None and move.bytes is not None
    gone_s = now_s - move.copying_since_s
    limit_s = move.limits.copy_s
    if gone_s < max(_JUDGED_AFTER * limit_s, _JUDGED_AFTER_S):
        return ""
    there = pair.destination.arrived(move.target, move.token)
    left_s = limit_s - (now_s - move.since_s)
    needed_s = (move.bytes - there) * gone_s / max(there, 1)
    if needed_s <= left_s:
        return ""
    return (
        f"the link is too slow: {there:,} of {move.bytes:,} bytes in {length(gone_s)}, the rest"
        f" needs {length(needed_s)} and has {length(left_s)}"
    )
