# SPDX-License-Identifier: Apache-2.0
"""What a policy is shown of a replay: the moment as the orchestrator takes it. Pure."""

from collections.abc import Sequence

from slurm_green.migration.moves import Link, Moment, MovableJob, Site, State
from slurm_green.migration.replay.state import JobState, Phase, World
from slurm_green.migration.tail import LATELY_S
from slurm_green.migration.windows import Outlook

__all__ = ["moment_of"]


def moment_of(world: World, outlooks: Sequence[Outlook]) -> Moment:
    """What is known now; the outlooks are those of each site."""
    inputs = world.inputs
    load_w = [0.0] * len(inputs.sites)
    free = list(world.free)
    coming: dict[tuple[int, int], float] = {}
    movable = []
    for job in world.live.values():
        given = inputs.jobs[job.number]
        if job.phase in (Phase.STOPS, Phase.TRAVELS):
            assert job.ride is not None
            load_w[job.ride.destination] += given.power_w
            free[job.ride.destination] -= given.gpus
            if job.phase is Phase.STOPS:
                way = job.ride.source, job.ride.destination
                coming[way] = coming.get(way, 0.0) + job.ride.data_bytes
        elif job.phase is Phase.WAITS:
            free[job.site] -= given.gpus
            movable.append(_movable(world, job))
        elif job.phase in (Phase.RUNS, Phase.RESTARTS):
            load_w[job.site] += given.power_w
            if job.phase is Phase.RUNS:
                movable.append(_movable(world, job))
    return Moment(
        now_s=world.now_s,
        sites=tuple(
            Site(
                name=site.name,
                gpus=site.gpus,
                free_gpus=max(free[at], 0),
                load_w=load_w[at],
                outlook=outlooks[at],
                nodes=site.nodes,
                queue_wait_s=_queue_wait_s(world, at),
                projects=site.projects,
            )
            for at, site in enumerate(inputs.sites)
        ),
        links=tuple(_link(world, way, coming.get(way, 0.0)) for way in world.links),
        jobs=tuple(movable),
        snapshot_s=inputs.costs.snapshot_s,
        restart_s=inputs.costs.restart_s,
        network_j_per_gb=inputs.costs.network_j_per_gb,
        everybody_s=_everybody_s(world),
    )


def _everybody_s(world: World) -> tuple[float, ...]:
    """From submission to end by their limits, of the jobs submitted lately."""
    since_s = world.now_s - LATELY_S
    world.ended = [one for one in world.ended if one[0] >= since_s]
    found = [time_s for _, time_s in world.ended]
    for job in world.live.values():
        submit_s = world.inputs.jobs[job.number].submit_s
        if submit_s >= since_s:
            worked_s = world.now_s - job.since_s if job.phase is Phase.RUNS else 0.0
            found.append(world.now_s - submit_s + max(job.limit_s - worked_s, 0.0))
    return tuple(found)


def _link(world: World, way: tuple[int, int], coming_bytes: float) -> Link:
    """The link with what is on it and what is about to be."""
    link, wire = world.links[way]
    budget = wire.budget_bytes()
    return Link(
        source=link.source,
        destination=link.destination,
        gbps=link.gbps,
        efficiency=link.efficiency,
        in_flight_bytes=wire.left_bytes() + coming_bytes,
        budget_bytes=None if budget is None else max(budget - coming_bytes, 0.0),
    )


def _movable(world: World, job: JobState) -> MovableJob:
    given = world.inputs.jobs[job.number]
    runs = job.phase is Phase.RUNS
    worked_s = world.now_s - job.since_s if runs else 0.0
    written_s = None
    if runs and given.checkpoint_every_s is not None:
        written_s = world.now_s - worked_s % given.checkpoint_every_s
    return MovableJob(
        id=given.id,
        site=world.inputs.sites[job.site].name,
        project=given.project,
        checkpoint_bytes=0.0 if job.started_s is None else given.checkpoint_bytes,
        power_w=given.power_w,
        remaining_s=max(job.limit_s - worked_s, 0.0),
        deadline_s=given.deadline_s,
        gpus=given.gpus,
        nodes=given.nodes,
        state=State.RUNNING if runs else State.PENDING,
        last_checkpoint_s=written_s,
        last_move_s=job.last_move_s,
        window_end_s=job.window_end_s,
        stays_until_s=job.stays_until_s,
        submit_s=given.submit_s,
        sites=given.sites,
    )


def _queue_wait_s(world: World, site: int) -> float:
    """When by their limits enough jobs have ended for those that wait."""
    jobs = world.inputs.jobs
    wanted = sum(jobs[at].gpus for at in world.queues[site]) - world.free[site]
    if not world.queues[site]:
        return 0.0
    ends = sorted(
        (job.limit_s - (world.now_s - job.since_s), jobs[job.number].gpus)
        for job in world.live.values()
        if job.phase is Phase.RUNS and job.site == site
    )
    for left_s, gpus in ends:
        wanted -= gpus
        if wanted <= 0:
            return max(left_s, 0.0)
    return ends[-1][0] if ends else 0.0
