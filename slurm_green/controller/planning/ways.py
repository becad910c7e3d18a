# SPDX-License-Identifier: Apache-2.0
"""The ways in which a job that waits may run: as asked for, narrower, wider, slower. Pure.

Other ways than the one asked for need a profile that knows it, too; a slower one needs to be known
to end within the time limit; another number of workers needs the owner's word (green:workers=).
"""

from dataclasses import dataclass

from profiling.profile import TrainingPoint
from slurm_green.controller.nodes.site import NodeSite
from slurm_green.controller.nodes.verdict import wish_of
from slurm_green.controller.planning.question import Way
from slurm_green.controller.planning.width import Width, width_of
from slurm_green.controller.rules import Rules
from slurm_green.hook.extent import Extent
from slurm_green.hook.options import Options
from slurm_green.hook.view import PartitionView, View
from slurm_green.slurm.records import Job

__all__ = ["ways_of"]

# Per number of workers; more clocks than these cost time and hardly grams.
_MOST_CLOCKS = 5


def ways_of(
    job: Job,
    extent: Extent,
    power_w: float,
    resource: int,
    site: NodeSite | None,
    view: View,
    rules: Rules,
) -> tuple[Way, ...]:
    """The first is the one that was asked for."""
    asked = Way(units=round(extent.need[resource]), power_w=round(power_w))
    # A checkpoint of so many workers is for so many.
    if site is None or resource or not job.gpus or job.tasks != 1 or job.restarts:
        return (asked,)
    policy = rules.policy_for(job.partition, job.qos)
    wish, partition = wish_of(job, policy, rules), view.partition(job.partition)
    width = width_of(job)
    if wish is None or partition is None or width is None or wish.profile not in site.profiles:
        return (asked,)
    workers = wish.options.workers
    # What its user chose stands; without consent to other widths its clock is chosen as it starts.
    if wish.options.errors or workers is None or job.gpu_freq is None or "gpu" in job.gpu_freq:
        return (asked,)
    known = _Known(
        width=width,
        points=tuple(
            one
            for one in site.profiles[wish.profile].training
            if one.power_w is not None
            and one.power_cap_w is None
            and one.gpus_per_worker == width.gpus_per_worker
        ),
    )
    reference = known.fastest(width.workers)
    if reference is None or not workers[0] <= width.workers <= workers[1]:
        return (asked,)
    room = _room(job, wish.options, partition, site.safety)
    found = []
    settings = known.allowed(workers)
    # What was asked for is Slurm's own business: another clock needs no other nodes.
    fits = {
        count: count == width.workers or width.fits(job, count, partition)
        for count in {one.workers for one in settings}
    }
    for one in settings:
        fastest = known.fastest(one.workers)
        longer = reference.rate / one.rate
        if fastest is None or one is reference or longer > max(room, 1.0):
            continue
        if fastest.rate / one.rate > site.max_slowdown or not fits[one.workers]:
            continue
        found.append(_way(one, fastest, longer, job, view, reference))
    return (_way(reference, reference, 1.0, job, view, reference), *found)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Known:
    """What a profile says of workers of the job's size."""

    width: Width
    points: tuple[TrainingPoint, ...]

    def fastest(self, workers: int) -> TrainingPoint | None:
        """So many workers at full speed; None where the profile does not know them."""
        mine = [one for one in self.points if one.workers == workers]
        return max(mine, key=lambda one: one.rate, default=None)

    def allowed(self, workers: tuple[int, int]) -> list[TrainingPoint]:
        """Settings of all numbers of workers in the range; few clocks of each."""
        found = []
        for count in sorted({one.workers for one in self.points}):
            if workers[0] <= count <= workers[1]:
                mine = sorted(
                    (one for one in self.points if one.workers == count), key=lambda one: -one.rate
                )
                found += mine[:: -(-len(mine) // _MOST_CLOCKS)]
        return found


def _room(job: Job, options: Options, partition: PartitionView, safety: float) -> float:
    """How many times as long as expected it may take; 1 where no longest run is known."""
    limit_s = job.time_limit_s or partition.default_time_s or partition.max_time_s
    if not limit_s:
        return 1.0
    expected_s = options.runtime_s
    if expected_s is None:
        share = partition.history.longest_run_fraction(user=job.user, name=job.name)
        expected_s = None if share is None else share * limit_s
    return 1.0 if not expected_s else limit_s / (expected_s * safety)


def _way(
    one: TrainingPoint,
    fastest: TrainingPoint,
    longer: float,
    job: Job,
    view: View,
    reference: TrainingPoint,
) -> Way:
    """Watts: the profile's for the boards, the model's for what is around them."""
    cpus = max(round(job.cpus * one.workers / reference.workers), 1)
    rest_w = view.power.rest_w(gpus=one.gpus, cpus=cpus)
    return Way(
        workers=one.workers,
        units=one.gpus,
        clock_mhz=0 if one is fastest else round(one.clock_mhz or 0),
        power_w=round(view.power.pue * (one.power_w or 0.0) + rest_w),
        speed=round(1.0 / longer, 6),
    )
