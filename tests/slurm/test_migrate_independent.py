# SPDX-License-Identifier: Apache-2.0
"""A training that is moved between two clusters that know nothing of each other."""

import hashlib
import os
import signal
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from slurm_green.cluster.cluster import Cluster
from slurm_green.migration.execute.access import staging_of
from slurm_green.migration.execute.record import MoveRecord, Step
from tests.slurm.move_sites import IGNORE, TwoSites, carry_on

MakeCluster = Callable[..., Cluster]

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to be another user")


@pytest.fixture(scope="module")
def clusters(make_module_cluster: MakeCluster) -> tuple[Cluster, Cluster]:
    """Two of them."""
    shape = {"nodes": 1, "gpus": 2}
    return make_module_cluster(stem="miga", **shape), make_module_cluster(stem="migb", **shape)


@pytest.fixture
def sites(clusters: tuple[Cluster, Cluster], tmp_path: Path) -> Iterator[TwoSites]:
    """Seen by an ordinary user."""
    two = TwoSites(*clusters, tmp_path / "journal", user="nobody")
    yield two
    two.close()


def weights(steps: int) -> str:
    """What the small training ends with."""
    found = "seed"
    for _ in range(steps):
        found = hashlib.sha256(found.encode()).hexdigest()
    return found


def test_there_and_back_while_it_runs(sites: TwoSites) -> None:
    """It ends with the weights of one that never moved; only what came after a signal is lost."""
    job = sites.twin("a", steps=3000)
    sites.await_said("begins_at")
    there = sites.move(job, "a", "b")
    assert (there.step, sites.alive()) == (Step.DONE, {"a": [], "b": ["RUNNING"]})
    sites.await_said("begins_at", 2)
    assert there.new_job is not None
    back = sites.move(there.new_job, "b", "a")
    assert (back.step, sites.alive()) == (Step.DONE, {"a": ["RUNNING"], "b": []})

    sites.hurry()
    end = sites.await_said("ends_at")
    assert end == {"ends_at": 3000, "weights": weights(3000)}
    said = sites.said()
    begun = sorted(line["begins_at"] for line in said if "begins_at" in line)
    saved = sorted(line["saved_at"] for line in said if "saved_at" in line)
    assert begun == [0, *saved[:-1]]
    assert sites.left_over() == []


def test_two_runs_with_a_journal_each(
    clusters: tuple[Cluster, Cluster], sites: TwoSites, tmp_path: Path
) -> None:
    """At the same time: one moves the job, the other leaves it alone."""
    job = sites.twin("a", steps=3000)
    sites.await_said("begins_at")
    other = TwoSites(*clusters, tmp_path / "other", user="nobody")
    both = [(one, one.plan(job, "a", "b")) for one in (sites, other)]
    with ThreadPoolExecutor(2) as pool:
        ended = list(pool.map(lambda each: each[0].go(each[1]), both))
    assert sorted(move.step for move in ended) == [Step.DONE, Step.STAYED]
    assert [move.why.split(";")[0] for move in ended if move.step is Step.STAYED] == [
        "another run moves it, with another journal"
    ]
    sites.goes_on("b")
    assert sites.left_over() == []


def test_the_mover_dies_after_every_line_of_its_journal(sites: TwoSites) -> None:
    """SIGKILL each time, and another process goes on: one move, as if nobody had died."""
    job = sites.twin("a", steps=3000)
    sites.await_said("begins_at")
    sites.journal_save(sites.plan(job, "a", "b"))
    deaths = 0
    while sites.run_until_it_dies() == -signal.SIGKILL:
        deaths += 1
    (move,) = sites.journal.all()
    assert move.step is Step.DONE, move
    assert deaths > 12
    sites.goes_on("b")
    assert sites.left_over() == []


def test_a_transfer_that_is_killed_and_one_that_is_damaged(sites: TwoSites) -> None:
    """The first goes on where it was, the second is seen and repaired."""
    job = sites.twin("a", steps=3000, ballast=600_000)
    sites.await_said("begins_at")
    done_to: list[str] = []

    def tell(move: MoveRecord, why: str) -> None:
        if why == "the transfer runs" and "kill" not in done_to:
            done_to.append("kill")
            sites.wait(lambda: sites.kill("rsync") > 0, "an rsync to kill")

    def saved(move: MoveRecord) -> None:
        if move.step is Step.VERIFY and "damage" not in done_to:
            done_to.append("damage")
            (state,) = Path(staging_of(move.target, move.token)).glob("state.json")
            os.truncate(state, 1000)

    done = sites.go(sites.plan(job, "a", "b", kib_per_s=100), tell, saved=saved)
    assert (done.step, done.copies, done_to) == (Step.DONE, 3, ["kill", "damage"]), done
    sites.goes_on("b")


