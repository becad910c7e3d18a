# SPDX-License-Identifier: Apache-2.0
"""Ended jobs out of sacct.

Not its --json: that differs between versions and holds far more than we read. The
fields are cut by a delimiter drawn anew for each call, and the first and last field of a record
are numbers: no job name, whatever it holds, can shift a field or add a record.
"""

import logging
import secrets
from datetime import UTC, datetime, timedelta

from slurm_green.errors import BadInputError
from slurm_green.slurm.gres import gpu_count
from slurm_green.slurm.hostlist import expand_hostlist
from slurm_green.slurm.normalise import state_of
from slurm_green.slurm.records import Job
from slurm_green.slurm.requeue import REQUEUED
from slurm_green.slurm.times import parse_slurm_time

__all__ = ["draw_delimiter", "parse_sacct", "sacct_arguments"]

_log = logging.getLogger(__name__)
_FIELDS = (
    "JobIDRaw", "JobID", "State", "Submit", "Eligible", "Start", "End", "TimelimitRaw",
    "NNodes", "NCPUS", "AllocTRES", "ReqTRES", "NodeList", "QOS", "Account", "User", "UID",
    "Partition", "Cluster", "Reservation", "JobName", "Comment", "AdminComment", "DBIndex",
)  # fmt: skip
# Filled where AccountingStoreFlags has job_extra. Seen from 24.11 on; asked for a field that it has
# not, sacct tells nothing.
_EXTRA = "Extra"
# Every state a job ends in; REQUEUED is not one, that job lives on.
_ENDED = "BF,CA,CD,DL,F,NF,OOM,PR,TO"


def draw_delimiter() -> str:
    """A delimiter no user can have put into a job name."""
    return f"@{secrets.token_hex(8)}@"


def sacct_arguments(
    *,
    since_utc: datetime,
    delimiter: str,
    job_id: int | None = None,
    runs: bool = False,
    extra: bool = False,
) -> list[str]:
    """All users' jobs that ended since then, or one; of a requeued job the last run, or `runs`."""
    since = since_utc.astimezone(UTC)
    # Far ahead: with "now" sacct fails where our clock is a second before the database's.
    until = since + timedelta(days=3650)
    return [
        "sacct", "--allusers", "--allocations", "--noheader", "--parsable2",
        f"--delimiter={delimiter}", f"--starttime={since:%Y-%m-%dT%H:%M:%S}",
        f"--endtime={until:%Y-%m-%dT%H:%M:%S}",
        *(["--duplicates", f"--state={_ENDED},RQ"] if runs else [f"--state={_ENDED}"]),
        f"--format={','.join(_fields(extra))}",
        *([] if job_id is None else [f"--jobs={job_id}"]),
    ]  # fmt: skip


def parse_sacct(text: str, *, delimiter: str, extra: bool = False) -> list[Job]:
    """The records; one that cannot be read is logged and left out. `extra` as it was asked for."""
    fields = _fields(extra)
    parts = text.split(delimiter)
    per_record = len(fields) - 1
    jobs: list[Job] = []
    first = parts[0] if parts else ""
    for at in range(1, len(parts) - per_record + 1, per_record):
        middle = parts[at : at + per_record - 1]
        # The last field of this record and the first of the next share a piece.
        _, _, following = parts[at + per_record - 1].partition("\n")
        record = dict(zip(fields, [first.strip(), *middle], strict=False))
        first = following
        try:
            jobs.append(_job(record))
        except (ValueError, KeyError, BadInputError) as error:
            _log.warning("job %s of sacct left out: %s", record.get("JobIDRaw"), error)
    return jobs


def _fields(extra: bool) -> tuple[str, ...]:
    return (*_FIELDS[:-1], _EXTRA, _FIELDS[-1]) if extra else _FIELDS


def _job(record: dict[str, str]) -> Job:
    state, words = state_of(record["State"])
    shown = record["JobID"]
    array_id, underscore, array_task = shown.partition("_")
    het_id, plus, _ = shown.partition("+")
    limit = record["TimelimitRaw"]
    return Job(
        job_id=int(record["JobIDRaw"]),
        name=record["JobName"],
        user=record["User"],
        uid=int(record["UID"]) if record["UID"].isdecimal() else None,
        account=record["Account"],
        partition=record["Partition"],
        qos=record["QOS"],
        state=REQUEUED if REQUEUED in words else state,  # not the job waits: its run ended
        flags=words,
        submit_utc=parse_slurm_time(record["Submit"]),
        eligible_utc=parse_slurm_time(record["Eligible"]),
        start_utc=parse_slurm_time(record["Start"]),
        end_utc=parse_slurm_time(record["End"]),
        time_limit_s=int(limit) * 60 if limit.isdecimal() else None,
        nodes=max(1, int(record["NNodes"] or 1)),
        cpus=max(1, int(record["NCPUS"] or 1)),
        gpus=gpu_count(record["AllocTRES"]) or gpu_count(record["ReqTRES"]),
        node_names=expand_hostlist(record["NodeList"]),
        array_job_id=int(array_id) if underscore and array_id.isdecimal() else None,
        array_task=array_task if underscore else "",
        het_job_id=int(het_id) if plus and het_id.isdecimal() else None,
        cluster=record["Cluster"],
        reservation=record["Reservation"],
        comment=record["Comment"],
        admin_comment=record["AdminComment"],
        extra=record.get(_EXTRA, ""),
    )
