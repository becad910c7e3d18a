# SPDX-License-Identifier: Apache-2.0
"""The oracle does what the planner planned."""

import numpy as np
import pytest
from problems import HOUR, make
from replay_cases import run, wrong

from slurm_green.plan import planner
from slurm_green.plan.certificate import carbon_g
from slurm_green.plan.policy import oracle
from slurm_green.plan.policy.protocol import Setup, Truth
from slurm_green.replay.inputs import prepared

ELASTIC = ((1, 1.0, 400.0), (2, 1.9, 800.0))


@pytest.mark.parametrize("preemptible", [False, True])
def test_the_schedule_is_replayed(preemptible):
    """Carbon of the replay is that of the plan, and every job is in time."""
    random = np.random.default_rng(5)
    rows = [
        (0, float(work), float(early), float(early + work + 12), preemptible)
        for work, early in zip(random.uniform(0.5, 4, 25), random.uniform(0, 48, 25), strict=True)
    ]
    carbon = random.uniform(50, 500, 72)
    inputs = prepared(make([ELASTIC], rows, carbon, gpus=4))
    problem = inputs.problem
    plan = planner.solve(problem)
    setup = Setup(shapes=problem.shapes, gpus=4, step_s=HOUR)
    truth = Truth(problem=problem, schedule=plan.schedule)

    trace = run(inputs, oracle.make(setup, truth))

    assert wrong(inputs, trace) is None
    assert trace.refused == {}
    assert plan.unplaced_jobs == 0
    assert carbon_g(problem, trace.schedule, ()) == pytest.approx(plan.carbon_g, rel=1e-6)
    done = trace.done_s <= problem.jobs.deadline_s + 1e-2
    assert int((~done).sum()) == plan.late_jobs


def test_a_restart_that_costs_work_ends_later():
    """With a price for pauses the last stretch goes on until the work is done."""
    carbon = [500.0, 50.0, 500.0, 50.0, 500.0, 500.0, 500.0, 500.0]
    inputs = prepared(make([((1, 1.0, 400.0),)], [(0, 2.0, 0, 8, True)], carbon), pause_cost_s=600)
    plan = planner.solve(inputs.problem)
    setup = Setup(shapes=inputs.problem.shapes, gpus=8, step_s=HOUR, pause_cost_s=600.0)

    trace = run(inputs, oracle.make(setup, Truth(problem=inputs.problem, schedule=plan.schedule)))

    assert trace.done_s[0] == pytest.approx(4 * HOUR + 600)
