# SPDX-License-Identifier: Apache-2.0
"""A training that is moved within a federation: it keeps its id, and Slurm keeps it single."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from slurm_green.cluster.cluster import Cluster
from slurm_green.cluster.packages import missing
from slurm_green.migration.execute.record import Step, Way
from tests.slurm.move_sites import TwoSites

MakeCluster = Callable[..., Cluster]
WaitFor = Callable[..., None]

pytestmark = [
    pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to be another user"),
    pytest.mark.skipif(
        bool(missing(["accounting"])), reason="slurmdbd or MariaDB missing (.ci/install-debian)"
    ),
]


@pytest.fixture(scope="module")
def clusters(make_module_cluster: MakeCluster, wait_for: WaitFor) -> tuple[Cluster, Cluster]:
    """Two of one federation."""
    home = make_module_cluster(stem="migh", nodes=1, gpus=2, accounting=True)
    guest = make_module_cluster(stem="migg", nodes=1, gpus=2, accounting_of=home.name)
    home.run("sacctmgr", "-i", "add", "federation", "green", f"clusters={home.name},{guest.name}")

    def synced() -> bool:
        said = [c.run("scontrol", "show", "federation").stdout for c in (home, guest)]
        return all("Synced:Yes" in text for text in said)

    wait_for(synced, 30, "the federation")
    return home, guest


@pytest.fixture
def sites(clusters: tuple[Cluster, Cluster], tmp_path: Path) -> Iterator[TwoSites]:
    """Seen by an ordinary user."""
    two = TwoSites(*clusters, tmp_path / "journal", user="nobody", federation="green")
    yield two
    two.close()


def test_there_and_back_with_the_same_id(sites: TwoSites) -> None:
    """It goes on from its checkpoint at each."""
    home, guest = sites.sites
    job = sites.twin(home, steps=3000)
    sites.await_said("begins_at")
    first = sites.said()[0]["site"]
    other = guest if first == home else home
    there = sites.move(job, first, other)
    assert (there.step, there.way) == (Step.DONE, Way.FEDERATION)
    assert sites.await_said("begins_at", 2)["site"] == other
    back = sites.move(job, other, first)
    assert back.step is Step.DONE
    assert sites.await_said("begins_at", 3)["site"] == first
    sites.hurry()
    assert sites.await_said("ends_at")["ends_at"] == 3000
    begun = [line["begins_at"] for line in sites.said() if "begins_at" in line]
    saved = [line["saved_at"] for line in sites.said() if "saved_at" in line]
    assert begun == [0, *saved[:-1]]
    assert sites.left_over() == []
