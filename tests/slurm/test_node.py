# SPDX-License-Identifier: Apache-2.0
"""sgreen-noded, its prolog and its epilog under a real slurmd, with emulated GPUs.

After everything: the job ended as it would have, the node takes jobs, nothing of ours is left.
"""

import json
import os
import re
import signal
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from slurm_green.cluster.clocks import GpuNow, clocks_of
from slurm_green.cluster.cluster import Cluster

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
# As many connections as it gets, and on each of them garbage, halves of lines and floods.
_HOSTILE = """
import os, socket, sys
lines = [b"\\0" * 3000, b'{"op":"begin","job":1,"uid":0,"gpus":"0","at_s":1}\\n', b"{" * 5000,
         b'{"op":"set","job":99,"gpus":"0","clock_mhz":210,"ttl_s":60}\\n' * 300, b'{"op"']
kept, number = [], 0
while not os.path.exists(sys.argv[2]):
    s = socket.socket(socket.AF_UNIX)
    s.settimeout(0.05)
    try:
        s.connect(sys.argv[1])
        s.sendall(lines[number % len(lines)])
    except OSError:
        pass
    kept, number = (kept + [s])[-60:], number + 1
    if number == 100:
        print("hostile", flush=True)
"""


class Site:
    """A cluster of one node, and jobs that end when told to."""

    def __init__(self, cluster: Cluster, wait_for: WaitFor) -> None:
        self.cluster, self.wait_for = cluster, wait_for
        (self.node,) = cluster.spec.node_names
        self.bench = cluster.bench(self.node)
        self.user_socket = cluster.layout.nodes / self.node / "run" / "user.sock"
        self._plans: dict[int, dict[str, object]] = {}

    def sbatch(self, *options: str, plan: dict[str, object] | None = None, end: str = "") -> int:
        """A job of nobody, with a clock from sgreend."""
        number = len(list(self.cluster.layout.work.glob("*.sh")))
        self.go_file = self.cluster.layout.work / f"go{number}"
        script = self.cluster.layout.work / f"{number}.sh"
        script.write_text(SCRIPT.format(go=self.go_file, end=end))
        held = self.cluster.run(
            "sbatch", "--parsable", "--hold", "--gres=gpu:1", *options, str(script), user="nobody"
        )
        job_id = int(held.stdout)
        self._plans |= {job_id: plan} if plan else {}
        self.cluster.order(self._plans)
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

    def gpu(self, job_id: int) -> int:
        """The GPU that Slurm gave it."""
        return int(self.output(job_id).split()[0])

    def finish(self, job_id: int, go: Path) -> None:
        """Let it end, and wait for its epilog."""
        go.touch()
        self.wait_for(lambda: self.state(job_id) == "COMPLETED", 30, f"job {job_id} completed")
        self.wait_for(self.idle, 30, "the epilog")

    def idle(self) -> bool:
        return self.node_state() == "idle"

    def node_state(self) -> str:
        return self.cluster.run("sinfo", "-h", "-o", "%T").stdout.strip()

    def gpus(self) -> list[GpuNow]:
        found = clocks_of(self.cluster.layout, self.cluster.spec)
        assert found is not None
        return found

    def locks(self) -> list[float | None]:
        return [one.lock_mhz for one in self.gpus()]

    def energies(self) -> list[dict[str, object]]:
        """What waits for sgreend."""
        place = self.cluster.layout.nodes / self.node / "state" / "energy"
        return [json.loads(path.read_text()) for path in sorted(place.glob("*.json"))]

    def await_clean(self) -> None:
        """As `clean`, of a noded that has things to catch up with.

        Where it still saw the last slurmstepd of the job go, it waits the minute that it gives one.
        """
        self.wait_for(lambda: not any(one.owed for one in self.gpus()), 90, "the restore")
        self.clean()

    def clean(self) -> None:
        """Nothing of ours is left, and the node takes jobs."""
        assert self.locks() == [None] * GPUS
        assert not any(one.owed for one in self.gpus())
        assert self.node_state() == "idle"


