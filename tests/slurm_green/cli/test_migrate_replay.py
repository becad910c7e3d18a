# SPDX-License-Identifier: Apache-2.0
"""`sgreen migrate replay`: files in, the contract's JSON, a table or a page out, and refusals."""

import json
import time

import pytest
from click.testing import CliRunner

from slurm_green.cli.root import root

KEYS = {
    "nonrenewable_j", "carbon_g", "energy_j", "mean_completion_s", "p95_completion_s", "moves",
    "moved_bytes", "failed_moves", "late_jobs", "wall_s",
}  # fmt: skip
SITES = """
[moves]
gbps = 10
cycle_s = 3600
horizon_h = 12

[[site]]
name = "dark"
gpus = 8
signal = "dark.csv"

[[site]]
name = "wind"
gpus = 8
signal = "wind.csv"
forecast = "wind-forecast.csv"

[[link]]
between = ["dark", "wind"]
gbps = 1
"""
HEADER = "job_id,submit_s,site,gpus,duration_s,power_w,checkpoint_gb,deadline_s,sites"
JOBS = f"{HEADER}\na,1000,dark,1,36000,500,10,,\nb,1000,dark,2,36000,900,40,90000,dark wind\n"


def run(*args):
    return CliRunner().invoke(root, list(args))


def signal(watts):
    rows = [f"{3600 * hour},300,{watts}" for hour in range(48)]
    return "\n".join(["start_s,carbon_g_per_kwh,renewable_w", *rows, ""])


@pytest.fixture
def files(tmp_path):
    """Two sites, two jobs; returns the arguments."""
    texts = {
        "sites.toml": SITES, "dark.csv": signal(0), "wind.csv": signal(9000), "jobs.csv": JOBS,
        "wind-forecast.csv": "issued_s,start_s,renewable_w\n"
        + "".join(f"0,{3600 * hour},9000\n" for hour in range(48)),
    }  # fmt: skip
    for name, text in texts.items():
        (tmp_path / name).write_text(text)
    return tmp_path


def args(folder):
    return ["migrate", "replay", "--sites", str(folder / "sites.toml"),
            "--jobs", str(folder / "jobs.csv")]  # fmt: skip


def test_json_has_the_keys_of_the_contract(files):
    """Both jobs go to the wind, over the slower link of their own."""
    done = run(*args(files), "--policy", "never,oracle", "--json")
    assert done.exit_code == 0, done.output
    found = json.loads(done.stdout)["policies"]
    assert list(found) == ["never", "oracle"]
    assert set(found["never"]) >= KEYS
    assert found["never"]["carbon_g"] == pytest.approx(10 * 1.4 * 300)
    assert found["oracle"]["moves"] == 2
    assert found["oracle"]["moved_bytes"] == 50e9
    assert found["oracle"]["nonrenewable_j"] < 0.2 * found["never"]["nonrenewable_j"]


def test_a_table_and_a_page(files):
    page = files / "page.html"
    done = run(*args(files), "--report", str(page))
    assert done.exit_code == 0, done.output
    assert "2 jobs on 2 sites, simulated" in done.stdout
    assert [line.split()[0] for line in done.stdout.splitlines()[2:]] == [
        "never", "energy-only", "feasibility", "prices", "oracle",
    ]  # fmt: skip
    text = page.read_text()
    assert text.count("<polyline") == 5
    assert "<td>energy-only</td>" in text
    assert "://" not in text


def test_an_id_that_is_there_twice_is_found_at_once_in_a_long_file(files):
    """Where each id was looked for among all before it, that took minutes."""
    rows = [f"{number},1000,dark,1,36000,500,10,," for number in (*range(40_000), 7)]
    (files / "jobs.csv").write_text("\n".join([HEADER, *rows]))
    began_s = time.process_time()
    done = run(*args(files), "--policy", "never", "--json")
    assert time.process_time() - began_s < 5
    assert done.exit_code == 2
    assert "line 40002: column job_id: '7' is there twice" in done.stderr


