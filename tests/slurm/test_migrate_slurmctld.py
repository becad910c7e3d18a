# SPDX-License-Identifier: Apache-2.0
"""A move during which slurmctld dies again and again, at either site."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from slurm_green.cluster.cluster import Cluster
from slurm_green.migration.execute.record import MoveRecord, Step
from tests.slurm.move_sites import TwoSites
from tests.slurm.patience import written_down

MakeCluster = Callable[..., Cluster]

pytestmark = [
    pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to be another user"),
    pytest.mark.campaign,
]


def two_sites(make_cluster: MakeCluster, directory: Path) -> TwoSites:
    """Fresh ones, seen by an ordinary user."""
    shape = {"nodes": 1, "gpus": 2}
    clusters = make_cluster(stem="miga", **shape), make_cluster(stem="migb", **shape)
    return TwoSites(*clusters, directory / "journal", user="nobody")


@pytest.mark.parametrize("at", ["a", "b"])
def test_slurmctld_dies_at_every_step(make_cluster: MakeCluster, tmp_path: Path, at: str) -> None:
    """It comes back without its last seconds: it writes its state down up to five late."""
    sites = two_sites(make_cluster, tmp_path)
    job = sites.twin("a", steps=6000)
    sites.await_said("begins_at")
    written_down(sites.clusters["a"], job, "AdminComment")
    steps: set[str] = set()

    def saved(move: MoveRecord) -> None:
        if move.step.value not in steps and not move.settled:
            steps.add(move.step.value)
            sites.clusters[at].restart_slurmctld(kill=True)

    move = sites.plan(job, "a", "b", settle_s=10, other_s=60, stop_s=60, signal_s=60)
    done = sites.go(move, saved=saved, give_up_s=240)
    assert done.step in {Step.DONE, Step.STAYED}, done
    assert len(steps) > 4  # a job that is queued anew by its own slurmctld stays
    sites.goes_on("b" if done.step is Step.DONE else "a")


def test_a_destination_that_goes_away(make_cluster: MakeCluster, tmp_path: Path) -> None:
    """The job goes on at the source; its held copy goes when the destination is back."""
    sites = two_sites(make_cluster, tmp_path)
    job = sites.twin("a", steps=3000)
    sites.await_said("begins_at")
    b = sites.clusters["b"]

    def saved(move: MoveRecord) -> None:
        if move.step is Step.VERIFY:
            b.stop_slurmctld(kill=True)

    def tell(move: MoveRecord, _: str) -> None:
        if move.step is Step.SWEEP and b.slurmctld_pid is None:
            # It runs here while nobody answers there.
            assert sites.access("a").look(job) is not None
            sites.wait(lambda: sites.state("a", job) == "RUNNING", "the job to run")
            b.start_slurmctld()

    done = sites.go(sites.plan(job, "a", "b", other_s=1), tell, saved=saved)
    assert done.step is Step.STAYED, done
    sites.goes_on("a")
