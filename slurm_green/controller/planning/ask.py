# SPDX-License-Identifier: Apache-2.0
"""From what a cycle saw to the question for the next plan. Pure.

Jobs of ours that wait are asked about; what runs, and what queues without us, stands where Slurm
will probably have it. Deferrals only thought of (shadow) wait and run in the plan as if they were
real, and the real run of such a job counts for nothing.
"""

from collections.abc import Iterable
from dataclasses import replace
from datetime import datetime

from slurm_green.controller.observed import Observed, ShadowBooking
from slurm_green.controller.occupancy import Occupancy, Placement, reserved_for
from slurm_green.controller.outcome import Kept, Outcome
from slurm_green.controller.planning.pauses import pausable
from slurm_green.controller.planning.pools import Shared, shared_nodes
from slurm_green.controller.planning.question import Going, Past, Pool, Question, Waiting, Way
from slurm_green.controller.planning.ways import ways_of
from slurm_green.controller.rules import Rules
from slurm_green.hook.extent import Extent
from slurm_green.hook.options import Options, parse_options
from slurm_green.hook.promise import promise_for
from slurm_green.hook.request import request_of
from slurm_green.slurm.records import Job, Reservation

__all__ = ["question_of"]

# Of other people's queue; what is behind so many does not start soon.
_MOST_OTHERS = 500
# Enough to know what usually arrives.
_MOST_PAST = 2000
# Reservations have no job id, and must not be taken for jobs.
_NO_JOB = -1


def question_of(observed: Observed, outcome: Outcome, rules: Rules) -> Question | None:
    """The question of this cycle; None where nothing can be planned."""
    signal = outcome.view.signal
    if signal is None or observed.off:
        return None
    asked = _Asked(observed, outcome, rules)
    pools = {}
    for shared in shared_nodes(observed.partitions, observed.nodes):
        pool = asked.pool(shared)
        pools[pool.name] = pool
    return Question(
        at_s=observed.now_utc.timestamp(),
        signal=signal,
        pools=pools,
        pause_cost_s=rules.pause_cost_s,
        own=observed.own,
    )


