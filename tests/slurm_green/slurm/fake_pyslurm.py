# SPDX-License-Identifier: Apache-2.0
"""A module with the part of pyslurm 25.11.2 that we use, over a FakeSlurm.

Not pyslurm's code: only names, argument order and kinds of values, as its published interface
has them. test_pyslurm.py holds the names against the real source distribution.
"""

from collections.abc import Iterator
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

from slurm_green.errors import SlurmError
from slurm_green.slurm.fake import FakeSlurm
from slurm_green.slurm.records import Job, JobChange

_CHANGES = ("begin_time", "admin_comment", "extra", "site_factor")


class RPCError(Exception):
    """What every refused call raises."""


class _Map:
    """pyslurm's collections: values() spans all clusters."""

    def __init__(self, items: list[Any]) -> None:
        self._items = items

    def values(self) -> Iterator[Any]:
        return iter(self._items)


def _epoch(when: datetime | None) -> int | None:
    return None if when is None else int(when.timestamp())


def job_view(job: Job) -> SimpleNamespace:
    """A job as pyslurm shows it: None for unset, minutes for limits, dicts for GRES."""
    return SimpleNamespace(
        id=job.job_id, name=job.name, user_name=job.user, user_id=job.uid,
        account=job.account or None, partition=job.partition, qos=job.qos or None,
        state=job.state, state_reason=job.reason, submit_time=_epoch(job.submit_utc),
        eligible_time=_epoch(job.eligible_utc), start_time=_epoch(job.start_utc),
        end_time=_epoch(job.end_utc), deadline=_epoch(job.deadline_utc),
        time_limit=None if job.time_limit_s is None else job.time_limit_s // 60,
        num_nodes=job.nodes, cpus=job.cpus, ntasks=1,
        allocated_nodes=",".join(job.node_names) or None, array_id=job.array_job_id,
        array_task_id=int(job.array_task) if job.array_task.isdecimal() else None,
        # Without the %N, which is in array_tasks_parallel.
        array_tasks_waiting=job.array_task.partition("%")[0]
        if job.array_task and not job.array_task.isdecimal() else None,
        array_tasks_parallel=job.max_running_tasks, heterogeneous_id=job.het_job_id or 0,
        is_batch_job=job.batch, is_requeueable=job.requeue, requeue_count=job.restarts,
        priority=0 if job.held else 1, reservation=job.reservation or None,
        comment=job.comment or None, admin_comment=job.admin_comment or None,
        extra=job.extra or None, cluster=job.cluster, is_cronjob=False,
        gpus={"gpu": SimpleNamespace(count=job.gpus)} if job.gpus else {}, gres_per_node={},
    )  # fmt: skip


def module(slurm: FakeSlurm) -> Any:
    """The module object over that Slurm."""

    def guarded(items: list[Any]) -> _Map:
        if slurm.broken is not None:
            raise RPCError(slurm.broken)
        return _Map(items)

    class JobSubmitDescription:
        def __init__(self, **kwargs: Any) -> None:
            unknown = set(kwargs) - set(_CHANGES)
            if unknown:
                raise AttributeError(f"no attribute {unknown}")
            self.fields = kwargs

    class OneJob:
        def __init__(self, job_id: int) -> None:
            self.id = job_id

        def modify(self, changes: JobSubmitDescription) -> None:
            fields = dict(changes.fields)
            begin = fields.pop("begin_time", None)
            when = None if begin is None else datetime.fromtimestamp(begin, UTC)
            # pyslurm tests the site factor for truth: 0 is dropped.
            fields["site_factor"] = fields.get("site_factor") or None
            try:
                refused = slurm.update({self.id: JobChange(begin_utc=when, **fields)})
            except SlurmError as error:
                raise RPCError(str(error)) from error
            if refused:
                raise RPCError(refused[self.id])

    def nodes() -> _Map:
        return guarded([
            SimpleNamespace(name=one.name, state="IDLE" if one.available else "IDLE+DRAIN",
                            effective_cpus=one.cpus, configured_gres={"gpu:h100": one.gpus},
                            partitions=list(one.partitions))
            for one in slurm.node_list
        ])  # fmt: skip

    def partitions() -> _Map:
        return guarded([
            SimpleNamespace(name=one.name, nodes=",".join(one.node_names) or None,
                            is_default=one.default, state="UP" if one.up else "DOWN",
                            default_time=None,
                            max_time=one.max_time_s // 60 if one.max_time_s else "UNLIMITED")
            for one in slurm.partition_list
        ])  # fmt: skip

    def reservations() -> _Map:
        return guarded([
            SimpleNamespace(name=one.name, start_time=_epoch(one.start_utc),
                            end_time=_epoch(one.end_utc), nodes=",".join(one.node_names),
                            flags="ReservationFlags.MAINTENANCE" if one.maintenance else "")
            for one in slurm.reservation_list
        ])  # fmt: skip

    def jobs() -> _Map:
        return guarded([job_view(job) for job in slurm.jobs_by_id.values()])

    return SimpleNamespace(
        RPCError=RPCError, Job=OneJob, JobSubmitDescription=JobSubmitDescription,
        Jobs=SimpleNamespace(load=jobs), Nodes=SimpleNamespace(load=nodes),
        Partitions=SimpleNamespace(load=partitions),
        Reservations=SimpleNamespace(load=reservations),
    )  # fmt: skip
