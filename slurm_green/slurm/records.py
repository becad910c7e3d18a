# SPDX-License-Identifier: Apache-2.0
"""What Slurm knows, in one shape for every Slurm version and backend.

Unset, infinite and "no value" all become None: a number here is a number Slurm meant.
"""

from dataclasses import dataclass, field
from datetime import datetime
from typing import NamedTuple

__all__ = [
    "ClusterInfo",
    "Job",
    "JobChange",
    "Node",
    "NodeSize",
    "Partition",
    "Reservation",
    "began",
]

# In which a job may end while it waits; NODE_FAIL when its partition goes (seen on 22.05).
_UNBEGUN = frozenset({"CANCELLED", "DEADLINE", "NODE_FAIL"})


def began(state: str, start_utc: datetime | None, end_utc: datetime | None) -> datetime | None:
    """When it began to run; Slurm shows the end as start of one that ended while it waited."""
    return None if start_utc == end_utc and state in _UNBEGUN else start_utc


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """One record of squeue or sacct: a job, a pending array (or its rest), or one array task.

    `nodes`, `cpus`, `gpus` are per task of an array; `tasks` says how many pending tasks the
    record stands for and `max_running_tasks` is the array's `%N`.
    """

    job_id: int
    name: str = ""
    user: str = ""
    uid: int | None = None
    account: str = ""
    partition: str = ""
    qos: str = ""
    state: str = "PENDING"
    flags: frozenset[str] = frozenset()
    reason: str = ""
    submit_utc: datetime | None = None
    # The begin time that was asked for; Slurm calls it eligible time and keeps it stable.
    eligible_utc: datetime | None = None
    start_utc: datetime | None = None
    end_utc: datetime | None = None
    deadline_utc: datetime | None = None
    time_limit_s: int | None = None
    nodes: int = 1
    cpus: int = 1
    gpus: int = 0
    # Processes that srun starts, and what of GRES was asked for on each node, in Slurm's words.
    ntasks: int = 1
    gres_per_node: str = ""
    # What else was asked for and grows with GPUs or tasks; 0 where nothing was.
    tasks_per_node: int = 0
    cpus_per_gpu: int = 0
    # Whether it names features or nodes, so that some nodes are none for it.
    choosy: bool = False
    # What one that waits asked for in all, by whatever measure; 0 where Slurm does not say.
    memory_mb: int = 0
    node_names: tuple[str, ...] = ()
    array_job_id: int | None = None
    array_task: str = ""
    tasks: int = 1
    max_running_tasks: int | None = None
    het_job_id: int | None = None
    held: bool = False
    batch: bool = True
    requeue: bool = False
    restarts: int = 0
    priority: int | None = None
    site_factor: int = 0
    dependency: str = ""
    reservation: str = ""
    comment: str = ""
    admin_comment: str = ""
    # What sbatch --gpu-freq asked for, such as "gpu:low"; None where the backend does not show it.
    gpu_freq: str | None = ""
    extra: str = ""
    cluster: str = ""
    # The cluster of a federation that was asked to run it; "" outside federations.
    origin: str = ""

    @property
    def pending(self) -> bool:
        """Waiting, for whatever reason."""
        return self.state == "PENDING"

    @property
    def began_utc(self) -> datetime | None:
        """When it began to run; None where it did not, and for one that waits."""
        return None if self.pending else began(self.state, self.start_utc, self.end_utc)

    @property
    def sibling(self) -> bool:
        """One cluster's copy of a job that another cluster of its federation was asked to run."""
        return self.origin not in ("", self.cluster)

    @property
    def active(self) -> bool:
        """Holding resources now."""
        return self.state in {"RUNNING", "SUSPENDED", "CONFIGURING", "COMPLETING"}


class NodeSize(NamedTuple):
    """What a node has for jobs; memory in MB, 0 where Slurm does not say."""

    gpus: int
    cpus: int
    memory_mb: int = 0
    gpu_type: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    """A compute node. `available` is false for down, drained, failed or reserved-for-reboot."""

    name: str
    cpus: int
    gpus: int = 0
    gpu_type: str = ""
    memory_mb: int = 0
    available: bool = True
    # Switched off by Slurm's power saving; it takes ResumeTimeout at worst to come back.
    powered_down: bool = False
    partitions: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Partition:
    """A partition; limits are None where unlimited."""

    name: str
    node_names: tuple[str, ...] = ()
    default: bool = False
    up: bool = True
    default_time_s: int | None = None
    max_time_s: int | None = None
    min_nodes: int = 0
    max_nodes: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Reservation:
    """A reservation; `maintenance` when its flags say MAINT, `flex` where they say FLEX.

    Jobs of a flexible one may start before it, and on other nodes.
    """

    name: str
    start_utc: datetime
    end_utc: datetime
    node_names: tuple[str, ...] = ()
    maintenance: bool = False
    flex: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class ClusterInfo:
    """What of slurm.conf our decisions rest on."""

    name: str
    version: tuple[int, int]
    slurm_user: str = "slurm"
    priority_type: str = "priority/basic"
    priority_flags: frozenset[str] = frozenset()
    priority_weight_age: int = 0
    priority_max_age_s: int = 7 * 86400
    resume_timeout_s: int = 60
    accounting: bool = False
    settings: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class JobChange:
    """What we may change in a job; None leaves a field alone."""

    begin_utc: datetime | None = None
    admin_comment: str | None = None
    extra: str | None = None
    site_factor: int | None = None
    # A pending job's width; nodes, processes and CPUs are given together.
    nodes: int | None = None
    ntasks: int | None = None
    tasks_per_node: int | None = None
    cpus: int | None = None
    gres: str | None = None
    # Of what waits of an array: not of its tasks that are jobs of their own by now.
    array: bool = False

    @property
    def reshapes(self) -> bool:
        """Whether it makes a job wider or narrower."""
        return self.nodes is not None or self.gres is not None
