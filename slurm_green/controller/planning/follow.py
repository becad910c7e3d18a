# SPDX-License-Identifier: Apache-2.0
"""Following a plan: its start for a job that waits, within what was promised. Pure.

Whatever the plan says, a start lies between now and the latest start that the promise book allows.
"""

import math

from slurm_green.controller.nodes.site import NodeSite
from slurm_green.controller.planning.advice import Advice
from slurm_green.controller.planning.question import Way
from slurm_green.controller.planning.ways import ways_of
from slurm_green.controller.rules import Rules
from slurm_green.hook.extent import Extent
from slurm_green.hook.respond import start_at
from slurm_green.hook.view import PartitionView, View
from slurm_green.plan.start import Start
from slurm_green.slurm.records import Job

__all__ = ["planned_start", "planned_way"]


def planned_start(
    advice: Advice | None,
    job: Job,
    view: View,
    partition: PartitionView,
    extent: Extent,
    power_w: float,
    rules: Rules,
    latest_s: float,
) -> Start | None:
    """The job's start by the plan, None where the plan or the site's budget does not allow one.

    The plan keeps to the GPUs by itself; what the site lets deferred starts book it does not know.
    """
    now_s = view.taken_utc.timestamp()
    if advice is None or not advice.fresh(now_s):
        return None
    place = advice.places.get(job.job_id)
    if place is None or not math.isfinite(place.start_s):
        return None
    start_s = min(max(place.start_s, now_s), latest_s)
    end_s = start_s + extent.expected_s
    budget = view.site_rooms(power_w)
    if any(not room.fits(need, start_s, end_s) for room, need in budget):
        return None
    if rules.budget_gpus_percent < 100.0 and not partition.planned.fits(
        extent.need, start_s, end_s
    ):
        return None
    return start_at(view, extent, power_w, start_s=start_s, earliest_s=now_s)


def planned_way(
    advice: Advice | None,
    job: Job,
    view: View,
    partition: PartitionView,
    extent: Extent,
    power_w: float,
    rules: Rules,
    site: NodeSite | None,
) -> Way | None:
    """How the plan would have the job run that is let go now; None for as it was asked for.

    Only a way that the job allows by its profile and its owner's word; a wider one only into room
    that is there.
    """
    now_s = view.taken_utc.timestamp()
    place = None if advice is None or not advice.fresh(now_s) else advice.places.get(job.job_id)
    if place is None:
        return None
    asked, *others = ways_of(job, extent, power_w, 0, site, view, rules)
    for way in others:
        if (way.workers, way.clock_mhz) == (place.workers, place.clock_mhz):
            need = (float(way.units), extent.need[1] * max(way.units / asked.units, 1.0))
            wider = way.units > asked.units
            return (
                way
                if not wider or partition.queue.fits(need, now_s, now_s + extent.run_s)
                else None
            )
    return None
