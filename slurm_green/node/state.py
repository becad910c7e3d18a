# SPDX-License-Identifier: Apache-2.0
"""What sgreen-noded knows of its node, and what is wanted of its GPUs: plain values. Pure."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

from profiling.device.apply import Setting

__all__ = ["Ask", "Cap", "Device", "Job", "Orders", "Plan", "Reading", "State"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What sgreend wants for a job; `own` means that it chose its clocks itself (--gpu-freq)."""

    clock_mhz: int | None = None
    floor_mhz: int | None = None  # no cap goes below: its time limit would no longer hold
    power_limit_w: float | None = None
    own: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Cap:
    """The most that any planned job of the site may have, per GPU."""

    clock_mhz: int | None = None
    power_limit_w: float | None = None


@dataclass(frozen=True, slots=True)
class Orders:
    """What sgreend wants of the jobs it was asked about; None is no plan."""

    plans: Mapping[int, Plan | None] = field(default_factory=dict)
    cap: Cap = field(default_factory=Cap)


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """A job that a prolog began; live while the last look saw it, and core.GRACE_S longer."""

    job_id: int
    uid: int
    gpus: tuple[str, ...]
    seen_s: float
    plan: Plan | None = None
    shared: bool = False  # at any time with another job: whose joules they were is not known


@dataclass(frozen=True, slots=True, kw_only=True)
class Ask:
    """What a job's own user wants for one of its GPUs, until the lease runs out."""

    job_id: int
    setting: Setting
    until_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Device:
    """What is believed of one GPU; `owed` says that it is in the journal."""

    held: Setting | None = None
    owed: bool = False
    barred: str | None = None  # why it is only observed, until its next job
    retry_s: float = 0.0
    astray: int = 0  # readings in a row above what it accepted


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """What one GPU shows; None is what it does not tell."""

    power_w: float | None = None
    clock_mhz: int | None = None
    energy_j: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class State:
    """One node: its GPUs by uuid, its jobs by id, the leases of their users, the site's cap."""

    devices: Mapping[str, Device]
    jobs: Mapping[int, Job] = field(default_factory=dict)
    asks: Mapping[str, Ask] = field(default_factory=dict)
    cap: Cap = field(default_factory=Cap)
    # GPUs on which somebody else computes, and who.
    foreign: Mapping[str, str] = field(default_factory=dict)
    looked_s: float = math.inf  # when it was last looked which jobs live
    stopping: bool = False
