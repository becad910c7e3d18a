# SPDX-License-Identifier: Apache-2.0
"""The queue out of `squeue -O`, as records of the same shape as its JSON.

For 1,000 jobs `squeue --json` of 24.11 and 26.05 spends 0.4 to 0.5 s of CPU on 8 MB, most of
which nobody reads; this and sprio together 0.03 s. It lacks only `extra` and a job's flag words.
As with sacct, the delimiter is drawn anew for each call and a record begins and ends with a
number, so that no text of a user's can shift a field or add a record.
"""

import re
from typing import Any

from slurm_green.errors import BadInputError
from slurm_green.slurm.times import parse_slurm_duration_s

__all__ = ["queue_arguments", "queue_records"]

# squeue's field and the JSON's name for it.
_FIELDS = {
    "JobID": "job_id", "Name": "name", "UserName": "user_name", "UserID": "user_id",
    "Account": "account", "Partition": "partition", "QOS": "qos", "State": "job_state",
    "Reason": "state_reason", "SubmitTime": "submit_time", "EligibleTime": "eligible_time",
    "StartTime": "start_time", "EndTime": "end_time", "Deadline": "deadline",
    "TimeLimit": "time_limit", "NumNodes": "node_count", "NumCPUs": "cpus",
    "NumTasks": "tasks", "NodeList": "nodes", "ArrayJobID": "array_job_id",
    "ArrayTaskID": "array_task_string", "HetJobID": "het_job_id", "BatchFlag": "batch_flag",
    "Requeue": "requeue", "RestartCnt": "restart_cnt", "PriorityLong": "priority",
    "Reservation": "resv_name", "Comment": "comment", "admin_comment": "admin_comment",
    "Cluster": "cluster", "tres-alloc": "tres_req_str", "tres-per-job": "tres_per_job",
    "tres-per-node": "tres_per_node", "tres-per-socket": "tres_per_socket",
    "tres-per-task": "tres_per_task", "tres-freq": "tres_freq",
    "Dependency": "dependency", "Origin": "federation_origin",
    "NTPerNode": "tasks_per_node", "cpus-per-tres": "cpus_per_tres",
    "Feature": "features", "ReqNodes": "required_nodes",
}  # fmt: skip
# Whatever stands here is the user's; "N/A" elsewhere is Slurm's word for nothing.
_USERS_TEXT = frozenset({"name", "comment", "admin_comment"})
_COUNT = re.compile(r"(\d+(?:\.\d+)?)([KMG]?)")
_UNIT = {"": 1, "K": 1024, "M": 1024**2, "G": 1024**3}


def queue_arguments(delimiter: str) -> list[str]:
    """All jobs of this cluster, ended ones too."""
    # A field with a suffix and no width is never cut.
    fields = [f"{field}:{delimiter}" for field in _FIELDS]
    return [
        "squeue", "--noheader", "--all", "--local", "--states=all",
        f"--Format={','.join([*fields, f'JobID:{delimiter}'])}",
    ]  # fmt: skip


def queue_records(text: str, delimiter: str) -> list[dict[str, Any]]:
    """The records, for normalise.py."""
    names = list(_FIELDS.values())
    parts = text.split(delimiter)
    per_record = len(names) + 1
    return [
        _record(dict(zip(names, parts[at : at + len(names)], strict=True)))
        for at in range(0, len(parts) - per_record, per_record)
    ]


def _record(given: dict[str, str]) -> dict[str, Any]:
    """One record with the JSON's kinds of values."""
    record: dict[str, Any] = {
        key: "" if value == "(null)" or (value == "N/A" and key not in _USERS_TEXT) else value
        for key, value in given.items()
    }
    if record["federation_origin"] == "NA":
        record["federation_origin"] = ""
    # The line break before a record is left of the one before it.
    record["job_id"] = record["job_id"].strip()
    try:
        limit_s = parse_slurm_duration_s(given["time_limit"])
    except BadInputError:
        limit_s = None
    record["time_limit"] = None if limit_s is None else limit_s // 60
    totals = dict(
        part.partition("=")[::2] for part in record["tres_req_str"].split(",") if "=" in part
    )
    for key, total in (("cpus", "cpu"), ("node_count", "node")):
        # Large counts are rounded in the column, "2K"; the total is exact.
        exact = given[key] if given[key].isdecimal() else totals.get(total)
        record[key] = exact or _count(given[key])
    record["tasks"] = _count(given["tasks"])
    # Newer versions count requeues in it.
    record["batch_flag"] = given["batch_flag"].strip("0").isdecimal()
    record["requeue"] = given["requeue"] == "1"
    tasks = record["array_task_string"]
    if tasks:
        record["array_max_tasks"] = tasks.partition("%")[2] or None
        record["array_task_id"] = tasks if tasks.isdecimal() else None
        if tasks.isdecimal() and given["job_state"] != "PENDING":
            record["array_task_string"] = ""
    else:
        # For a job that is no array Slurm gives its own id here.
        record["array_job_id"] = None
    return record


def _count(text: str) -> int | None:
    """The number in "16", "1-4" or "1.50K"."""
    found = _COUNT.match(text)
    return int(float(found[1]) * _UNIT[found[2]]) if found else None
