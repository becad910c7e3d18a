# SPDX-License-Identifier: Apache-2.0
"""The best responses of jobs that may be split, by the kernel: what split.py does."""

from ctypes import byref
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from slurm_green.plan.kernel import CQuestion, address, library
from slurm_green.plan.outcome import Prices
from slurm_green.plan.problem import JOULES_PER_KWH, SECONDS_PER_HOUR, Floats, Ints, Problem

__all__ = ["Responses", "respond"]


class Responses(NamedTuple):
    """What each job costs at least, infinity where its work does not fit, and what it uses.

    Entries are in the order of the jobs, and then of slots; `first` is where each job's begin,
    and their number at the end.
    """

    cost_g: Floats
    first: Ints
    slot: NDArray[np.int32]
    gpu_s: Floats
    energy_j: Floats


def respond(problem: Problem, prices: Prices, jobs: Ints, deadline_s: Floats) -> Responses:
    """The cheapest way to split each of these jobs in time, with these deadlines."""
    kernel = library()
    assert kernel is not None
    site, shapes, all_jobs = problem.site, problem.shapes, problem.jobs
    class_of = all_jobs.class_index[jobs]
    order = np.argsort(class_of, kind="stable")
    early = all_jobs.earliest_s[jobs][order].astype(np.float64)
    late = np.minimum(deadline_s, site.horizon_s)[order].astype(np.float64)
    work = all_jobs.work[jobs][order].astype(np.float64)
    slots = np.ceil(late / site.step_s) - np.floor(early / site.step_s)
    most = int(np.maximum(slots, 0.0).sum())
    cost, count = np.zeros(len(jobs)), np.zeros(len(jobs), dtype=np.int64)
    slot, used = np.zeros(most, dtype=np.int32), np.zeros((2, most))
    per_joule = (prices.mu + prices.nu) / JOULES_PER_KWH
    per_gpu_s = prices.lam / SECONDS_PER_HOUR
    classes, low = np.unique(class_of[order], return_index=True)
    bounds, written = np.append(low, len(jobs)).tolist(), 0
    for number, begin, end in zip(classes.tolist(), bounds[:-1], bounds[1:], strict=True):
        own = problem.fitting[number]
        ways = [np.append(0.0, one[own]) for one in (shapes.rate, shapes.gpus, shapes.power_w)]
        inputs: dict[str, NDArray[np.generic]]
        inputs = dict(zip(("rate", "gpus", "power"), ways, strict=True))
        inputs |= {"per_joule": per_joule, "per_gpu_s": per_gpu_s}
        inputs |= {"early": early[begin:end], "late": late[begin:end], "work": work[begin:end]}
        outputs: dict[str, NDArray[np.generic]]
        outputs = {"cost_g": cost[begin:end], "count": count[begin:end], "slot": slot[written:]}
        outputs |= {"gpu_s": used[0, written:], "energy_j": used[1, written:]}
        question = CQuestion(
            slots=site.slots,
            ways=len(own) + 1,
            jobs=end - begin,
            step=site.step_s,
            **{name: address(array) for name, array in (inputs | outputs).items()},
        )
        done = kernel.sg_split_respond(byref(question))
        if done < 0:
            raise MemoryError
        written += done
    return _in_order(order, Responses(cost, count, slot, used[0], used[1]))


def _in_order(order: Ints, by_class: Responses) -> Responses:
    """The same in the order in which jobs were asked for; `first` has their counts before."""
    count = by_class.first
    place = np.empty(len(order), dtype=np.int64)
    place[order] = np.arange(len(order))
    first = np.append(0, np.cumsum(count[place]))
    begin = (np.cumsum(count) - count)[place]
    at = np.arange(first[-1]) + np.repeat(begin - first[:-1], count[place])
    return Responses(
        cost_g=by_class.cost_g[place],
        first=first,
        slot=by_class.slot[at],
        gpu_s=by_class.gpu_s[at],
        energy_j=by_class.energy_j[at],
    )
