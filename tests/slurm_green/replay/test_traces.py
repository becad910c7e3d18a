# SPDX-License-Identifier: Apache-2.0
"""Jobs of the past as files that are what they say."""

import pytest

from slurm_green.plan.files import read_problem
from slurm_green.replay.classes import Held, Watts, class_name, make_shapes
from slurm_green.replay.traces import PastJob, Trace, write_trace


def test_what_is_written_is_read_back(tmp_path):
    """By the planner's own reader, digit for digit where it matters."""
    held = [Held(gpus=gpus, cores=8 * gpus) for gpus in (1, 2, 4, 8)]
    jobs = tuple(
        PastJob(
            job_id=str(at),
            class_name=class_name(held[at % 4]),
            work=60 + at / 3,
            actual_work=60 + at / 3,
            submit_s=1_790_000_000 + at,
            earliest_s=1_790_000_000 + at,
            deadline_s=1_790_030_000 + at,
        )
        for at in range(50)
    )
    shapes = make_shapes(held, Watts(gpu_w=300, gpu_idle_w=100, cpu_core_w=0))
    signal = tmp_path / "signal.csv"
    signal.write_text("start_s,carbon_g_per_kwh\n1790000000,1\n1790500000,1\n")

    write_trace(Trace(jobs=jobs, shapes=shapes, gpus=8), tmp_path / "J.csv", tmp_path / "C.csv")
    problem = read_problem(tmp_path / "J.csv", tmp_path / "C.csv", signal, gpus=8)

    assert problem.jobs.ids == tuple(job.job_id for job in jobs)
    assert problem.jobs.earliest_s.tolist() == list(range(50))
    assert problem.jobs.work == pytest.approx([job.work for job in jobs], rel=1e-9)
    assert set(problem.shapes.gpus.tolist()) == {1, 2, 4, 8}
    assert (problem.shapes.power_w == 200 * problem.shapes.gpus).all()
