# SPDX-License-Identifier: Apache-2.0
"""`sgreen plan`: its JSON, table, files and refusals, around a planner that starts jobs at once."""

import json
import sys
from types import ModuleType

import numpy as np
import pytest

import slurm_green.plan
from slurm_green.cli import plan as plan_verb
from slurm_green.errors import PlanError
from slurm_green.plan.outcome import Objective, Outcome, Prices
from slurm_green.plan.price_file import read_prices
from slurm_green.plan.start_now import full_clocks, start_now
from slurm_green.plan.verify import carbon_g

JOBS = """job_id,class,work,earliest_s,deadline_s,preemptible
a,train,3600,0,,0
b,train,7200,0,7200,0
[red]c,train,3600,0,3600,0
huge,wide,60,0,,0
long,train,90000,0,,0
"""
CLASSES = """class,workers,gpus_per_worker,clock_mhz,rate,power_w
train,1,1,1410,1,1000
wide,8,1,1410,8,8000
"""
SIGNAL = "start_s,carbon_g_per_kwh,chat_rate\n" + "".join(
    f"{3600 * hour},{100 + hour},5\n" for hour in range(6)
)
SERVICES = """service,clock_mhz,max_rate,power_w,latency_s
chat,900,8,300,0.2
chat,1980,10,700,0.1
"""
CONTRACT = [
    "carbon_g",
    "lower_bound_g",
    "gap",
    "energy_j",
    "late_jobs",
    "unplaced_jobs",
    "peak_w",
    "performance",
    "ppc",
    "objective",
    "solve_s",
    "prices",
]


class Planner:
    """Starts everything at once, and remembers what it was asked."""

    def __init__(self):
        self.asked = None
        self.changes = {}

    def solve(self, problem, **asked):
        """An outcome with made-up prices."""
        self.asked = {"problem": problem, **asked}
        if isinstance(self.changes, Exception):
            raise self.changes
        if asked["progress"] is not None:
            asked["progress"]("pricing", 0.5, "best 1.2 t")
        schedule, clocks = start_now(problem), full_clocks(problem)
        grams = carbon_g(problem, schedule, clocks)
        slots = problem.site.slots
        prices = Prices(
            mu=problem.site.carbon_g_per_kwh,
            lam=np.array([40.0, 50.0] + [0.0] * slots)[:slots],
            nu=np.zeros(slots),
        )
        found = {
            "objective": asked["objective"],
            "schedule": schedule,
            "service_clock": clocks,
            "prices": prices,
            "response_prices": prices,
            "carbon_g": grams * 0.8,
            "lower_bound_g": grams * 0.796,
            "gap": 0.8 / 0.796 - 1,
            "energy_j": float(schedule.energy_j(problem).sum()),
            "late_jobs": int(schedule.late(problem).sum()),
            "unplaced_jobs": int((~schedule.placed(problem)).sum()),
            "peak_w": 2000.0,
            "performance": 2.5,
            "ppc": 3.1,
            "solve_s": 0.1234567,
        }
        return Outcome(**{**found, **self.changes})


@pytest.fixture
def planner(monkeypatch):
    """The planner's place is taken."""
    ours, module = Planner(), ModuleType("slurm_green.plan.planner")
    module.solve = ours.solve
    monkeypatch.setitem(sys.modules, module.__name__, module)
    monkeypatch.setattr(slurm_green.plan, "planner", module, raising=False)
    return ours


@pytest.fixture
def words(tmp_path, planner):
    """The words of a plan of five jobs on two GPUs."""
    for name, text in (("j", JOBS), ("c", CLASSES), ("s", SIGNAL), ("v", SERVICES)):
        (tmp_path / f"{name}.csv").write_text(text)
    files = {"--jobs": "j", "--classes": "c", "--signal": "s"}
    return [
        "plan",
        *(word for option, name in files.items() for word in (option, tmp_path / f"{name}.csv")),
        "--gpus",
        2,
    ]


def test_json_has_the_contracts_keys(sgreen, words):
    """In the contract's order, then ours; a bare number everywhere."""
    found = sgreen.json(*words)

    assert list(found)[: len(CONTRACT)] == CONTRACT
    assert found["late_jobs"] == 1
    assert found["unplaced_jobs"] == 2
    assert found["objective"] == "performance-constrained"
    assert found["prices"] == {
        "mu": [100, 101, 102, 103, 104, 105],
        "lam": [40, 50, 0, 0, 0, 0],
        "nu": [0] * 6,
    }
    assert found["solve_s"] == 0.123
    assert found["stopped"] == "done"
    assert found["performance_at_most"] is None
    assert found["services"] == []
    assert found["start_now_carbon_g"] == pytest.approx(found["carbon_g"] / 0.8)
    assert found["late_job_ids"] == ["[red]c"]
    assert found["unplaced_job_ids"] == ["huge", "long"]
    assert found["gpu_share"] == pytest.approx(4 / 12)


