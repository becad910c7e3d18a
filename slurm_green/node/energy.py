# SPDX-License-Identifier: Apache-2.0
"""A job's energy from its GPUs' counters: end minus begin, or unknown. Pure.

The trap: short differences of these counters fall short (they move every 100 ms), so only the
ends of a whole job are subtracted.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime

from profiling.device.gpu import Identity

__all__ = ["EMULATED", "JobEnergy", "source_of", "used_j"]

EMULATED = "emulated"
_SOURCES = {"nvidia": "nvml-counter", "amd": "amdsmi-counter"}
_STANDS_STILL_S = 2.0  # even an idle GPU draws power, and its counter moves every 100 ms


@dataclass(frozen=True, slots=True, kw_only=True)
class JobEnergy:
    """What a job's GPUs used on one node; `energy_j` is None when unknown, and `why` says why."""

    job_id: int
    node: str
    begin_utc: datetime
    end_utc: datetime
    gpus: tuple[str, ...]
    energy_j: float | None
    source: str
    why: str = ""


def source_of(identities: Iterable[Identity]) -> str:
    """Where a job's figure comes from; one emulated GPU makes all of it emulated."""
    found = {
        EMULATED if one.emulated else _SOURCES.get(one.vendor, one.vendor) for one in identities
    }
    return EMULATED if EMULATED in found else "+".join(sorted(found)) or "unknown"


def used_j(
    begin: Mapping[str, float | None], end: Mapping[str, float | None], elapsed_s: float
) -> tuple[float | None, str]:
    """Joules between two readings of the same GPUs, or None and why not."""
    total_j = 0.0
    for uuid, first_j in begin.items():
        last_j = end.get(uuid)
        if first_j is None or last_j is None:
            return None, f"{uuid} told no counter"
        if last_j < first_j:
            return None, f"the counter of {uuid} was reset"
        if last_j == first_j and elapsed_s > _STANDS_STILL_S:
            return None, f"the counter of {uuid} stood still"
        total_j += last_j - first_j
    return total_j, ""
