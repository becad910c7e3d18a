# SPDX-License-Identifier: Apache-2.0
"""One job as the decision sees it, whether it comes from the submit hook or from the queue."""

from dataclasses import dataclass
from datetime import datetime

from slurm_green.slurm.records import Job

__all__ = ["Request", "request_of"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What was asked for. `gpus`, `cpus`, `nodes` are per array task; None means not known.

    No Slurm version shows `--deadline` to the submit hook's Lua: only the queue can tell.
    `begin_set` means the user chose a begin time.
    """

    submit_utc: datetime
    user: str = ""
    account: str = ""
    partition: str = ""
    qos: str = ""
    name: str = ""
    comment: str = ""
    nodes: int = 1
    cpus: int = 1
    gpus: int = 0
    tasks: int = 1
    max_running_tasks: int | None = None
    time_limit_s: float | None = None
    deadline_utc: datetime | None = None
    begin_set: bool = False
    batch: bool = True
    heterogeneous: bool = False
    held: bool = False
    restarted: bool = False
    dependent: bool = False
    reservation: str = ""


def request_of(job: Job, *, begin_set: bool) -> Request | None:
    """The request behind a queued job; None while Slurm does not say when it was submitted.

    Whether its begin time is the user's or ours only the caller knows.
    """
    if job.submit_utc is None:
        return None
    return Request(
        submit_utc=job.submit_utc,
        user=job.user,
        account=job.account,
        partition=job.partition,
        qos=job.qos,
        name=job.name,
        comment=job.comment,
        nodes=job.nodes,
        cpus=job.cpus,
        gpus=job.gpus,
        tasks=job.tasks,
        max_running_tasks=job.max_running_tasks,
        time_limit_s=job.time_limit_s,
        deadline_utc=job.deadline_utc,
        begin_set=begin_set,
        batch=job.batch,
        heterogeneous=job.het_job_id is not None,
        held=job.held,
        restarted=job.restarts > 0,
        dependent=bool(job.dependency),
        reservation=job.reservation,
    )
