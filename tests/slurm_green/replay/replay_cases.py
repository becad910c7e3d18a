# SPDX-License-Identifier: Apache-2.0
"""Replays for tests: traces drawn from a seed, scripted policies, independent checks."""

import itertools
import math
from dataclasses import replace

import numpy as np
from problems import HOUR, make

from slurm_green.plan.policy.protocol import Decision
from slurm_green.replay.forecasts import Forecasts
from slurm_green.replay.inputs import prepared
from slurm_green.replay.outlook import Outlooks
from slurm_green.replay.simulator import simulate

NO_FORECAST = Forecasts(
    issued_s=np.zeros(0), first=np.zeros(1, np.int64), start_s=np.zeros(0), step_s=HOUR
)
# Two rigid classes, and one that runs on 1, 2 or 4 GPUs at two clocks.
CLASSES = (
    ((1, 1.0, 400.0),),
    ((3, 2.0, 1200.0),),
    ((1, 0.8, 250.0), (1, 1.0, 400.0), (2, 1.9, 800.0), (4, 3.2, 1600.0)),
)


def drawn(seed, *, jobs=40, days=4, gpus=6, pause_cost_s=0.0, flexible=0.5, **limits):
    """Inputs with arrivals over all but the last day, work below the limits, noisy forecasts."""
    random = np.random.default_rng(seed)
    slots = 24 * days
    submit_h = np.sort(random.uniform(0, slots - 24, jobs))
    index = random.integers(0, len(CLASSES), jobs)
    work = random.uniform(0.3, 6.0, jobs)
    slack_h = random.uniform(0.0, 20.0, jobs)
    rows = [
        (
            int(one),
            float(amount),
            float(begin),
            float(begin + amount + slack),
            bool(one == 2 and coin < flexible),
        )
        for one, amount, begin, slack, coin in zip(
            index, work, submit_h, slack_h, random.random(jobs), strict=True
        )
    ]
    hours = np.arange(slots)
    carbon = 300 + 120 * np.sin(hours / 24 * 2 * math.pi) + random.normal(0, 20, slots)
    wind = np.maximum(random.normal(300, 600, slots), 0.0)
    problem = make(CLASSES, rows, carbon, gpus=gpus, renewable_w=wind, base_w=150.0, **limits)
    price = 50 + 30 * np.cos(hours / 12 * math.pi)
    problem = replace(problem, site=replace(problem.site, price_per_kwh=price))
    early_s = random.choice([0.0, 3600.0, 7200.0], jobs)
    return prepared(
        problem,
        submit_s=np.maximum(problem.jobs.earliest_s - early_s, 0.0),
        actual_work=problem.jobs.work * random.uniform(0.3, 1.0, jobs),
        fails_at_work=np.where(random.random(jobs) < 0.1, 0.1, np.nan),
        pause_cost_s=pause_cost_s,
        forecasts=forecasts_of(problem.site, random),
    )


def forecasts_of(site, random, *, every=6, ahead=36):
    """Forecasts of carbon and wind that are off by a tenth or so."""
    issues = np.arange(0, site.slots, every)
    rows = [np.arange(one, min(one + ahead, site.slots)) for one in issues]
    at = np.concatenate(rows)
    noise = random.normal(1, 0.1, (2, len(at)))
    carbon = site.carbon_g_per_kwh[at] * noise[0]
    return Forecasts(
        issued_s=issues * HOUR,
        first=np.cumsum([0, *map(len, rows)]),
        start_s=at * HOUR,
        step_s=HOUR,
        columns={
            "carbon_g_per_kwh": carbon,
            "p10": 0.9 * carbon,
            "p90": 1.1 * carbon,
            "renewable_w": np.maximum(site.renewable_w[at] * noise[1], 0.0),
        },
    )


def run(inputs, policy):
    """One policy's trace."""
    forecasts = NO_FORECAST if inputs.forecasts is None else inputs.forecasts
    return simulate(inputs, policy, Outlooks(inputs.problem.site, forecasts))


class Script:
    """Decides at given times what is given for them, and keeps every view."""

    def __init__(self, **decisions):
        self.todo = sorted((float(name[1:]) * HOUR, one) for name, one in decisions.items())
        self.views = []

    def decide(self, view):
        """What the script says, with a wake for what comes next."""
        self.views.append(view)
        now = Decision()
        if self.todo and self.todo[0][0] <= view.now_s + 1e-6:
            now = self.todo.pop(0)[1]
        return replace(now, wake_s=self.todo[0][0] if self.todo else None)


def wrong(inputs, trace):
    """What is not allowed about a trace, found out from its stretches alone; None if nothing is."""
    problem, schedule = inputs.problem, trace.schedule
    site, shapes, jobs = problem.site, problem.shapes, problem.jobs
    rows = sorted(
        zip(
            schedule.job.tolist(),
            schedule.start_s.tolist(),
            schedule.end_s.tolist(),
            schedule.shape.tolist(),
            strict=True,
        )
    )
    changes = []
    for job, start_s, end_s, shape in rows:
        if shape not in shapes.of(jobs.class_index[job]):
            return f"job {job} in a foreign shape"
        if start_s < jobs.earliest_s[job] - 1e-3 or end_s > site.horizon_s + 1e-3:
            return f"job {job} runs from {start_s} to {end_s}"
        changes += [(start_s + 1e-3, int(shapes.gpus[shape])), (end_s, -int(shapes.gpus[shape]))]
    busy = np.cumsum([gpus for _, gpus in sorted(changes)])
    if len(busy) and busy.max() > site.gpus:
        return f"{busy.max()} GPUs busy"
    for job in range(len(jobs)):
        own = [row for row in rows if row[0] == job]
        if len(own) > 1 and not jobs.preemptible[job]:
            return f"job {job} was paused"
        if any(after[1] < before[2] for before, after in itertools.pairwise(own)):
            return f"job {job} runs twice at a time"
        did = sum(
            max(end_s - start_s - (inputs.pause_cost_s if at else 0.0), 0.0) * shapes.rate[shape]
            for at, (_, start_s, end_s, shape) in enumerate(own)
        )
        done = not np.isnan(trace.done_s[job])
        if done and abs(did - jobs.work[job]) > 1e-6 * jobs.work[job] + 1e-6:
            return f"job {job} did {did} of {jobs.work[job]}"
        if not done and did > jobs.work[job] * (1 + 1e-6):
            return f"job {job} did {did}, more than {jobs.work[job]}, and is not done"
    return None


def before(trace, until_s):
    """What happened before a time: starts, and ends of stretches."""
    schedule = trace.schedule
    rows = zip(
        schedule.job.tolist(),
        schedule.shape.tolist(),
        schedule.start_s.tolist(),
        np.minimum(schedule.end_s, until_s).tolist(),
        strict=True,
    )
    return sorted(row for row in rows if row[2] < until_s)
