# SPDX-License-Identifier: Apache-2.0
"""`sgreen replay` on the example and on a sacct export: options, figures, and refusals."""

import json
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from slurm_green.cli.app import App
from slurm_green.cli.root import root
from slurm_green.config.load import loads
from slurm_green.ledger.store import Store
from slurm_green.signals.series import Series
from tests.slurm_green.cli.browser import opened

CAPTURES = Path(__file__).parents[1] / "slurm" / "captures"
FAST = ("--policy", "fifo,lowest-window", "--no-bound")


@pytest.fixture
def run():
    """Runs the verb with a default configuration."""

    def invoke(*arguments, config=""):
        app = App(
            environ={},
            load_config=lambda _: loads(config),
            now=lambda: datetime(2027, 1, 1, tzinfo=UTC),
        )
        return CliRunner().invoke(root, ["replay", *map(str, arguments)], obj=app)

    return invoke


@pytest.fixture
def signal(tmp_path):
    """Five days around the captures, the first of them already begun."""
    noise = np.random.default_rng(1).normal(0, 30, 120)
    rows = (f"{1_795_878_000 + 3600 * at},{300 + noise[at]:.2f}" for at in range(-1, 119))
    path = tmp_path / "signal.csv"
    path.write_text("\n".join(["start_s,carbon_g_per_kwh", *rows]) + "\n")
    return path


def test_the_example_needs_nothing(run, tmp_path):
    """Its JSON says what it is; the page and the files can be kept."""
    done = run(
        "--example", *FAST, "--json", "--report", tmp_path / "r.html", "--keep", tmp_path / "kept"
    )

    assert done.exit_code == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["example"] is True
    assert found["notes"][0].startswith("GENERATED EXAMPLE")
    assert list(found["policies"]) == ["fifo", "lowest-window"]
    saved = found["savings"]["lowest-window"]["fifo"]
    assert saved["low"] < saved["share"] < saved["high"]
    assert "GENERATED EXAMPLE" in (tmp_path / "r.html").read_text()
    again = run(
        *(f"--{name}={tmp_path / 'kept' / name}.csv" for name in
          ("jobs", "classes", "signal", "forecast")),
        "--gpus=16", "--idle-w-per-gpu=100", *FAST, "--json",
    )  # fmt: skip
    kept = json.loads(again.stdout)
    assert kept["policies"]["fifo"]["carbon_g"] == found["policies"]["fifo"]["carbon_g"]
    assert "example" not in kept


# What systems other than Unix lack, taken away before anything of ours is imported.
_ELSEWHERE = """
import os, sys
LACKING = {"fcntl", "pwd", "grp", "resource", "termios", "syslog"}
class Lacking:
    def find_spec(self, name, path=None, target=None):
        if name in LACKING:
            raise ImportError(f"{name}: not on this system")
sys.meta_path.insert(0, Lacking())
for name in LACKING:
    sys.modules.pop(name, None)
for name in ("fork", "fchmod", "geteuid", "getuid", "setsid", "killpg", "sched_getaffinity"):
    delattr(os, name)
from slurm_green.cli.root import main
main()
"""


def test_the_example_runs_where_there_is_no_unix(tmp_path):
    """No user ids, no locks, no fork."""
    page = tmp_path / "r.html"
    arguments = ("replay", "--example", *FAST, "--report", str(page), "--json")

    done = subprocess.run(
        [sys.executable, "-c", _ELSEWHERE, *arguments],
        capture_output=True, text=True, check=False, timeout=120,
    )  # fmt: skip

    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["policies"]["fifo"]["unplaced_jobs"] == 0
    assert page.exists()


def test_the_example_says_so_in_the_terminal(run):
    """Under the table."""
    assert "GENERATED EXAMPLE" in run("--example", "--policy", "fifo", "--no-bound").stdout


@pytest.mark.parametrize(
    "name", ["sacct_export.txt", "sacct_export_epoch.txt", "sacct_export.json"]
)
@pytest.mark.parametrize("version", ["22.05", "24.11", "26.05"])
def test_a_real_export_is_replayed(run, signal, tmp_path, version, name):
    """Of every version, as text and as JSON."""
    done = run(
        "--from-sacct", CAPTURES / version / name, "--signal", signal, *FAST, "--timezone=UTC",
        "--json",
    )  # fmt: skip

    assert done.exit_code == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["gpus"] == 8
    assert found["jobs"] == found["sacct"]["jobs"] >= 10
    assert found["sacct"]["rows"] == 15
    assert found["policies"]["fifo"]["unplaced_jobs"] == 0
    assert {one["reason"].split(":")[0] for one in found["sacct"]["left_out"]} >= {
        "still running when exported",
        "ended before they started",
    }
    # Idle GPUs draw what the configuration says: 60 W of board and 60 W of node.
    assert found["policies"]["fifo"]["peak_w"] > 8 * 120
    assert any("Left out: 1 of 15 rows: still running" in note for note in found["notes"])


def test_files_that_are_there_are_not_overwritten(run, signal, tmp_path):
    """A user's own signal.csv above all; nor is anything written where the input is bad."""
    export, before = CAPTURES / "24.11" / "sacct_export.txt", signal.read_text()

    onto_ours = run("--from-sacct", export, "--signal", signal, *FAST, "--keep", tmp_path)

    assert (onto_ours.exit_code, signal.read_text()) == (2, before)
    assert "holds signal.csv already" in onto_ours.stderr
    signal.write_text("\n".join(before.split("\n")[:5]))
    kept = tmp_path / "kept"
    too_short = run("--from-sacct", export, "--signal", signal, *FAST, "--keep", kept)
    assert (too_short.exit_code, kept.exists()) == (2, False)


