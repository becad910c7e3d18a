# SPDX-License-Identifier: Apache-2.0
"""`sgreen serve` as real Slurm jobs, over a scripted server: submitted, drained, replaced."""

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from slurm_green.cluster.cluster import Cluster

WaitFor = Callable[..., None]
SGREEN = "from slurm_green.cli.root import main; main()"
ROOT = Path(__file__).parents[2]
FAKE = ROOT / "tests" / "serving" / "replica" / "fake_vllm.py"


class Site:
    """Replicas of one cluster."""

    def __init__(self, cluster: Cluster, home: Path) -> None:
        self.cluster, self.state, self.fake = cluster, home / "state", home / "fake"
        self.fake.mkdir(exist_ok=True)

    def serve(self, *more: str) -> dict[str, Any]:
        """Submit, and wait until all are ready."""
        done = self.cluster.run(
            sys.executable, "-c", SGREEN, "serve", "tiny",
            "--slo-ttft-ms", "500", "--slo-tpot-ms", "50", "--state", str(self.state),
            "--host", "127.0.0.1", "--vllm", f"{sys.executable} {FAKE}", "--drain-s", "10",
            "--json", *more,
            env={"FAKE": str(self.fake)}, cwd=ROOT, timeout_s=120.0, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        told: dict[str, Any] = json.loads(done.stdout)
        return told

    def shown(self) -> dict[str, str]:
        """Registrations: the job's after its script's name, and its state."""
        found = {}
        for path in (self.state / "replicas").glob("*.json"):
            try:
                found[path.stem[path.stem.index("job") :]] = json.loads(path.read_text())["state"]
            except FileNotFoundError:
                continue
        return found

    def job_state(self, job: int) -> str:
        """As Slurm has it."""
        told = self.cluster.run("scontrol", "--oneliner", "show", "job", str(job)).stdout
        return told.partition("JobState=")[2].split()[0]


@pytest.fixture
def site(slurm_cluster: Cluster, tmp_path: Path) -> Site:
    return Site(slurm_cluster, tmp_path)


def test_one_job_a_replica_each_drained_by_a_signal(site: Site, wait_for: WaitFor) -> None:
    told = site.serve("--replicas", "2", "--minutes", "30")
    first, second = told["jobs"]
    assert site.shown() == {f"job{first}-0": "ready", f"job{second}-0": "ready"}
    site.cluster.run("scancel", "--signal=TERM", "--batch", str(first))
    wait_for(lambda: site.job_state(first) == "COMPLETED", 30, "the first job's end")
    assert site.shown() == {f"job{second}-0": "ready"}
    site.cluster.run("scancel", str(second))
    wait_for(lambda: not site.shown(), 30, "the second one's registration gone")


def test_jobs_of_the_same_number_in_two_clusters_share_a_home(
    make_cluster: Callable[..., Cluster], tmp_path: Path, wait_for: WaitFor
) -> None:
    sites = [Site(make_cluster(nodes=1), tmp_path) for _ in range(2)]
    assert [site.serve("--minutes", "30")["jobs"] for site in sites] == [[1], [1]]
    replicas = sites[0].state / "replicas"
    assert len(list(replicas.iterdir())) == 2
    sites[0].cluster.run("scancel", "--signal=TERM", "--batch", "1")
    wait_for(lambda: sites[0].job_state(1) == "COMPLETED", 30, "the first one's end")
    assert sites[0].shown() == {"job1-0": "ready"}
    sites[1].cluster.run("scancel", "1")
    wait_for(lambda: not sites[1].shown(), 30, "the second one's registration gone")


def test_a_job_that_ends_before_it_is_ready_is_told_with_its_log(site: Site) -> None:
    with pytest.raises(AssertionError, match=r"(?s)ended before its replica was ready.*vLLM"):
        site.serve("--vllm", "/no/such/vllm")


def test_a_replacement_is_submitted_once_however_often_it_is_asked_for(
    site: Site, tmp_path: Path
) -> None:
    script = tmp_path / "again.sh"
    script.write_text("#!/bin/sh\n#SBATCH --output=/dev/null\nexec sleep 600\n")

    def successor(of: str) -> str:
        code = (
            "import pathlib, sys; from serving.replica.submit import successor;"
            "print(successor(pathlib.Path(sys.argv[1]), sys.argv[2]))"
        )
        done = site.cluster.run(sys.executable, "-c", code, str(script), of, cwd=ROOT)
        return done.stdout.strip()

    job = successor("again-job7-0")
    assert successor("again-job7-0") == job
    other = successor("again-job77-0")
    assert other != job
    site.cluster.run("scancel", job, other)


@pytest.mark.campaign
def test_before_its_time_limit_it_is_replaced(site: Site, wait_for: WaitFor) -> None:
    (job,) = site.serve("--minutes", "2", "--lead-s", "60")["jobs"]
    wait_for(lambda: len(site.shown()) == 2, 130, "a replacement")
    assert site.shown()[f"job{job}-0"] in ("ready", "draining")
    wait_for(lambda: f"job{job}-0" not in site.shown(), 60, "the old one's end")
    (new,) = site.shown()
    assert new != f"job{job}-0"
    wait_for(lambda: site.job_state(job) == "COMPLETED", 10, "the old job's end")
    site.cluster.run("scancel", new.removeprefix("job").partition("-")[0])
