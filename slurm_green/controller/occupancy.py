# SPDX-License-Identifier: Apache-2.0
"""Rooms of every partition from what runs, queues and is reserved. Pure."""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from slurm_green.controller.observed import Observed
from slurm_green.hook.extent import waves
from slurm_green.plan.room import Room
from slurm_green.slurm.records import Job, Node, NodeSize, Reservation

__all__ = ["Occupancy", "Placement", "occupancy", "reserved_for"]

# Enough to tell hours apart within days, small enough to be copied for every partition.
_SLOTS = 720
# A queue longer than this is full in any case; packing more of it would only cost time.
_PACKED_JOBS = 2000


@dataclass(frozen=True, slots=True, kw_only=True)
class Placement:
    """Where the queue's packing put a waiting or running job, POSIX seconds."""

    begin_s: float
    end_s: float
    need: tuple[float, float]


@dataclass(kw_only=True)
class Occupancy:
    """One partition's capacity and its queue's room."""

    name: str
    gpus: int
    cpus: int
    node_names: frozenset[str]
    capacity: Room
    queue: Room
    any_powered_down: bool = False
    # How many nodes of each size are up.
    sizes: Mapping[NodeSize, int] = field(default_factory=dict)
    shares_with: frozenset[str] = frozenset()
    placed: dict[int, Placement] = field(default_factory=dict)


def occupancy(observed: Observed, *, horizon_s: float) -> dict[str, Occupancy]:
    """Pack what runs and queues into each partition, jobs that wait for a begin time left out."""
    nodes = {node.name: node for node in observed.nodes if node.available}
    now_s = observed.now_utc.timestamp()
    result: dict[str, Occupancy] = {}
    for partition in observed.partitions:
        if not partition.up:
            continue
        here = [nodes[name] for name in partition.node_names if name in nodes]
        result[partition.name] = _empty(partition.name, here, now_s, horizon_s, observed, nodes)
    for one in result.values():
        one.shares_with = frozenset(
            other.name for other in result.values() if one.node_names & other.node_names
        )
    running = [job for job in observed.jobs if job.active]
    waiting = sorted(
        (job for job in observed.jobs if _queues(job, now_s)),
        key=lambda job: (-(job.priority or 0), job.job_id),
    )
    limits = {p.name: p.default_time_s or p.max_time_s for p in observed.partitions}
    # The place of these is taken with their reservation.
    inside = {
        job.job_id: found
        for job in (*running, *waiting)
        if (found := reserved_for(job, observed.reservations)) is not None
    }
    waiting = [job for job in waiting if job.job_id not in inside]
    for one in result.values():
        _pack_running(one, running, inside, now_s, horizon_s)
        _pack_waiting(one, waiting[:_PACKED_JOBS], limits, now_s, horizon_s)
    return result


def reserved_for(job: Job, reservations: Iterable[Reservation]) -> Reservation | None:
    """The reservation whose nodes a job runs on or waits for; None where others may do as well."""
    if not job.reservation:
        return None
    names = job.reservation.split(",")
    mine = (one for one in reservations if one.name in names)
    return next((one for one in mine if one.node_names and not one.flex), None)


def _empty(
    name: str,
    here: list[Node],
    now_s: float,
    horizon_s: float,
    observed: Observed,
    nodes: dict[str, Node],
) -> Occupancy:
    gpus, cpus = sum(node.gpus for node in here), sum(node.cpus for node in here)
    step_s = max(horizon_s / _SLOTS, 0.5)
    # Edges at multiples of the step: what fits in one cycle must not slide in the next.
    room = Room.empty(
        start_s=now_s // step_s * step_s, step_s=step_s, slots=_SLOTS, capacity=(gpus, cpus)
    )
    names = frozenset(node.name for node in here)
    for reservation in observed.reservations:
        taken = [nodes[n] for n in reservation.node_names if n in names]
        room.take(
            (sum(n.gpus for n in taken), sum(n.cpus for n in taken)),
            reservation.start_utc.timestamp(),
            reservation.end_utc.timestamp(),
        )
    return Occupancy(
        name=name,
        gpus=gpus,
        cpus=cpus,
        node_names=names,
        capacity=room,
        queue=room.copy(),
        any_powered_down=any(node.powered_down for node in here),
        sizes=dict(Counter(map(_size_of, here))),
    )


def _size_of(node: Node) -> NodeSize:
    return NodeSize(node.gpus, node.cpus, node.memory_mb, node.gpu_type)


def _queues(job: Job, now_s: float) -> bool:
    return (
        job.pending
        and not job.held
        and not job.dependency
        and (job.eligible_utc is None or job.eligible_utc.timestamp() <= now_s)
    )


def _pack_running(
    one: Occupancy,
    running: list[Job],
    inside: Mapping[int, Reservation],
    now_s: float,
    horizon_s: float,
) -> None:
    for job in running:
        share = 1.0
        if job.node_names:
            share = len(one.node_names.intersection(job.node_names)) / len(job.node_names)
        elif one.name not in job.partition.split(","):
            share = 0.0
        if share == 0.0:
            continue
        need = (job.gpus * share, job.cpus * share)
        # Without a limit it may run for ever; past its limit it ends any moment, as does one that
        # is completing: where a requeue ends it, Slurm shows the end that its next run would have.
        end_s = now_s + horizon_s
        if job.state == "COMPLETING":
            end_s = now_s + one.queue.step_s
        elif job.end_utc is not None:
            end_s = max(job.end_utc.timestamp(), now_s + one.queue.step_s)
        _take(one, job, need, inside.get(job.job_id), now_s, end_s)
        one.placed[job.job_id] = Placement(begin_s=now_s, end_s=end_s, need=need)


def _take(
    one: Occupancy,
    job: Job,
    need: tuple[float, float],
    reservation: Reservation | None,
    now_s: float,
    end_s: float,
) -> None:
    """A running job's place; on nodes of its reservation only before that begins and once it ends.

    One that is repeated has tomorrow's times as soon as today's are over.
    """
    here = one.node_names.intersection(job.node_names)
    spans = [(1.0, now_s, end_s)]
    if reservation is not None and here:
        within = len(here.intersection(reservation.node_names)) / len(here)
        spans = [
            (1.0 - within, now_s, end_s),
            (within, now_s, min(reservation.start_utc.timestamp(), end_s)),
            (within, max(reservation.end_utc.timestamp(), now_s), end_s),
        ]
    for share, begin_s, until_s in spans:
        if share and begin_s < until_s:
            one.queue.take((need[0] * share, need[1] * share), begin_s, until_s)


def _pack_waiting(
    one: Occupancy,
    waiting: list[Job],
    limits: dict[str, int | None],
    now_s: float,
    horizon_s: float,
) -> None:
    for job in waiting:
        wanted = job.partition.split(",")
        if not one.shares_with.intersection(wanted):
            continue
        limit_s = float(job.time_limit_s or limits.get(wanted[0]) or horizon_s)
        rounds = waves(
            job.tasks,
            gpus=job.gpus,
            cpus=job.cpus,
            max_running=job.max_running_tasks,
            room=(one.gpus, one.cpus),
        )
        width = -(-job.tasks // rounds)
        need = (float(job.gpus * width), float(job.cpus * width))
        begin_s = one.queue.earliest_fit(need, now_s, rounds * limit_s)
        if begin_s is not None:
            one.queue.take(need, begin_s, begin_s + rounds * limit_s)
            one.placed[job.job_id] = Placement(
                begin_s=begin_s, end_s=begin_s + rounds * limit_s, need=need
            )