def test_a_destination_that_is_full_or_a_link_that_is_slow(sites: TwoSites) -> None:
    """The job goes on at the source, and soon."""
    job = sites.twin("a", steps=3000, ballast=800_000)
    sites.await_said("begins_at")
    slow = sites.move(job, "a", "b", kib_per_s=20, copy_s=12)
    assert slow.step is Step.STAYED
    assert "too slow" in slow.why
    # The whole of it would take 40 s.
    assert slow.since_s - slow.began_s < 30
    sites.goes_on("a")
    with sites.small_disk("b", "256k"):
        full = sites.move(job, "a", "b")
    assert full.step is Step.STAYED
    assert "bytes free" in full.why
    sites.await_said("begins_at", 3)
    assert sites.left_over() == []


def test_a_job_that_fails_there_at_once_goes_on_here(sites: TwoSites) -> None:
    """As where the destination lacks something that nobody had named."""
    home = sites.clusters["a"].name
    lacks = f'[ "$SLURM_CLUSTER_NAME" = {home} ] || exit 1; '
    job = sites.submit("a", f"{IGNORE}{lacks}exec python3 move_twin.py run 3000 0.1")
    sites.await_said("begins_at")
    move = sites.move(job, "a", "b", settle_s=10)
    assert move.step is Step.STAYED
    assert "failed at the destination" in move.why
    sites.goes_on("a")
    assert sites.left_over() == []


def test_a_job_that_ends_and_one_that_is_cancelled_while_they_move(sites: TwoSites) -> None:
    """Neither comes back."""
    ends = "trap 'mkdir -p run; touch run/last; exit 0' USR1; echo '{\"begins_at\": 0}'\n"
    job = sites.submit("a", f"{ends}while :; do sleep 0.05; done")
    sites.await_said("begins_at")
    assert sites.move(job, "a", "b").step is Step.ENDED
    assert sites.state("a", job) == "COMPLETED"
    assert sites.alive() == {"a": [], "b": []}

    job = sites.twin("a", steps=3000)
    sites.await_said("begins_at")

    def saved(move: MoveRecord) -> None:
        if move.step is Step.VERIFY:
            sites.clusters["a"].run("scancel", str(job))

    done = sites.go(sites.plan(job, "a", "b"), saved=saved)
    assert done.step is Step.ENDED, done
    sites.wait(lambda: sites.alive() == {"a": [], "b": []}, "nothing left")


def test_by_way_of_an_object_store(clusters: tuple[Cluster, Cluster], tmp_path: Path) -> None:
    """fsspec's, here a directory; nothing is left in it."""
    # Other users may not reach our Python.
    sites = TwoSites(*clusters, tmp_path / "journal")
    store = tmp_path / "store"
    store.mkdir()
    job = sites.twin("a", steps=3000)
    sites.await_said("begins_at")
    done = sites.go(sites.plan(job, "a", "b", store=f"file://{store}"))
    assert done.step is Step.DONE, done
    sites.goes_on("b")
    assert list(store.iterdir()) == sites.left_over() == []
    sites.close()


def test_a_mover_that_never_comes_back(sites: TwoSites) -> None:
    """The job starts here by itself; whoever goes on with the move later gives it up."""
    job = sites.twin("a", steps=3000)
    sites.await_said("begins_at")

    def saved(move: MoveRecord) -> None:
        if move.step is Step.VERIFY:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        sites.go(sites.plan(job, "a", "b", lease_s=6), saved=saved)
    sites.wait(lambda: sites.alive() == {"a": ["RUNNING"], "b": ["HELD"]}, "it to run here")
    carry_on(sites.directory, sites.user, *(one.name for one in sites.clusters.values()))
    (move,) = sites.journal.all()
    assert move.step is Step.STAYED, move
    sites.goes_on("a")