@pytest.fixture
def site(make_cluster: Callable[..., Cluster], wait_for: WaitFor) -> Iterator[Site]:
    one = Site(make_cluster(nodes=1, gpus=GPUS, gpu_model="h100-sxm"), wait_for)
    yield one
    one.bench.close()


def test_a_job_has_its_clock_and_its_energy(site: Site) -> None:
    job_id, go = site.running(plan={"clock_mhz": 1095})
    gpu = site.gpu(job_id)
    assert site.locks()[gpu] == 1095
    assert site.locks().count(None) == GPUS - 1
    assert (site.gpus()[gpu].job_id, site.gpus()[gpu].owed) == (job_id, True)

    site.finish(job_id, go)
    site.clean()
    (energy,) = site.energies()
    assert (energy["job_id"], energy["source"], energy["why"]) == (job_id, "emulated", "")
    assert energy["node"] == site.node
    assert float(str(energy["energy_j"])) > 0


def test_the_load_is_the_jobs_and_its_watts_follow_the_clock(site: Site) -> None:
    def watts(plan: dict[str, object] | None) -> float:
        job_id, go = site.running(plan=plan)
        gpu = site.gpu(job_id)
        site.wait_for(lambda: site.bench.read(gpu).clock_mhz > 345, 5, "the load")
        power_w = site.bench.read(gpu).power_w
        site.finish(job_id, go)
        site.wait_for(lambda: not site.bench.read(gpu).context, 5, "no load")
        return power_w

    assert 150 < watts({"clock_mhz": 1095}) < 0.7 * watts(None) < 0.7 * 700


def test_two_jobs_have_different_clocks(site: Site) -> None:
    first, first_go = site.running(plan={"clock_mhz": 1095})
    second, second_go = site.running(plan={"clock_mhz": 1500})
    assert site.locks()[site.gpu(first)] == 1095
    assert site.locks()[site.gpu(second)] == 1500

    first_go.touch()
    site.wait_for(lambda: sorted(map(str, site.locks())) == ["1500.0", "None"], 20, "one ended")
    site.finish(second, second_go)
    site.clean()


def test_without_noded_nothing_changes(site: Site) -> None:
    site.cluster.stop_noded(site.node)
    job_id, go = site.running(plan={"clock_mhz": 1095})
    site.finish(job_id, go)

    site.clean()


def test_an_epilog_without_a_prolog(site: Site) -> None:
    """noded came when the job ran: it is told of the end of a job that it never knew."""
    site.cluster.stop_noded(site.node)
    job_id, go = site.running(plan={"clock_mhz": 1095})
    site.cluster.start_noded(site.node)
    assert site.locks() == [None] * GPUS

    site.finish(job_id, go)
    site.clean()
    assert site.energies() == []


def test_stopped_during_a_job(site: Site) -> None:
    """It gives everything back at once, and the job runs on."""
    job_id, go = site.running(plan={"clock_mhz": 1095})
    site.cluster.stop_noded(site.node)
    assert site.locks() == [None] * GPUS
    assert site.state(job_id) == "RUNNING"

    site.finish(job_id, go)
    site.clean()


def test_killed_during_a_job_and_restarted(site: Site) -> None:
    """It sees the job's slurmstepd, and goes on."""
    job_id, go = site.running(plan={"clock_mhz": 1095})
    site.cluster.stop_noded(site.node, kill=True)
    site.cluster.start_noded(site.node)
    assert site.locks()[site.gpu(job_id)] == 1095

    site.finish(job_id, go)
    site.clean()
    assert [one["why"] for one in site.energies()] == [""]


def test_the_job_ends_while_it_is_dead(site: Site) -> None:
    job_id, go = site.running(plan={"clock_mhz": 1095})
    site.cluster.stop_noded(site.node, kill=True)
    site.finish(job_id, go)
    assert site.locks() != [None] * GPUS

    site.cluster.start_noded(site.node)
    site.await_clean()


