# SPDX-License-Identifier: Apache-2.0
"""`sgreen replay` and `sgreen policy list`: the contract's JSON, the table, and refusals."""

import json

import pytest

from slurm_green.plan.policy.registry import OWN

CLASSES = """class,workers,gpus_per_worker,clock_mhz,rate,power_w
train,1,1,1410,1,1000
"""
SIGNAL = "start_s,carbon_g_per_kwh\n" + "".join(
    f"{3600 * hour},{100 + 50 * (hour % 4)}\n" for hour in range(24)
)
JOBS = "job_id,class,work,earliest_s,deadline_s,submit_s,actual_work\n" + "".join(
    f"j{at},train,{3600 + 600 * at},{3600 * at},{3600 * (at + 10)},{3600 * at},3000\n"
    for at in range(8)
)
CONTRACT = [
    "carbon_g",
    "energy_j",
    "mean_wait_s",
    "p95_wait_s",
    "late_jobs",
    "peak_w",
    "ppc",
    "wall_s",
]


@pytest.fixture
def words(tmp_path):
    """The words of a small replay."""
    for name, text in (("j", JOBS), ("c", CLASSES), ("s", SIGNAL)):
        (tmp_path / f"{name}.csv").write_text(text)
    files = {"--jobs": "j", "--classes": "c", "--signal": "s"}
    given = (w for option, name in files.items() for w in (option, tmp_path / f"{name}.csv"))
    return ["replay", *given, "--gpus", 2]


def test_json_has_the_contracts_keys(sgreen, words):
    """One object for each policy, in the order they were asked for, and the bound."""
    found = sgreen.json(*words, "--policy", "lowest-window,fifo,oracle")

    assert list(found)[:2] == ["policies", "lower_bound_g"]
    assert list(found["policies"]) == ["lowest-window", "fifo", "oracle"]
    for figures in found["policies"].values():
        assert list(figures)[: len(CONTRACT)] == CONTRACT
        assert figures["carbon_g"] >= found["lower_bound_g"] * (1 - 1e-9)
        assert figures["late_jobs"] == figures["unplaced_jobs"] == 0
        assert figures["energy_j"] == pytest.approx(8 * 3000 * 1000)
    fifo, oracle = found["policies"]["fifo"], found["policies"]["oracle"]
    assert oracle["carbon_g"] < fifo["carbon_g"]
    assert fifo["mean_wait_s"] == 0
    assert fifo["ppc"] == pytest.approx(fifo["performance"] / fifo["carbon_g"] * 1000)
    assert fifo["performance"] == pytest.approx(8)


def test_two_runs_differ_in_the_time_they_took_alone(sgreen, words):
    """In one process or in two."""
    policies = ("--policy", "fifo,coast,threshold")
    one, two = (sgreen.json(*words, *policies, *more) for more in ((), ("--processes", 2)))
    for found in (one, two):
        for figures in found["policies"].values():
            del figures["wall_s"]

    assert one == two


def test_without_a_bound_it_is_unknown(sgreen, words):
    """And not 0."""
    assert sgreen.json(*words, "--policy", "fifo", "--no-bound")["lower_bound_g"] is None


def test_the_table_says_what_was_saved_and_of_how_much(sgreen, words):
    """A line for each policy."""
    done = sgreen(*words, "--policy", "fifo,oracle")

    assert done.exit_code == 0
    assert "8 jobs on 2 GPUs over 1 day" in done.stdout
    assert "POLICY" in done.stdout
    [oracle] = [line for line in done.stdout.splitlines() if line.startswith("oracle")]
    assert "%" in oracle
    assert "no policy can emit less than" in done.stdout


