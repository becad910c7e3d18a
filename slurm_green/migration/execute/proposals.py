# SPDX-License-Identifier: Apache-2.0
"""From a decision, or a person's wish, to records of moves that may begin."""

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from slurm_green.errors import BadInputError, SlurmError
from slurm_green.migration.execute.begin import begin
from slurm_green.migration.execute.commands import CommandAccess
from slurm_green.migration.execute.moment import scene_now
from slurm_green.migration.execute.record import Limits, MoveRecord
from slurm_green.migration.execute.site import Site
from slurm_green.migration.execute.sites_file import Connection, SitesFile
from slurm_green.migration.orchestrator import decide
from slurm_green.migration.policy.registry import ORACLE, policy_of
from slurm_green.slurm.records import Job

__all__ = ["Proposal", "Refused", "proposals", "wished"]

_BYTES_PER_MBPS = 1e6 / 8
# A transfer may take so much longer than its link promises; and never less than this.
_PATIENCE = 3.0
_LEAST_S = 120.0
# rsync looks for unchanged parts at 70 MB/s where there are none: a faster link rather sends all.
_DELTA_BYTES_PER_S = 60e6


@dataclass(frozen=True, slots=True, kw_only=True)
class Proposal:
    """A move that may begin, and what was expected of it."""

    record: MoveRecord
    migration_s: float | None = None
    saves_g: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Refused:
    """A job that stays, or a move that a check forbids, and why."""

    job: str
    why: str


def proposals(
    file: SitesFile,
    accesses: Mapping[str, CommandAccess],
    past: Sequence[MoveRecord],
    *,
    policy: str,
    now_s: float,
) -> tuple[list[Proposal], list[Refused]]:
    """What the policy would move now, checked at both sites, and why everything else stays."""
    if policy == ORACLE:
        raise BadInputError(f"--policy {ORACLE}: only a replay knows what comes; try prices")
    rules = policy_of(policy)
    scene = scene_now(file, accesses, past, now_s)
    decision = decide(scene.moment, rules)
    found: list[Proposal] = []
    stays = [Refused(job=key, why=why) for key, why in scene.fixed]
    stays += [Refused(job=one.job.id, why=one.why) for one in decision.kept]
    sharers = Counter((move.source, move.destination) for move in decision.moves)
    sharers.update((one.source, one.destination) for one in past if not one.settled)
    for move in decision.moves:
        _, job = scene.jobs[move.job.id]
        try:
            record = begin(
                job,
                accesses[move.source],
                accesses[move.destination],
                now_s=now_s,
                limits=_limits(
                    file.link(move.source, move.destination),
                    move.job.checkpoint_bytes,
                    [file.site(one) for one in (move.source, move.destination)],
                    sharers[move.source, move.destination],
                ),
                store=_store(file, move.source, move.destination),
                until_s=move.due_s if math.isfinite(move.due_s) else None,
                takes_s=move.migration_s,
                window_end_s=now_s + move.window_s if math.isfinite(move.window_s) else None,
                why=move.why,
                past=past,
            )
        except (BadInputError, SlurmError) as error:
            stays.append(Refused(job=move.job.id, why=str(error)))
            continue
        found.append(Proposal(record=record, migration_s=move.migration_s, saves_g=move.saves_g))
    return found, stays


def wished(
    file: SitesFile,
    accesses: Mapping[str, CommandAccess],
    past: Sequence[MoveRecord],
    *,
    job_id: int,
    source: str | None,
    destination: str,
    now_s: float,
) -> Proposal:
    """The move a person asked for; raises BadInputError where it cannot be made."""
    file.site(destination)
    name, job = _find(file, accesses, job_id, source)
    for one in past:
        ids = {(one.source, one.job_id), (one.destination, one.new_job or one.job_id)}
        if not one.settled and (name, job_id) in ids:
            raise BadInputError(f"job {job_id} is being moved already, as {one.token}")
    record = begin(
        job,
        accesses[name],
        accesses[destination],
        now_s=now_s,
        limits=_limits(
            file.link(name, destination), None, [file.site(one) for one in (name, destination)]
        ),
        why="you asked for it",
        store=_store(file, name, destination),
        past=past,
    )
    return Proposal(record=record)


def _find(
    file: SitesFile, accesses: Mapping[str, CommandAccess], job_id: int, source: str | None
) -> tuple[str, Job]:
    names = list(accesses) if source is None else [file.site(source).name]
    found = [
        (name, job)
        for name in names
        for job in accesses[name].jobs()
        if job.job_id == job_id and (job.pending or job.active)
    ]
    if not found:
        raise BadInputError(f"job {job_id}: neither runs nor waits at {', '.join(names)}")
    if len(found) > 1:
        where = ", ".join(name for name, _ in found)
        raise BadInputError(f"job {job_id} is at {where}: say which with --from")
    return found[0]


def _store(file: SitesFile, source: str, destination: str) -> str:
    link = file.link(source, destination)
    return "" if link is None else link.store


def _limits(
    link: Connection | None, size: float | None, ends: Iterable[Site], sharers: int = 1
) -> Limits:
    """How long the transfer may take, by what the link promises to each that shares it.

    The job must not start at the source by itself while its checkpoint is being read at an end.
    """
    lease_s = max(Limits().lease_s, *(2 * site.read_s for site in ends))
    if link is None:
        return Limits(lease_s=lease_s)
    mbps = min(link.gbps * 1e3, link.limit_mbps or link.gbps * 1e3)
    rate = link.efficiency * mbps * _BYTES_PER_MBPS / sharers
    limits = Limits(
        lease_s=lease_s,
        kib_per_s=math.ceil(link.limit_mbps * _BYTES_PER_MBPS / 1024 / sharers),
        delta=rate < _DELTA_BYTES_PER_S,
    )
    if size is None:
        return limits
    return replace(limits, copy_s=max(_LEAST_S, _PATIENCE * size / rate))