def test_the_planner_gets_what_was_asked(sgreen, words, planner, tmp_path):
    """Every option arrives."""
    done = sgreen(
        *words,
        *("--objective", "carbon-constrained", "--carbon-budget-g", "900"),
        *("--power-cap-w", "5000", "--ramp-w-per-slot", "700", "--seed", "7"),
        *("--time-limit-s", "2.5", "--services", tmp_path / "v.csv", "--json"),
    )

    assert done.exit_code == 0, done.output
    asked = planner.asked
    assert asked["objective"] is Objective.CARBON_CONSTRAINED
    assert asked["carbon_budget_g"] == 900
    assert (asked["seed"], asked["time_limit_s"]) == (7, 2.5)
    assert asked["warm"] is None
    site = asked["problem"].site
    assert (site.gpus, site.power_cap_w, site.ramp_w_per_slot) == (2, 5000, 700)
    assert json.loads(done.stdout)["services"] == [{"name": "chat", "clock_mhz": [1980] * 6}]


def test_many_jobs_are_not_compared_for_json(sgreen, words, monkeypatch):
    """It would cost more than the answer is worth there; unknown is null."""
    monkeypatch.setattr(plan_verb, "_COMPARED_JOBS", 4)

    assert sgreen.json(*words)["start_now_carbon_g"] is None
    assert "Against start-now" in sgreen(*words).stdout


def test_the_table_says_it_in_plain_words(sgreen, words):
    """Gap, saving, trouble and what to do about it; no escape sequences in a pipe."""
    lines = sgreen(*words).stdout.splitlines()
    text = "\n".join(line.rstrip() for line in lines)

    assert lines[0].startswith("Plan of 5 jobs on 2 GPUs over 6 h 00 min: least carbon")
    assert "at most 0.50 % above the least possible: no plan has less than 320 g" in text
    assert "the plan saves 80 g (20.0 %)" in text
    assert "2 in time, 1 late, 2 not placed" in text
    assert "33.3 % of the GPU-hours, 2 of 2 in the fullest slot" in text
    assert "scarce in 2 slots, highest 50.0 g/GPU-hour (0 d 00:00 to 0 d 02:00)" in text
    assert "huge    wide   0 d 06:00  -          no place  needs 8 GPUs of 2" in text
    assert "runs 25 h 00 min, the signal ends in 6 h 00" in text
    assert "[red]c  train  0 d 01:00" in text
    assert "\x1b" not in text
    assert max(map(len, lines)) <= 100


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"gap": 0.0}, "proven to be the least possible"),
        ({"lower_bound_g": 0.0}, "no bound above zero is proven"),
        ({"stopped": "time limit"}, "stopped by the time limit: the best so far"),
        ({"carbon_g": 500.0}, "the plan emits 98 g (24.4 %) more"),
        ({"unplaced_jobs": 0}, "not comparable: other jobs are placed; start-now has 1 job late"),
        ({"ppc_at_most": 3.1}, "3.10 performance per kgCO2e, proven to be the most possible"),
        ({"performance_at_most": 2.75}, "no plan has more than 2.75"),
    ],
)
def test_the_table_of_other_outcomes(sgreen, words, planner, changes, said):
    """What is proven, what is not, and what went badly."""
    planner.changes = changes

    assert said in " ".join(sgreen(*words).stdout.split())


def test_services_and_limits_are_in_the_table(sgreen, words, planner, tmp_path):
    """Clocks by how long, performance where known; what start-now does not keep."""
    planner.changes = {
        "service_clock": (np.array([0, 0, 0, 1, 1, 0]),),
        "service_performance": 0.75,
        "prices": Prices(mu=np.zeros(6), lam=np.zeros(6), nu=np.array([0, 0, 7.0, 6.5, 0, 0])),
    }

    more = ("--services", tmp_path / "v.csv", "--power-cap-w", 5000)
    text = " ".join(sgreen(*words, *more).stdout.split())

    assert "chat at 900 MHz 67 %, 1980 MHz 33 % of the time; 433 W on average" in text
    assert "performance 0.75 of 1.00" in text
    assert "start-now has 1 job late, leaves 2 out, ignores the cap" in text
    assert "Power (mu) free in 6 of 6 slots GPUs (lam) scarce in no slots" in text
    assert "binds in 2 slots, highest 7.00 g/kWh (0 d 02:00 to 0 d 04:00)" in text


