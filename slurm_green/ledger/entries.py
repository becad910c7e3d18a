# SPDX-License-Identifier: Apache-2.0
"""The ledger's rows as values. Unknown is None; times are aware UTC."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from slurm_green.signals.series import Series
from slurm_green.slurm.records import Job, began

__all__ = [
    "Decision",
    "Entry",
    "Event",
    "JobFacts",
    "Lookup",
    "NodeEnergy",
    "Query",
    "facts_of",
    "lookup_in",
]

# Gives a series that covers the whole interval, or None: how receipts ask for the past.
Lookup = Callable[[datetime, datetime], Series | None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """What was decided for one job (or one whole array) at one time, with what it rested on."""

    cluster: str
    job_id: int
    decided_utc: datetime
    token: str = ""
    user: str = ""
    account: str = ""
    partition: str = ""
    qos: str = ""
    name: str = ""
    gpus: int = 0
    nodes: int = 1
    cpus: int = 1
    tasks: int = 1
    submit_utc: datetime | None = None
    mode: str = "shadow"  # or "enforce"
    action: str = "pass"  # or "defer"
    reason: str = ""
    policy: str = ""
    start_utc: datetime | None = None  # planned
    latest_utc: datetime | None = None
    expected_s: float | None = None
    power_w: float | None = None
    save_g: float | None = None  # an estimate, never to be added up with receipts
    provider: str = ""
    basis: str = ""
    scope: str = ""
    age_s: float | None = None
    promise: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """Something that happened to a job: confirmed, released, released-early, left-alone, ..."""

    cluster: str
    job_id: int
    at_utc: datetime
    kind: str
    detail: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class JobFacts:
    """A job (one array task each) as it ended, and its receipt once there is one.

    Slurm gives a requeued job a new submit time, so every run of it is a row of its own;
    `earlier_runs` is for backends that report them in one record.
    """

    cluster: str
    job_id: int
    submit_utc: datetime
    array_job_id: int | None = None
    array_task: str = ""
    user: str = ""
    account: str = ""
    partition: str = ""
    qos: str = ""
    name: str = ""
    asked_begin_utc: datetime | None = None  # the user's own begin time
    eligible_utc: datetime | None = None
    start_utc: datetime | None = None
    end_utc: datetime | None = None
    deadline_utc: datetime | None = None
    time_limit_s: float | None = None
    state: str = ""
    restarts: int = 0
    earlier_runs: tuple[tuple[datetime, datetime], ...] = ()
    gpus: int = 0
    cpus: int = 1
    nodes: int = 1
    mode: str = ""  # of the decision that applied: shadow, enforce or none
    action: str = ""  # defer, pass or none
    energy_j: float | None = None
    energy_source: str = ""  # measured, emulated, modelled or assumed
    power_w: float | None = None
    carbon_g: float | None = None
    carbon_now_g: float | None = None
    saved_g: float | None = None
    basis: str = ""
    scope: str = ""
    time_scale: float | None = None
    energy_note: str = ""  # why counters did not tell

    @property
    def ours(self) -> bool:
        """Whether we moved it: only then is a difference our doing."""
        return self.mode == "enforce" and self.action == "defer"

    @property
    def now_utc(self) -> datetime:
        """When it could have started without us: at submission, or the user's own --begin."""
        if self.asked_begin_utc is None:
            return self.submit_utc
        return max(self.submit_utc, self.asked_begin_utc)

    @property
    def began_utc(self) -> datetime | None:
        """When it began to run; None where it did not."""
        return began(self.state, self.start_utc, self.end_utc)

    @property
    def label(self) -> str:
        """The job's id as a person writes it."""
        if self.array_job_id is None or not self.array_task:
            return str(self.job_id)
        return f"{self.array_job_id}_{self.array_task}"


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeEnergy:
    """What the counters of a job's GPUs told on one node; `energy_j` None is unknown, see `why`.

    `name` is the node's own for it: handed in twice, it is one row.
    """

    cluster: str = ""
    node: str
    name: str
    job_id: int
    begin_utc: datetime
    end_utc: datetime
    gpus: int
    energy_j: float | None
    source: str  # nvml-counter, amdsmi-counter, emulated, ...
    why: str = ""


Entry = Decision | Event | JobFacts | NodeEnergy


@dataclass(frozen=True, slots=True, kw_only=True)
class Query:
    """Which rows; None and empty mean any. A job id finds an array's tasks too."""

    since_utc: datetime | None = None
    until_utc: datetime | None = None
    cluster: str = ""
    user: str = ""
    account: str = ""
    partition: str = ""
    job_id: int | None = None
    limit: int | None = None


def facts_of(
    job: Job,
    *,
    submit_utc: datetime,
    asked_begin_utc: datetime | None = None,
    mode: str = "",
    action: str = "",
) -> JobFacts:
    """A Slurm record as facts; `mode` and `action` are those of the decision that applied."""
    return JobFacts(
        cluster=job.cluster,
        job_id=job.job_id,
        submit_utc=submit_utc,
        array_job_id=job.array_job_id,
        array_task=job.array_task,
        user=job.user,
        account=job.account,
        partition=job.partition,
        qos=job.qos,
        name=job.name,
        asked_begin_utc=asked_begin_utc,
        eligible_utc=job.eligible_utc,
        start_utc=job.start_utc,
        end_utc=job.end_utc,
        deadline_utc=job.deadline_utc,
        time_limit_s=job.time_limit_s,
        state=job.state,
        restarts=job.restarts,
        gpus=job.gpus,
        cpus=job.cpus,
        nodes=job.nodes,
        mode=mode,
        action=action,
    )


def lookup_in(series: Series | None) -> Lookup:
    """A lookup over one series."""

    def look(start_utc: datetime, end_utc: datetime) -> Series | None:
        return series if series is not None and series.covers(start_utc, end_utc) else None

    return look