def test_in_a_usual_terminal_names_and_amounts_are_whole(sgreen, words, monkeypatch):
    """A name that is cut is none that --policy takes."""
    monkeypatch.setattr("slurm_green.cli.replay_text._PIPE_COLUMNS", 80)
    done = sgreen(*words, "--policy", "fifo,carbon-saving-per-time", "--no-bound")
    assert done.exit_code == 0, done.output
    (row,) = [one for one in done.stdout.splitlines() if "carbon-" in one]
    assert row.startswith("carbon-saving-per-time ") and " kg " in row and len(row) <= 80


def test_an_option_reaches_the_policies(sgreen, words):
    """A threshold that is always kept starts everything at once."""
    plain = sgreen.json(*words, "--policy", "threshold")["policies"]["threshold"]
    always = sgreen.json(*words, "--policy", "threshold", "--option", "percentile=100")

    assert plain["mean_wait_s"] > 0
    assert always["policies"]["threshold"]["mean_wait_s"] == 0


@pytest.mark.parametrize(
    ("more", "text"),
    [
        (["--policy", "fifi"], "no policy 'fifi': did you mean 'fifo'?"),
        (["--policy", ""], "--policy: names no policy"),
        (["--policy", " , "], "--policy: names no policy"),
        (["--policy", "fifo,max,fifo"], "--policy fifo,max,fifo: names a policy twice"),
        (["--option", "percentile"], "--option percentile: wanted NAME=NUMBER"),
        (["--option", "x=nan"], "--option x=nan: wanted NAME=NUMBER"),
        (["--option", "percentile=3_0"], "--option percentile=3_0: wanted NAME=NUMBER"),
        (["--option", "percentil=5"], "--option percentil: no policy of this replay has"),
        (["--policy", "threshold", "--option", "percentile=101"], "percentile=101: wanted 0 to"),
        (["--policy", "power-cap", "--option", "power-cap-w=-5"], "-w=-5: wanted 0 or more"),
        (["--policy", "fifo", "--option", "percentile=5"], "threshold: percentile"),
        (["--failure-share", "1.5"], "1.5 is not in the range"),
        (["--pause-cost-s", "nan"], "nan is not a finite number"),
        (["--forecast", "nowhere.csv"], "nowhere.csv: no such file"),
    ],
)
def test_what_cannot_be_is_refused_in_one_line(sgreen, words, more, text):
    """Exit status 2, nothing on stdout."""
    done = sgreen(*words, *more, "--json")

    assert done.exit_code == 2
    assert done.stdout == ""
    assert text in done.stderr
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("row", "late"),
    [
        ("late,train,7200,0,3600,0,", 1),  # alone, and late whatever is done
        ("tiny,train,1e-12,3000,,3000,", 0),  # shorter than any clock can tell
        ("failing,train,1e9,0,,0,60", 0),  # its limit is far beyond the last slot
    ],
)
def test_a_single_odd_job_gets_through_every_policy(sgreen, words, row, late):
    """It runs, whoever decides."""
    words[2].write_text(JOBS.splitlines()[0] + "\n" + row + "\n")
    found = sgreen.json(*words, "--policy", "all")

    for name, figures in found["policies"].items():
        assert (figures["late_jobs"], figures["unplaced_jobs"]) == (late, 0), name
        assert figures["carbon_g"] >= found["lower_bound_g"] * (1 - 1e-6), name


def test_missing_files_are_named(sgreen):
    """With what there is instead."""
    done = sgreen("replay", "--gpus", 3)

    assert done.exit_code == 2
    assert "missing --jobs, --classes, --signal:" in done.stderr
    assert "--example" in done.stderr


def test_policy_list_knows_them_all(sgreen):
    """In the order of the contract, with a line about each and its source."""
    found = json.loads(sgreen("policy", "list", "--json").stdout)["policies"]
    table = sgreen("policy", "list").stdout

    assert list(found)[: len(OWN)] == list(OWN)
    assert [name for name, one in found.items() if one["knows_everything"]] == ["oracle"]
    for name, one in found.items():
        assert one["source"]
        assert f"\n{name} " in table
        assert one["about"] in table
