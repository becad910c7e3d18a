# SPDX-License-Identifier: Apache-2.0
"""From what the courier could read at submission to the request a decision is made about."""

import re
from datetime import datetime, tzinfo

from slurm_green.errors import BadInputError
from slurm_green.hook.options import parse_when
from slurm_green.hook.request import Request
from slurm_green.hook.wire import Ask
from slurm_green.slurm.gres import job_gpus

__all__ = ["array_of", "request_from"]

_RANGE = re.compile(r"(\d+)(?:-(\d+)(?::(\d+))?)?")


def request_from(ask: Ask, *, now_utc: datetime, zone: tzinfo) -> Request:
    """The request; what Slurm will only work out later (node count, default QOS) is estimated.

    Estimates only make the user's message: the queue shows the truth before anything is promised.
    """
    nodes = ask.min_nodes or 1
    ntasks = ask.num_tasks or max(nodes * (ask.ntasks_per_node or 1), 1)
    per_task = ask.cpus_per_task or 1
    tasks, running = array_of(ask.array_inx)
    return Request(
        submit_utc=now_utc,
        user=ask.user or "",
        account=ask.account or "",
        partition=ask.partition or "",
        qos=ask.qos or "",
        name=ask.name or "",
        comment=ask.comment or "",
        nodes=nodes,
        cpus=max(ask.min_cpus or 1, ntasks * per_task),
        gpus=job_gpus(
            per_job=ask.tres_per_job or "",
            per_node=ask.tres_per_node or "",
            per_socket=ask.tres_per_socket or "",
            per_task=ask.tres_per_task or "",
            nodes=nodes,
            tasks=ntasks,
        ),
        tasks=tasks,
        max_running_tasks=running,
        time_limit_s=None if ask.unlimited else ask.time_limit_s,
        deadline_utc=_deadline(ask.deadline_text, now_utc, zone),
        dependent=bool(ask.dependency),
        reservation=ask.reservation or "",
    )


def array_of(text: str | None) -> tuple[int, int | None]:
    """Tasks and `%N` of an --array specification; one task for anything else."""
    if not text:
        return 1, None
    indices, _, limit = text.partition("%")
    tasks = 0
    for part in indices.split(","):
        found = _RANGE.fullmatch(part.strip())
        if found is None:
            continue
        first, last, step = int(found[1]), int(found[2] or found[1]), int(found[3] or 1)
        tasks += max((last - first) // max(step, 1) + 1, 0)
    return max(tasks, 1), int(limit) if limit.isdecimal() and int(limit) > 0 else None


def _deadline(text: str | None, now_utc: datetime, zone: tzinfo) -> datetime | None:
    if not text:
        return None
    try:
        return parse_when(text, now_utc=now_utc, zone=zone)
    except BadInputError:
        # One of Slurm's many other ways to write a time: the queue will show what it means.
        return None
