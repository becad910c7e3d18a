# SPDX-License-Identifier: Apache-2.0
"""Policy `oracle`: the planner's schedule for all jobs and the whole signal, step by step. Pure.

It knows what nobody can know, so it is a yardstick and no policy for a site.
"""

from collections import deque

from slurm_green.plan.policy.protocol import Decision, Policy, Setup, Start, Truth, View

__all__ = ["make"]

_TOLERANCE_S = 1e-6  # work cut off at every pause adds up


class _Oracle:
    def __init__(self, truth: Truth) -> None:
        plan, ids = truth.schedule, truth.problem.jobs.ids
        rows = sorted(
            zip(
                plan.start_s.tolist(),
                plan.end_s.tolist(),
                plan.job.tolist(),
                plan.shape.tolist(),
                strict=True,
            )
        )
        # Of each job its stretches (start, end, shape), the next one first.
        self._stretches: dict[str, deque[tuple[float, float, int]]] = {}
        for start, end, job, shape in rows:
            self._stretches.setdefault(ids[job], deque()).append((start, end, shape))

    def decide(self, view: View) -> Decision:
        """Pauses whose stretch is over, and starts whose time has come."""
        now = view.now_s + _TOLERANCE_S
        due: list[tuple[float, Start]] = []
        pauses: list[str] = []
        moments: list[float] = []
        for run in view.running:
            mine = self._stretches[run.job.job_id]
            # The last stretch goes on until the work is done: a restart may have cost some.
            while len(mine) > 1 and mine[0][1] <= now:
                mine.popleft()
            start, end, shape = mine[0]
            if start > now:
                pauses.append(run.job.job_id)
                moments.append(start)
            elif shape != run.shape:
                due.append((start, Start(run.job.job_id, shape)))
            if len(mine) > 1:
                moments.append(end)
        for job in view.waiting:
            wanted = self._stretches.get(job.job_id)
            if not wanted:
                continue  # the planner found no room for it
            while len(wanted) > 1 and wanted[0][1] <= now:
                wanted.popleft()
            start, end, shape = wanted[0]
            if start <= now:
                due.append((start, Start(job.job_id, shape)))
                moments.append(end)
            else:
                moments.append(start)
        due.sort(key=lambda pair: pair[0])
        later = [moment for moment in moments if moment > now]
        return Decision(
            starts=[start for _, start in due],
            pauses=pauses,
            wake_s=min(later, default=None),
        )


def make(setup: Setup, truth: Truth) -> Policy:
    """The oracle; all that it needs of the setup is in the schedule."""
    return _Oracle(truth)