def test_dates_where_the_signal_has_some(sgreen, words, tmp_path):
    """Seconds since 1970, as `sgreen forecast --csv` prints them, are shown as dates."""
    noon_s = 1_795_348_800
    rows = "".join(f"{noon_s + 3600 * hour},{100 + hour}\n" for hour in range(6))
    (tmp_path / "s.csv").write_text(f"start_s,carbon_g_per_kwh\n{rows}")
    (tmp_path / "j.csv").write_text(
        f"job_id,class,work,earliest_s,deadline_s\na,train,7200,{noon_s},{noon_s + 3600}\n"
    )

    text = sgreen(*words).stdout

    assert "(times in UTC)" in text
    assert "22 Nov 13:00  22 Nov 14:00  60 min" in text


def test_nothing_to_plan(sgreen, words, tmp_path):
    """No jobs, no GPUs: still an answer."""
    (tmp_path / "j.csv").write_text(JOBS.splitlines()[0] + "\n")

    done = sgreen(*words[:-1], 0, "--report", tmp_path / "r.html")

    assert done.exit_code == 0, done.output
    assert "Plan of 0 jobs on 0 GPUs" in done.stdout
    assert sgreen.json(*words[:-1], 0)["gpu_share"] is None


def test_all_files_are_written(sgreen, words, tmp_path, planner):
    """Plan, prices and page; the prices warm-start the next plan."""
    out, prices, page = (tmp_path / name for name in ("plan.csv", "p.json", "r.html"))

    done = sgreen(*words, "--out", out, "--prices-out", prices, "--report", page)

    assert done.exit_code == 0, done.output
    assert out.read_text().splitlines()[0] == "job_id,start_s,end_s,workers,clock_mhz,energy_j"
    assert len(out.read_text().splitlines()) == 4
    assert page.read_text().endswith("</html>\n")
    found = read_prices(prices)
    assert (found.gpus, found.step_s, found.made_utc) == (2, 3600, sgreen.now)
    assert sgreen(*words, "--warm-start", prices).exit_code == 0
    np.testing.assert_allclose(planner.asked["warm"].mu, np.arange(100.0, 106.0))
    assert sorted(one.name for one in tmp_path.iterdir() if one.name.startswith(".")) == []


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (["--objective", "carbon-constrained"], "needs --carbon-budget-g"),
        (["--carbon-budget-g", "5"], "goes with --objective carbon-constrained only"),
        (["--objective", "ppc", "--carbon-budget-g", "5"], "not with ppc"),
        (["--objective", "cheap"], "cheap"),
        (["--gpus", "-1"], "--gpus"),
        (["--power-cap-w", "nan"], "not a finite number"),
        (["--ramp-w-per-slot", "inf"], "not a finite number"),
        (["--time-limit-s", "0"], "--time-limit-s"),
        (["--out", "/nowhere/plan.csv"], "--out /nowhere/plan.csv: cannot be written: No such"),
        (["--out", "{tmp}/" + 300 * "a"], "cannot be written: File name too long"),
        (["--report", "/dev/null"], "--report /dev/null: is not a plain file"),
        (["--prices-out", "{tmp}/j.csv"], "is the file of --jobs"),
        (["--out", "{tmp}/x", "--report", "{tmp}/../{name}/x"], "is the file of --out"),
        (["--warm-start", "{tmp}/none.json"], "none.json: no such file"),
        (["--classes", "{tmp}/none.csv"], "none.csv"),
    ],
)
def test_bad_input_is_refused_before_solving(sgreen, words, planner, tmp_path, more, said):
    """Exit status 2, one line on stderr, nothing on stdout, no file touched."""
    before = {one.name: one.read_bytes() for one in tmp_path.iterdir() if one.is_file()}

    done = sgreen(*words, *(one.format(tmp=tmp_path, name=tmp_path.name) for one in more))

    assert done.exit_code == 2, done.output
    assert said in done.stderr
    assert done.stderr.count("\n") == 1
    assert done.stdout == ""
    assert planner.asked is None
    after = {one.name: one.read_bytes() for one in tmp_path.iterdir() if one.is_file()}
    assert after == before


def test_an_impossible_budget_is_bad_input(sgreen, words, planner, tmp_path):
    """The planner says what the least is; no file appears."""
    planner.changes = PlanError("a budget of 1 g is impossible, least is 323 g")
    budget = ("--objective", "carbon-constrained", "--carbon-budget-g", "1")

    done = sgreen(*words, *budget, "--out", tmp_path / "plan.csv", "--json")

    assert done.exit_code == 2
    assert done.stderr == "sgreen: a budget of 1 g is impossible, least is 323 g\n"
    assert not (tmp_path / "plan.csv").exists()
