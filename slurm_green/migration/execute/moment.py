# SPDX-License-Identifier: Apache-2.0
"""The moment as the orchestrator wants it, read from real sites: their queues, jobs and outlooks.

Only jobs of the caller come into question. What a job draws is its GPUs times the site's figure,
and what it still needs is the rest of its time limit: both assumed, until a profile says more.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path, PurePosixPath

import numpy as np

from slurm_green.errors import BadInputError, SlurmError
from slurm_green.migration.execute import scripts
from slurm_green.migration.execute.checks import why_not_movable
from slurm_green.migration.execute.commands import CommandAccess
from slurm_green.migration.execute.comment import declared
from slurm_green.migration.execute.order import fields_of
from slurm_green.migration.execute.record import MoveRecord, Step
from slurm_green.migration.execute.sites_file import Forecast, SitesFile
from slurm_green.migration.moves import Link, Moment, MovableJob, Site, State
from slurm_green.migration.tail import LATELY_S, among_all
from slurm_green.migration.windows import Outlook
from slurm_green.plan.files import read_site
from slurm_green.slurm.records import Job

__all__ = ["Scene", "scene_now", "window_closed"]

_UNIX_S = 315_532_800.0  # 1980: a signal that starts before is meant to start now
_NO_LIMIT_S = 7 * 86_400.0
_OUR_JOBS = "sgreen-migrate"
_FAILURES = 2  # of looks at jobs of a site: each waits half a minute for a free node


@dataclass(frozen=True, slots=True, kw_only=True)
class Scene:
    """The moment, the Slurm job of each of its ids, and the caller's jobs that cannot move."""

    moment: Moment
    jobs: Mapping[str, tuple[str, Job]]
    fixed: tuple[tuple[str, str], ...]


def scene_now(
    file: SitesFile,
    accesses: Mapping[str, CommandAccess],
    past: Sequence[MoveRecord],
    now_s: float,
) -> Scene:
    """Ask every site; raises SlurmError where one does not answer, of a job alone it stays.

    Files come first: what is wrong with one needs no Slurm to be said.
    """
    outlooks = _outlooks(file, list(accesses), now_s)
    moves = {(m.destination, m.new_job or m.job_id): m for m in past if m.step is Step.DONE}
    stayed = {(m.source, m.job_id): m for m in past if m.step is Step.STAYED}
    busy = {(m.source, m.job_id) for m in past if not m.settled}
    busy |= {(m.destination, m.new_job or m.job_id) for m in past if not m.settled}
    sites, movable, jobs, fixed, everybody_s = [], [], {}, [], []
    for name, access in accesses.items():
        me = access.whoami()
        listed = access.jobs()
        forecast = file.forecasts[name]
        sites.append(_site(name, access, listed, forecast, outlooks[name]))
        everybody_s += _everybody_s(access, listed, now_s)
        unseen: list[str] = []
        for job in listed:
            if job.user != me or not (job.pending or job.active) or job.name == _OUR_JOBS:
                continue
            if job.pending and job.sibling:
                continue  # it waits at its origin, too
            key = f"{name}/{job.job_id}"
            why = why_not_movable(job)
            if (name, job.job_id) in busy:
                why = "it is being moved"
            if not why and len(unseen) >= _FAILURES:
                why = f"not looked at, since {len(unseen)} before it could not be: {unseen[-1]}"
            if why:
                fixed.append((key, why))
                continue
            try:
                one = _movable(key, name, job, access, forecast, now_s)
            except SlurmError as error:  # it has just ended, or no node is free to look
                unseen.append(str(error))
                fixed.append((key, unseen[-1]))
                continue
            if moved := moves.get((name, job.job_id)):
                one = replace(one, last_move_s=moved.since_s, window_end_s=moved.window_end_s)
            if tried := stayed.get((name, job.job_id)):
                one = replace(one, stays_until_s=tried.window_end_s)
            movable.append(one)
            jobs[key] = (name, job)
    links = tuple(
        Link(
            source=one.source,
            destination=one.destination,
            gbps=min(one.gbps, one.limit_mbps / 1e3) if one.limit_mbps else one.gbps,
            efficiency=one.efficiency,
            in_flight_bytes=sum(
                float(move.bytes or 0)
                for move in past
                if (move.source, move.destination) == (one.source, one.destination)
                and not move.settled
            ),
        )
        for one in file.links
    )
    moment = Moment(
        now_s=now_s,
        sites=tuple(sites),
        links=links,
        jobs=tuple(movable),
        everybody_s=tuple(everybody_s),
    )
    return Scene(moment=moment, jobs=jobs, fixed=tuple(fixed))


def window_closed(file: SitesFile, move: MoveRecord, now_s: float) -> str:
    """Why a move for a window makes no sense any more, by the signals as they are now; or "".

    A move that a person asked for, and one whose signals cannot be read, goes on.
    """
    if move.window_end_s is None:
        return ""
    try:
        here, there = (
            _grams(_outlook(file.path.parent, name, file.forecasts[name], now_s))
            for name in (move.source, move.destination)
        )
    except (BadInputError, KeyError):
        return ""
    if there < here:
        return ""
    return f"the window at {move.destination} has closed: {there:g} g/kWh there, {here:g} here"


def _grams(outlook: Outlook) -> float:
    """What one more kWh costs now: nothing while the supply covers the base load."""
    covered = outlook.supply_w[0] > outlook.base_w[0]
    return 0.0 if covered else float(outlook.carbon_g_per_kwh[0])


