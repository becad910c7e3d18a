# SPDX-License-Identifier: Apache-2.0
"""One job record out of `squeue --json`, whichever Slurm from 22.05 to 26.05 wrote it.

Older versions write plain numbers or null, newer ones {"set", "infinite", "number"}; states are
a word or a list of words; GRES texts differ (gres.py). Only the keys we use are looked at.
"""

import logging
import re
import sys
from collections.abc import Iterable, Mapping
from typing import Any

from slurm_green.errors import BadInputError
from slurm_green.slurm.gres import gpu_count, job_gpus
from slurm_green.slurm.hostlist import expand_hostlist
from slurm_green.slurm.records import Job
from slurm_green.slurm.times import from_epoch

__all__ = ["count_array_tasks", "job_from_json", "jobs_from_json", "number", "state_of"]

_log = logging.getLogger(__name__)

# Slurm's "no value" and "infinite" where they come through as plain numbers, by a field's width.
_WIDE_SENTINELS = frozenset({0xFFFFFFFE, 0xFFFFFFFF, 2**64 - 2, 2**64 - 1})
_SENTINELS = _WIDE_SENTINELS | {0xFFFE, 0xFFFF}
# A flag that changes what the job does now, and the one word for it. First match wins: it is
# the order in which Slurm's own tools pick the word they show.
_FLAG_STATES = {
    "REVOKED": "REVOKED",
    "COMPLETING": "COMPLETING",
    "STAGE_OUT": "COMPLETING",
    "CONFIGURING": "CONFIGURING",
    "POWER_UP_NODE": "CONFIGURING",
    "RESIZING": "RUNNING",
    "SIGNALING": "RUNNING",
    "STOPPED": "SUSPENDED",
    "REQUEUED": "PENDING",
    "REQUEUE_FED": "PENDING",
    "REQUEUE_HOLD": "PENDING",
    "REQUEUE_HELD": "PENDING",
    "SPECIAL_EXIT": "PENDING",
    "RESV_DEL_HOLD": "PENDING",
}
_MEMORY = re.compile(r"(?<![^,])mem=(\d+(?:\.\d+)?)([KMGT]?)")
_MB = {"": 1, "K": 1 / 1024, "M": 1, "G": 1024, "T": 1024**2}
_HELD_FLAGS = frozenset({"REQUEUE_HOLD", "REQUEUE_HELD", "SPECIAL_EXIT", "RESV_DEL_HOLD"})
_HELD_REASONS = ("JobHeldUser", "JobHeldAdmin", "held")


def number(value: Any, *, wide: bool = False) -> int | None:
    """A number of either notation; unset, infinite and Slurm's sentinels are None.

    Of a `wide` field, one that is known to have 32 bits or more, 65534 and 65535 are numbers.
    """
    if isinstance(value, Mapping):
        if not value.get("set") or value.get("infinite"):
            return None
        value = value.get("number")
    if value is None or isinstance(value, bool):
        return None
    if isinstance(value, str):
        value = value.strip()
        if not value.lstrip("-").isdecimal():
            return None
    elif not isinstance(value, int | float) or value != value or abs(value) == float("inf"):
        return None
    whole = int(value)
    return None if whole in (_WIDE_SENTINELS if wide else _SENTINELS) else whole


def state_of(value: Any) -> tuple[str, frozenset[str]]:
    """The one word for a job's state and all words Slurm gave."""
    words = [value] if isinstance(value, str) else [str(word) for word in value or ()]
    words = [sys.intern(word.partition(" ")[0].upper()) for word in words if word]
    if not words:
        return "UNKNOWN", frozenset()
    for flag, state in _FLAG_STATES.items():
        if flag in words:
            return state, frozenset(words)
    return words[0], frozenset(words)


def count_array_tasks(text: str) -> int:
    """Tasks in an array expression such as "0-9:3,12%2"; at least one."""
    count = 0
    for part in text.partition("%")[0].split(","):
        part = part.strip("[] ")
        if part.startswith("0x"):
            try:
                count += int(part, 16).bit_count()
            except ValueError:
                pass
            continue
        span, _, step = part.partition(":")
        low, dash, high = span.partition("-")
        if not low.isdecimal():
            continue  # "..." where Slurm cut the text; we ask it not to (SLURM_BITSTR_LEN).
        last = int(high) if dash and high.isdecimal() else int(low)
        stride = int(step) if step.isdecimal() and int(step) > 0 else 1
        count += max(0, last - int(low)) // stride + 1
    return max(1, count)


