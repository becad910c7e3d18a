# SPDX-License-Identifier: Apache-2.0
"""A job's power and energy from a model, until something measures them: source "modelled"."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from types import MappingProxyType

from slurm_green.ledger.entries import JobFacts

__all__ = ["MODELLED", "Power", "job_power_w", "modelled_energy_j", "runs_of"]

MODELLED = "modelled"

# Board power as the makers state it; a job draws `load` of it.
_BOARD_W = MappingProxyType(
    {
        "v100": 300.0, "t4": 70.0, "l4": 72.0, "l40s": 350.0, "a10": 150.0, "a30": 165.0,
        "a40": 300.0, "a100": 400.0, "h100": 700.0, "h200": 700.0, "b200": 1000.0,
        "mi250x": 560.0, "mi300x": 750.0,
    }
)  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Power:
    """What the model rests on; every figure is the site's to set, the defaults are assumptions."""

    # By GPU type as in Gres, lower case, exact or as the part before a separator.
    gpu_w: Mapping[str, float] = field(default_factory=lambda: _BOARD_W)
    other_gpu_w: float = 400.0
    # Share of the board power a training job draws on average.
    load: float = 0.8
    # Of one busy CPU as Slurm counts them, memory included.
    cpu_w: float = 5.0
    # The rest of a node (fans, network, supply losses) that comes with one GPU.
    share_w: float = 60.0
    # Of one GPU without a job, with its share of the node.
    idle_gpu_w: float = 120.0
    # Facility over IT energy; 1 counts IT energy only.
    pue: float = 1.0

    def board_w(self, gpu_type: str) -> float:
        """Board power of a GPU type, or that of `other_gpu_w` when the type is not listed."""
        name = gpu_type.strip().lower()
        for part in (name, *name.replace("-", "_").split("_")):
            if part in self.gpu_w:
                return self.gpu_w[part]
        return self.other_gpu_w


def job_power_w(power: Power, *, gpus: int, cpus: int, gpu_type: str = "") -> float:
    """What a job adds to the site's meter while it runs."""
    per_gpu_w = power.board_w(gpu_type) * power.load + power.share_w
    return (gpus * per_gpu_w + cpus * power.cpu_w) * power.pue


def runs_of(job: JobFacts) -> tuple[tuple[datetime, datetime], ...] | None:
    """All known stretches in which it ran; None while it runs, empty if it never did."""
    if job.start_utc is None:
        return job.earlier_runs
    if job.end_utc is None:
        return None
    return (*job.earlier_runs, (job.start_utc, max(job.start_utc, job.end_utc)))


def modelled_energy_j(power_w: float, runs: Iterable[tuple[datetime, datetime]]) -> float:
    """Energy over all runs: what a preempted run used was used."""
    return power_w * sum((end - start).total_seconds() for start, end in runs)
