# SPDX-License-Identifier: Apache-2.0
"""Entries of `sacct --json`, from 22.05's plain numbers to the newest {"set", "number"}. Pure."""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from slurm_green.errors import BadInputError
from slurm_green.replay.sacct_rows import BadRow, SacctRow, cores_of, gpu_type_of
from slurm_green.slurm.gres import gpu_count
from slurm_green.slurm.normalise import number, state_of
from slurm_green.slurm.requeue import REQUEUED
from slurm_green.slurm.times import from_epoch

__all__ = ["json_rows"]

_MINUTE_S = 60.0


def json_rows(path: Path, text: str) -> Iterator[SacctRow | BadRow]:
    """Each entry of the list; raises BadInputError where there is no list."""
    try:
        document = json.loads(text)
        jobs = document["jobs"]
    except (ValueError, RecursionError) as error:
        raise BadInputError(f"{path}: not JSON: {error}; is the export whole?") from error
    except KeyError:
        raise BadInputError(f"{path}: no list `jobs`; wanted the output of sacct --json") from None
    if not isinstance(jobs, list):
        raise BadInputError(f"{path}: `jobs` is no list; wanted the output of sacct --json")
    for at, job in enumerate(jobs, 1):
        try:
            yield _from_json(at, job)
        except (AttributeError, KeyError, TypeError, ValueError, OverflowError):
            yield BadRow(at, "not a job as sacct --json writes it")


def _from_json(at: int, job: Mapping[str, Any]) -> SacctRow:
    times = job["time"]
    current = job["state"]["current"]
    words = [current] if isinstance(current, str) else list(current)
    allocated = _tres(job["tres"].get("allocated"))
    tres = allocated or _tres(job["tres"].get("requested"))
    minutes = number(times.get("limit"), wide=True)
    comment = job.get("comment") or {}
    comment = comment if isinstance(comment, Mapping) else {"job": comment}
    elapsed = number(times.get("elapsed"), wide=True)
    return SacctRow(
        at=at,
        job_id=_id(job),
        state=REQUEUED if REQUEUED in words else state_of(words)[0],
        submit_s=_epoch(times.get("submission")),
        eligible_s=_epoch(times.get("eligible")),
        start_s=_epoch(times.get("start")),
        end_s=_epoch(times.get("end")),
        elapsed_s=None if elapsed is None else float(elapsed),
        limit_s=None if minutes is None or minutes < 0 else minutes * _MINUTE_S,
        allocated=bool(allocated),
        gpus=gpu_count(tres),
        gpu_type=gpu_type_of(tres),
        cores=cores_of(tres, str(number(job.get("required", {}).get("CPUs"), wide=True) or "")),
        partition=job.get("partition") or "",
        cluster=job.get("cluster") or "",
        comment=comment.get("job") or "",
        admin_comment=comment.get("administrator") or "",
    )


def _epoch(value: Any) -> float | None:
    when = from_epoch(number(value, wide=True))
    return None if when is None else when.timestamp()


def _id(job: Mapping[str, Any]) -> str:
    """As sacct's JobID column shows it."""
    array, het = job.get("array") or {}, job.get("het") or {}
    if het.get("job_id"):
        return f"{het['job_id']}+{number(het.get('job_offset')) or 0}"
    task = number(array.get("task_id"), wide=True)
    if array.get("job_id") and task is not None:
        return f"{array['job_id']}_{task}"
    if array.get("job_id") and array.get("task"):
        return f"{array['job_id']}_[{array['task']}]"
    return str(int(job["job_id"]))


def _tres(items: Any) -> str:
    """A list of TRES as the text that sacct prints for it."""
    found = []
    for item in items or ():
        name = f"{item['type']}/{item['name']}" if item.get("name") else item["type"]
        if (count := number(item.get("count"), wide=True)) is not None:
            found.append(f"{name}={count}")
    return ",".join(found)
