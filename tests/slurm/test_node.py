# SPDX-License-Identifier: Apache-2.0
"""sgreen-noded, its prolog and its epilog under a real slurmd, with emulated GPUs.

After everything: the job ended as it would have, the node takes jobs, nothing of ours is left.
"""

import os
import re
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from profiling.device.emulated.bench import Bench
from profiling.device.emulated.models import load_model
from slurm_green.cluster.cluster import Cluster
from slurm_green.node.books import Books
from tests.slurm_green.node.live_node import LiveNode

WaitFor = Callable[..., None]

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root sets clocks")
GPUS = 2
# The job goes on until its file is there, and tells what Slurm gave it.
SCRIPT = """#!/bin/sh
echo $SLURM_JOB_GPUS
while [ ! -e {go} ]; do sleep 0.05; done
{end}
"""
_ASK = """
import os, socket, sys
for gpu in (0, 1):
    s = socket.socket(socket.AF_UNIX)
    s.connect(sys.argv[1])
    job = sys.argv[2] if len(sys.argv) > 2 else os.environ["SLURM_JOB_ID"]
    line = '{"op":"set","job":%s,"gpus":"%d","clock_mhz":900,"ttl_s":60}' % (job, gpu)
    s.sendall(line.encode() + b"\\n")
    print(s.recv(4096).decode().strip())
"""


class Site:
    """A cluster of one node, its sgreen-noded, and jobs that end when told to."""

    def __init__(self, make_cluster: Callable[..., Cluster], wait_for: WaitFor) -> None:
        # The paths of the hooks belong into slurm.conf, so they are known before the cluster is.
        cluster = make_cluster(nodes=1, gpus=GPUS, extra_conf=("PrologFlags=Alloc",))
        self.cluster, self.wait_for = cluster, wait_for
        directory = cluster.layout.directory / "noded"
        directory.mkdir()
        self.bench = Bench.create(directory / "gpus", [load_model("h100-sxm")] * GPUS, mode=0o644)
        for gpu in range(GPUS):
            self.bench.load(gpu, 1.0, 0.5)
        self.node = LiveNode(directory, self.bench)
        with cluster.layout.slurm_conf.open("a") as conf:
            conf.write(f"Prolog={self.node.prolog}\nEpilog={self.node.epilog}\n")
        cluster.run("scontrol", "reconfigure")

    def close(self) -> None:
        if self.node.up:
            self.node.kill()
        self.bench.close()

    def sbatch(self, *options: str, plan: dict[str, object] | None = None, end: str = "") -> int:
        """A job of nobody, with a clock from sgreend."""
        number = len(list(self.cluster.layout.work.glob("*.sh")))
        go = self.cluster.layout.work / f"go{number}"
        script = self.cluster.layout.work / f"{number}.sh"
        script.write_text(SCRIPT.format(go=go, end=end))
        held = self.cluster.run(
            "sbatch", "--parsable", "--hold", "--gres=gpu:1", *options, str(script), user="nobody"
        )
        job_id = int(held.stdout)
        self.go_file = go
        self.plans = {**getattr(self, "plans", {}), **({job_id: plan} if plan else {})}
        self.node.order(self.plans)
        self.cluster.run("scontrol", "release", str(job_id))
        return job_id

    def running(self, *options: str, **how: object) -> tuple[int, Path]:
        """The same, and it runs; and the file that ends it."""
        job_id = self.sbatch(*options, **how)  # type: ignore[arg-type]
        self.wait_for(lambda: self.output(job_id) != "", 20, f"job {job_id} running")
        return job_id, self.go_file

    def state(self, job_id: int) -> str:
        shown = self.cluster.run("scontrol", "-o", "show", "job", str(job_id)).stdout
        found = re.search(r"JobState=(\w+)", shown)
        return found[1] if found else ""

    def output(self, job_id: int) -> str:
        path = self.cluster.layout.work / f"slurm-{job_id}.out"
        return path.read_text() if path.exists() else ""

    def finish(self, job_id: int, go: Path) -> None:
        """Let it end, and wait for its epilog."""
        go.touch()
        self.wait_for(lambda: self.state(job_id) == "COMPLETED", 30, f"job {job_id} completed")
        self.wait_for(self.idle, 30, "the epilog")

    def idle(self) -> bool:
        return self.node_state() == "idle"

    def node_state(self) -> str:
        return self.cluster.run("sinfo", "-h", "-o", "%T").stdout.strip()

    def locks(self) -> list[float | None]:
        return [self.node.lock_mhz(gpu) for gpu in range(GPUS)]

    def energies(self) -> list[dict[str, object]]:
        books = Books(self.node.directory / "state", "none")
        return list(books.unreported().values())

    def clean(self) -> None:
        """Nothing of ours is left, and the node takes jobs."""
        assert self.locks() == [None] * GPUS
        assert self.node.owed == []
        assert self.node_state() == "idle"


