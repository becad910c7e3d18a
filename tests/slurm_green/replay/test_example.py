# SPDX-License-Identifier: Apache-2.0
"""The example: the same on every system, labelled, and worth looking at."""

import numpy as np
import pytest

from slurm_green.errors import BadInputError
from slurm_green.replay.example import (
    NOTES,
    example_forecast,
    example_signal,
    example_trace,
    write,
)
from slurm_green.replay.files import read_inputs
from slurm_green.replay.run import replay

DAY = 86_400.0


def read(files):
    return read_inputs(
        files.jobs,
        files.classes,
        files.signal,
        gpus=files.gpus,
        forecast=files.forecast,
        idle_w_per_gpu=files.idle_w_per_gpu,
    )


def test_one_seed_is_one_example(tmp_path):
    """File for file; another seed is another one."""
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        (tmp_path / name).mkdir()
        write(tmp_path / name, seed)
    texts = [
        {path.name: path.read_bytes() for path in (tmp_path / name).iterdir()} for name in "abc"
    ]

    assert texts[0] == texts[1]
    assert sorted(texts[0]) == ["classes.csv", "forecast.csv", "jobs.csv", "signal.csv"]
    assert all(texts[0][name] != texts[2][name] for name in ("jobs.csv", "signal.csv"))


def test_it_holds_what_a_replay_is_about(tmp_path):
    """All kinds of jobs, of which each can be done; carbon and supply with a day and a week."""
    inputs = read(write(tmp_path))
    problem = inputs.problem
    shapes, jobs, site = problem.shapes, problem.jobs, problem.site

    assert inputs.possible.all()
    assert (inputs.limit_work > jobs.work).all()
    assert shapes.gpus.max() <= site.gpus
    widths = np.diff(shapes.first)
    assert {bool(jobs.preemptible[jobs.class_index == kind].any()) for kind in range(5)} == {
        True,
        False,
    }
    assert widths.min() == 1 < widths.max()
    days = site.carbon_g_per_kwh.reshape(-1, 24)
    assert days[:, 19].mean() > 1.2 * days[:, 12].mean()
    weekend = np.arange(28) % 7 >= 5
    assert days[~weekend].mean() > 1.05 * days[weekend].mean()
    assert 0 < site.renewable_w.mean() < site.base_power_w.mean() * 3
    hour = jobs.earliest_s % DAY / 3600
    assert ((hour >= 8) & (hour < 19)).mean() > 0.7
    assert "GENERATED" in NOTES[0]


def test_its_forecasts_err_as_providers_do():
    """About 9 % on the first day and 14 % on the fourth; nothing is known before it is issued."""
    signal = example_signal()
    rows = np.array(example_forecast(signal))
    ahead = (rows[:, 1] - rows[:, 0]) / DAY
    real = np.array(signal[0])[(rows[:, 1] // 3600).astype(int)]
    error = np.abs(rows[:, 2] / real - 1)

    assert (ahead >= 0).all()
    assert error[ahead < 1].mean() == pytest.approx(0.09, abs=0.02)
    assert error[ahead >= 3].mean() == pytest.approx(0.14, abs=0.03)


def test_deferral_pays_in_it(tmp_path):
    """Else it would be no example."""
    found = replay(read(write(tmp_path)), ["fifo", "lowest-window"], bound=False).results

    assert found["lowest-window"].carbon_g < 0.95 * found["fifo"].carbon_g
    assert found["fifo"].unplaced_jobs == 0
    assert found["fifo"].late.mean() < 0.05


def test_a_trace_is_such_that_slurm_could_have_had_it():
    """Submitted in order, with limits above what the jobs took."""
    jobs = example_trace().jobs
    assert [job.submit_s for job in jobs] == sorted(job.submit_s for job in jobs)
    assert len({job.job_id for job in jobs}) == len(jobs)
    assert all(job.earliest_s + job.work <= job.deadline_s + 1 for job in jobs)


def test_where_it_cannot_be_written(tmp_path):
    """One line with the file's name."""
    with pytest.raises(BadInputError, match=r"jobs\.csv: cannot be written"):
        write(tmp_path / "none")