def test_options_reach_the_jobs(run, signal, tmp_path):
    """Slack, watts, GPUs, and the site's own configuration."""
    export = CAPTURES / "24.11" / "sacct_export.txt"
    kept = tmp_path / "kept"
    done = run(
        "--from-sacct", export, "--signal", signal, *FAST, "--keep", kept, "--json", "--gpus=10",
        "--slack=main=2h", "--slack=mian=9h", "--gpu-w=500", "--gpu-w=H10=9", "--policy=fifo",
        config="[power]\npue = 1.5\n",
    )  # fmt: skip

    assert done.exit_code == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["gpus"] == 10
    told = " ".join(found["notes"])
    assert "No job is of partition mian" in told and "No job is of GPU type h10," in told
    jobs = [row.split(",") for row in (kept / "jobs.csv").read_text().split("\n")[1:-1]]
    slacks = {float(row[6]) - float(row[5]) - float(row[2]) for row in jobs}
    assert slacks == {2 * 3600.0, 8 * 3600.0}  # one job's comment asks for 8 h
    power = float((kept / "classes.csv").read_text().split("\n")[1].split(",")[5])
    assert power == pytest.approx(1.5 * (500 - 120 + 5 * 10 / 9), rel=0.01)


def test_the_ledgers_signal_goes_on_to_the_last_deadline(run, tmp_path):
    """Or till now, and where that is not all known, until the last job's end."""
    export = CAPTURES / "24.11" / "sacct_export.txt"
    short = "deadlines after the signal's end"
    for hours, cut in ((120, False), (10, True)):
        first = datetime.fromtimestamp(1_795_874_400, UTC)
        ledger = tmp_path / f"{hours}.db"
        with Store(ledger) as store:
            store.add_signal(
                Series(
                    start_utc=first, step_s=3600.0, values=np.full(hours, 300.0),
                    issued_utc=first, provider="neso",
                )
            )  # fmt: skip

        done = run(
            "--from-sacct", export, *FAST, "--timezone=UTC", "--json",
            config=f'[paths]\nledger = "{ledger}"\n',
        )  # fmt: skip

        assert done.exit_code == 0, done.stderr
        assert any(short in note for note in json.loads(done.stdout)["notes"]) is cut


def test_a_profile_lets_jobs_run_slower(run, signal, tmp_path):
    """A shape for each of its clocks."""
    profile = tmp_path / "profile"
    profile.mkdir()
    (profile / "profile.toml").write_text('provenance = "published"\nsource = "made up"\n')
    (profile / "training.csv").write_text(
        "workers,gpus_per_worker,clock_mhz,rate,power_w\n1,1,900,70,200\n1,1,1400,100,400\n"
    )
    kept = tmp_path / "kept"
    done = run(
        "--from-sacct", CAPTURES / "24.11" / "sacct_export.txt", "--signal", signal, *FAST,
        "--profile", profile, "--keep", kept,
    )  # fmt: skip

    assert done.exit_code == 0, done.stderr
    rows = [row.split(",") for row in (kept / "classes.csv").read_text().split("\n")[1:-1]]
    assert [row[3:5] for row in rows] == [["900", "0.7"], ["1400", "1"]] * 2


EXPORT = ("--from-sacct", CAPTURES / "24.11" / "sacct_export.txt")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--example", *EXPORT), "give one of them"),
        (("--example", "--signal", "x.csv"), "leave --signal and --forecast out"),
        (("--example", "--slack", "a=2h", "--since=x"), "--slack, --since: only with --from-sacct"),
        (("--example", "--jobs", "x.csv"), "--jobs: --example and --from-sacct bring theirs"),
        (EXPORT, "--from-sacct needs --signal"),
        (("--keep", "x"), "--keep goes with"),
        ((*EXPORT, "SIGNAL", "--timezone", "Mars"), "no such zone"),
        ((*EXPORT, "SIGNAL", "--slack", "main"), "wanted NAME=VALUE"),
        ((*EXPORT, "SIGNAL", "--default-slack", "soon"), "--default-slack: not a duration: 'soon'"),
        ((*EXPORT, "SIGNAL", "--slack", "main=24"), "--slack main: not a duration: '24'"),
        ((*EXPORT, "SIGNAL", "--slack=a=1h", "--slack=a=2h"), "--slack a: is given twice"),
        ((*EXPORT, "SIGNAL", "--gpu-w", "h100=hot"), "wanted watts"),
        ((*EXPORT, "SIGNAL", "--gpu-w=H100=9", "--gpu-w=h100=8"), "h100=8: is given twice"),
        ((*EXPORT, "SIGNAL", "--gpu-w", "\u0661\u0660"), "wanted watts"),
        ((*EXPORT, "SIGNAL", "--since", "monday"), "wanted a time such as"),
        ((*EXPORT, "SIGNAL", "--since", "2026-12-01"), "no job in it can be replayed"),
        (("--example", "--report", "/none/r.html"), "--report /none/r.html: cannot be written"),
    ],
)  # fmt: skip
def test_what_makes_no_sense_is_one_line(run, signal, arguments, words):
    """Exit 2, before anything is simulated."""
    given = [
        part for one in arguments for part in (("--signal", signal) if one == "SIGNAL" else [one])
    ]

    done = run(*given, "--policy=fifo")

    assert (done.exit_code, done.stdout) == (2, "")
    assert words in done.stderr
    assert done.stderr.count("\n") == 1


def test_the_page_of_an_export_opens(run, signal, tmp_path):
    """Dated, with the notes."""
    page = tmp_path / "r.html"
    done = run(*EXPORT, "--signal", signal, *FAST, "--report", page)

    assert done.exit_code == 0, done.stderr
    assert "times in UTC" in page.read_text()
    assert "28 Nov" in opened(page)["whole"]
