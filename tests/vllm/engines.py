# SPDX-License-Identifier: Apache-2.0
"""What tests of engines look at: times of steps, and what still runs."""

from contextlib import suppress
from pathlib import Path

from profiling.device.gpu import Gpu
from profiling.workload.protocol import Steps, Workload


def latency_s(steps: Steps) -> float:
    """Time of one step."""
    return (steps.end_s - steps.begin_s) / steps.count


def slowed(workload: Workload, gpus: tuple[Gpu, ...], low_mhz: int, high_mhz: int) -> float:
    """How many times longer a step takes at the lower clock.

    Of some stretches in turns the shortest count: what disturbs can only make them longer.
    """
    found: dict[int, list[float]] = {low_mhz: [], high_mhz: []}
    for clock_mhz in (low_mhz, high_mhz) * 3:
        for gpu in gpus:
            gpu.lock_clocks(clock_mhz, clock_mhz)
        workload.run(0.4)  # the clock gets there: 0.2 s on an A100
        found[clock_mhz].append(latency_s(workload.run(0.3)))
    for gpu in gpus:
        gpu.reset_clocks()
    return min(found[low_mhz]) / min(found[high_mhz])


def alive(session: int) -> list[str]:
    """Command lines of what still runs in a session."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            fields = stat.read_text().rpartition(")")[2].split()
            if fields[3] == str(session) and fields[0] not in "ZX":
                found.append(stat.with_name("cmdline").read_text().replace("\0", " "))
    return found
