# SPDX-License-Identifier: Apache-2.0
"""A SlurmClient in memory, for tests and dry runs: what is asked is recorded and applied."""

from collections.abc import Iterable, Mapping
from dataclasses import replace
from datetime import datetime

from slurm_green.errors import SlurmError
from slurm_green.slurm.gres import gpu_count
from slurm_green.slurm.records import ClusterInfo, Job, JobChange, Node, Partition, Reservation

__all__ = ["FakeSlurm"]

_ENDED = frozenset(
    {
        "BOOT_FAIL", "CANCELLED", "COMPLETED", "DEADLINE", "FAILED", "NODE_FAIL",
        "OUT_OF_MEMORY", "PREEMPTED", "TIMEOUT", "REVOKED",
    }
)  # fmt: skip


class FakeSlurm:
    """Set the attributes to what Slurm should answer; read `updates` and `calls` afterwards.

    `refuse[job_id] = "words"` makes one update fail, `broken = "words"` every call.
    """

    def __init__(
        self,
        *,
        jobs: list[Job] | None = None,
        nodes: list[Node] | None = None,
        partitions: list[Partition] | None = None,
        reservations: list[Reservation] | None = None,
        info: ClusterInfo | None = None,
    ) -> None:
        self.jobs_by_id: dict[int, Job] = {job.job_id: job for job in jobs or []}
        self.node_list = list(nodes or [Node(name="n1", cpus=16, gpus=2, partitions=("main",))])
        self.partition_list = list(
            partitions or [Partition(name="main", node_names=("n1",), default=True)]
        )
        self.reservation_list = list(reservations or [])
        self.cluster = info or ClusterInfo(name="fake", version=(24, 11))
        # None: no accounting. Else these and the ended ones of `jobs_by_id`.
        self.accounting: list[Job] | None = []
        self.refuse: dict[int, str] = {}
        self.broken: str | None = None
        self.updates: list[dict[int, JobChange]] = []
        self.calls: list[str] = []

    def _called(self, name: str) -> None:
        self.calls.append(name)
        if self.broken is not None:
            raise SlurmError(self.broken)

    def put(self, *jobs: Job) -> None:
        """Add jobs or replace those of the same id."""
        self.jobs_by_id.update({job.job_id: job for job in jobs})

    def change(self, job_id: int, **fields: object) -> Job:
        """Change fields of a job as Slurm would; returns the new record."""
        self.jobs_by_id[job_id] = replace(self.jobs_by_id[job_id], **fields)  # type: ignore[arg-type]
        return self.jobs_by_id[job_id]

    def jobs(self) -> list[Job]:
        """All jobs that were put."""
        self._called("jobs")
        return list(self.jobs_by_id.values())

    def nodes(self) -> list[Node]:
        """`node_list`."""
        self._called("nodes")
        return list(self.node_list)

    def partitions(self) -> list[Partition]:
        """`partition_list`."""
        self._called("partitions")
        return list(self.partition_list)

    def reservations(self) -> list[Reservation]:
        """`reservation_list`."""
        self._called("reservations")
        return list(self.reservation_list)

    def info(self) -> ClusterInfo:
        """`cluster`."""
        self._called("info")
        return self.cluster

    def finished(
        self, since_utc: datetime, *, job_id: int | None = None, runs: bool = False
    ) -> list[Job] | None:
        """Ended jobs, as accounting knows them."""
        self._called("finished")
        if self.accounting is None:
            return None
        shown = [job for job in self.jobs_by_id.values() if job.state in _ENDED]
        known = {job.job_id: job for job in (*shown, *self.accounting)}
        return [
            job
            for job in ((*shown, *self.accounting) if runs else known.values())
            if (job.end_utc is None or job.end_utc >= since_utc)
            and job_id in (None, job.job_id, job.array_job_id)
        ]

    def note(self, job_id: int, cluster: str, admin_comment: str) -> None:
        """Change an ended job as accounting knows it; SlurmError where it does not."""
        self._called("note")
        job = self.jobs_by_id.get(job_id)
        if self.accounting is None or job is None or job.state not in _ENDED:
            raise SlurmError(f"accounting knows no ended job {job_id}")
        self.accounting.append(replace(job, admin_comment=admin_comment))

    def update(self, changes: Mapping[int, JobChange]) -> dict[int, str]:
        """Record the changes, apply those not refused, refuse as Slurm words it."""
        self._called("update")
        self.updates.append(dict(changes))
        refused: dict[int, str] = {}
        for job_id, one in changes.items():
            job = self.jobs_by_id.get(job_id)
            if job_id in self.refuse:
                refused[job_id] = self.refuse[job_id]
            elif job is None:
                refused[job_id] = f"Invalid job id specified for job {job_id}"
            elif job.state in _ENDED:
                refused[job_id] = f"Job has already finished for job {job_id}"
            elif one.begin_utc is not None and not job.pending:
                refused[job_id] = f"Job is no longer pending execution for job {job_id}"
            else:
                self.put(_applied(job, one))
        return refused

    def requeue(self, job_ids: Iterable[int]) -> dict[int, str]:
        """Running jobs that may be requeued wait again, as Slurm lets them: for two minutes."""
        self._called("requeue")
        refused: dict[int, str] = {}
        for job_id in job_ids:
            job = self.jobs_by_id.get(job_id)
            if job_id in self.refuse or job is None or not (job.active and job.requeue):
                refused[job_id] = self.refuse.get(
                    job_id, "Requested operation is presently disabled"
                )
            else:
                self.put(replace(job, state="PENDING", restarts=job.restarts + 1, start_utc=None))
        return refused


def _applied(job: Job, one: JobChange) -> Job:
    """The job after the change."""
    if one.begin_utc is not None:
        job = replace(job, eligible_utc=one.begin_utc)
    if one.admin_comment is not None:
        job = replace(job, admin_comment=one.admin_comment)
    if one.extra is not None:
        job = replace(job, extra=one.extra)
    if one.site_factor is not None:
        job = replace(job, site_factor=one.site_factor)
    if one.nodes is not None:
        gpus = job.gpus // job.nodes * one.nodes
        job = replace(job, nodes=one.nodes, gpus=gpus)
    if one.ntasks is not None:
        job = replace(job, ntasks=one.ntasks)
    if one.tasks_per_node is not None:
        job = replace(job, tasks_per_node=one.tasks_per_node)
    if one.cpus is not None:
        job = replace(job, cpus=one.cpus)
    if one.gres is not None:
        gpus = gpu_count(one.gres) * job.nodes
        job = replace(job, gres_per_node=one.gres, gpus=gpus)
    return job