class _Asked:
    """One question in the making."""

    def __init__(self, observed: Observed, outcome: Outcome, rules: Rules) -> None:
        self._observed, self._outcome, self._rules = observed, outcome, rules
        self._now_s = observed.now_utc.timestamp()
        self._view = outcome.view
        self._kept = {one.job.job_id: one for one in outcome.kept}
        self._shadow = {one.job_id: one for one in outcome.memory.shadow}

    def pool(self, shared: Shared) -> Pool:
        """All that is known of these partitions."""
        waiting: list[Waiting] = []
        running: list[Going] = []
        placed = _placed(self._outcome.occupied.values(), shared)
        others = 0
        for job in self._observed.jobs:
            if not shared.partitions.intersection(self._partition(job).split(",")):
                continue
            if job.job_id in self._shadow or self._inside(job) is not None:
                continue
            kept = self._kept.get(job.job_id)
            if kept is not None:
                waiting += self._ours(kept, shared)
            elif job.active and job.start_utc is not None:
                running += self._runs(job, shared, placed.get(job.job_id))
            elif job.pending and job.job_id in placed and others < _MOST_OTHERS:
                others += 1
                waiting += self._queues(job, shared, placed[job.job_id])
            elif self._about_to_queue(job):
                waiting += self._queues(job, shared, self._soon(job))
        for one in self._shadow.values():
            if one.partition in shared.partitions:
                self._thought(one, shared, waiting, running)
        for number, reservation in enumerate(self._observed.reservations):
            self._reserved(_NO_JOB - number, reservation, shared, waiting, running)
        return Pool(
            name=shared.name,
            partitions=shared.partitions,
            units=shared.units,
            resource=shared.resource,
            waiting=tuple(waiting),
            running=tuple(running),
            past=tuple(self._past(shared)),
        )

    def _inside(self, job: Job) -> Reservation | None:
        """The reservation whose place is that of the job: not of one that runs beside it."""
        found = reserved_for(job, self._observed.reservations)
        if found is None or not job.active or not job.node_names:
            return found
        begun = found.start_utc.timestamp() <= self._now_s
        return found if begun and not {*job.node_names}.isdisjoint(found.node_names) else None

    def _partition(self, job: Job) -> str:
        return job.partition or self._view.default_partition

    def _ours(self, kept: Kept, shared: Shared) -> list[Waiting]:
        job, extent = kept.job, kept.extent
        if extent is None:
            return []
        ways = ways_of(
            job,
            extent,
            kept.power_w,
            shared.resource,
            self._observed.nodes_site,
            self._view,
            self._rules,
        )
        return [
            Waiting(
                job_id=job.job_id,
                ways=ways,
                length_s=self._length_s(job, extent),
                submit_s=_seconds(job.submit_utc, self._now_s),
                earliest_s=self._now_s,
                latest_s=max(kept.latest_s, self._now_s),
            )
        ]

    def _extent(self, job: Job) -> Extent | None:
        request, partition = request_of(job, begin_set=False), self._view.partition(job.partition)
        if request is None or partition is None:
            return None
        return partition.extent(request, self._options(job))

    def _options(self, job: Job) -> Options:
        return parse_options(
            job.comment,
            prefix=self._view.comment_prefix,
            now_utc=self._observed.now_utc,
            zone=self._view.zone,
        )

    def _about_to_queue(self, job: Job) -> bool:
        """Released to the second: it is let go, and not yet in the queue."""
        begin_s = _seconds(job.eligible_utc, 0.0) - self._now_s
        return job.pending and not job.held and 0 < begin_s <= self._rules.interval_s

    def _soon(self, job: Job) -> Placement:
        """As the queue will have it: what nothing limits takes all of the horizon."""
        begin_s, horizon_s = _seconds(job.eligible_utc, self._now_s), self._rules.horizon_s
        extent = self._extent(job) or self._extent(replace(job, time_limit_s=round(horizon_s)))
        if extent is not None:
            return Placement(begin_s=begin_s, end_s=begin_s + extent.run_s, need=extent.need)
        need = (float(job.gpus), float(job.cpus))
        return Placement(begin_s=begin_s, end_s=begin_s + horizon_s, need=need)

    def _length_s(self, job: Job, extent: Extent) -> float:
        """How long it will run on average: to book GPUs for longer would make them look scarce."""
        partition = self._view.partition(job.partition)
        if partition is None or self._options(job).runtime_s:
            return extent.expected_s
        share = partition.history.mean_run_fraction(
            partition=partition.name, user=job.user, name=job.name
        )
        return max(extent.rounds * share * extent.limit_s, 1.0)

    def _way(self, job: Job, units: float, width: int = 1) -> Way:
        """What it takes with so many of its tasks at once."""
        power_w = self._view.power.job_w(
            gpus=job.gpus * width,
            cpus=job.cpus * width,
            nodes=job.nodes * width,
            partition=self._partition(job).split(",")[0],
        )
        return Way(units=round(units), power_w=round(power_w))

    def _runs(self, job: Job, shared: Shared, placed: Placement | None) -> list[Going]:
        """Until it will probably end."""
        units = (job.gpus, job.cpus)[shared.resource]
        if placed is None or not units or job.start_utc is None:
            return []
        since_s, end_s = job.start_utc.timestamp(), placed.end_s
        extent = self._extent(job)
        if extent is not None:
            likely_s = since_s + self._length_s(job, extent)
            # One that outlasts the others is half way to its limit, for all that is known.
            end_s = min(end_s, likely_s if likely_s > self._now_s else (self._now_s + end_s) / 2)
        terms = pausable(job, self._view, self._rules, self._observed.now_utc)
        latest_end_s = 0.0 if terms is None else terms.latest_s + end_s - self._now_s
        return [
            Going(
                job_id=job.job_id,
                ways=(self._way(job, units),),
                since_s=since_s,
                end_s=end_s,
                array_id=job.array_job_id or 0,
                latest_end_s=latest_end_s,
                may_pause=terms is not None,
            )
        ]

    def _queues(self, job: Job, shared: Shared, placed: Placement) -> list[Waiting]:
        units = placed.need[shared.resource]
        if not units:
            return []
        width = round(units / (job.gpus, job.cpus)[shared.resource])
        length_s = placed.end_s - placed.begin_s
        extent = self._extent(job)
        if extent is not None:
            length_s = min(length_s, self._length_s(job, extent))
        return [
            Waiting(
                job_id=job.job_id,
                ways=(self._way(job, units, width),),
                length_s=length_s,
                submit_s=_seconds(job.submit_utc, self._now_s),
                earliest_s=placed.begin_s,
                latest_s=placed.begin_s,
                ours=False,
            )
        ]

    def _thought(
        self,
        one: ShadowBooking,
        shared: Shared,
        waiting: list[Waiting],
        running: list[Going],
    ) -> None:
        units = one.extent.need[shared.resource]
        if not units:
            return
        ways = (Way(units=round(units), power_w=round(one.power_w)),)
        end_s = one.start_s + one.extent.expected_s
        if one.start_s > self._now_s:
            waiting.append(
                Waiting(
                    job_id=one.job_id,
                    ways=ways,
                    length_s=one.extent.expected_s,
                    submit_s=self._now_s,
                    earliest_s=self._now_s,
                    latest_s=max(one.latest_s, self._now_s),
                )
            )
        elif end_s > self._now_s:
            running.append(Going(job_id=one.job_id, ways=ways, since_s=one.start_s, end_s=end_s))

    def _reserved(
        self,
        number: int,
        one: Reservation,
        shared: Shared,
        waiting: list[Waiting],
        running: list[Going],
    ) -> None:
        """Reserved nodes are taken, now or from when they will be, by whatever runs there."""
        begin_s, end_s = one.start_utc.timestamp(), one.end_utc.timestamp()
        mine = shared.node_names.intersection(one.node_names)
        units = sum(
            (node.gpus, node.cpus)[shared.resource]
            for node in self._observed.nodes
            if node.name in mine
        )
        if not units or end_s <= self._now_s:
            return
        there = [job for job in self._observed.jobs if job.active and self._inside(job) == one]
        ways = (Way(units=units, power_w=sum(self._way(job, 0.0).power_w for job in there)),)
        if begin_s <= self._now_s:
            running.append(Going(job_id=number, ways=ways, since_s=begin_s, end_s=end_s))
        else:
            waiting.append(
                Waiting(
                    job_id=number,
                    ways=ways,
                    length_s=end_s - begin_s,
                    submit_s=self._now_s,
                    earliest_s=begin_s,
                    latest_s=begin_s,
                    ours=False,
                )
            )

    def _past(self, shared: Shared) -> Iterable[Past]:
        """Jobs that accounting knows from before the first cycle."""
        for job in self._observed.past[-_MOST_PAST:]:
            if job.submit_utc is None or not shared.partitions.intersection(
                job.partition.split(",")
            ):
                continue
            units, extent = (job.gpus, job.cpus)[shared.resource], self._extent(job)
            request = request_of(job, begin_set=False)
            if not units or units > shared.units or extent is None or request is None:
                continue
            policy = self._rules.policy_for(job.partition, job.qos)
            promise = promise_for(request, Options(), policy, run_s=extent.run_s, margin_s=0.0)
            submit_s = job.submit_utc.timestamp()
            slack_s = 0.0 if promise is None else promise.latest_utc.timestamp() - submit_s
            yield Past(
                ways=(self._way(job, units),),
                length_s=self._length_s(job, extent),
                submit_s=submit_s,
                slack_s=max(slack_s, 0.0),
            )


def _placed(occupied: Iterable[Occupancy], shared: Shared) -> dict[int, Placement]:
    """Where each job stands in these partitions: of several places that of most need."""
    found: dict[int, Placement] = {}
    for one in occupied:
        if one.name in shared.partitions:
            for job_id, placement in one.placed.items():
                if job_id not in found or placement.need > found[job_id].need:
                    found[job_id] = placement
    return found


def _seconds(when: datetime | None, otherwise_s: float) -> float:
    return otherwise_s if when is None else when.timestamp()
