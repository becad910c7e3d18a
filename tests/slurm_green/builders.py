# SPDX-License-Identifier: Apache-2.0
"""Small builders: each gives a valid value, a test names only what it is about."""

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np

from slurm_green.controller.observed import Memory, Observed
from slurm_green.controller.rules import Rules
from slurm_green.hook.policy import Policy
from slurm_green.hook.request import Request
from slurm_green.hook.view import PartitionView, View
from slurm_green.plan.room import Room
from slurm_green.signals.series import Series
from slurm_green.slurm.records import ClusterInfo, Job, Node, Partition

# A dirty hour of the example day: the clean ones come at noon.
NOW = datetime(2026, 11, 23, 6, 0, tzinfo=UTC)
NOW_S = NOW.timestamp()
MIDNIGHT = NOW.replace(hour=0)
HOUR = 3600.0
DAY = 86400.0


def at(hours: float) -> datetime:
    """`hours` after NOW."""
    return NOW + timedelta(hours=hours)


def series(values: Sequence[float], *, start: datetime = NOW, step_s: float = HOUR) -> Series:
    """A signal with these values, issued at its start."""
    return Series(
        start_utc=start,
        step_s=step_s,
        values=np.array(values, dtype=np.float64),
        issued_utc=start,
        provider="test",
    )


def days(count: int = 4, *, start: datetime = MIDNIGHT) -> Series:
    """Half-hourly days shaped like a sunny grid's: about 450 g at night, 100 g at noon."""
    hours = np.arange(count * 48) / 2 + 0.25
    values = 450 - 350 * np.exp(-(((hours % 24) - 12) ** 2) / 8) + hours % 24
    return Series(start_utc=start, step_s=1800.0, values=values, issued_utc=start, provider="test")


def job(job_id: int = 1, **fields: Any) -> Job:
    """A pending one-GPU job of two hours, submitted now, eligible at once."""
    given: dict[str, Any] = {
        "job_id": job_id,
        "name": "train",
        "user": "ada",
        "account": "ml",
        "partition": "gpu",
        "qos": "normal",
        "submit_utc": NOW,
        "eligible_utc": NOW,
        "time_limit_s": 7200,
        "cpus": 4,
        "gpus": 1,
    }
    return Job(**(given | fields))


def request(**fields: Any) -> Request:
    """The same job as it is asked about at submission."""
    given: dict[str, Any] = {
        "submit_utc": NOW,
        "user": "ada",
        "account": "ml",
        "partition": "gpu",
        "qos": "normal",
        "name": "train",
        "cpus": 4,
        "gpus": 1,
        "time_limit_s": 7200,
    }
    return Request(**(given | fields))


def policy(**fields: Any) -> Policy:
    """An enforcing policy that lets everybody wait twelve hours."""
    given: dict[str, Any] = {"mode": "enforce", "default_delay_s": 12 * HOUR}
    return Policy(**(given | fields))


def rules(*, policy: Policy | None = None, **fields: Any) -> Rules:
    """Rules with one policy for all partitions and QOS; what usually arrives counts for nothing."""
    fields = {"usual_over_s": 1e18, "usual_least_s": 1e18, "reserve_deviations": 0.0} | fields
    one = policy or Policy(mode="enforce", default_delay_s=12 * HOUR)
    return Rules(policy_for=lambda _partition, _qos: one, **fields)


def nodes(count: int = 4, *, gpus: int = 2, cpus: int = 16, **fields: Any) -> tuple[Node, ...]:
    """Nodes n0, n1, ..."""
    return tuple(Node(name=f"n{i}", cpus=cpus, gpus=gpus, **fields) for i in range(count))


def info(**fields: Any) -> ClusterInfo:
    """A cluster with multifactor priority, where age counts 1,000 points in seven days."""
    given: dict[str, Any] = {
        "name": "test",
        "version": (22, 5),
        "priority_type": "priority/multifactor",
        "priority_weight_age": 1000,
    }
    return ClusterInfo(**(given | fields))


def observed(*jobs: Job, now: datetime = NOW, **fields: Any) -> Observed:
    """What a cycle sees: these jobs on four nodes of two GPUs, one partition `gpu`."""
    given: dict[str, Any] = {
        "now_utc": now,
        "jobs": jobs,
        "nodes": nodes(),
        "info": info(),
        "signal": days(),
    }
    given |= fields
    if "partitions" not in given:
        names = tuple(node.name for node in given["nodes"])
        given["partitions"] = (Partition(name="gpu", node_names=names, default=True),)
    if given["signal"] is not None and "signal" not in fields:
        given["signal"] = fresh(given["signal"], now)
    return Observed(**given)


def fresh(signal: Series, now: datetime) -> Series:
    """The signal, issued now."""
    return Series(
        start_utc=signal.start_utc,
        step_s=signal.step_s,
        values=signal.values,
        issued_utc=now,
        provider=signal.provider,
    )


def room(*capacity: float, start_s: float = NOW_S, step_s: float = 600.0, slots: int = 288) -> Room:
    """An empty room, two days of ten minutes unless told otherwise."""
    return Room.empty(start_s=start_s, step_s=step_s, slots=slots, capacity=capacity)


def partition_view(name: str = "gpu", *, gpus: int = 8, cpus: int = 64, **fields: Any) -> Any:
    """An empty partition."""
    given: dict[str, Any] = {
        "name": name,
        "gpus": gpus,
        "cpus": cpus,
        "default_time_s": None,
        "max_time_s": None,
        "queue": room(gpus, cpus),
        "room": room(gpus, cpus),
        "planned": room(gpus, cpus),
    }
    return PartitionView(**(given | fields))


def view(*partitions: PartitionView, **fields: Any) -> View:
    """A view of an empty cluster on the example day."""
    shown = partitions or (partition_view(),)
    given: dict[str, Any] = {
        "taken_utc": NOW,
        "partitions": {one.name: one for one in shown},
        "default_partition": shown[0].name,
        "signal": days(),
    }
    return View(**(given | fields))


def memory(**fields: Any) -> Memory:
    """A memory; `last_utc` a cycle ago unless told otherwise."""
    return Memory(**({"last_utc": NOW - timedelta(seconds=30)} | fields))


def ids(jobs: Iterable[Job]) -> list[int]:
    """Their job ids, in order."""
    return [one.job_id for one in jobs]
