# SPDX-License-Identifier: Apache-2.0
"""Real Slurm for tests: clusters that vanish with the session, whichever way it ends."""

import itertools
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from slurm_green.cluster.cluster import Cluster
from slurm_green.cluster.down import reap_orphans
from slurm_green.cluster.layout import clusters_directory
from slurm_green.cluster.packages import missing
from slurm_green.cluster.record import Owner
from slurm_green.cluster.spec import ClusterSpec
from tests.slurm.patience import wait_until
from tests.slurm.site import LiveSite

REQUIRE = "SLURM_GREEN_REQUIRE_SLURM"
ROOT = "SLURM_GREEN_TEST_SLURM_ROOT"
_HERE = Path(__file__).parent
# The files that take longest, so that no worker begins one when the others are done.
_FIRST = (
    *("test_signal_chain.py", "test_planner_live.py", "test_migrate_independent.py"),
    *("test_demo.py", "test_migrate_torch.py", "test_migrate_slurmctld.py", "test_node.py"),
    *("test_cluster.py", "test_priority.py", "test_migrate_cli.py", "test_way_out.py"),
    *("test_survival_slurmctld.py", "test_survival_daemon.py", "test_kinds_of_jobs.py"),
)
_numbers = itertools.count(1)

MakeCluster = Callable[..., Cluster]
WaitFor = Callable[..., None]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Every test below this directory needs a real slurmctld; the longest files come first."""
    ranks = {name: rank for rank, name in enumerate(_FIRST)}

    def rank(item: pytest.Item) -> int:
        return ranks.get(item.path.name, len(ranks)) if _HERE in item.path.parents else -1

    for item in items:
        if _HERE in item.path.parents:
            item.add_marker(pytest.mark.slurm)
    items.sort(key=rank)


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip with the reason where there is no Slurm; fail where it was promised.

    What some files alone need was promised too: their own conditions would skip them unseen.
    """
    if _HERE not in item.path.parents or slurm_root() is not None:
        return
    promised = os.environ.get(REQUIRE) == "1"
    needed = ["slurm", "hook", *(["accounting", "tests"] if promised else [])]
    if lacking := missing(needed):
        reason = f"no Slurm here: {', '.join(lacking)} missing (.ci/install-debian installs it)"
        if promised:
            pytest.fail(reason, pytrace=False)
        pytest.skip(reason)


def slurm_root() -> Path | None:
    """The chroot whose Slurm the tests are to run against; None is this machine's own."""
    given = os.environ.get(ROOT)
    return None if not given else Path(given).absolute()


@pytest.fixture(scope="session")
def clusters_base() -> Path:
    """Where test clusters live; an earlier session's that was killed are taken down first."""
    base = clusters_directory()
    reap_orphans(base)
    return base


@pytest.fixture(scope="session")
def cluster_name() -> Callable[[str], str]:
    """Names no other worker and no other session uses."""
    # Short: three times the name goes into the longest socket path.
    worker = os.environ.get("PYTEST_XDIST_WORKER", "gw").removeprefix("gw")

    def name(stem: str = "t") -> str:
        return f"{stem}{worker}-{os.getpid():x}-{next(_numbers)}"

    return name


def _factory(base: Path, name: Callable[[str], str]) -> Iterator[MakeCluster]:
    made: list[Cluster] = []

    def make(*, stem: str = "t", **shape: object) -> Cluster:
        values = {"nodes": 2, "slurm_root": slurm_root(), **shape}
        spec = ClusterSpec(name=name(stem), **values)  # type: ignore[arg-type]
        cluster = Cluster.up(spec, base=base, owner=Owner.this_process())
        made.append(cluster)
        return cluster

    yield make
    # The last one first: it may use the accounting of an earlier one.
    for cluster in reversed(made):
        if cluster.layout.directory.exists():
            cluster.down()


@pytest.fixture
def make_cluster(clusters_base: Path, cluster_name: Callable[[str], str]) -> Iterator[MakeCluster]:
    """`make_cluster(nodes=2, hook=True, ...)`: any of ClusterSpec's fields; gone after the test."""
    yield from _factory(clusters_base, cluster_name)


@pytest.fixture(scope="module")
def make_module_cluster(
    clusters_base: Path, cluster_name: Callable[[str], str]
) -> Iterator[MakeCluster]:
    """The same for clusters that live as long as the module's tests."""
    yield from _factory(clusters_base, cluster_name)


@pytest.fixture(scope="module")
def slurm_cluster(make_module_cluster: MakeCluster) -> Cluster:
    """A plain cluster of two nodes with eight GPUs each, shared by the module."""
    return make_module_cluster()


@pytest.fixture
def site(shared: LiveSite) -> LiveSite:
    """The module's own `shared` without jobs, its daemon up and switched on, its signal good."""
    shared.reset()
    return shared


@pytest.fixture(scope="session")
def wait_for() -> WaitFor:
    """`wait_for(predicate, timeout_s, what)`: poll a condition instead of sleeping."""

    def wait(
        predicate: Callable[[], bool],
        timeout_s: float = 15.0,
        what: str = "condition",
        log: Path | None = None,
    ) -> None:
        wait_until(predicate, timeout_s=timeout_s, what=what, log=log)

    return wait
