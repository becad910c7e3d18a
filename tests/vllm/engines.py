# SPDX-License-Identifier: Apache-2.0
"""What tests of engines look at: times of steps, and what still runs."""

import math
from contextlib import suppress
from pathlib import Path

from profiling.device.gpu import Gpu
from profiling.workload.protocol import Steps, Workload


def latency_s(steps: Steps) -> float:
    """Time of one step."""
    return (steps.end_s - steps.begin_s) / steps.count


def undisturbed(workload: Workload, enough_s: float) -> Steps:
    """A stretch of some steps, each shorter than `enough_s`: what disturbs makes them longer."""
    for _ in range(20):
        steps = workload.run(0.3)
        if steps.count > 1 and latency_s(steps) < enough_s:
            break
    return steps


def slowed(
    workload: Workload, gpus: tuple[Gpu, ...], low_mhz: int, high_mhz: int, enough: object
) -> float:
    """How many times longer a step takes at the lower clock.

    Of some stretches in turns the shortest count: what disturbs can only make them longer. There
    are more of them until the answer is `enough`.
    """
    found = dict.fromkeys((low_mhz, high_mhz), math.inf)
    for _ in range(12):
        for clock_mhz in found:
            for gpu in gpus:
                gpu.lock_clocks(clock_mhz, clock_mhz)
            workload.run(0.4)  # the clock gets there: 0.2 s on an A100
            some = [latency_s(workload.run(0.06)) for _ in range(5)]
            found[clock_mhz] = min(found[clock_mhz], *some)
        if found[low_mhz] / found[high_mhz] == enough:
            break
    for gpu in gpus:
        gpu.reset_clocks()
    return found[low_mhz] / found[high_mhz]


def alive(session: int) -> list[str]:
    """Command lines of what still runs in a session."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            fields = stat.read_text().rpartition(")")[2].split()
            if fields[3] == str(session) and fields[0] not in "ZX":
                found.append(stat.with_name("cmdline").read_text().replace("\0", " "))
    return found
