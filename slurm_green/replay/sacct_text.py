# SPDX-License-Identifier: Apache-2.0
"""Rows of `sacct --parsable2`, columns by name. Pure.

The trap: times are the zone's of the machine that ran sacct, unless SLURM_TIME_FORMAT=%s made
them epoch seconds.
"""

import re
from collections.abc import Iterator, Mapping
from datetime import datetime, tzinfo
from pathlib import Path

from slurm_green.errors import BadInputError
from slurm_green.replay.sacct_rows import BadRow, SacctRow, cores_of, gpu_type_of
from slurm_green.slurm.gres import gpu_count
from slurm_green.slurm.normalise import state_of
from slurm_green.slurm.requeue import REQUEUED
from slurm_green.slurm.times import parse_slurm_duration_s, parse_slurm_time

__all__ = ["COLUMNS", "text_rows"]

# What must be there; of a group one is enough.
COLUMNS = (
    ("JobID", "JobIDRaw"), ("Submit",), ("Start",), ("End",), ("State",),
    ("Timelimit", "TimelimitRaw"), ("AllocTRES", "ReqTRES"),
)  # fmt: skip
_MINUTE_S = 60.0
# As Slurm writes times by default, or with a blank by SLURM_TIME_FORMAT.
_DATED = re.compile(r"\d{4}-\d\d-\d\d[T ]", re.ASCII)


def text_rows(path: Path, text: str, zone: tzinfo) -> Iterator[SacctRow | BadRow]:
    """Each row below the header; raises BadInputError for a header that lacks a column."""
    lines = text.split("\n")
    first = next((at for at, line in enumerate(lines) if line.strip()), None)
    if first is None:
        raise BadInputError(f"{path}: is empty; wanted an export of sacct")
    names = [name.strip() for name in lines[first].rstrip("\r").split("|")]
    # --parsable ends each line with a separator, --parsable2 does not.
    if names[-1] == "":
        names.pop()
    known = {name.lower(): at for at, name in enumerate(names)}
    for group in COLUMNS:
        if not any(name.lower() in known for name in group):
            raise BadInputError(
                f"{path}: line {first + 1}: no column {' or '.join(group)} in the header"
                f" {'|'.join(names)[:120]!r}; export with sacct -P -o and the columns that the"
                " documentation of sgreen replay lists"
            )
    for at in range(first + 1, len(lines)):
        cells = lines[at].rstrip("\r").split("|")
        if cells == [""]:
            continue
        if len(cells) > len(names) and not any(cells[len(names) :]):
            del cells[len(names) :]
        if len(cells) != len(names):
            more = "more" if len(cells) > len(names) else "fewer"
            yield BadRow(at + 1, f"{more} fields than the header: a | or a line end in a name")
            continue
        try:
            yield _from_text(at + 1, _Cells(known, cells), zone)
        except (BadInputError, ValueError, OverflowError):
            yield BadRow(at + 1, "a time, duration or count that Slurm does not write")


class _Cells:
    """One row's cells by the name of their column, "" where there is no such column."""

    def __init__(self, known: Mapping[str, int], cells: list[str]) -> None:
        self._known, self._cells = known, cells

    def known(self, name: str) -> bool:
        """Whether there is such a column."""
        return name.lower() in self._known

    def __call__(self, name: str) -> str:
        at = self._known.get(name.lower())
        return "" if at is None else self._cells[at].strip()


def _from_text(at: int, cell: _Cells, zone: tzinfo) -> SacctRow:
    allocated = cell("AllocTRES")
    tres = allocated or cell("ReqTRES")
    raw = cell("TimelimitRaw")
    elapsed = cell("ElapsedRaw")
    limit_s = float(raw) * _MINUTE_S if raw.isdecimal() else None
    if limit_s is None:
        limit_s = _duration_s(cell("Timelimit"))
    elapsed_s = float(elapsed) if elapsed.isdecimal() else None
    if elapsed_s is None:
        elapsed_s = _duration_s(cell("Elapsed"))
    return SacctRow(
        at=at,
        job_id=cell("JobID") or cell("JobIDRaw"),
        state=REQUEUED if REQUEUED in cell("State") else state_of(cell("State"))[0],
        submit_s=_time(cell("Submit"), zone),
        eligible_s=_time(cell("Eligible"), zone),
        start_s=_time(cell("Start"), zone),
        end_s=_time(cell("End"), zone),
        elapsed_s=elapsed_s,
        limit_s=limit_s,
        allocated=bool(allocated) if cell.known("AllocTRES") else None,
        gpus=gpu_count(tres),
        gpu_type=gpu_type_of(tres),
        cores=cores_of(tres, cell("AllocCPUS") or cell("NCPUS") or cell("ReqCPUS")),
        partition=cell("Partition"),
        cluster=cell("Cluster"),
        comment=cell("Comment"),
        admin_comment=cell("AdminComment"),
    )


def _duration_s(text: str) -> float | None:
    found = parse_slurm_duration_s(text)
    return None if found is None else float(found)


def _time(text: str, zone: tzinfo) -> float | None:
    """POSIX seconds of one of sacct's times."""
    if _DATED.match(text):
        when = datetime.fromisoformat(text)
        return (when if when.tzinfo else when.replace(tzinfo=zone)).timestamp()
    parsed = parse_slurm_time(text)
    return None if parsed is None else parsed.timestamp()
