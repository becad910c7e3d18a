# SPDX-License-Identifier: Apache-2.0
"""A site's own history: the rows of a sacct export become jobs and classes.

Pure but for reading the file. No row vanishes: each is a job, part of one, or counted with the
reason, the lines and the GPU-hours that go missing with it.
"""

import math
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

from slurm_green.errors import BadInputError
from slurm_green.hook.options import parse_options
from slurm_green.hook.record import parse as parse_record
from slurm_green.replay.classes import Held, class_name, make_shapes
from slurm_green.replay.sacct_assumed import Assumed, Notes
from slurm_green.replay.sacct_judge import Judge, LeftOut
from slurm_green.replay.sacct_read import read_sacct
from slurm_green.replay.sacct_rows import BadRow, Export, SacctRow
from slurm_green.replay.traces import PastJob, Trace
from slurm_green.slurm.requeue import REQUEUED
from slurm_green.words import clean

__all__ = ["SacctTrace", "from_sacct", "make_trace"]

_DAY_S = 86_400.0
_NO_LIMIT_S = 7 * _DAY_S
# What slurmctld writes for a job without a limit in a partition without one.
_YEAR_S = 365 * _DAY_S


@dataclass(frozen=True, slots=True, kw_only=True)
class SacctTrace:
    """The trace, how many rows were read, and what became of those that are no job of it.

    `ended_s` is when the last of its jobs really ended; `counted` is what numbers of rows count,
    the file's lines or a list's entries.
    """

    trace: Trace
    rows: int
    ended_s: float
    counted: str = "line"
    left_out: tuple[LeftOut, ...] = ()


def from_sacct(path: Path, assumed: Assumed | None = None) -> SacctTrace:
    """Read an export; raises BadInputError where nothing in it can be replayed."""
    assumed = assumed or Assumed()
    export = read_sacct(path, assumed.zone)
    clusters = sorted({row.cluster for row in export.rows if isinstance(row, SacctRow)} - {""})
    if len(clusters) > 1:
        raise BadInputError(
            f"{path}: jobs of {len(clusters)} clusters ({', '.join(map(clean, clusters))}): a"
            " replay is of one site; export one cluster, sacct -M NAME"
        )
    found = make_trace(export, assumed)
    if not found.trace.jobs:
        why = "; ".join(f"{one.rows} {one.reason}" for one in found.left_out) or "it has no rows"
        raise BadInputError(f"{path}: no job in it can be replayed: {why}")
    return found


def make_trace(export: Export, assumed: Assumed) -> SacctTrace:
    """Judge each row. Jobs come by submission; the classes are those of the jobs kept."""
    rows = export.rows
    out = Judge()
    good = [row for row in rows if isinstance(row, SacctRow)]
    for row in rows:
        if isinstance(row, BadRow):
            out.add(row.reason, row.at)
    whole = _joined(_once([row for row in good if not out.no_job(row)], out))
    on_gpus = any(row.gpus for row in whole)
    kept = [row for row in whole if not out.not_replayed(row, assumed, on_gpus)]
    limits_s = [limit_s for row in kept if (limit_s := _limit_s(row)) is not None]
    no_limit_s = max(limits_s, default=_NO_LIMIT_S)
    kept.sort(key=lambda row: (row.submit_s or 0.0, row.at))
    notes = Notes(assumed)
    seen: Counter[str] = Counter()
    jobs = [_job(row, assumed, no_limit_s, seen, notes) for row in kept]
    trace = Trace(
        jobs=tuple(jobs),
        shapes=make_shapes([_held(row) for row in kept], assumed.watts, assumed.speeds),
        gpus=_peak(row for row in whole if row.gpus or not on_gpus),
        unit="GPU" if on_gpus else "core",
        idle_w=assumed.watts.idle_w if on_gpus else 0.0,
        notes=notes.sentences(
            on_gpus,
            no_limit_s,
            {row.gpu_type.lower() for row in kept},
            {row.partition for row in kept},
        ),
    )
    ended_s = max((row.end_s for row in kept if row.end_s is not None), default=0.0)
    return SacctTrace(
        trace=trace,
        rows=len(rows),
        ended_s=ended_s,
        counted=export.counted,
        left_out=out.listed(),
    )


