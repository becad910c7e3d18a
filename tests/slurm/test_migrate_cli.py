# SPDX-License-Identifier: Apache-2.0
"""`sgreen migrate plan|run|status` between two real clusters, one of them in the wind."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from profiling.whole import write_file
from slurm_green.cli.root import root
from slurm_green.cluster.cluster import Cluster
from slurm_green.migration.execute.record import Step
from tests.slurm.move_sites import TwoSites

MakeCluster = Callable[..., Cluster]

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs root, whose jobs these are")

SIGNAL = "start_s,carbon_g_per_kwh,renewable_w,base_power_w\n"


@pytest.fixture
def sites(make_cluster: MakeCluster, tmp_path: Path) -> Iterator[TwoSites]:
    """a burns coal for two days, b has wind for as long."""
    shape = {"nodes": 2, "gpus": 2}
    two = TwoSites(
        make_cluster(stem="miga", **shape), make_cluster(stem="migb", **shape), tmp_path / "journal"
    )
    lines = []
    for name, wind_w in (("a", 0), ("b", 50_000)):
        blow(tmp_path / f"{name}.csv", wind_w)
        site = two.sites[name]
        lines += ["[[site]]", f'name = "{name}"', f'slurm_conf = "{site.slurm_conf}"']
        lines += [f'root = "{site.root}"', f'path = "{site.path}"', f'signal = "{name}.csv"']
    link = ["[[link]]", 'from = "a"', 'to = "b"', "gbps = 10", "limit_mbps = 800"]
    (tmp_path / "sites.toml").write_text("\n".join([*lines, *link]) + "\n")
    yield two
    two.close()


def blow(path: Path, wind_w: int) -> None:
    """The next two days of a site, whole at any moment: a run that is under way reads it."""
    rows = "".join(f"{hour * 3600},400,{wind_w},1000\n" for hour in range(48))
    write_file(path, (SIGNAL + rows).encode())


def migrate(sites: TwoSites, verb: str, *more: str) -> dict[str, Any]:
    """What the verb prints as JSON."""
    given = [verb, "--journal", str(sites.directory), "--json", *more]
    if verb != "status":
        given += ["--sites", str(sites.directory.parent / "sites.toml")]
    result = CliRunner().invoke(root, ["migrate", *given])
    assert result.exit_code == 0, result.output
    found: dict[str, Any] = json.loads(result.stdout)
    return found


def beside(*asked: str) -> subprocess.Popen[bytes]:
    """`sgreen migrate` as a process of its own."""
    code = "from slurm_green.cli.root import main; main()"
    return subprocess.Popen([sys.executable, "-c", code, "migrate", *asked])


def test_what_is_planned_is_moved_once_it_is_agreed_to(sites: TwoSites) -> None:
    """A long job that runs moves; one that is nearly over, and one nobody marked, stay."""
    long = sites.twin("a", steps=9000)
    sites.await_said("begins_at")
    sites.clusters["a"].run("scontrol", "update", f"JobId={long}", "TimeLimit=600")
    short = sites.twin("a", steps=9000)
    sites.await_said("begins_at")
    other = sites.clusters["a"].run("sbatch", "--parsable", "--wrap", "sleep 60").stdout.strip()

    planned = migrate(sites, "plan")
    assert [(one["job"], one["from"], one["to"]) for one in planned["moves"]] == [(long, "a", "b")]
    stays = {one["job"]: one["why"] for one in planned["stays"]}
    assert stays.keys() == {f"a/{short}", f"a/{other}"}
    assert "green:checkpoint" in stays[f"a/{other}"]
    assert migrate(sites, "run")["dry_run"]
    assert sites.state("a", long) == "RUNNING"

    (moved,) = migrate(sites, "run", "--yes", "--poll-s", "0.2")["moves"]
    assert (moved["job"], moved["step"], moved["transfers"]) == (long, "done", 1)
    assert sites.state("b", moved["new_job"]) == "RUNNING"
    assert migrate(sites, "status") == {"moves": [], "abandoned": False}
    # It has moved for this window; b is where it wants to be anyway.
    assert migrate(sites, "plan")["moves"] == []

    back = ("--job", str(moved["new_job"]), "--from", "b", "--to", "a")
    assert migrate(sites, "plan", *back)["moves"][0]["why"] == "you asked for it"
    waiting = migrate(sites, "run", "--yes", "--wait-s", "0", *back)["moves"][0]
    assert not waiting["settled"]
    left = migrate(sites, "status")
    assert [one["move"] for one in left["moves"]] == [waiting["move"]]
    assert left["abandoned"]
    (ended,) = migrate(sites, "run", "--yes", "--finish", "--poll-s", "0.2")["moves"]
    assert ended["step"] == "done"
    assert sites.state("a", ended["new_job"]) == "RUNNING"


def test_a_mover_killed_at_the_release_is_followed_by_the_one_beside_it(sites: TwoSites) -> None:
    """Nobody has to call `run` again: the job there starts, the one here goes."""
    job = sites.twin("a", steps=9000)
    sites.await_said("begins_at")
    asked = ["--sites", str(sites.directory.parent / "sites.toml"), "--yes", "--poll-s", "0.1"]
    asked += ["--journal", str(sites.directory), "--job", str(job), "--from", "a", "--to", "b"]
    mover = beside("run", *asked)

    def step() -> str:
        return "".join(one.step for one in sites.journal.all())

    # "release" itself is soon over.
    late = {"release", "start", "cancel"}
    sites.wait(lambda: step() in late and sites.alive()["a"] == ["HELD"], "the hold", 90)
    mover.kill()
    assert mover.wait() == -signal.SIGKILL
    assert step() != "done"
    sites.wait(lambda: step() == "done", "the end of the move", 90)
    sites.goes_on("b")


def test_a_window_that_closes_early_brings_the_job_back(sites: TwoSites, tmp_path: Path) -> None:
    """While its data is on the way; it then stays until the window was to be over."""
    file = tmp_path / "sites.toml"
    file.write_text(file.read_text().replace("limit_mbps = 800", "limit_mbps = 8"))
    job = sites.twin("a", steps=9000, ballast=30_000_000)
    sites.await_said("begins_at")
    sites.clusters["a"].run("scontrol", "update", f"JobId={job}", "TimeLimit=600")
    (planned,) = migrate(sites, "plan")["moves"]
    assert planned["job"] == job
    given = ("--sites", str(file), "--journal", str(sites.directory), "--yes", "--poll-s", "0.2")
    mover = beside("run", *given)
    sites.wait(
        lambda: any(one.copying_since_s is not None for one in sites.journal.all()),
        "the transfer",
        90,
    )
    blow(tmp_path / "b.csv", 0)
    assert mover.wait(90) == 0
    (left,) = sites.journal.all()
    assert left.step is Step.STAYED, left
    assert "the window at b has closed" in left.why
    assert left.history[-3][0] == Step.COPY
    sites.goes_on("a")
    assert sites.left_over() == []

    # The wind is back: whoever knows of the move lets the job stay, whoever does not moves it.
    blow(tmp_path / "b.csv", 50_000)
    later = migrate(sites, "plan")
    assert later["moves"] == []
    assert {one["job"]: one["why"] for one in later["stays"]} == {
        f"a/{job}": "it moved, or was to move, for a window that is still open"
    }
    elsewhere = migrate(sites, "plan", "--journal", str(tmp_path / "empty"))
    assert [one["job"] for one in elsewhere["moves"]] == [job]
