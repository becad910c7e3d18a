# SPDX-License-Identifier: Apache-2.0
"""The record of a move that is to begin: everything checked and read, nothing touched."""

import math
import secrets
from collections.abc import Sequence
from dataclasses import replace
from pathlib import PurePosixPath

from slurm_green.errors import BadInputError
from slurm_green.migration.execute.checks import check_job, check_sites
from slurm_green.migration.execute.commands import CommandAccess
from slurm_green.migration.execute.order import fields_of, order_of
from slurm_green.migration.execute.record import Limits, MoveRecord, Way
from slurm_green.migration.execute.site import mapped
from slurm_green.slurm.records import Job
from slurm_green.words import length

__all__ = ["begin"]

_UNREADABLE = "\ufffd"  # what stands for a byte that is no UTF-8
_SPARE_S = 600.0  # clocks are apart by less, and so long it may take to let a job go again


def begin(
    job: Job,
    source: CommandAccess,
    destination: CommandAccess,
    *,
    now_s: float,
    limits: Limits | None = None,
    until_s: float | None = None,
    takes_s: float = 0.0,
    window_end_s: float | None = None,
    why: str = "",
    store: str = "",
    past: Sequence[MoveRecord] = (),
) -> MoveRecord:
    """Check both sites and the job; raises BadInputError where it cannot move.

    `takes_s` is how long the move is expected to take, as far as that is known.
    """
    if source.name == destination.name:
        raise BadInputError(f"job {job.job_id} is at {source.name} already")
    words = check_job(job)
    me = source.whoami()
    if job.user != me:
        raise BadInputError(
            f"job {job.job_id} is {job.user}'s, and you are {me}: its own user moves it"
        )
    limits = limits or Limits()
    spare_s = _spare_s(job, now_s)
    if spare_s < math.inf:  # a half to come to its release there, a half to start
        if takes_s > spare_s / 2:  # it would be stopped, and let go on, for nothing
            raise BadInputError(
                f"job {job.job_id}: the move takes {length(takes_s)}, and its deadline leaves"
                f" {length(spare_s / 2)} for it"
            )
        until_s = min(now_s + spare_s / 2, math.inf if until_s is None else until_s)
        limits = replace(limits, start_s=min(spare_s / 2, limits.start_s))
    shown = source.call("scontrol", "show", "job", str(job.job_id))
    if _UNREADABLE in shown:
        raise BadInputError(f"job {job.job_id}: its names and paths are not all UTF-8")
    work = fields_of(shown).get("WorkDir", "/")
    directory = str(PurePosixPath(work) / words.checkpoint)
    target = mapped(directory, source.site, destination.site)
    federation = source.site.federation
    way = Way.FEDERATION if federation and federation == destination.site.federation else None
    order = None
    if PurePosixPath(work).is_relative_to(directory):
        raise BadInputError(
            f"job {job.job_id}: {directory} holds its working directory; a checkpoint needs a"
            " directory of its own, what stands there at the destination is replaced"
        )
    if way is None and job.origin:
        raise BadInputError(
            f"job {job.job_id} belongs to a federation that {destination.name} is not part of"
        )
    if way is None:
        script = source.call("scontrol", "write", "batch_script", str(job.job_id), "-")
        if _UNREADABLE in script:
            raise BadInputError(
                f"job {job.job_id}: its script is not UTF-8, and would not arrive as it is"
            )
        order = order_of(shown, script, source.site, destination.site)
        root = source.site.root.rstrip("/")
        if root and root != destination.site.root.rstrip("/") and root in script:
            raise BadInputError(
                f"job {job.job_id}: its script names paths below {root}, which site"
                f" {destination.name} has elsewhere; use paths relative to its directory"
            )
    elif directory != target:
        raise BadInputError(
            f"sites {source.name} and {destination.name}: in a federation a job keeps its paths,"
            " so their `root` must be the same"
        )
    check_sites(
        source, destination, directory=directory, target=target, order=order, store=bool(store)
    )
    token = f"m{job.job_id}-{secrets.token_hex(4)}"
    return MoveRecord(
        token=token,
        store=f"{store.rstrip('/')}/{token}" if store else "",
        way=way or Way.RESUBMIT,
        job_id=job.job_id,
        user=job.user,
        source=source.name,
        destination=destination.name,
        origin=job.origin,
        directory=directory,
        target=target,
        earlier=tuple(
            one.token
            for one in past
            if one.settled and (one.source, one.job_id) == (source.name, job.job_id)
        ),
        signal=words.signal,
        order=order,
        limits=limits,
        since_s=now_s,
        began_s=now_s,
        until_s=until_s,
        window_end_s=window_end_s,
        reason=why,
    )


def _spare_s(job: Job, now_s: float) -> float:
    """For how long its move may keep it from running; raises BadInputError where it may not at all.

    Slurm ends a job that waits as soon as its time limit no longer fits before its deadline, and
    one that is queued anew asks for all of the limit again, at either site.
    """
    if job.deadline_utc is None or job.time_limit_s is None:
        return math.inf
    left_s = job.deadline_utc.timestamp() - now_s
    spare_s = left_s - job.time_limit_s - _SPARE_S
    if spare_s <= 0:
        raise BadInputError(
            f"job {job.job_id} has {length(max(left_s, 0.0))} until its deadline, and where it"
            f" starts anew its whole time limit of {length(job.time_limit_s)}: Slurm would end it"
        )
    return spare_s
