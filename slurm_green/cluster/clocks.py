# SPDX-License-Identifier: Apache-2.0
"""What the emulated GPUs of a cluster do now, and who holds their clocks."""

import json
import math
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from profiling.errors import DeviceError
from slurm_green.cluster.gpus import bench_of
from slurm_green.cluster.layout import Layout
from slurm_green.cluster.spec import ClusterSpec

__all__ = ["GpuNow", "clocks_of"]


@dataclass(frozen=True, slots=True, kw_only=True)
class GpuNow:
    """One emulated GPU; None is no lock, no job, or one that only root can see."""

    node: str
    gpu: int
    clock_mhz: float
    lock_mhz: float | None
    limit_w: float
    context: bool
    """Whether something computes on it."""
    power_w: float
    owed: bool | None
    """Whether sgreen-noded's journal says that it is to be given back."""
    job_id: int | None

    def to_json(self) -> dict[str, Any]:
        """As `--json` prints it."""
        return asdict(self)


def clocks_of(layout: Layout, spec: ClusterSpec) -> list[GpuNow] | None:
    """Every GPU of the cluster; None where there are no benches, or they cannot be read."""
    if spec.gpu_model is None:
        return None
    try:
        return [one for node in spec.node_names for one in _of_node(layout, node)]
    except DeviceError:
        return None


def _of_node(layout: Layout, node: str) -> list[GpuNow]:
    state = layout.nodes / node / "state"
    jobs = _jobs(state / "jobs")
    owed = _names(state / "journal")
    with bench_of(layout, node) as bench:
        found = []
        for gpu in range(len(bench)):
            reading, uuid = bench.read(gpu), bench.uuid(gpu)
            locked = math.isfinite(reading.lock_high_mhz)
            found.append(
                GpuNow(
                    node=node,
                    gpu=gpu,
                    clock_mhz=reading.clock_mhz,
                    lock_mhz=reading.lock_high_mhz if locked else None,
                    limit_w=reading.limit_w,
                    context=reading.context,
                    power_w=reading.power_w,
                    owed=None if owed is None else f"{uuid}.owed" in owed,
                    job_id=jobs.get(uuid),
                )
            )
    return found


def _names(directory: Path) -> set[str] | None:
    try:
        return {path.name for path in directory.iterdir()}
    except FileNotFoundError:
        return set()
    except PermissionError:
        return None


def _jobs(directory: Path) -> dict[str, int]:
    """The job of each GPU that has one, from what sgreen-noded keeps for its own restart."""
    found: dict[str, int] = {}
    for name in sorted(_names(directory) or ()):
        try:
            values = json.loads((directory / name).read_text(encoding="utf-8"))
            found |= dict.fromkeys(values["energy_j"], int(values["job_id"]))
        except (OSError, ValueError, LookupError, TypeError):
            continue  # it ends just now
    return found
