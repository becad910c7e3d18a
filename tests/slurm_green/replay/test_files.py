# SPDX-License-Identifier: Apache-2.0
"""The replay's files: what may be absent, times of any zero, and what is refused where."""

import os
from pathlib import Path

import numpy as np
import pytest

from slurm_green.errors import BadInputError
from slurm_green.replay.files import read_forecasts, read_inputs

CLASSES = "class,workers,clock_mhz,rate,power_w\na,1,0,1,400\n"
SIGNAL = "start_s,carbon_g_per_kwh\n" + "".join(
    f"{1000 + 3600 * hour},{100 + hour}\n" for hour in range(6)
)
JOBS = """job_id,class,work,earliest_s,deadline_s,submit_s,actual_work,fails_at_work
all,a,3600,4600,,2800,1800,900
none,a,3600,4600,,,,
late,a,3600,1000,,8200,,
"""


@pytest.fixture
def files(tmp_path):
    """Writes the three files, and reads them with what is given."""

    def read(jobs=JOBS, **given):
        for name, text in (("j", jobs), ("c", CLASSES), ("s", SIGNAL)):
            (tmp_path / f"{name}.csv").write_text(text)
        paths = [tmp_path / f"{name}.csv" for name in "jcs"]
        return read_inputs(*paths, gpus=4, **given)

    return read


def test_columns_beyond_the_planners_may_be_empty(files):
    """Submitted at the earliest start, working to the limit, never failing."""
    inputs = files()
    jobs = inputs.problem.jobs

    assert inputs.known_s.tolist() == [1800, 3600, 7200]
    assert jobs.earliest_s.tolist() == [3600, 3600, 7200]
    assert inputs.limit_work.tolist() == [3600, 3600, 3600]
    assert jobs.work.tolist() == [900, 3600, 3600]
    assert inputs.fails.tolist() == [True, False, False]
    assert inputs.possible.all()


def test_the_planners_own_files_are_enough(files):
    """Without the columns as without their cells."""
    inputs = files("job_id,class,work,earliest_s,deadline_s\nx,a,3600,4600,\n")

    assert inputs.known_s.tolist() == [3600]
    assert inputs.problem.jobs.work.tolist() == [3600]


def test_jobs_may_come_from_a_pipe(files, tmp_path):
    """As from a shell's <(...), which can be read but once."""
    wanted = files()
    out, into = os.pipe()
    os.write(into, JOBS.encode())
    os.close(into)
    inputs = read_inputs(Path(f"/dev/fd/{out}"), tmp_path / "c.csv", tmp_path / "s.csv", gpus=4)
    os.close(out)

    assert inputs.known_s.tolist() == wanted.known_s.tolist()
    assert inputs.fails.tolist() == wanted.fails.tolist()


def test_a_share_of_the_jobs_is_drawn_to_fail(files):
    """The same ones with the same seed, and those alone; never beyond the real work."""
    text = "job_id,class,work,earliest_s,deadline_s\n" + "".join(
        f"{at},a,3600,1000,\n" for at in range(200)
    )
    inputs, again = (files(text, failure_share=0.3, seed=4) for _ in range(2))

    assert 35 < inputs.fails.sum() < 85
    assert (inputs.problem.jobs.work[inputs.fails] < 3600).all()
    assert (inputs.problem.jobs.work == again.problem.jobs.work).all()
    assert (files(text, failure_share=0.3, seed=5).fails != inputs.fails).any()


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("1800,900", "0,900", "line 2: column actual_work: 0 is not allowed"),
        ("1800,900", "1800,x", "line 2: column fails_at_work: 'x' is no number"),
        ("8200", "soon", "line 4: column submit_s: 'soon' is no number"),
    ],
)
def test_a_wrong_cell_is_named(files, old, new, words):
    """File, line and column."""
    with pytest.raises(BadInputError, match=f"j.csv: {words}"):
        files(JOBS.replace(old, new))


def test_idle_gpus_above_the_cap_are_refused(files):
    """No policy could keep it."""
    with pytest.raises(BadInputError, match="draw 400 W, the cap is 300 W"):
        files(idle_w_per_gpu=100.0, power_cap_w=300.0)


def test_forecasts_are_sorted_and_may_have_gaps(tmp_path):
    """Rows in any order; an empty cell says nothing."""
    path = tmp_path / "f.csv"
    path.write_text(
        "issued_s,start_s,carbon_g_per_kwh,p10,more\n"
        "4600,8200,3,,x\n1000,1000,1,0.5,\n4600,4600,2,,\n1000,4600,,1,\n"
    )
    found = read_forecasts(path, 1000.0)

    assert found.issued_s.tolist() == [0, 3600]
    assert found.first.tolist() == [0, 2, 4]
    assert found.start_s.tolist() == [0, 3600, 3600, 7200]
    assert found.step_s == 3600
    assert sorted(found.columns) == ["carbon_g_per_kwh", "p10"]
    middle_s = np.array([1800.0, 5400.0, 9000.0, 12600.0])
    assert found.at(1, "carbon_g_per_kwh", middle_s)[1:3].tolist() == [2, 3]
    assert np.isnan(found.at(1, "carbon_g_per_kwh", middle_s)[[0, 3]]).all()
    assert np.isnan(found.at(0, "carbon_g_per_kwh", middle_s)[1])
    assert found.at(0, "renewable_w", middle_s) is None
    assert found.at(-1, "p10", middle_s) is None


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        ("0,0,5\n0,0,6\n", "line 3: column start_s: a second row of the same issue"),
        ("0,0,-5\n", "line 2: column carbon_g_per_kwh: -5 is not allowed"),
        (",0,5\n", "line 2: column issued_s: is empty"),
    ],
)
def test_a_wrong_row_of_a_forecast_is_named(tmp_path, rows, words):
    """File, line and column."""
    path = tmp_path / "f.csv"
    path.write_text(f"issued_s,start_s,carbon_g_per_kwh\n{rows}")
    with pytest.raises(BadInputError, match=f"f.csv: {words}"):
        read_forecasts(path, 0.0)