def test_it_hangs_while_a_job_starts_and_ends(site: Site) -> None:
    site.cluster.hang_noded(site.node)
    job_id, go = site.running(plan={"clock_mhz": 1095})
    site.finish(job_id, go)

    site.cluster.hang_noded(site.node, hang=False)
    site.await_clean()
    # What was said to it meanwhile is too old to count from.
    assert site.energies() == []


def test_the_prolog_is_killed_half_way(site: Site) -> None:
    """Its Python, in the middle of asking: the job starts all the same."""
    site.cluster.hang_noded(site.node)
    job_id = site.sbatch(plan={"clock_mhz": 1095})
    site.wait_for(lambda: _kill_client(site) > 0, 10, "a prolog to kill")
    site.cluster.hang_noded(site.node, hang=False)
    site.wait_for(lambda: site.output(job_id) != "", 20, "the job")

    site.finish(job_id, site.go_file)
    site.await_clean()


def _kill_client(site: Site) -> int:
    """Kill the hooks' clients of this cluster; how many there were."""
    client = os.fsencode(site.cluster.layout.etc / "prolog_client.py")
    killed = 0
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with suppress(OSError):
            words = path.read_bytes().split(b"\0")
            if client in words and not words[0].endswith(b"timeout"):
                os.kill(int(path.parent.name), signal.SIGKILL)
                killed += 1
    return killed


def test_a_gpu_lost_during_a_job(site: Site) -> None:
    job_id, go = site.running(plan={"clock_mhz": 1095})
    gpu = site.gpu(job_id)
    site.bench.lose(gpu)
    site.finish(job_id, go)
    assert [one["energy_j"] for one in site.energies()] == [None]

    site.bench.lose(gpu, lost=False)
    site.cluster.stop_noded(site.node)
    site.clean()


def test_a_clock_is_accepted_but_clamped(site: Site) -> None:
    """The GPU stays below what it accepted: so be it."""
    for gpu in range(GPUS):
        site.bench.clamp(gpu, 1200)
    job_id, go = site.running(plan={"clock_mhz": 1500})
    gpu = site.gpu(job_id)
    site.wait_for(lambda: site.bench.read(gpu).clock_mhz == 1200, 5, "the clamp")
    assert site.locks()[gpu] == 1500

    site.finish(job_id, go)
    site.clean()
    assert [one["why"] for one in site.energies()] == [""]


def test_the_job_is_cancelled(site: Site) -> None:
    job_id, _ = site.running(plan={"clock_mhz": 1095})
    site.cluster.run("scancel", str(job_id))
    site.wait_for(site.idle, 30, "the epilog")

    site.clean()


def test_a_job_may_ask_for_its_own_gpu_only(site: Site) -> None:
    """Its user's other job is none of its business, either: nor is one that guesses its number."""
    client = site.cluster.layout.work / "ask.py"
    client.write_text(_ASK)
    other, other_go = site.running(plan={"clock_mhz": 1500})
    ask = f"/usr/bin/python3 -IS {client} {site.user_socket}"
    job_id, go = site.running(end=f"{ask}; sleep 600")
    mine = site.gpu(job_id)
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


def test_a_hostile_job_disturbs_no_other(site: Site) -> None:
    client = site.cluster.layout.work / "hostile.py"
    client.write_text(_HOSTILE)
    quiet = site.cluster.layout.work / "quiet"
    attack = f"/usr/bin/python3 -IS {client} {site.user_socket} {quiet}"
    hostile, hostile_go = site.running(end=attack)
    hostile_go.touch()
    site.wait_for(lambda: "hostile" in site.output(hostile), 20, "the attack")

    job_id, go = site.running(plan={"clock_mhz": 1095})
    assert site.locks()[site.gpu(job_id)] == 1095
    assert site.locks()[site.gpu(hostile)] is None
    go.touch()
    site.wait_for(lambda: site.locks() == [None] * GPUS, 20, "its epilog")
    quiet.touch()
    site.finish(hostile, hostile_go)
    site.clean()
    assert sorted(str(one["why"]) for one in site.energies()) == ["", ""]
