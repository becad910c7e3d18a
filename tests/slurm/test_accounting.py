# SPDX-License-Identifier: Apache-2.0
"""A cluster with accounting, and a second site that joins it."""

import getpass
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from slurm_green.cluster.cluster import Cluster
from slurm_green.cluster.down import down
from slurm_green.cluster.packages import missing
from slurm_green.errors import BadInputError

MakeCluster = Callable[..., Cluster]
WaitFor = Callable[..., None]

pytestmark = pytest.mark.skipif(
    bool(missing(["accounting"])), reason="slurmdbd or MariaDB missing (.ci/install-debian)"
)


@pytest.fixture(scope="module")
def sites(make_module_cluster: MakeCluster) -> Iterator[tuple[Cluster, Cluster]]:
    """Two sites with one slurmdbd."""
    home = make_module_cluster(stem="h", nodes=1, accounting=True)
    yield home, make_module_cluster(stem="g", nodes=1, accounting_of=home.name)


def test_finished_jobs_are_in_accounting(sites: tuple[Cluster, Cluster], wait_for: WaitFor) -> None:
    """Of both sites, each under its name."""
    for site in sites:
        site.run("srun", "--job-name=counted", "true")

        def counted(site: Cluster = site) -> bool:
            listing = site.run("sacct", "-n", "-X", "-P", "-o", "cluster,jobname,state").stdout
            return f"{site.name}|counted|COMPLETED" in listing

        wait_for(counted, 20, "sacct's row")


def test_temporary_tables_are_a_clusters_own(sites: tuple[Cluster, Cluster]) -> None:
    """A MariaDB that starts deletes those in its directory, whoever's they are."""
    home, _ = sites
    socket, user = f"--socket={home.layout.database_socket}", getpass.getuser()
    asked = ["mariadb", "--no-defaults", socket, f"--user={user}", "-Ne", "select @@tmpdir"]
    told = subprocess.run(asked, capture_output=True, text=True, check=True).stdout
    assert Path(told.strip()) == home.layout.database_tmp


def test_sites_of_one_slurmdbd_form_a_federation(
    sites: tuple[Cluster, Cluster], wait_for: WaitFor
) -> None:
    """They share the munge key, so that each takes the other's word."""
    home, guest = sites
    assert home.layout.munge_key.read_bytes() == guest.layout.munge_key.read_bytes()
    names = f"clusters={home.name},{guest.name}"
    home.run("sacctmgr", "-i", "add", "federation", "green", names)

    wait_for(
        lambda: "Synced:Yes" in home.run("scontrol", "show", "federation").stdout,
        30,
        "the federation",
    )
    done = guest.run("sbatch", "--hold", "-M", home.name, "--wrap", "true")
    assert f"on cluster {home.name}" in done.stdout


def test_the_host_of_the_accounting_goes_last(
    sites: tuple[Cluster, Cluster], clusters_base: Path
) -> None:
    """The guest would lose its slurmdbd."""
    home, guest = sites
    with pytest.raises(BadInputError, match=f"take '{guest.name}' down first"):
        down(home.name, clusters_base)
    assert home.status().state == "up"
