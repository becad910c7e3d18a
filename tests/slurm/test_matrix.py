# SPDX-License-Identifier: Apache-2.0
"""The Slurm of other Debian releases, from chroots, side by side with this machine's own.

`.ci/matrix` builds the chroots and runs all of tests/slurm against each; this file only asks
whether such a cluster is sound.
"""

import os
import subprocess
from collections.abc import Callable

import pytest

from slurm_green.cluster.chroot import SUITES, chroots_directory
from slurm_green.cluster.cluster import Cluster
from slurm_green.cluster.view import mounts_below

pytestmark = [
    pytest.mark.matrix,
    pytest.mark.skipif(os.geteuid() != 0, reason="chroots need root"),
]


@pytest.mark.parametrize("suite", SUITES)
def test_another_debians_slurm_runs_jobs(
    suite: str, make_cluster: Callable[..., Cluster], wait_for: Callable[..., None]
) -> None:
    """With its own commands in PATH, GPUs, output outside the chroot, and no mount left."""
    root = chroots_directory() / suite
    if not root.is_dir():
        pytest.skip(f"{root} is not built (`.ci/matrix` does)")
    cluster = make_cluster(stem="m", nodes=2, slurm_root=root)
    out = cluster.layout.work / "out"

    assert cluster.version.startswith(SUITES[suite])
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
