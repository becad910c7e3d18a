# SPDX-License-Identifier: Apache-2.0
"""From what was observed to the view decisions are made by. Pure."""

import math
from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime

import numpy as np

from slurm_green.controller.observed import Memory, Observed
from slurm_green.controller.occupancy import Occupancy
from slurm_green.controller.rules import Rules
from slurm_green.hook.view import PartitionView, View
from slurm_green.plan.history import History
from slurm_green.plan.room import Room
from slurm_green.slurm.records import Partition

__all__ = ["copy_view", "usual_demand", "view_of"]


def usual_demand(
    memory: Memory, occupied: Mapping[str, Occupancy], now_utc: datetime, over_s: float
) -> dict[str, tuple[float, float]]:
    """(GPUs, CPUs) others use or want, averaged exponentially over `over_s` seconds."""
    passed_s = 0.0 if memory.last_utc is None else (now_utc - memory.last_utc).total_seconds()
    weight = 1.0 - math.exp(-max(passed_s, 0.0) / over_s)
    usual: dict[str, tuple[float, float]] = {}
    for name, one in occupied.items():
        # A backlog is in the queue's own packing; as usual load it counts up to all there is, else
        # one burst of jobs would fill the room for a day.
        demand = (min(one.demand[0], one.gpus), min(one.demand[1], one.cpus))
        old = memory.usual.get(name, demand)
        usual[name] = (
            old[0] + weight * (demand[0] - old[0]),
            old[1] + weight * (demand[1] - old[1]),
        )
    return usual


def view_of(
    observed: Observed,
    occupied: Mapping[str, Occupancy],
    usual: Mapping[str, tuple[float, float]],
    history: History,
    rules: Rules,
) -> View:
    """The view before any deferral is booked into it."""
    signal, problem = observed.signal, observed.signal_problem
    if signal is not None and signal.age_s(observed.now_utc) > rules.stale_signal_s:
        problem = f"the signal of {signal.provider} is stale"
        signal = None
    partitions = {
        partition.name: _partition_view(
            partition, occupied[partition.name], usual[partition.name], history, observed, rules
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
    usual: tuple[float, float],
    history: History,
    observed: Observed,
    rules: Rules,
) -> PartitionView:
    used = one.capacity.free - one.queue.free
    # Whatever ends, as much of the usual load as before will have taken its place.
    busy = np.maximum(used, np.asarray(usual)[:, None])
    room = replace(one.capacity, free=one.capacity.free - busy)
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
    )
