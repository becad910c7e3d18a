# SPDX-License-Identifier: Apache-2.0
"""The port to Slurm: what every backend offers, whichever way it talks."""

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Protocol

from slurm_green.slurm.records import ClusterInfo, Job, JobChange, Node, Partition, Reservation

__all__ = ["SlurmClient"]


class SlurmClient(Protocol):
    """Read everything in a few calls, change jobs in one; raises SlurmError when Slurm does not."""

    def jobs(self) -> list[Job]:
        """Every job slurmctld still knows, ended ones included until MinJobAge."""

    def nodes(self) -> list[Node]:
        """All nodes."""

    def partitions(self) -> list[Partition]:
        """All partitions."""

    def reservations(self) -> list[Reservation]:
        """All reservations, current and coming."""

    def info(self) -> ClusterInfo:
        """The parts of slurm.conf that matter to us."""

    def finished(
        self, since_utc: datetime, *, job_id: int | None = None, runs: bool = False
    ) -> list[Job] | None:
        """Jobs that ended since then, from accounting; None where the site has no accounting.

        With `job_id` only that job, or all tasks of that array: cheap, however far back. With
        `runs` all runs of requeued jobs, also of those that live on: REQUEUED, NODE_FAIL, ...
        """

    def note(self, job_id: int, cluster: str, admin_comment: str) -> None:
        """Set the AdminComment of a job that has ended, which only accounting can still do."""

    def update(self, changes: Mapping[int, JobChange]) -> dict[int, str]:
        """Apply the changes, job by job; returns Slurm's words for those it refused."""

    def requeue(self, job_ids: Iterable[int]) -> dict[int, str]:
        """Stop running jobs and put them back into the queue; Slurm's words for those it refused.

        Slurm lets such a job start again after two minutes unless its begin time is changed.
        """