@pytest.mark.parametrize(
    ("name", "old", "new", "words"),
    [
        ("jobs.csv", "a,1000,dark", "a,1000,mars", "line 2: column site: no site is called 'mars'"),
        ("jobs.csv", "a,1000,dark,1", "a,1000,dark,9", "line 2: column gpus: 9 GPUs"),
        ("jobs.csv", "b,1000", "a,1000", "line 3: column job_id: 'a' is there twice"),
        ("jobs.csv", "dark wind", "dark sun", "line 3: column sites: no site is called 'sun'"),
        ("jobs.csv", "a,1000", "a,-5", "line 2: column submit_s: is before the first slot"),
        ("jobs.csv", "a,1000", "a,9e8", "line 2: column submit_s: is after the last slot"),
        ("jobs.csv", "power_w", "watts", "no column power_w"),
        ("sites.toml", "gpus = 8", "gpu = 8", "gpu: not known"),
        ("sites.toml", "gpus = 8", "", "gpus: is missing; wanted a whole number from 1"),
        ("sites.toml", 'name = "wind"', "", "name: is missing; wanted a text"),
        ("sites.toml", "gpus = 8", "gpus = 0", "wanted a whole number from 1"),
        ("sites.toml", 'name = "wind"', 'name = "dark"', "'dark' is there twice"),
        ("sites.toml", '["dark", "wind"]', '["dark", "sun"]', "no site is called 'sun'"),
        ("sites.toml", "cycle_s = 3600", "cycle_s = 5000", "no multiple of the slots' 3600 s"),
        ("sites.toml", "horizon_h = 12", "horizon_h = 1e9", "1e+09 slots of 3600 s; wanted at"),
        ("sites.toml", "gbps = 1\n", "gbps = 0\n", "wanted a number above 0"),
        ("sites.toml", "gbps = 1\n", f"gbps = 1{400 * '0'}\n", "wanted a number above 0"),
        (
            "sites.toml",
            "gbps = 1\n",
            "gbps = 1\nefficiency = 2\n",
            "[link 1] efficiency: 2 is not allowed; wanted at most 1",
        ),
        ("sites.toml", "gbps = 10\n", "gbps = 10\nefficiency = 2\n", "[moves] efficiency: 2 is"),
        ("sites.toml", "[[link]]", "[[links]]", "'links' is not known"),
        ("sites.toml", "[moves]", "[moves", "not TOML"),
        ("sites.toml", "gbps = 1\n", f"gbps = 1{5000 * '0'}\n", "not TOML"),
        ("wind.csv", "169200,300,9000\n", "", "47 slots of 3600 s"),
        ("wind-forecast.csv", "0,3600,9000\n", "0,0,9000\n", "a second row of the same issue"),
    ],
)
def test_what_is_wrong_is_named(files, name, old, new, words):
    path = files / name
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))
    done = run(*args(files), "--policy", "never", "--json")
    assert done.exit_code == 2
    assert done.stdout == ""
    assert words in done.stderr
    assert name in done.stderr or "sites.toml" in done.stderr


def test_a_forecast_without_rows_says_nothing(files):
    """As if the site named none."""
    asked = (*args(files), "--policy", "feasibility", "--json")
    path = files / "wind-forecast.csv"
    path.write_text(path.read_text().splitlines()[0] + "\n")
    found = json.loads(run(*asked).stdout)["policies"]["feasibility"]
    sites = files / "sites.toml"
    sites.write_text(sites.read_text().replace('forecast = "wind-forecast.csv"\n', ""))
    without = json.loads(run(*asked).stdout)["policies"]["feasibility"]
    assert {**found, "wall_s": 0} == {**without, "wall_s": 0}


def test_jobs_come_until_the_last_slot_ends(files):
    """However far policies look ahead, here 12 of 48 h."""
    jobs = files / "jobs.csv"
    jobs.write_text(f"{HEADER}\na,172799,dark,1,10,500,10,,\nb,100000,dark,1,10,500,10,,\n")
    assert run(*args(files), "--policy", "never,prices", "--json").exit_code == 0
    jobs.write_text(f"{HEADER}\na,172800,dark,1,10,500,10,,\n")
    done = run(*args(files), "--policy", "never", "--json")
    assert (done.exit_code, "is after the last slot" in done.stderr) == (2, True)


def test_unknown_policies_and_pages_are_refused(files):
    done = run(*args(files), "--policy", "best")
    assert (done.exit_code, "no policy is called 'best'" in done.stderr) == (2, True)
    for names, words in ((",", "names no policy"), ("never,never", "a policy twice")):
        done = run(*args(files), "--policy", names)
        assert (done.exit_code, words in done.stderr) == (2, True)
    done = run(*args(files), "--report", str(files / "page.pdf"))
    assert (done.exit_code, "wanted .html" in done.stderr) == (2, True)
    assert not (files / "page.pdf").exists()
