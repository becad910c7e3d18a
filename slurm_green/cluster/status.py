# SPDX-License-Identifier: Apache-2.0
"""What of a cluster is up, seen from its processes and from Slurm's own answers."""

from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from slurm_green.cluster import processes
from slurm_green.cluster.clocks import GpuNow, clocks_of
from slurm_green.cluster.layout import Layout
from slurm_green.cluster.machine import Machine
from slurm_green.cluster.noded import has_noded
from slurm_green.cluster.record import all_records, load
from slurm_green.errors import ClusterError

__all__ = ["ClusterStatus", "is_up", "status", "status_of_all"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ClusterStatus:
    """One cluster at one moment; None is what could not be learnt."""

    name: str
    state: str
    """up | partial | down"""
    directory: Path
    slurm_version: str
    daemons: dict[str, int]
    nodes: dict[str, str] | None
    jobs: int | None
    port: int
    gpus_per_node: int
    gpu_model: str | None
    clocks: list[GpuNow] | None
    hook: bool
    accounting: str | None
    slurm_conf: Path
    env_file: Path

    def to_json(self) -> dict[str, Any]:
        """As `--json` prints it."""
        return {
            "name": self.name,
            "state": self.state,
            "directory": str(self.directory),
            "slurm_version": self.slurm_version,
            "daemons": self.daemons,
            "nodes": self.nodes,
            "jobs": self.jobs,
            "slurmctld_port": self.port,
            "gpus_per_node": self.gpus_per_node,
            "gpus": "emulated",
            "gpu_model": self.gpu_model,
            "clocks": None if self.clocks is None else [one.to_json() for one in self.clocks],
            "hook": self.hook,
            "accounting": self.accounting,
            "slurm_conf": str(self.slurm_conf),
            "env_file": str(self.env_file),
        }


def is_up(machine: Machine) -> bool:
    """Whether all daemons the cluster should have are there; asks nobody."""
    return _state(machine, processes.find(machine.layout.directory)) == "up"


def status(name: str, base: Path) -> ClusterStatus:
    """The status of the cluster of that name."""
    layout = Layout.of(name, base)
    return _status(Machine(layout=layout, record=load(layout)))


def status_of_all(base: Path) -> list[ClusterStatus]:
    """The status of every cluster there."""
    return [_status(Machine(layout=layout, record=rec)) for layout, rec in all_records(base)]


def _status(machine: Machine) -> ClusterStatus:
    layout, record = machine.layout, machine.record
    found = processes.find(layout.directory)
    nodes, jobs = _ask_slurm(machine) if any(p.kind == "slurmctld" for p in found) else (None, None)
    return ClusterStatus(
        name=layout.name,
        state=_state(machine, found),
        directory=layout.directory,
        slurm_version=record.slurm_version,
        daemons=dict(sorted(Counter(process.kind for process in found).items())),
        nodes=nodes,
        jobs=jobs,
        port=record.ports.slurmctld,
        gpus_per_node=record.spec.gpus,
        gpu_model=record.spec.gpu_model,
        clocks=clocks_of(layout, record.spec),
        hook=record.spec.hook,
        accounting=layout.name if record.spec.accounting else record.spec.accounting_of,
        slurm_conf=layout.slurm_conf,
        env_file=layout.env_file,
    )


def _state(machine: Machine, found: list[processes.Process]) -> str:
    if not found:
        return "down"
    spec = machine.record.spec
    wanted = {"munged", "slurmctld"}
    wanted |= {"slurmdbd", "mariadbd"} if spec.accounting else set()
    on_nodes = {(process.kind, process.node) for process in found}
    kinds = ("slurmd", processes.NODED) if has_noded(spec) else ("slurmd",)
    complete = wanted <= {process.kind for process in found} and on_nodes >= {
        (kind, node) for kind in kinds for node in spec.node_names
    }
    return "up" if complete else "partial"


def _ask_slurm(machine: Machine) -> tuple[dict[str, str] | None, int | None]:
    try:
        nodes = machine.client("sinfo", "-h", "-N", "-o", "%N %T", timeout_s=10)
        jobs = machine.client("squeue", "-h", "-r", "-o", "%i", timeout_s=10)
    except ClusterError:
        return None, None  # it hangs, or goes down while we ask: one cluster must not hide others
    if nodes.returncode != 0 or jobs.returncode != 0:
        return None, None
    pairs = (line.split(maxsplit=1) for line in nodes.stdout.splitlines())
    return {words[0]: words[1] for words in pairs if len(words) == 2}, len(jobs.stdout.splitlines())
