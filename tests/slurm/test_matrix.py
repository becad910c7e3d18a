# SPDX-License-Identifier: Apache-2.0
"""Whether a cluster whose Slurm lives in a chroot is sound; `.ci/matrix` runs this for each."""

import os
import subprocess
from collections.abc import Callable

import pytest

from slurm_green.cluster.chroot import SUITES
from slurm_green.cluster.clocks import clocks_of
from slurm_green.cluster.cluster import Cluster
from slurm_green.cluster.view import mounts_below
from tests.slurm.conftest import ROOT, slurm_root

pytestmark = [
    pytest.mark.matrix,
    pytest.mark.skipif(slurm_root() is None, reason=f"{ROOT} names no chroot (see .ci/matrix)"),
]


def test_another_debians_slurm_runs_jobs(
    make_cluster: Callable[..., Cluster], wait_for: Callable[..., None]
) -> None:
    """With its own commands in PATH, GPUs, output outside the chroot, and no mount left."""
    root = slurm_root()
    assert root is not None
    cluster = make_cluster(stem="m", nodes=2)
    out = cluster.layout.work / "out"

    # Debian's testing goes on to newer ones.
    assert _numbers(cluster.version) >= _numbers(SUITES.get(root.name, "0"))
    version = subprocess.run(
        ["squeue", "-V"],
        env={**os.environ, **cluster.env},
        capture_output=True,
        text=True,
        check=True,
    )
    assert version.stdout.split()[1] == cluster.version
    cluster.run("sbatch", f"--output={out}", "--gres=gpu:2", "--wrap", "echo $CUDA_VISIBLE_DEVICES")
    wait_for(lambda: out.exists() and out.read_text() == "0,1\n", 20, "the job's output")
    cluster.down()

    assert mounts_below(cluster.layout.directory) == []
    assert not cluster.layout.directory.exists()
    assert not (root / cluster.layout.directory.relative_to("/")).exists()
    assert (root / "usr/sbin/slurmctld").exists()


def test_another_slurms_prolog_sets_a_clock_and_its_epilog_gives_it_back(
    make_cluster: Callable[..., Cluster], wait_for: Callable[..., None]
) -> None:
    """Its slurmstepd is known for what it is, too: a noded that was killed takes the job up."""
    cluster = make_cluster(stem="m", nodes=1, gpus=2, gpu_model="h100-sxm")
    (node,) = cluster.spec.node_names
    go, out = cluster.layout.work / "go", cluster.layout.work / "out"
    cluster.order({1: {"clock_mhz": 1095}})
    script = f"echo runs; while [ ! -e {go} ]; do sleep 0.05; done"
    cluster.run("sbatch", f"--output={out}", "--gres=gpu:1", "--wrap", script)
    wait_for(lambda: out.exists() and out.read_text() == "runs\n", 20, "the job")

    def held() -> list[tuple[float | None, bool]]:
        found = clocks_of(cluster.layout, cluster.spec) or []
        return sorted(((one.lock_mhz, one.context) for one in found), key=str)

    assert held() == [(1095.0, True), (None, False)]
    cluster.stop_noded(node, kill=True)
    cluster.start_noded(node)
    assert held() == [(1095.0, True), (None, False)]

    go.touch()
    wait_for(lambda: held() == [(None, False)] * 2, 20, "the epilog")
    assert cluster.run("sinfo", "-h", "-o", "%T").stdout.strip() in ("idle", "completing")
    energies = cluster.layout.nodes / node / "state" / "energy"
    wait_for(lambda: len(list(energies.glob("*.json"))) == 1, 10, "its energy")
    assert '"source": "emulated"' in next(energies.glob("*.json")).read_text()


def _numbers(version: str) -> list[int]:
    return [int(part) for part in version.split(".")]
