# SPDX-License-Identifier: Apache-2.0
"""A sacct export of a real cluster, taken as the documentation says, and replayed."""

import json
import os
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner

from slurm_green.cli.app import App
from slurm_green.cli.root import root
from slurm_green.cluster.cluster import Cluster
from slurm_green.cluster.packages import missing
from slurm_green.config.settings import Config

MakeCluster = Callable[..., Cluster]
WaitFor = Callable[..., None]

pytestmark = pytest.mark.skipif(
    bool(missing(["accounting"])), reason="slurmdbd or MariaDB missing (.ci/install-debian)"
)
DOCS = Path(__file__).parents[2] / "docs" / "replay-history.md"
HOUR_S = 3600


@pytest.fixture(scope="module")
def site(make_module_cluster: MakeCluster, wait_for: WaitFor) -> Cluster:
    """Two nodes with four GPUs each and a short history of every kind."""
    cluster = make_module_cluster(
        stem="r",
        nodes=2,
        gpus=4,
        accounting=True,
        extra_conf=("AccountingStoreFlags=job_comment",),
    )

    def sbatch(*options: str, wrap: str = "sleep 2") -> str:
        done = cluster.run("sbatch", "--parsable", "-o", "/dev/null", *options, "--wrap", wrap)
        return done.stdout.strip()

    def shown(job_id: str, field: str) -> str:
        return cluster.run("squeue", "-h", "-j", job_id, "-o", field, check=False).stdout.strip()

    sbatch("-t", "10", "--gres=gpu:2", "--comment=green:max-delay=8h")
    sbatch("-t", "5", "--gres=gpu:1", "--array=0-2")
    sbatch("-t", "5", "-c", "3")
    sbatch("--gres=gpu:1", "--job-name=a|b")
    sbatch("-t", "7", "--gres=gpu:1", ":", "-t", "7", "-n", "2")
    again = sbatch("-t", "5", "--gres=gpu:1", "--requeue", wrap="sleep 15")
    # Accounting counts whole seconds: a first run of none would be no run.
    wait_for(lambda: shown(again, "%M") >= "0:02", 30, "the job to requeue")
    cluster.run("scontrol", "requeue", again)
    wait_for(lambda: shown(again, "%T") == "PENDING", 30, "the requeue")
    cluster.run("scontrol", "update", f"jobid={again}", "starttime=now", check=False)
    wait_for(lambda: not cluster.run("squeue", "-h").stdout.strip(), 60, "the jobs to end")
    sbatch("-t", "50", "--gres=gpu:2", wrap="sleep 600")
    never = sbatch("-t", "5", "-N2", "--gres=gpu:4")
    wait_for(lambda: "RUNNING" in cluster.run("squeue", "-h", "-o", "%T").stdout, 30, "the last")
    cluster.run("scancel", never)

    def recorded() -> bool:
        listing = cluster.run("sacct", "-n", "-X", "-P", "-o", "jobname,state").stdout
        return "RUNNING" in listing and "CANCELLED" in listing

    wait_for(recorded, 30, "sacct's rows")
    return cluster


def _documented(word: str) -> str:
    """The export command of the documentation that has this word in it."""
    lines = DOCS.read_text().replace("\\\n", " ").split("\n")
    (command,) = (line for line in lines if "sacct -a" in line and word in line)
    return command


def _export(site: Cluster, word: str, path: Path) -> Path:
    """Run what the documentation says, for the last day."""
    command = _documented(word)
    start, end = command.index(" -S "), command.index(" > ")
    command = f"{command[:start]} -S now-1days -E now+1hour{command[end:]}".replace(
        command.split(">")[1].strip(), str(path)
    )
    subprocess.run(["bash", "-c", command], env={**os.environ, **site.env}, check=True, timeout=60)
    return path


@pytest.mark.parametrize("kind", ["-P", "--json"])
def test_the_documented_export_is_replayed(site: Cluster, tmp_path: Path, kind: str) -> None:
    """Every row is a job or counted; the jobs are those that ran."""
    export = _export(site, kind, tmp_path / "export")
    first = int(time.time()) // HOUR_S * HOUR_S - HOUR_S
    signal = tmp_path / "signal.csv"
    rows = (f"{first + HOUR_S * at},{300 + 50 * (at % 5)}" for at in range(60))
    signal.write_text("\n".join(["start_s,carbon_g_per_kwh", *rows]) + "\n")

    done = CliRunner().invoke(
        root,
        [
            "replay",
            "--from-sacct",
            str(export),
            "--signal",
            str(signal),
            "--json",
            "--policy=fifo,lowest-window",
            "--no-bound",
            "--keep",
            str(tmp_path / "kept"),
        ],
        obj=App(environ={}, load_config=lambda _: Config()),
    )

    assert done.exit_code == 0, done.stderr
    found = json.loads(done.stdout)
    left = {one["reason"].split(":")[0]: one["rows"] for one in found["sacct"]["left_out"]}
    assert left == {
        "still running when exported": 1,
        "ended before they started": 1,
        "without GPUs on a site with GPUs": 1,
    }, export.read_text()[:3000]
    # One, three of the array, one without a limit, the parts together, and two runs of one.
    assert found["jobs"] == 8
    assert found["sacct"]["rows"] == 12
    assert found["gpus"] >= 2
    ids = {row.split(",")[0] for row in (tmp_path / "kept" / "jobs.csv").read_text().split("\n")}
    assert {"1", "2_0", "2_1", "2_2", "6+"} - ids <= {"6+"}
    assert any(one.endswith("#2") for one in ids)
    assert found["policies"]["fifo"]["late_jobs"] == 0
