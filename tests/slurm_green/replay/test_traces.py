# SPDX-License-Identifier: Apache-2.0
"""Published traces as jobs: units, the seeded class table, and files that are what they say."""

import lzma
import os
from pathlib import Path

import numpy as np
import pytest

from slurm_green.errors import BadInputError
from slurm_green.plan.files import read_problem
from slurm_green.replay.classes import Watts
from slurm_green.replay.traces import GPU_MIX, gaia_slack_s, read_gaia, read_philly, write_trace

HOUR = 3600.0
DATA = Path(os.environ.get("SLURM_GREEN_DATA") or Path(__file__).parents[4] / "shared" / "data")
needs_data = pytest.mark.skipif(
    not (DATA / "gaia_jobs").is_dir(),
    reason=f"the published traces are not in {DATA}; set SLURM_GREEN_DATA",
)


def test_units_limits_and_slack(tmp_path):
    """Hours where the file has hours; GAIA's two queues."""
    path = tmp_path / "jobs.csv.xz"
    with lzma.open(path, "wt") as file:
        file.write("arrival_time,length,cpus\n0.0,1.5,1\n2.0,0.0,4\n3.0,10,9\n")

    trace = read_gaia(path, unit_s=HOUR, seed=3, limit_factor=2.0)

    assert [job.job_id for job in trace.jobs] == ["0", "2"]
    short, long = trace.jobs
    assert (short.actual_work, short.work, short.submit_s) == (1.5 * HOUR, 3 * HOUR, 0)
    assert short.deadline_s == 3 * HOUR + 6 * HOUR
    assert long.deadline_s == 3 * HOUR + 20 * HOUR + 24 * HOUR
    assert (gaia_slack_s(2 * HOUR), gaia_slack_s(2 * HOUR + 1)) == (6 * HOUR, 24 * HOUR)
    assert read_gaia(path, unit_s=HOUR, seed=3, limit_factor=2.0) == trace


def test_what_is_written_is_read_back(tmp_path):
    """By the planner's own reader, digit for digit where it matters."""
    path = tmp_path / "jobs.csv"
    lines = [f"{1_790_000_000 + at},{60 + at / 3},1" for at in range(50)]
    path.write_text("\n".join(["arrival_time,length,cpus", *lines]) + "\n")
    trace = read_gaia(path, unit_s=1.0, watts=Watts(gpu_w=300, gpu_idle_w=100, cpu_core_w=0))
    signal = tmp_path / "signal.csv"
    signal.write_text("start_s,carbon_g_per_kwh\n1790000000,1\n1790500000,1\n")

    write_trace(trace, tmp_path / "J.csv", tmp_path / "C.csv")
    problem = read_problem(tmp_path / "J.csv", tmp_path / "C.csv", signal, gpus=8)

    assert problem.jobs.ids == tuple(job.job_id for job in trace.jobs)
    assert problem.jobs.earliest_s.tolist() == list(range(50))
    assert problem.jobs.work == pytest.approx([job.work for job in trace.jobs], rel=1e-9)
    assert set(problem.shapes.gpus.tolist()) <= {size for size, _ in GPU_MIX}
    assert (problem.shapes.power_w == 200 * problem.shapes.gpus).all()


def test_what_is_no_trace_says_so(tmp_path):
    """A missing column, a missing file, a file that is not packed."""
    path = tmp_path / "jobs.csv"
    path.write_text("when,length\n1,2\n")
    with pytest.raises(BadInputError, match="no column arrival_time"):
        read_gaia(path, unit_s=1.0)
    with pytest.raises(BadInputError, match="cannot be read"):
        read_gaia(tmp_path / "none.csv", unit_s=1.0)
    packed = path.rename(tmp_path / "jobs.csv.xz")
    with pytest.raises(BadInputError, match="cannot be read"):
        read_gaia(packed, unit_s=1.0)


@needs_data
def test_gaias_own_traces():
    """39,000 jobs over five months, of the stated mix; a thousand over a week."""
    large = read_gaia(DATA / "gaia_jobs" / "pai-100k_first40pct.csv.xz", unit_s=HOUR)
    small = read_gaia(DATA / "gaia_jobs" / "pai_1k.csv.xz", unit_s=1.0)

    assert 30_000 < len(large.jobs) < 45_000
    assert 140 < large.jobs[-1].submit_s / 86_400 < 160
    assert 6.5 < small.jobs[-1].submit_s / 86_400 < 7.5
    names, counts = np.unique([job.class_name for job in large.jobs], return_counts=True)
    shares = dict(zip(names.tolist(), counts / counts.sum(), strict=True))
    assert shares == pytest.approx({f"gpu-{size}": share for size, share in GPU_MIX}, abs=0.01)
    assert "70% of jobs 1" in large.notes[0]


@needs_data
def test_gavels_philly_traces():
    """Lengths from measured throughputs; GPUs are the trace's own."""
    folder = DATA / "gavel"
    trace = read_philly(
        folder / "philly_seed0_0e4a51.csv.xz", folder / "simulation_throughputs_isolated.csv"
    )
    assert len(trace.jobs) > 300
    assert {shape.class_name for shape in trace.shapes} >= {"gpu-1"}
    # The first row: 95,121 steps of Transformer on one V100.
    assert 600 < trace.jobs[0].actual_work < 86_400
