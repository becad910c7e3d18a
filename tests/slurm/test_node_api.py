# SPDX-License-Identifier: Apache-2.0
"""Clocks from sgreend to GPUs and energies back: real munge, slurmd, sgreend and sgreen-noded.

The GPUs are emulated, so nothing that comes of it may be called measured.
"""

import json
import os
import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from profiling.device.emulated.bench import Bench
from profiling.device.emulated.models import load_model
from slurm_green.cluster.cluster import Cluster
from slurm_green.cluster.green import nodes_table
from slurm_green.cluster.packages import missing
from slurm_green.hook.record import parse
from slurm_green.ledger.entries import Query
from slurm_green.ledger.store import Store
from tests.slurm.patience import PATIENCE
from tests.slurm.site import LATE_S, LiveSite, ago, now_utc
from tests.slurm_green.node.live_node import LiveNode

WaitFor = Callable[..., None]

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root sets clocks")
GPUS = 2
ACCOUNTING = not missing(["accounting"])
PROFILE = 'provenance = "simulated"\ngpu_name = "H100"\n'
TRAINING = """workers,gpus_per_worker,clock_mhz,rate,power_w
1,1,900,0.5,310
1,1,1200,0.8,370
1,1,1500,0.95,450
1,1,1980,1.0,620
"""
# It goes on until its file is there.
SCRIPT = "#!/bin/sh\necho $SLURM_JOB_GPUS\nwhile [ ! -e {go} ]; do sleep 0.05; done\n"
WISH = "--comment=green:profile=train,runtime=2m"


class Site:
    """A cluster of one node with emulated GPUs, its sgreen-noded, its sgreend."""

    def __init__(self, cluster: Cluster, wait_for: WaitFor) -> None:
        self.cluster, self.wait_for = cluster, wait_for
        directory = cluster.layout.directory / "noded"
        directory.mkdir()
        profile = directory / "profiles" / "train"
        profile.mkdir(parents=True)
        (profile / "profile.toml").write_text(PROFILE)
        (profile / "training.csv").write_text(TRAINING)
        self.cap = directory / "cap.json"
        self.green = LiveSite(
            cluster,
            policy={"default_delay": "0s"},
            hook={"look": False},
            nodes={
                **nodes_table(cluster),
                "profiles": profile.parent,
                "shipped_profiles": False,
                "cap_file": self.cap,
            },
        )
        self.bench = Bench.create(directory / "gpus", [load_model("h100-sxm")] * GPUS, mode=0o644)
        for gpu in range(GPUS):
            self.bench.load(gpu, 1.0, 0.5)
        self.node = LiveNode(
            directory,
            self.bench,
            orders=None,
            sgreend=f"http://{cluster.nodes_address}",
            slurm_conf=str(cluster.layout.slurm_conf),
            munge_socket=str(cluster.layout.munge_socket),
            name=f"{cluster.spec.name}-n1",
        )
        with cluster.layout.slurm_conf.open("a") as conf:
            conf.write(f"Prolog={self.node.prolog}\nEpilog={self.node.epilog}\n")
        cluster.run("scontrol", "reconfigure")
        self._numbers = 0

    def close(self) -> None:
        self.green.cancel_all()
        self.green.close()
        if self.node.up:
            self.node.kill()
        self.bench.close()

    def running(self, *options: str) -> tuple[int, int, Path]:
        """A job that runs: its id, its GPU, and the file that ends it."""
        self._numbers += 1
        work = self.cluster.layout.work
        go, out = work / f"go{self._numbers}", work / f"out{self._numbers}"
        script = SCRIPT.format(go=go)
        given = ("--gres=gpu:1", "-o", str(out), *options)
        job_id = self.green.sbatch(*given, script=script, user="nobody", limit_min=10)
        self.wait_for(lambda: out.exists() and out.read_text() != "", 20, f"job {job_id} running")
        return job_id, int(out.read_text()), go

    def has(self, gpu: int, clock_mhz: int | None, timeout_s: float = 10) -> None:
        """Until a GPU has this lock."""
        lock = self.node.lock_mhz
        self.node.wait(lambda: lock(gpu) == clock_mhz, f"{clock_mhz} MHz", PATIENCE * timeout_s)

    def ends(self, job_id: int, go: Path) -> None:
        go.touch()
        self.green.await_done(job_id)

    def accounted(self, job_id: int) -> str:
        """The AdminComment that accounting has."""
        found = self.green.client.finished(now_utc() - timedelta(hours=1), job_id=job_id) or []
        return "".join(job.admin_comment for job in found)