def _movable(
    key: str,
    site: str,
    job: Job,
    access: CommandAccess,
    forecast: Forecast,
    now_s: float,
) -> MovableJob:
    words = declared(job.comment)
    assert words is not None
    work = fields_of(access.call("scontrol", "show", "job", str(job.job_id))).get("WorkDir", "/")
    directory = str(PurePosixPath(work) / words.checkpoint)
    try:
        # The last line: what a site's prologs print comes before it.
        size = int(access.shell(scripts.ARRIVED, directory).split()[-1])
    except (SlurmError, ValueError, IndexError) as error:
        raise SlurmError(f"the size of {directory} cannot be read: {error}") from error
    gpus = job.gpus * job.tasks
    return MovableJob(
        id=key,
        site=site,
        user=job.user,
        project=job.account,
        checkpoint_bytes=float(size),
        power_w=max(gpus, 1) * forecast.gpu_w,
        remaining_s=_remaining_s(job, now_s),
        deadline_s=None if job.deadline_utc is None else job.deadline_utc.timestamp(),
        gpus=gpus,
        nodes=job.nodes,
        state=State.PENDING if job.pending else State.RUNNING,
        submit_s=None if job.submit_utc is None else job.submit_utc.timestamp(),
    )


def _remaining_s(job: Job, now_s: float) -> float:
    ran_s = now_s - job.start_utc.timestamp() if job.active and job.start_utc else 0.0
    ran_s = max(ran_s, 0.0)  # by a clock that is ahead of ours it has not begun
    return max((job.time_limit_s or _NO_LIMIT_S) - ran_s, 0.0)


def _completion_s(job: Job, now_s: float) -> float:
    """From submission to end, by the time limit; one that waits as if it started now."""
    age_s = 0.0 if job.submit_utc is None else max(now_s - job.submit_utc.timestamp(), 0.0)
    return age_s + _remaining_s(job, now_s)


def _everybody_s(access: CommandAccess, listed: Sequence[Job], now_s: float) -> list[float]:
    """From submission to end by their limits: of the last week's jobs, where Slurm keeps them.

    Else of those that are there, as they are among all.
    """
    there = [job for job in listed if (job.pending or job.active) and job.name != _OUR_JOBS]
    since = datetime.fromtimestamp(now_s - LATELY_S, UTC)
    try:
        ended = access.client.finished(since)
    except SlurmError:  # the database may be away; moves need not wait for it
        ended = None
    if ended is None:
        return list(among_all(np.array([_completion_s(job, now_s) for job in there])))
    return [
        *(_completion_s(job, now_s) for job in there if _submitted(job, since)),
        *(
            (job.start_utc - job.submit_utc).total_seconds() + (job.time_limit_s or _NO_LIMIT_S)
            for job in ended
            if job.start_utc and job.submit_utc and _submitted(job, since) and job.name != _OUR_JOBS
        ),
    ]


def _submitted(job: Job, since: datetime) -> bool:
    return job.submit_utc is not None and job.submit_utc >= since


def _site(
    name: str, access: CommandAccess, jobs: Iterable[Job], forecast: Forecast, outlook: Outlook
) -> Site:
    nodes = [node for node in access.client.nodes() if node.available]
    gpus = sum(node.gpus for node in nodes)
    busy = sum(job.gpus for job in jobs if job.active)
    waiting = sum(job.gpus * job.tasks for job in jobs if job.pending and not job.held)
    return Site(
        name=name,
        gpus=gpus,
        free_gpus=max(gpus - busy - waiting, 0),
        load_w=busy * forecast.gpu_w,
        outlook=outlook,
        nodes=len(nodes),
        queue_wait_s=forecast.queue_wait_s,
    )


def _outlooks(file: SitesFile, names: Sequence[str], now_s: float) -> dict[str, Outlook]:
    """Those of the sites, as far as the shortest goes."""
    found = {name: _outlook(file.path.parent, name, file.forecasts[name], now_s) for name in names}
    steps_s = {one.step_s: name for name, one in found.items()}
    if len(steps_s) > 1:
        said = ", ".join(f"{step_s:g} s at {name}" for step_s, name in steps_s.items())
        raise BadInputError(f"{file.path}: slots of {said}; wanted signals of the same slots")
    length = min((len(one) for one in found.values()), default=0)
    return {name: one.first(length) for name, one in found.items()}


def _outlook(directory: Path, name: str, forecast: Forecast, now_s: float) -> Outlook:
    if not forecast.signal:
        raise BadInputError(
            f"site {name} has no `signal`: nothing says where the power is green; give one, or"
            " name the job and the site (--job, --to)"
        )
    path = directory / forecast.signal
    signal = read_site(path)
    ahead_s = now_s - signal.start_s if signal.start_s >= _UNIX_S else 0.0
    first = int(ahead_s // signal.step_s)
    if not 0 <= first < signal.slots:
        ends_s = signal.start_s + signal.slots * signal.step_s
        raise BadInputError(
            f"{path}: says nothing of now, {now_s:.0f}: it is about {signal.start_s:.0f} to"
            f" {ends_s:.0f} (seconds since 1970)"
        )
    supply_w = signal.renewable_w[first:]
    return Outlook(
        step_s=signal.step_s,
        supply_w=supply_w,
        supply_sd_w=np.full(len(supply_w), forecast.error_share * float(supply_w.max())),
        carbon_g_per_kwh=signal.carbon_g_per_kwh[first:],
        base_w=signal.base_power_w[first:],
    )
