# SPDX-License-Identifier: Apache-2.0
"""The optional backend: pyslurm, in-process and several times faster, where it can be imported.

pyslurm is GPL-2.0 and must be built for the site's Slurm X.Y, so it is imported only when asked
for and never required. What it does not offer (site factors of jobs, slurm.conf in one shape for
all versions, accounting without a database connection) the commands backend behind it answers.
"""

import importlib
import logging
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from datetime import datetime
from typing import Any

from slurm_green.errors import BadInputError, SlurmError, SlurmMissingError
from slurm_green.slurm.client import SlurmClient
from slurm_green.slurm.hostlist import expand_hostlist
from slurm_green.slurm.normalise import job_from_json, number
from slurm_green.slurm.records import ClusterInfo, Job, JobChange, Node, Partition, Reservation
from slurm_green.slurm.text import node_from_state
from slurm_green.slurm.times import from_epoch

__all__ = ["USED_SURFACE", "PyslurmClient", "import_pyslurm"]

_log = logging.getLogger(__name__)

# Our field of a record (the name squeue --json has) and pyslurm's property.
_JOB = {
    "job_id": "id", "name": "name", "user_name": "user_name", "user_id": "user_id",
    "account": "account", "partition": "partition", "qos": "qos", "job_state": "state",
    "state_reason": "state_reason", "submit_time": "submit_time",
    "eligible_time": "eligible_time", "start_time": "start_time", "end_time": "end_time",
    "deadline": "deadline", "time_limit": "time_limit", "node_count": "num_nodes",
    "cpus": "cpus", "tasks": "ntasks", "nodes": "allocated_nodes", "array_job_id": "array_id",
    "array_task_id": "array_task_id", "array_task_string": "array_tasks_waiting",
    "array_max_tasks": "array_tasks_parallel", "het_job_id": "heterogeneous_id",
    "batch_flag": "is_batch_job", "requeue": "is_requeueable", "restart_cnt": "requeue_count",
    "priority": "priority", "resv_name": "reservation", "comment": "comment",
    "admin_comment": "admin_comment", "extra": "extra", "cluster": "cluster",
}  # fmt: skip
_JOB_GPUS = ("gpus", "gres_per_node")
_NODE = ("name", "state", "effective_cpus", "configured_gres", "partitions")
_PARTITION = ("name", "nodes", "is_default", "state", "default_time", "max_time")
_RESERVATION = ("name", "start_time", "end_time", "nodes", "flags")
_CHANGE = ("begin_time", "admin_comment", "extra", "site_factor")

# Everything of pyslurm we touch; a test holds it against the published source.
USED_SURFACE: dict[str, tuple[str, ...]] = {
    "Jobs": ("load", "values"),
    "Job": (*_JOB.values(), *_JOB_GPUS, "is_cronjob", "modify"),
    "Nodes": ("load", "values"),
    "Node": _NODE,
    "Partitions": ("load", "values"),
    "Partition": _PARTITION,
    "Reservations": ("load", "values"),
    "Reservation": _RESERVATION,
    "JobSubmitDescription": _CHANGE,
    "RPCError": (),
}


def import_pyslurm() -> Any:
    """The pyslurm module; SlurmMissingError with the reason where it cannot be had."""
    try:
        return importlib.import_module("pyslurm")
    except (ImportError, OSError, RuntimeError) as error:
        raise SlurmMissingError(
            f"pyslurm cannot be imported ({error}). It must be built for this site's Slurm"
            ' (pip install "slurm-green[pyslurm]"); or set slurm_backend to "commands".'
        ) from error


