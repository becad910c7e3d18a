# SPDX-License-Identifier: Apache-2.0
"""What a worker of a job is, and how Slurm is told of another number of them. Pure.

A job on several nodes has a worker per node, one on a single node a worker per GPU. Only jobs that
ask for their GPUs per node, and whose processes divide evenly, can be told otherwise: everything
else keeps the width it asked for.

The trap: Slurm takes any width for a job that waits, and never starts one that no nodes can hold.
"""

import re
from dataclasses import dataclass, replace

from slurm_green.hook.view import PartitionView
from slurm_green.slurm.gres import gpu_count, gpu_type
from slurm_green.slurm.records import Job, JobChange, NodeSize

__all__ = ["Width", "width_of"]

# Not the digits of a type: one h100 may be asked for as gpu:h100.
_COUNT = re.compile(r"[:=]\d+$")
_ALL = 0.99  # Slurm shows memory with few digits


@dataclass(frozen=True, slots=True, kw_only=True)
class Width:
    """`workers` as asked for, each of so many GPUs; `by_node` says what a worker is."""

    workers: int
    gpus_per_worker: int
    by_node: bool

    def change(self, job: Job, workers: int) -> JobChange:
        """What makes the job so wide."""
        if self.by_node:
            return JobChange(
                nodes=workers,
                ntasks=job.ntasks // job.nodes * workers,
                cpus=job.cpus // job.nodes * workers,
            )
        text = job.gres_per_node.removeprefix("gres").lstrip(":/")
        change = JobChange(gres=f"{_COUNT.sub('', text)}:{workers}")
        if job.ntasks == 1:
            return change
        ntasks = job.ntasks // job.gpus * workers
        return replace(
            change,
            ntasks=ntasks,
            # All of them are on one node.
            tasks_per_node=ntasks if job.tasks_per_node else None,
            cpus=job.cpus // job.gpus * workers,
        )

    def fits(self, job: Job, workers: int, partition: PartitionView) -> bool:
        """Whether the partition has the nodes for it, busy or not.

        Of nodes that could hold it as asked for any may be the only ones with its features.
        """
        there = self.reshaped(job, workers)
        able = [size for size in partition.sizes if _holds(size, job)]
        more = 1.0 if self.by_node else workers / self.workers
        if not able or not all(_holds(size, there) and _has_mb(size, job, more) for size in able):
            return False
        most = sum(partition.sizes[size] for size in able)
        most = min(most, partition.max_nodes or most, job.nodes if job.choosy else most)
        return partition.min_nodes <= there.nodes <= most

    def reshaped(self, job: Job, workers: int) -> Job:
        """The job as it is then."""
        change = self.change(job, workers)
        return replace(
            job,
            nodes=change.nodes or job.nodes,
            ntasks=change.ntasks or job.ntasks,
            tasks_per_node=change.tasks_per_node or job.tasks_per_node,
            cpus=change.cpus or job.cpus,
            gpus=workers * self.gpus_per_worker,
            gres_per_node=change.gres or job.gres_per_node,
        )


def _has_mb(size: NodeSize, job: Job, more: float) -> bool:
    """Whether a node has memory for so many times the job's workers.

    By what measure it was asked for does not show: per GPU or CPU it grows along, and who gave one
    worker a part of a node would have others want as much. All of a node does not grow.
    """
    node_mb = size.memory_mb
    return not node_mb or job.memory_mb >= _ALL * node_mb or more * job.memory_mb <= node_mb


def _holds(size: NodeSize, job: Job) -> bool:
    """Whether such a node holds the job's part for one node."""
    wanted = gpu_type(job.gres_per_node)
    cpus = max(job.cpus, job.gpus * job.cpus_per_gpu)
    enough = size.gpus * job.nodes >= job.gpus and size.cpus * job.nodes >= cpus
    return enough and wanted in ("", size.gpu_type)


def width_of(job: Job) -> Width | None:
    """The job's width; None where it cannot be changed."""
    per_node = gpu_count(job.gres_per_node)
    text = job.gres_per_node
    if job.tasks != 1 or not per_node or job.gpus != per_node * job.nodes or "," in text:
        return None
    if job.nodes > 1:
        if job.ntasks % job.nodes or job.cpus % job.nodes:
            return None
        return Width(workers=job.nodes, gpus_per_worker=per_node, by_node=True)
    if not _COUNT.search(text) and job.gpus != 1:
        return None
    if job.ntasks > 1 and (job.ntasks % job.gpus or job.cpus % job.gpus):
        return None
    return Width(workers=job.gpus, gpus_per_worker=1, by_node=False)
