# SPDX-License-Identifier: Apache-2.0
"""Sites, queues, links and jobs in simulated time, under one policy. Pure.

A site starts waiting jobs in the order of their submission; one that does not fit lets later ones
pass. A running job that moves draws power while its checkpoint is written and while it starts
again, and holds no GPU in between; what arrives waits like any other job. One that is not there
when it must be, or whose window closes, is given up, and the job goes on where it was.
"""

import heapq
from collections.abc import Callable, Sequence

import numpy as np

from slurm_green.migration.moves import Decision, Moment, Move
from slurm_green.migration.replay.inputs import Inputs
from slurm_green.migration.replay.state import Draw, JobState, Phase, Ride, Trace, World
from slurm_green.migration.replay.transfers import Transfer
from slurm_green.migration.replay.view import moment_of
from slurm_green.migration.windows import Outlook

__all__ = ["simulate"]

_SLOW = 0.1  # what a slow transfer gets of what its link promises

_MOMENT_S = 1e-3  # what arrives just in time is in time

Decide = Callable[[Moment], Decision]


def simulate(inputs: Inputs, outlooks: Sequence[Sequence[Outlook]], decide: Decide) -> Trace:
    """Run the jobs; `outlooks` are those of each cycle, for each site."""
    return _Engine(inputs, decide).run(outlooks)