@pytest.fixture(scope="module")
def site(make_module_cluster: Callable[..., Cluster], wait_for: WaitFor) -> Iterator[Site]:
    cluster = make_module_cluster(
        nodes=1,
        gpus=GPUS,
        cpus=256,
        hook=True,
        accounting=ACCOUNTING,
        extra_conf=("PrologFlags=Alloc",),
    )
    one = Site(cluster, wait_for)
    one.green.start()
    one.node.start()
    yield one
    one.close()


def test_a_job_has_its_clock_and_its_energy(site: Site) -> None:
    job_id, gpu, go = site.running(WISH)
    site.has(gpu, 1200)
    site.green.await_job(job_id, lambda job: "clock=1200" in job.admin_comment, "has its record")
    text = site.green.job(job_id).admin_comment
    site.green.scontrol("update", f"jobid={job_id}", f"AdminComment=a, b {text}")
    # Slurm counts whole seconds: a shorter job has no time in which anything but its GPU draws.
    begun = site.green.job(job_id).start_utc
    site.wait_for(lambda: ago(begun) >= 1, 20, "a second of running", site.green.log)
    site.ends(job_id, go)
    site.has(gpu, None)

    def rows() -> list[object]:
        with Store(site.green.ledger, readonly=True) as store:
            query = Query(job_id=job_id)
            energies, jobs = store.energies(query), store.jobs(query)
            return [*energies, *(one for one in jobs if one.energy_source == "emulated")]

    site.wait_for(lambda: len(rows()) == 2, 20, f"energy and receipt, not {rows()}", site.green.log)
    energy, facts = rows()
    assert (energy.source, energy.why) == ("emulated", "")  # type: ignore[attr-defined]
    assert facts.energy_j > energy.energy_j > 0  # type: ignore[attr-defined]
    # Nothing is left at the node.
    site.node.wait(lambda: not list((site.node.directory / "state/energy").iterdir()), "taken")
    if ACCOUNTING:
        site.wait_for(lambda: "green:energy" in site.accounted(job_id), 20, "note", site.green.log)
        assert site.accounted(job_id).startswith("a, b green:v1 ")
        record = parse(site.accounted(job_id))
        assert record is not None
        assert record.clock_mhz == 1200
    said = json.loads(site.green.sgreen("why", str(job_id), "--json").stdout)
    assert said["receipt"]["source"] == "emulated"


def test_who_chose_a_clock_or_named_no_profile_is_left_alone(site: Site) -> None:
    own, own_gpu, own_go = site.running(WISH, "--gpu-freq=low")
    none, gpu, go = site.running()
    site.green.await_cycles(2)

    assert site.node.lock_mhz(own_gpu) is None
    assert site.node.lock_mhz(gpu) is None
    assert site.green.record(own) is site.green.record(none) is None
    site.ends(own, own_go)
    site.ends(none, go)


def test_a_cap_reaches_running_jobs_and_stops_at_their_floor(site: Site) -> None:
    # 10 min / (7 min x 1.1) leaves room for 1200 MHz, not for 900.
    tight, tight_gpu, tight_go = site.running("--comment=green:profile=train,runtime=7m")
    wide, wide_gpu, wide_go = site.running(WISH)
    site.has(tight_gpu, 1200)
    site.has(wide_gpu, 1200)

    site.cap.write_text('{"clock_mhz": 700}')
    site.has(wide_gpu, 900)
    assert site.node.lock_mhz(tight_gpu) == 1200

    site.cap.unlink()
    site.has(wide_gpu, 1200)
    site.ends(tight, tight_go)
    site.ends(wide, wide_go)


def test_daemons_die_and_come_back(site: Site) -> None:
    job_id, gpu, go = site.running(WISH)
    site.has(gpu, 1200)
    site.green.await_job(job_id, lambda job: "clock=1200" in job.admin_comment, "has its record")
    site.green.kill()
    other, other_gpu, other_go = site.running(WISH)
    # Nobody orders anything: what runs keeps its clock, what begins keeps its own.
    assert (site.node.lock_mhz(gpu), site.node.lock_mhz(other_gpu)) == (1200, None)

    site.node.kill()
    site.green.adopt(site.green.spawn())
    site.green.await_answers()
    site.node.start()
    site.has(gpu, 1200)
    site.has(other_gpu, 1200, timeout_s=20)
    site.ends(job_id, go)
    site.ends(other, other_go)
    site.has(gpu, None)


def test_sgreend_hangs_while_a_job_starts(site: Site) -> None:
    site.green.hang()
    begin_s = time.monotonic()
    job_id, gpu, go = site.running(WISH)
    # The hook's 50 ms, the node's second, and what Slurm itself takes.
    assert time.monotonic() - begin_s < LATE_S
    assert site.node.lock_mhz(gpu) is None

    site.green.resume()
    site.has(gpu, 1200, timeout_s=30)
    site.ends(job_id, go)
