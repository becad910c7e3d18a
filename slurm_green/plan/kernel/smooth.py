# SPDX-License-Identifier: Apache-2.0
"""What jobs that may be split use at a temperature, by the kernel: what smooth.py does."""

from ctypes import byref

import numpy as np

from slurm_green.plan.kernel import CSmooth, address, library
from slurm_green.plan.outcome import Prices
from slurm_green.plan.problem import JOULES_PER_KWH, SECONDS_PER_HOUR, Floats, Ints, Problem
from slurm_green.plan.slot_table import SlotTable
from slurm_green.plan.split import Splits

__all__ = ["KernelSmooth"]


class KernelSmooth:
    """Jobs in the order of their classes; what their work usually costs, one entry for each class.

    What it does cost is kept from one question to the next, which differs little.
    """

    def __init__(
        self,
        problem: Problem,
        jobs: Ints,
        deadline_s: Floats,
        usual_g: Floats,
        temperature_g: Floats,
    ) -> None:
        site, shapes, all_jobs = problem.site, problem.shapes, problem.jobs
        own = problem.fitting
        classes = len(own)
        class_of = all_jobs.class_index[jobs]
        early = all_jobs.earliest_s[jobs].astype(np.float64)
        late = np.minimum(deadline_s, site.horizon_s).astype(np.float64)
        met = np.maximum(np.ceil(late / site.step_s) - np.floor(early / site.step_s), 0.0)
        most = int(met.sum())
        self._slots = site.slots
        self._cost_g, self._count = np.zeros(len(jobs)), np.zeros(len(jobs), dtype=np.int64)
        self._slot, self._used = np.zeros(most, dtype=np.int32), np.zeros((2, most))
        self._arrays = {
            "own_first": np.cumsum([0, *map(len, own)], dtype=np.int64),
            "own": np.concatenate([*own, np.zeros(0, dtype=np.int64)]),
            "rate": shapes.rate.astype(np.float64),
            "gpus": shapes.gpus.astype(np.float64),
            "power": shapes.power_w.astype(np.float64),
            "job_first": np.searchsorted(class_of, np.arange(classes + 1)).astype(np.int64),
            "temperature": temperature_g,
            "early": early,
            "late": late,
            "work": all_jobs.work[jobs].astype(np.float64),
            "price": usual_g[class_of],
            "cost_g": self._cost_g,
            "count": self._count,
            "slot": self._slot,
            "gpu_s": self._used[0],
            "energy_j": self._used[1],
        }
        self._sizes = {
            "slots": site.slots,
            "classes": classes,
            "ways": max(map(len, own), default=0),
            "step": site.step_s,
        }

    def respond(self, prices: Prices) -> Splits:
        """What each job uses at these prices, and what that costs it."""
        kernel = library()
        assert kernel is not None
        asked = {
            "per_joule": (prices.mu + prices.nu) / JOULES_PER_KWH,
            "per_gpu_s": prices.lam / SECONDS_PER_HOUR,
        }
        arrays = {name: address(array) for name, array in (self._arrays | asked).items()}
        done = kernel.sg_split_smooth(byref(CSmooth(**self._sizes, **arrays)))
        if done < 0:
            raise MemoryError
        cells = np.append(0, np.cumsum(self._count)), self._slot[:done].copy()
        gpu_s, energy_j = self._used[:, :done]
        return Splits(
            cost_g=self._cost_g.copy(),
            gpu_h=SlotTable.of(*cells, gpu_s / SECONDS_PER_HOUR, self._slots),
            energy_kwh=SlotTable.of(*cells, energy_j / JOULES_PER_KWH, self._slots),
        )
