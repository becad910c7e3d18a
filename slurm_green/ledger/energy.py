# SPDX-License-Identifier: Apache-2.0
"""A job's runs and their energy: by its GPUs' counters where all told, else modelled. Pure.

The trap: counters tell of GPU boards alone. The rest of the nodes stays modelled beside them, and
what an emulated GPU tells is never called measured.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from slurm_green.ledger.entries import JobFacts, NodeEnergy
from slurm_green.plan.power import PowerModel

__all__ = [
    "COUNTED",
    "EMULATED",
    "MEASURED",
    "MODELLED",
    "Counted",
    "counted",
    "modelled_energy_j",
    "runs_of",
    "with_counters",
]

MODELLED = "modelled"
MEASURED = "measured"
EMULATED = "emulated"
COUNTED = (MEASURED, EMULATED)  # words for a figure that rests on counters
_COUNTERS = frozenset({"nvml-counter", "amdsmi-counter"})
# A prolog begins after a job does, an epilog ends after it; clocks differ by less.
_SLACK = timedelta(seconds=5)


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


@dataclass(frozen=True, slots=True)
class Counted:
    """What counters say of one run: joules of all its GPUs' boards, or None and why not.

    `sources` are theirs; nobody told anything where it is empty.
    """

    boards_j: float | None = None
    sources: tuple[str, ...] = ()
    why: str = ""


def counted(job: JobFacts, energies: Iterable[NodeEnergy]) -> Counted:
    """The sum over the nodes of the job's only run; `energies` are those of its job id."""
    runs = runs_of(job)
    if not runs or job.earlier_runs:
        return Counted()
    ((start, end),) = runs
    told = [
        one
        for one in energies
        if start - _SLACK <= one.begin_utc + (one.end_utc - one.begin_utc) / 2 <= end + _SLACK
    ]
    # Of a node whose prolog came twice each stretch counts: the last alone is not the whole run.
    nodes = len({one.node for one in told})
    sources = tuple(sorted({part for one in told for part in one.source.split("+")}))
    unknown = [f"{one.node}: {one.why}" for one in told if one.energy_j is None]
    if not set(sources) <= {*_COUNTERS, EMULATED}:
        unknown.append(f"source {', '.join(sources)}")
    if 0 < nodes < job.nodes:
        unknown.append(f"{nodes} of {job.nodes} nodes told")
    if unknown or not told:
        return Counted(None, sources, "; ".join(unknown))
    return Counted(sum(one.energy_j or 0.0 for one in told), sources)


def with_counters(job: JobFacts, energies: Iterable[NodeEnergy], power: PowerModel) -> JobFacts:
    """The facts with the energy of the job's run, where every node told that of its GPUs.

    Otherwise without one, and with a note where some told.
    """
    blank = replace(job, energy_j=None, energy_source="", energy_note="", time_scale=None)
    found = counted(job, energies)
    if found.boards_j is None:
        return replace(blank, energy_note=found.why)
    rest_w = power.rest_w(gpus=job.gpus, cpus=job.cpus)
    return replace(
        blank,
        energy_j=power.pue * found.boards_j + modelled_energy_j(rest_w, runs_of(job) or ()),
        energy_source=EMULATED if EMULATED in found.sources else MEASURED,
    )
