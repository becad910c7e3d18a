# SPDX-License-Identifier: Apache-2.0
"""From what was observed to the view decisions are made by. Pure."""

from collections.abc import Iterable, Mapping
from dataclasses import replace

import numpy as np

from slurm_green.controller.arrivals import Load
from slurm_green.controller.observed import Observed
from slurm_green.controller.occupancy import Occupancy
from slurm_green.controller.rules import Rules
from slurm_green.hook.view import PartitionView, View
from slurm_green.plan.history import History
from slurm_green.plan.room import Room
from slurm_green.slurm.records import Job, Partition

__all__ = ["copy_view", "keep_free", "take_watts", "view_of"]


def view_of(
    observed: Observed,
    occupied: Mapping[str, Occupancy],
    history: History,
    rules: Rules,
) -> View:
    """The view before any deferral is booked into it."""
    signal, problem = observed.signal, observed.signal_problem
    if signal is not None and signal.stale_s(observed.now_utc) > rules.stale_signal_s:
        problem = f"the signal of {signal.provider} is stale"
        signal = None
    partitions = {
        partition.name: _partition_view(
            partition, occupied[partition.name], history, observed, rules
        )
        for partition in observed.partitions
        if partition.name in occupied
    }
    default = next((p.name for p in observed.partitions if p.default), "")
    watts = None
    if rules.budget_w is not None and partitions:
        grid = next(iter(occupied.values())).capacity
        watts = Room.empty(
            start_s=grid.start_s, step_s=grid.step_s, slots=grid.slots, capacity=(rules.budget_w,)
        )
    return View(
        taken_utc=observed.now_utc,
        partitions=partitions,
        default_partition=default,
        signal=signal,
        signal_problem=problem,
        power=rules.power,
        watts=watts,
        off=observed.off,
        comment_prefix=rules.comment_prefix,
        zone=rules.zone,
        prompt_s=rules.prompt_s,
    )


def keep_free(
    view: View, occupied: Mapping[str, Occupancy], loads: Mapping[str, Load], deviations: float
) -> None:
    """Take out of the rooms, in place, what usually arrives: whatever ends, it takes its place."""
    for name, partition in view.partitions.items():
        reserve = np.asarray(loads[name].reserve(deviations))[:, None]
        left = occupied[name].capacity.free - reserve
        np.minimum(partition.room.free, left, out=partition.room.free)
        cut = partition.queue.free - partition.planned.free
        np.minimum(partition.planned.free, left - cut, out=partition.planned.free)


def take_watts(view: View, occupied: Mapping[str, Occupancy], released: Iterable[Job]) -> None:
    """Take out of the budget, in place, what deferred starts that run or queue by now draw."""
    if view.watts is None:
        return
    for job in released:
        # A job that queues for several partitions is placed in each; it will run in one.
        placed = [one.placed[job.job_id] for one in occupied.values() if job.job_id in one.placed]
        if not placed:
            continue
        widest = max(placed, key=lambda one: one.need)
        gpus, cpus = (round(amount) for amount in widest.need)
        power_w = view.power.job_w(gpus=gpus, cpus=cpus, nodes=job.nodes, partition=job.partition)
        view.watts.take((power_w,), widest.begin_s, widest.end_s)


def copy_view(view: View) -> View:
    """A view whose rooms can be booked without touching the original's."""
    partitions = {
        name: replace(one, room=one.room.copy(), planned=one.planned.copy())
        for name, one in view.partitions.items()
    }
    watts = None if view.watts is None else view.watts.copy()
    return replace(view, partitions=partitions, watts=watts)


def _partition_view(
    partition: Partition,
    one: Occupancy,
    history: History,
    observed: Observed,
    rules: Rules,
) -> PartitionView:
    room = one.queue.copy()
    planned = room.copy()
    planned.free[0] -= (1.0 - rules.budget_gpus_percent / 100.0) * one.gpus
    return PartitionView(
        name=partition.name,
        gpus=one.gpus,
        cpus=one.cpus,
        default_time_s=partition.default_time_s,
        max_time_s=partition.max_time_s,
        queue=one.queue,
        room=room,
        planned=planned,
        history=history,
        resume_s=float(observed.info.resume_timeout_s) if one.any_powered_down else 0.0,
        shares_with=one.shares_with,
        sizes=one.sizes,
        min_nodes=partition.min_nodes,
        max_nodes=partition.max_nodes,
    )