class PyslurmClient:
    """SlurmClient over pyslurm; `commands` and `site_factors` answer what pyslurm cannot."""

    def __init__(
        self,
        *,
        commands: SlurmClient,
        site_factors: Callable[[], Mapping[int, int]] = dict,
        module: Any = None,
    ) -> None:
        self._pyslurm = import_pyslurm() if module is None else module
        self._commands = commands
        self._site_factors = site_factors

    def jobs(self) -> list[Job]:
        """One RPC, and the site factors."""
        jobs: list[Job] = []
        factors = self._site_factors()
        for one in self._load("Jobs"):
            try:
                record = _job_record(one)
                job = job_from_json(record, site_factor=factors.get(record["job_id"], 0))
                # Not enough is known here for another width (planning/width.py).
                jobs.append(replace(job, gres_per_node=""))
            except _UNREADABLE as error:
                _log.warning("job %s left out: %s", getattr(one, "id", "?"), error)
        return jobs

    def nodes(self) -> list[Node]:
        """One RPC."""
        return [
            node_from_state(
                name=one.name,
                state=one.state or "UNKNOWN",
                cpus=number(one.effective_cpus) or 1,
                gpus=_gpus(one.configured_gres),
                partitions=tuple(one.partitions or ()),
            )
            for one in self._load("Nodes")
        ]

    def partitions(self) -> list[Partition]:
        """One RPC."""
        return [
            Partition(
                name=one.name,
                node_names=expand_hostlist(one.nodes or ""),
                default=bool(one.is_default),
                up=one.state in {"UP", "DRAIN"},
                default_time_s=_minutes_as_s(one.default_time),
                max_time_s=_minutes_as_s(one.max_time),
            )
            for one in self._load("Partitions")
        ]

    def reservations(self) -> list[Reservation]:
        """One RPC."""
        found: list[Reservation] = []
        for one in self._load("Reservations"):
            start, end = from_epoch(number(one.start_time)), from_epoch(number(one.end_time))
            if start is not None and end is not None:
                found.append(
                    Reservation(
                        name=one.name,
                        start_utc=start,
                        end_utc=end,
                        node_names=expand_hostlist(one.nodes or ""),
                        maintenance="MAINT" in str(one.flags),
                        flex="FLEX" in str(one.flags),
                    )
                )
        return found

    def info(self) -> ClusterInfo:
        """Through the commands."""
        return self._commands.info()

    def finished(
        self, since_utc: datetime, *, job_id: int | None = None, runs: bool = False
    ) -> list[Job] | None:
        """Through the commands."""
        return self._commands.finished(since_utc, job_id=job_id, runs=runs)

    def note(self, job_id: int, cluster: str, admin_comment: str) -> None:
        """Through the commands."""
        self._commands.note(job_id, cluster, admin_comment)

    def update(self, changes: Mapping[int, JobChange]) -> dict[int, str]:
        """One RPC per job; site factors of 0, widths and arrays by the commands."""
        refused: dict[int, str] = {}
        by_commands: dict[int, JobChange] = {}
        for job_id, one in changes.items():
            # pyslurm drops a factor of 0.
            if one.site_factor == 0 or one.reshapes or one.array:
                by_commands[job_id] = one
                continue
            fields = _change_fields(one)
            if not fields:
                continue
            try:
                changed = self._pyslurm.JobSubmitDescription(**fields)
                self._pyslurm.Job(job_id).modify(changed)
            except self._pyslurm.RPCError as error:
                refused[job_id] = str(error) or "refused by slurmctld"
            except (TypeError, ValueError, UnicodeError) as error:
                refused[job_id] = f"pyslurm cannot send this change: {error}"
        return refused | (self._commands.update(by_commands) if by_commands else {})

    def requeue(self, job_ids: Iterable[int]) -> dict[int, str]:
        """Through the commands."""
        return self._commands.requeue(job_ids)

    def _load(self, collection: str) -> Iterable[Any]:
        load: Callable[[], Any] = getattr(self._pyslurm, collection).load
        try:
            # values() spans clusters; the mapping itself shows the local one only.
            return list(load().values())
        except self._pyslurm.RPCError as error:
            raise SlurmError(
                f"pyslurm.{collection}.load failed: {error}. Is slurmctld up, and pyslurm built"
                " for this Slurm? Try `scontrol ping`."
            ) from error


_UNREADABLE = (BadInputError, AttributeError, KeyError, TypeError, ValueError)


def _job_record(one: Any) -> dict[str, Any]:
    """pyslurm's job as squeue's record; a text that is not UTF-8 raises when it is read."""
    record: dict[str, Any] = {}
    for key, name in _JOB.items():
        try:
            record[key] = getattr(one, name)
        except UnicodeDecodeError as error:
            # The bytes are in the error: one odd job name must not hide the job.
            record[key] = error.object.decode(errors="replace")
    total = _gpus(one.gpus)
    if total:
        record["tres_req_str"] = f"gres/gpu={total}"
    elif per_node := _gpus(one.gres_per_node):
        record["tres_per_node"] = f"gpu:{per_node}"
    if record["array_task_string"] == record["array_task_id"] is None:
        record["array_task_string"] = ""
    record["flags"] = ["CRON_JOB"] if one.is_cronjob else []
    return record


def _gpus(gres: Mapping[str, Any] | None) -> int:
    """GPUs in pyslurm's {"gpu:h100": 2}, {"gres/gpu": 1} or {"gpu": GPU(count=2)}."""
    total = 0
    for name, value in (gres or {}).items():
        kind = name.removeprefix("gres/").removeprefix("gres:")
        if kind == "gpu" or kind.startswith("gpu:"):
            if isinstance(value, Mapping):
                value = value.get("count")
            total += number(getattr(value, "count", value)) or 0
    return total


def _minutes_as_s(value: Any) -> int | None:
    """pyslurm's minutes; "UNLIMITED" and None are None."""
    minutes = number(value, wide=True)
    return None if minutes is None else minutes * 60


def _change_fields(one: JobChange) -> dict[str, Any]:
    """Keywords of JobSubmitDescription."""
    fields: dict[str, Any] = {}
    if one.begin_utc is not None:
        # Epoch seconds pass through pyslurm untouched, whatever zone we run in.
        fields["begin_time"] = max(1, int(one.begin_utc.timestamp()))
    if one.admin_comment is not None:
        fields["admin_comment"] = one.admin_comment
    if one.extra is not None:
        fields["extra"] = one.extra
    if one.site_factor is not None:
        fields["site_factor"] = one.site_factor
    return fields
