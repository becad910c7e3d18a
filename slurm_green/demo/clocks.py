# SPDX-License-Identifier: Apache-2.0
"""Which clocks the demo's jobs had, and the joules that their work took. Pure."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from slurm_green.cluster.clocks import GpuNow
from slurm_green.demo.watch import Row
from slurm_green.ledger.entries import NodeEnergy
from slurm_green.slurm.records import Job

__all__ = ["ClockLine", "Seen", "clock_lines", "clock_problems", "clock_summary", "joules_per_work"]


@dataclass(kw_only=True)
class Seen:
    """What looks at running jobs showed, by submitted job: set and actual MHz, and its tasks."""

    clocks: dict[int, Counter[tuple[float | None, float]]] = field(default_factory=dict)
    tasks: dict[int, set[int]] = field(default_factory=dict)

    def look(self, jobs: Iterable[Job], gpus: Iterable[GpuNow]) -> None:
        """One more look."""
        whole = {job.job_id: job.array_job_id or job.job_id for job in jobs if not job.pending}
        for job_id, submitted in whole.items():
            self.tasks.setdefault(submitted, set()).add(job_id)
        for gpu in gpus:
            if gpu.job_id in whole and gpu.context:
                looks = self.clocks.setdefault(whole[gpu.job_id], Counter())
                looks[gpu.lock_mhz, gpu.clock_mhz] += 1

    def usual(self, submitted: int) -> tuple[float | None, float | None]:
        """What most looks showed: a clock takes a moment to be set, and one to be reached."""
        looks = self.clocks.get(submitted)
        return looks.most_common(1)[0][0] if looks else (None, None)


@dataclass(frozen=True, slots=True, kw_only=True)
class ClockLine:
    """One submitted job, an array's tasks together; None is unknown, or that no clock was set."""

    name: str
    clocked: bool
    set_mhz: float | None
    ran_mhz: float | None
    gpu_work_s: float
    """GPUs times the seconds that the work takes at full clock."""
    energy_j: float | None
    source: str

    @property
    def joules(self) -> float | None:
        """Joules for each second of a GPU's work at full clock."""
        return joules_per_work([self])


def clock_lines(rows: Sequence[Row], seen: Seen, energies: Iterable[NodeEnergy]) -> list[ClockLine]:
    """One line for each submitted job."""
    told = list(energies)
    return [_line(row, seen, told) for row in rows]


def _line(row: Row, seen: Seen, told: Sequence[NodeEnergy]) -> ClockLine:
    wish, job_id = row.submitted.wish, row.submitted.job_id
    tasks = seen.tasks.get(job_id, set())
    mine = [one for one in told if one.job_id in tasks]
    known = [one.energy_j for one in mine if one.energy_j is not None]
    complete = len(known) == len(mine) and {one.job_id for one in mine} == tasks != set()
    set_mhz, ran_mhz = seen.usual(job_id)
    return ClockLine(
        name=row.submitted.name,
        clocked=wish.clocked,
        set_mhz=set_mhz,
        ran_mhz=ran_mhz,
        gpu_work_s=row.gpus * wish.work_s,
        energy_j=sum(known) if complete else None,
        source="+".join(sorted({one.source for one in mine})) or "unknown",
    )


def joules_per_work(lines: Sequence[ClockLine]) -> float | None:
    """Joules for each second of a GPU's work over several jobs; None where one is unknown."""
    known = [line.energy_j for line in lines if line.energy_j is not None]
    work_s = sum(line.gpu_work_s for line in lines)
    return sum(known) / work_s if len(known) == len(lines) and work_s > 0 else None


def clock_problems(
    lines: Sequence[ClockLine], left: Iterable[GpuNow], *, full_mhz: float
) -> list[str]:
    """What did not go as told; `left` are the GPUs when all jobs are over."""
    found = []
    for line in lines:
        if line.clocked and (line.set_mhz is None or line.set_mhz >= full_mhz):
            found.append(f"{line.name} has a profile and ran at full clock")
        if not line.clocked and line.set_mhz is not None:
            found.append(f"{line.name} has no profile and was set to {line.set_mhz:.0f} MHz")
        if line.energy_j is None or line.source != "emulated":
            found.append(f"the joules of {line.name} are {line.source}")
    found += [
        f"{gpu.node} GPU {gpu.gpu} was not given back"
        for gpu in left
        if gpu.owed or gpu.lock_mhz is not None
    ]
    return found


def clock_summary(lines: Sequence[ClockLine]) -> dict[str, Any]:
    """The same for programs."""
    return {
        "clocks": [{**asdict(line), "joules_per_gpu_work_s": line.joules} for line in lines],
        "joules_per_gpu_work_s": {
            "clocked": joules_per_work([line for line in lines if line.clocked]),
            "full_clock": joules_per_work([line for line in lines if not line.clocked]),
        },
    }