class _Engine:
    """Lets things happen."""

    def __init__(self, inputs: Inputs, decide: Decide) -> None:
        self._inputs, self._decide = inputs, decide
        self._world = World(inputs)
        self._number = {job.id: at for at, job in enumerate(inputs.jobs)}
        self._site_number = {site.name: at for at, site in enumerate(inputs.sites)}
        self._events: list[tuple[float, int, int]] = []  # time, job, turn
        self._random = np.random.default_rng(inputs.seed)
        self._trouble = np.random.default_rng((inputs.seed, 1))
        self._trace = Trace(done_s=np.full(len(inputs.jobs), np.nan))

    def run(self, outlooks: Sequence[Sequence[Outlook]]) -> Trace:
        """Until the last job is done or the last slot ends."""
        for at, given in enumerate(self._inputs.jobs):
            heapq.heappush(self._events, (given.submit_s, at, 0))
        for cycle, some in enumerate(outlooks):
            self._until(cycle * self._inputs.cycle_s)
            if not self._events and not any(wire.active for _, wire in self._world.links.values()):
                break
            self._cycle(some)
        self._until(self._inputs.end_s)
        for job in self._world.live.values():
            self._draw(job)
        return self._trace

    def _until(self, end_s: float) -> None:
        """Everything that happens up to then."""
        while True:
            wires = [wire.next_s() for _, wire in self._world.links.values()]
            next_s = min(min(wires, default=np.inf), self._events[0][0] if self._events else np.inf)
            if next_s > end_s:
                self._world.now_s = max(self._world.now_s, end_s)
                return
            self._world.now_s = max(self._world.now_s, next_s)
            self._arrivals()
            while self._events and self._events[0][0] <= self._world.now_s:
                _, number, turn = heapq.heappop(self._events)
                if self._world.jobs[number].turn == turn:
                    self._next_phase(self._world.jobs[number])

    def _arrivals(self) -> None:
        for _, wire in self._world.links.values():
            if wire.active:
                wire.advance(self._world.now_s)
                for transfer in wire.arrived():
                    self._arrive(self._world.jobs[transfer.job])

    def _next_phase(self, job: JobState) -> None:
        """A phase has come to its end."""
        if job.phase is Phase.UNKNOWN:
            self._world.live[job.number] = job
            self._wait(job)
        elif job.phase is Phase.RESTARTS:
            self._compute(job)
        elif job.phase is Phase.RUNS:
            self._leave(job, Phase.DONE)
            del self._world.live[job.number]
            self._trace.done_s[job.number] = self._world.now_s
            given = self._inputs.jobs[job.number]
            spared_s = max(given.limit_s - given.duration_s, 0.0)
            time_s = self._world.now_s - given.submit_s + spared_s
            self._world.ended.append((given.submit_s, time_s))
        elif job.phase is Phase.STOPS:
            self._leave(job, Phase.TRAVELS)
            self._travel(job)
        elif job.phase is Phase.TRAVELS:
            self._give_up(job)

    def _enter(self, job: JobState, phase: Phase, for_s: float | None = None) -> None:
        self._draw(job)
        job.phase, job.since_s = phase, self._world.now_s
        job.turn += 1
        if for_s is not None:
            heapq.heappush(self._events, (self._world.now_s + for_s, job.number, job.turn))

    def _draw(self, job: JobState) -> None:
        """Book the power since the phase began."""
        holds = job.phase in (Phase.RUNS, Phase.STOPS, Phase.RESTARTS)
        if holds and self._world.now_s > job.since_s:
            power_w = self._inputs.jobs[job.number].power_w
            self._trace.draws.append(Draw(job.site, job.since_s, self._world.now_s, power_w))

    def _wait(self, job: JobState) -> None:
        self._enter(job, Phase.WAITS)
        self._world.queues[job.site].append(job.number)
        self._start(job.site)

    def _start(self, site: int) -> None:
        """Start what fits, in the order of submission."""
        jobs = self._inputs.jobs
        queue = self._world.queues[site]
        queue.sort(key=lambda at: (jobs[at].submit_s, at))
        self._world.queues[site] = []
        for number in queue:
            job, gpus = self._world.jobs[number], jobs[number].gpus
            if gpus > self._world.free[site]:
                self._world.queues[site].append(number)
                continue
            self._world.free[site] -= gpus
            again = job.started_s is not None
            job.started_s = self._world.now_s if job.started_s is None else job.started_s
            if again:
                self._enter(job, Phase.RESTARTS, self._inputs.costs.restart_s)
            else:
                self._compute(job)

    def _compute(self, job: JobState) -> None:
        self._enter(job, Phase.RUNS, job.left_s)
        if job.ride is not None:
            job.ride.arrived_s = self._world.now_s
            job.ride = None

    def _leave(self, job: JobState, phase: Phase) -> None:
        """Give the GPUs back."""
        self._enter(job, phase)
        self._world.free[job.site] += self._inputs.jobs[job.number].gpus
        self._start(job.site)

    def _move(self, move: Move) -> None:
        job = self._world.jobs[self._number[move.job.id]]
        job.last_move_s, job.window_end_s = self._world.now_s, self._world.now_s + move.window_s
        ride = job.ride = Ride(
            job=job.number,
            source=job.site,
            destination=self._site_number[move.destination],
            decided_s=self._world.now_s,
            due_s=move.due_s,
            data_bytes=move.job.checkpoint_bytes,
        )
        self._trace.rides.append(ride)
        if job.phase is Phase.WAITS:
            self._world.queues[job.site].remove(job.number)
            self._enter(job, Phase.TRAVELS)
            self._travel(job)
            return
        worked_s = self._world.now_s - job.since_s
        lost_s = min(move.lost_work_s, worked_s)
        job.left_s -= worked_s - lost_s
        job.limit_s -= worked_s - lost_s
        self._enter(job, Phase.STOPS, self._inputs.costs.snapshot_s)

    def _travel(self, job: JobState) -> None:
        ride = job.ride
        assert ride is not None
        if ride.data_bytes <= 0:
            self._arrive(job)
            return
        _, wire = self._world.links[ride.source, ride.destination]
        wire.advance(self._world.now_s)
        starts_s = 0.0 if job.started_s is None else self._inputs.costs.restart_s
        due_s = ride.due_s - starts_s
        slow, closes, when = self._trouble.random(3)
        left_bytes = ride.data_bytes / (_SLOW if slow < self._inputs.slow_share else 1.0)
        wire.active.append(Transfer(job=job.number, left_bytes=left_bytes, due_s=due_s))
        if not np.isfinite(due_s):
            return  # no window, no limit
        until_s = due_s + _MOMENT_S
        if closes < self._inputs.closing_share:
            until_s = self._world.now_s + when * wire.left_bytes() / wire.bytes_per_s
        heapq.heappush(self._events, (until_s, job.number, job.turn))

    def _give_up(self, job: JobState) -> None:
        """Leave a move whose data is on its way."""
        ride = job.ride
        assert ride is not None
        _, wire = self._world.links[ride.source, ride.destination]
        wire.advance(self._world.now_s)
        wire.drop(job.number)
        ride.broken = ride.given_up = True
        job.stays_until_s, job.window_end_s = job.window_end_s, None
        self._wait(job)

    def _arrive(self, job: JobState) -> None:
        ride = job.ride
        assert ride is not None
        ride.broken = bool(self._random.random() < self._inputs.failure_share)
        if not ride.broken:
            job.site = ride.destination
        self._wait(job)

    def _cycle(self, outlooks: Sequence[Outlook]) -> None:
        for _, wire in self._world.links.values():
            wire.advance(self._world.now_s)
        moment = moment_of(self._world, outlooks)
        if not moment.jobs:
            return
        self._trace.cycles += 1
        for move in self._decide(moment).moves:
            self._move(move)