def job_from_json(record: Mapping[str, Any], *, site_factor: int = 0) -> Job:
    """One record; a malformed one raises BadInputError, TypeError, ValueError or KeyError."""
    get = record.get
    job_id = number(get("job_id"), wide=True)
    if not job_id:
        raise BadInputError("a job record without a job id")
    state, words = state_of(get("job_state"))
    reason = _text(get("state_reason"))
    priority = number(get("priority"), wide=True)
    array_job_id = number(get("array_job_id"), wide=True) or None
    task_text = _text(get("array_task_string"))
    task_id = number(get("array_task_id"), wide=True)
    nodes = max(1, number(get("node_count"), wide=True) or 1)
    cpus = max(1, number(get("cpus"), wide=True) or 1)
    time_limit_min = number(get("time_limit"), wide=True)
    uid = number(get("user_id"), wide=True)
    pending = state == "PENDING"
    # Without a limit Slurm reckons an end in the year 2162.
    ends = time_limit_min is not None or state not in {"PENDING", "RUNNING", "CONFIGURING"}
    return Job(
        job_id=job_id,
        name=_text(get("name")),
        user=_shared(get("user_name")) or ("" if uid is None else str(uid)),
        uid=uid,
        account=_shared(get("account")),
        partition=_shared(get("partition")),
        qos=_shared(get("qos")),
        state=state,
        flags=words | _words(get("flags")),
        reason=sys.intern(reason),
        submit_utc=from_epoch(number(get("submit_time"))),
        eligible_utc=from_epoch(number(get("eligible_time"))),
        start_utc=from_epoch(number(get("start_time"))),
        end_utc=from_epoch(number(get("end_time"))) if ends else None,
        deadline_utc=from_epoch(number(get("deadline"))),
        time_limit_s=None if time_limit_min is None else time_limit_min * 60,
        nodes=nodes,
        cpus=cpus,
        gpus=job_gpus(
            allocated="" if pending else _text(get("tres_alloc_str")),
            requested=_text(get("tres_req_str")),
            per_job=_text(get("tres_per_job")),
            per_node=_text(get("tres_per_node")),
            per_socket=_text(get("tres_per_socket")),
            per_task=_text(get("tres_per_task")),
            nodes=nodes,
            sockets_per_node=number(get("sockets_per_node")) or 1,
            tasks=number(get("tasks"), wide=True) or 1,
        ),
        ntasks=number(get("tasks"), wide=True) or 1,
        gres_per_node=_text(get("tres_per_node")),
        tasks_per_node=number(get("tasks_per_node")) or 0,
        cpus_per_gpu=gpu_count(_text(get("cpus_per_tres"))),
        choosy=bool(_text(get("features")) or _text(get("required_nodes"))),
        memory_mb=_memory_mb(_text(get("tres_req_str"))) if pending else 0,
        node_names=() if pending else expand_hostlist(_text(get("nodes"))),
        array_job_id=array_job_id,
        array_task=task_text or ("" if task_id is None or not array_job_id else str(task_id)),
        tasks=count_array_tasks(task_text) if task_text and pending else 1,
        max_running_tasks=(number(get("array_max_tasks"), wide=True) or None)
        if array_job_id
        else None,
        het_job_id=number(get("het_job_id"), wide=True) or None,
        held=pending
        and (
            bool(get("hold"))
            or priority == 0
            or bool(words & _HELD_FLAGS)
            or reason.startswith(_HELD_REASONS)
        ),
        batch=bool(get("batch_flag")),
        requeue=bool(get("requeue")),
        restarts=number(get("restart_cnt")) or 0,
        priority=priority,
        site_factor=site_factor,
        dependency=_text(get("dependency")),
        reservation=_shared(get("resv_name")),
        comment=_text(get("comment")),
        admin_comment=_text(get("admin_comment")),
        extra=_text(get("extra")),
        gpu_freq=_text(get("tres_freq")) if "tres_freq" in record else None,
        cluster=_shared(get("cluster")),
        origin=_shared(get("federation_origin")),
    )


def jobs_from_json(
    records: Iterable[Any], *, site_factors: Mapping[int, int] | None = None
) -> list[Job]:
    """All records that can be read; one that cannot is logged with its id and left out."""
    factors = site_factors or {}
    jobs: list[Job] = []
    for record in records:
        try:
            # What is left of a federated job that runs elsewhere: no id, and nothing to come.
            if not _id(record) and state_of(record.get("job_state"))[0] == "REVOKED":
                continue
            jobs.append(job_from_json(record, site_factor=factors.get(_id(record), 0)))
        except (BadInputError, TypeError, ValueError, KeyError, AttributeError) as error:
            _log.warning("job %s left out: its record cannot be read: %s", _id(record), error)
    return jobs


def _id(record: Any) -> int:
    """The job id for a log line, 0 when even that is missing."""
    return (number(record.get("job_id"), wide=True) if isinstance(record, Mapping) else None) or 0


def _text(value: Any) -> str:
    """A text; newer versions wrap some in lists, none writes "(null)" on purpose."""
    if value is None or value == "(null)":
        return ""
    return value if isinstance(value, str) else str(value)


def _memory_mb(tres: str) -> int:
    """The memory in a text such as "cpu=1,mem=62.50G,node=1"; 0 where there is none."""
    found = _MEMORY.search(tres)
    return round(float(found[1]) * _MB[found[2]]) if found else 0


def _shared(value: Any) -> str:
    """A text that thousands of jobs have in common, kept once."""
    return sys.intern(_text(value))


def _words(value: Any) -> frozenset[str]:
    """Flag words of a record."""
    if isinstance(value, str):
        value = value.split(",")
    return frozenset(sys.intern(str(word)) for word in value or () if word)
