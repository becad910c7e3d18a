# SPDX-License-Identifier: Apache-2.0
"""The whole site's carbon: its jobs, and its GPUs that wait for jobs."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from slurm_green.ledger.receipt import J_PER_KWH
from slurm_green.signals.series import Series

__all__ = ["Run", "SiteCarbon", "site_carbon"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """One stretch on the machine, in POSIX seconds."""

    start_s: float
    end_s: float
    power_w: float
    gpus: int


@dataclass(frozen=True, slots=True, kw_only=True)
class SiteCarbon:
    """Grams and joules over one span; each run's own grams in the order given."""

    jobs_g: float
    idle_g: float
    energy_j: float
    run_g: tuple[float, ...]

    @property
    def total_g(self) -> float:
        """Jobs and idle GPUs."""
        return self.jobs_g + self.idle_g


def site_carbon(
    runs: Sequence[Run],
    *,
    gpus: int,
    idle_w_per_gpu: float,
    signal: Series,
    begin_s: float,
    end_s: float,
) -> SiteCarbon:
    """Carbon over [begin, end], which must hold all runs and lie within the signal.

    A GPU with a job draws that job's power, one without draws `idle_w_per_gpu`.
    """
    scale = signal.time_scale
    starts = np.array([run.start_s for run in runs], dtype=np.float64)
    ends = np.array([run.end_s for run in runs], dtype=np.float64)
    watts = np.array([run.power_w for run in runs], dtype=np.float64)
    area = signal.integral_to(ends) - signal.integral_to(starts)  # g/kWh x s
    run_g = watts * area * scale / J_PER_KWH
    edges, idle = _idle_gpus(runs, gpus, begin_s, end_s)
    idle_area = np.diff(signal.integral_to(edges))
    idle_g = float((idle * idle_area).sum()) * idle_w_per_gpu * scale / J_PER_KWH
    idle_j = float((idle * np.diff(edges)).sum()) * idle_w_per_gpu
    return SiteCarbon(
        jobs_g=float(run_g.sum()),
        idle_g=idle_g,
        energy_j=(float((watts * (ends - starts)).sum()) + idle_j) * scale,
        run_g=tuple(float(grams) for grams in run_g),
    )


def _idle_gpus(
    runs: Sequence[Run], gpus: int, begin_s: float, end_s: float
) -> tuple[np.ndarray, np.ndarray]:
    changes: dict[float, int] = {begin_s: 0, end_s: 0}
    for run in runs:
        changes[run.start_s] = changes.get(run.start_s, 0) + run.gpus
        changes[run.end_s] = changes.get(run.end_s, 0) - run.gpus
    edges = np.array(sorted(changes), dtype=np.float64)
    busy = np.cumsum([changes[edge] for edge in edges])[:-1]
    # More busy GPUs than the site has: nodes came or went; then none was idle.
    return edges, np.maximum(0, gpus - busy)