@pytest.fixture
def site(make_cluster: Callable[..., Cluster], wait_for: WaitFor) -> Iterator[Site]:
    one = Site(make_cluster, wait_for)
    yield one
    one.close()


def test_a_job_has_its_clock_and_its_energy(site: Site) -> None:
    site.node.start()
    job_id, go = site.running(plan={"clock_mhz": 1095})
    gpu = int(site.output(job_id))
    assert site.locks()[gpu] == 1095
    assert site.locks().count(None) == GPUS - 1

    site.finish(job_id, go)
    site.clean()
    (energy,) = site.energies()
    assert (energy["job_id"], energy["source"], energy["why"]) == (job_id, "emulated", "")
    assert float(str(energy["energy_j"])) > 0


def test_two_jobs_have_different_clocks(site: Site) -> None:
    site.node.start()
    first, first_go = site.running(plan={"clock_mhz": 1095})
    second, second_go = site.running(plan={"clock_mhz": 1500})
    assert site.locks()[int(site.output(first))] == 1095
    assert site.locks()[int(site.output(second))] == 1500

    first_go.touch()
    site.wait_for(lambda: sorted(map(str, site.locks())) == ["1500.0", "None"], 20, "one ended")
    site.finish(second, second_go)
    site.clean()


def test_without_noded_nothing_changes(site: Site) -> None:
    job_id, go = site.running(plan={"clock_mhz": 1095})
    site.finish(job_id, go)

    site.clean()


def test_killed_during_a_job_and_restarted(site: Site) -> None:
    """It sees the job's slurmstepd, and goes on."""
    site.node.start()
    job_id, go = site.running(plan={"clock_mhz": 1095})
    gpu = int(site.output(job_id))
    site.node.kill()
    site.node.start()
    assert site.locks()[gpu] == 1095

    site.finish(job_id, go)
    site.clean()
    assert [one["why"] for one in site.energies()] == [""]


def test_the_job_ends_while_it_is_dead(site: Site) -> None:
    site.node.start()
    job_id, go = site.running(plan={"clock_mhz": 1095})
    site.node.kill()
    site.finish(job_id, go)
    assert site.locks() != [None] * GPUS

    site.node.start()
    site.clean()


def test_it_hangs_while_a_job_starts_and_ends(site: Site) -> None:
    site.node.start()
    process = site.node._process
    assert process is not None
    process.send_signal(signal.SIGSTOP)
    job_id, go = site.running(plan={"clock_mhz": 1095})
    site.finish(job_id, go)

    process.send_signal(signal.SIGCONT)
    site.node.wait(lambda: site.locks() == [None] * GPUS and site.node.owed == [], "the restore")
    site.clean()
    # What was said to it meanwhile is too old to count from.
    assert site.energies() == []


def test_a_gpu_lost_during_a_job(site: Site) -> None:
    site.node.start()
    job_id, go = site.running(plan={"clock_mhz": 1095})
    gpu = int(site.output(job_id))
    site.bench.lose(gpu)
    site.finish(job_id, go)
    assert [one["energy_j"] for one in site.energies()] == [None]

    site.bench.lose(gpu, lost=False)
    site.node.stop()
    site.clean()


def test_the_job_is_cancelled(site: Site) -> None:
    site.node.start()
    job_id, _ = site.running(plan={"clock_mhz": 1095})
    site.cluster.run("scancel", str(job_id))
    site.wait_for(site.idle, 30, "the epilog")

    site.clean()


def test_a_job_may_ask_for_its_own_gpu_only(site: Site) -> None:
    """Its user's other job is none of its business, either: nor is one that guesses its number."""
    site.node.start()
    client = site.cluster.layout.work / "ask.py"
    client.write_text(_ASK)
    other, other_go = site.running(plan={"clock_mhz": 1500})
    ask = f"/usr/bin/python3 -IS {client} {site.node.user_socket}"
    job_id, go = site.running(end=f"{ask}; sleep 600")
    mine = int(site.output(job_id))
    go.touch()
    site.wait_for(lambda: site.output(job_id).count("\n") >= 3, 20, "its answers")

    answers = site.output(job_id).splitlines()[1:]
    assert '"clock_mhz": 900' in answers[mine]
    assert "is not yours, not live here, or has no such GPU" in answers[1 - mine]
    assert site.locks()[mine] == 900
    assert site.locks()[1 - mine] == 1500
    site.cluster.run("scancel", str(job_id))
    site.wait_for(lambda: site.locks()[mine] is None, 30, "the epilog")
    site.finish(other, other_go)
    site.clean()