def _job(
    row: SacctRow,
    assumed: Assumed,
    no_limit_s: float,
    seen: Counter[str],
    notes: Notes,
) -> PastJob:
    submit_s, ran_s = row.submit_s or 0.0, row.ran_s or 0.0
    earliest_s = row.eligible_s
    if earliest_s is None:
        notes.count["no-eligible"] += 1
        earliest_s = submit_s
    if parse_record(row.admin_comment) is not None:
        notes.count["ours"] += 1
        earliest_s = submit_s
    limit_s = _limit_s(row)
    if limit_s is None:
        notes.count["no-limit"] += 1
        limit_s = no_limit_s
    elif ran_s > limit_s:
        notes.count["over"] += 1
    limit_s = max(limit_s, ran_s)
    notes.count["het"] += "+" in row.job_id
    notes.count["again"] += row.state == REQUEUED
    earliest_s = max(earliest_s, submit_s)
    seen[row.job_id] += 1
    again = seen[row.job_id]
    return PastJob(
        job_id=row.job_id if again == 1 else f"{row.job_id}#{again}",
        class_name=class_name(_held(row)),
        work=limit_s,
        actual_work=ran_s,
        submit_s=submit_s,
        earliest_s=earliest_s,
        deadline_s=_deadline_s(row, earliest_s, limit_s, assumed, notes),
    )


def _deadline_s(
    row: SacctRow, earliest_s: float, limit_s: float, assumed: Assumed, notes: Notes
) -> float:
    """The user's own word first, then the partition's slack, then everybody's."""
    slack_s = assumed.slack_by_partition_s.get(row.partition, assumed.slack_s)
    if assumed.comment_prefix in row.comment:
        now_utc = datetime.fromtimestamp(row.submit_s or 0.0, UTC)
        said = parse_options(
            row.comment, prefix=assumed.comment_prefix, now_utc=now_utc, zone=assumed.zone
        )
        if said.off:
            notes.count["off"] += 1
            slack_s = 0.0
        elif said.deadline_utc is not None or said.max_delay_s is not None:
            notes.count["user"] += 1
            if said.deadline_utc is not None:
                return max(said.deadline_utc.timestamp(), earliest_s + limit_s)
            slack_s = said.max_delay_s or 0.0
    return earliest_s + limit_s + slack_s


def _limit_s(row: SacctRow) -> float | None:
    """The time limit; a year is none."""
    return None if row.limit_s is None or row.limit_s >= _YEAR_S else row.limit_s


def _held(row: SacctRow) -> Held:
    return Held(gpus=row.gpus, cores=row.cores, gpu_type=row.gpu_type)


def _once(rows: list[SacctRow], out: Judge) -> list[SacctRow]:
    """Each run once: exports of two months both have what ran across.

    The row counts that tells of its end, whichever export comes first; of several, the last.
    """
    last: dict[tuple[str, str, float | None, float | None], SacctRow] = {}
    for row in rows:
        key = row.cluster, row.job_id, row.submit_s, row.start_s
        if key not in last or last[key].goes_on or not row.goes_on:
            last[key] = row
    kept = {row.at for row in last.values()}
    for row in rows:
        if row.at not in kept:
            out.add("told twice", row.at)
    return [row for row in rows if row.at in kept]


def _joined(rows: list[SacctRow]) -> list[SacctRow]:
    """Parts of a heterogeneous job as one row: they held their GPUs at the same time."""
    parts: dict[tuple[str, float | None], list[SacctRow]] = defaultdict(list)
    found = []
    for row in rows:
        base, plus, _ = row.job_id.partition("+")
        if plus:
            parts[base, row.start_s].append(row)
        else:
            found.append(row)
    for (base, _), several in parts.items():
        first = min(several, key=lambda row: row.at)
        types = {row.gpu_type for row in several if row.gpus}
        found.append(
            replace(
                first,
                job_id=f"{base}+",
                gpus=sum(row.gpus for row in several),
                cores=sum(row.cores for row in several),
                gpu_type=types.pop() if len(types) == 1 else "",
                elapsed_s=_most(several, lambda row: row.elapsed_s),
                limit_s=_most(several, lambda row: row.limit_s),
                end_s=None
                if any(row.end_s is None for row in several)
                else _most(several, lambda row: row.end_s),
            )
        )
    return found


def _most(rows: list[SacctRow], of: Callable[[SacctRow], float | None]) -> float | None:
    return max((value for row in rows if (value := of(row)) is not None), default=None)


def _peak(rows: Iterable[SacctRow]) -> int:
    """The most GPUs (cores where there are none) held at once.

    One that still runs counts to its limit: past that accounting has lost its end.
    """
    changes: list[tuple[float, int]] = []
    for row in rows:
        held = row.gpus or row.cores
        start_s = row.start_s or 0.0
        if row.end_s is None:
            end_s = start_s + (_limit_s(row) or float("inf"))
        else:
            # A clock that was set back meanwhile ends a job before it has run.
            end_s = max(row.end_s, start_s + (row.ran_s or 0.0))
        if (row.ran_s or 0.0) > 0:  # perhaps for less than floats tell apart
            end_s = max(end_s, math.nextafter(start_s, math.inf))
        if end_s > start_s:
            changes += [(start_s, held), (end_s, -held)]
    most = now = 0
    for _, change in sorted(changes):
        now += change
        most = max(most, now)
    return most
