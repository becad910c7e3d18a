# SPDX-License-Identifier: Apache-2.0
"""One policy on the simulated cluster: events in order of time, and what came of them. Pure.

A decision that GPUs, cap, ramp or the job's own words do not allow is refused and counted. The
trap: what a policy is shown must not depend on anything after now.
"""

import heapq
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

from slurm_green.plan.policy.protocol import Decision, Done, Job, Policy, View
from slurm_green.plan.problem import Floats
from slurm_green.plan.schedule import Schedule
from slurm_green.replay.cluster import Cluster
from slurm_green.replay.inputs import Inputs
from slurm_green.replay.outlook import Outlooks

__all__ = ["Trace", "simulate"]

_END, _KNOWN, _ASK, _WAKE = range(4)
_TOGETHER_S = 1e-3  # what ends within it makes room now: plans chain runs to a hair
_SOONEST_S = 1e-6
_EVERY = 1000  # decisions between two words of progress


@dataclass(frozen=True, kw_only=True)
class Trace:
    """What happened. `done_s` has NaN for a job that never ended; `refused` counts by reason."""

    schedule: Schedule
    done_s: Floats
    decisions: int
    pauses: int
    refused: dict[str, int]


def simulate(
    inputs: Inputs,
    policy: Policy,
    outlooks: Outlooks,
    *,
    progress: Callable[[float], None] = lambda share: None,
) -> Trace:
    """Replay one policy; the same inputs and policy give the same trace.

    `progress` hears which share of the time has passed.
    """
    run = _Simulation(inputs, policy, outlooks)
    horizon_s = inputs.problem.site.horizon_s
    decisions = 0
    while run.events and (now_s := run.events[0][0]) < horizon_s:
        if run.happened(now_s):
            run.ask(now_s)
            decisions += 1
            if decisions % _EVERY == 0:
                progress(now_s / horizon_s)
    run.finish(horizon_s)
    return Trace(
        schedule=run.cluster.schedule(),
        done_s=run.cluster.done_s,
        decisions=decisions,
        pauses=run.cluster.pauses,
        refused=dict(sorted(run.refused.items())),
    )


class _Simulation:
    def __init__(self, inputs: Inputs, policy: Policy, outlooks: Outlooks) -> None:
        self.policy, self.outlooks = policy, outlooks
        self.cluster = Cluster(inputs)
        self.step_s = inputs.problem.site.step_s
        self.wake_s = -1.0
        self.arrived: list[Job] = []
        self.done: list[Done] = []
        self.refused: Counter[str] = Counter()
        # (time, kind, number of the job or token of the run)
        self.events = [(float(moment_s), _ASK, 0) for moment_s in outlooks.issues_s]
        for number in inputs.possible.nonzero()[0].tolist():
            job = self.cluster.jobs[number]
            self.events.append((job.submit_s, _KNOWN, number))
            if job.earliest_s > job.submit_s:
                self.events.append((job.earliest_s, _ASK, 0))
        heapq.heapify(self.events)

    def happened(self, now_s: float) -> bool:
        """Take the events of this moment; whether there is something to ask about."""
        events, news = self.events, False
        while events:
            at_s, kind, what = events[0]
            if at_s > now_s and not (kind == _END and at_s <= now_s + _TOGETHER_S):
                break
            heapq.heappop(events)
            if kind == _END:
                done = self.cluster.end(what, at_s)
                if done is not None:
                    self.done.append(done)
                    news = True
            elif kind == _KNOWN:
                self.arrived.append(self.cluster.submit(what))
                news = True
            else:
                # A wish that a later decision took back does not count.
                news = news or kind == _ASK or at_s == self.wake_s
        return news

    def ask(self, now_s: float) -> None:
        """Show the policy what is known, and do what it decides."""
        cluster = self.cluster
        view = View(
            now_s=now_s,
            outlook=self.outlooks.at(now_s),
            waiting=list(cluster.waiting.values()),
            work_left=cluster.work_left,
            running=list(cluster.running.values()),
            free_gpus=cluster.free_gpus,
            arrived=self.arrived,
            done=self.done,
        )
        self.arrived, self.done = [], []
        self._do(self.policy.decide(view), now_s)

    def finish(self, horizon_s: float) -> None:
        """What ends with the last slot has ended."""
        for at_s, kind, token in sorted(self.events):
            if kind == _END and at_s <= horizon_s + _TOGETHER_S:
                self.cluster.end(token, min(at_s, horizon_s))

    def _do(self, decision: Decision, now_s: float) -> None:
        wake_s = decision.wake_s
        paused = [self.cluster.pause(job_id, now_s) for job_id in decision.pauses]
        why = [wrong for wrong in paused if wrong is not None]
        for start in decision.starts:
            begun = self.cluster.start(start.job_id, start.shape, now_s)
            if isinstance(begun, str):
                why.append(begun)
            else:
                heapq.heappush(self.events, (begun[0], _END, begun[1]))
        if why:
            # Asked again when power may be free, in the next slot at the latest.
            self.refused.update(why)
            next_s = (now_s // self.step_s + 1) * self.step_s
            wake_s = next_s if wake_s is None else min(wake_s, next_s)
        self.wake_s = -1.0 if wake_s is None else max(wake_s, now_s + _SOONEST_S)
        if wake_s is not None:
            heapq.heappush(self.events, (self.wake_s, _WAKE, 0))
