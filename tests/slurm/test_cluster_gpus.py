# SPDX-License-Identifier: Apache-2.0
"""`sgreen cluster up --gpu-model`: every node has emulated GPUs and an sgreen-noded of its own."""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from slurm_green.cluster import processes
from slurm_green.cluster.clocks import clocks_of
from slurm_green.cluster.cluster import Cluster

WaitFor = Callable[..., None]

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root sets clocks")


def sgreen(*arguments: str) -> str:
    code = "from slurm_green.cli.root import main; main()"
    command = [sys.executable, "-c", code, "cluster", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture
def cluster(clusters_base: Path, cluster_name: Callable[[str], str]) -> Iterator[Cluster]:
    """Two nodes, by the command line."""
    name = cluster_name("g")
    sgreen("up", name, "--nodes=2", "--gpus=2", "--gpu-model=rtx-4090")
    yield Cluster.find(name, base=clusters_base)
    if (clusters_base / name).exists():
        sgreen("down", name)


def status(cluster: Cluster) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(sgreen("status", cluster.name, "--json"))
    return found


def locks(cluster: Cluster) -> list[tuple[str, float, int]]:
    return [
        (one.node, one.lock_mhz, one.job_id or 0)
        for one in clocks_of(cluster.layout, cluster.spec) or []
        if one.lock_mhz is not None
    ]


def start_job(cluster: Cluster, wait_for: WaitFor) -> None:
    """One GPU of each node, at 1500 MHz, until somebody ends it."""
    cluster.order({1: {"clock_mhz": 1500}})
    cluster.run("sbatch", "-N2", "--gres=gpu:rtx4090:1", "--wrap", "sleep 600", user="nobody")
    wait_for(lambda: len(locks(cluster)) == 2, 20, "a clock on both nodes")


def test_each_node_sets_its_own_gpus_and_the_status_tells(
    cluster: Cluster, wait_for: WaitFor
) -> None:
    start_job(cluster, wait_for)
    nodes = cluster.spec.node_names
    assert locks(cluster) == [(node, 1500, 1) for node in nodes]

    found = status(cluster)
    assert (found["state"], found["gpu_model"]) == ("up", "rtx-4090")
    assert found["daemons"]["sgreen-noded"] == 2
    assert [one["job_id"] for one in found["clocks"]] == [1, None, 1, None]
    told = sgreen("status", cluster.name)
    assert "2 of 4 rtx-4090 set" in told
    assert f"{nodes[1]} GPU 0: job 1, at most 1500 MHz" in told


def test_down_gives_everything_back_and_leaves_nothing(cluster: Cluster, wait_for: WaitFor) -> None:
    """Kept, its GPUs show what a site's would."""
    start_job(cluster, wait_for)
    sgreen("down", cluster.name, "--keep")
    assert locks(cluster) == []
    assert not list(cluster.layout.nodes.glob("*/state/journal/*"))

    sgreen("up", cluster.name, "--nodes=2", "--gpus=2", "--gpu-model=rtx-4090")
    assert status(cluster)["state"] == "up"
    sgreen("down", cluster.name)
    assert not processes.find(cluster.layout.directory)
    assert not cluster.layout.directory.exists()


def test_a_dead_noded_is_seen_and_up_brings_it_back(
    cluster: Cluster, make_cluster: Callable[..., Cluster], wait_for: WaitFor
) -> None:
    """Whatever job of the same number another cluster of this machine runs."""
    other = make_cluster(nodes=1)
    other.run("sbatch", "--wrap", "sleep 600", user="nobody")
    running = ["squeue", "-h", "-j1", "-t", "running", "-o", "%i"]
    wait_for(lambda: other.run(*running).stdout.strip() == "1", 20, "the other cluster's job 1")
    node = cluster.spec.node_names[0]
    start_job(cluster, wait_for)
    cluster.stop_noded(node, kill=True)
    cluster.run("scancel", "1")
    wait_for(lambda: [one[0] for one in locks(cluster)] == [node], 20, "the other's restore")
    assert status(cluster)["state"] == "partial"

    sgreen("up", cluster.name, "--nodes=2", "--gpus=2", "--gpu-model=rtx-4090")
    wait_for(lambda: locks(cluster) == [], 20, "what was owed")
    assert status(cluster)["state"] == "up"
