# SPDX-License-Identifier: Apache-2.0
"""The ledger on a full or read-only disk, broken, or gone: jobs are deferred and freed as ever."""

import os
import sqlite3
import subprocess
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from slurm_green.cluster.cluster import Cluster
from tests.slurm.patience import wait_until
from tests.slurm.site import SHAPE, LiveSite

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="mounts need root")


@pytest.fixture(scope="module")
def shared(make_module_cluster: Callable[..., Cluster]) -> Iterator[LiveSite]:
    """One cluster for all of them; its ledger on a disk of 2 MB that can be filled."""
    cluster = make_module_cluster(stem="se", **SHAPE)
    site = LiveSite(cluster)
    disk = site.directory / "disk"
    disk.mkdir()
    _run("mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(disk))
    try:
        site.ledger = disk / "ledger.sqlite"
        yield site
        site.close()
    finally:
        _run("umount", "--lazy", str(disk))


@pytest.fixture
def site(shared: LiveSite) -> LiveSite:
    """An empty disk, no jobs, the daemon up."""
    disk = shared.ledger.parent
    _run("mount", "-o", "remount,rw", str(disk))
    _empty(disk)
    shared.reset()
    return shared


def _empty(disk: Path) -> None:
    for path in disk.iterdir():
        if path.is_dir():
            path.rmdir()
        else:
            path.unlink(missing_ok=True)  # a ledger that is closed removes its own


def _run(*argv: str) -> None:
    subprocess.run(argv, check=True, capture_output=True)


def _defers_and_frees(site: LiveSite) -> int:
    """The whole way of a job; its id."""
    job_id = site.deferred()
    site.valley(2)
    site.await_done(job_id)
    return job_id


def _knows(site: LiveSite, job_id: int) -> bool:
    """Whether the ledger has a decision about the job."""
    try:
        with closing(sqlite3.connect(f"file:{site.ledger}?mode=ro", uri=True)) as ledger:
            tables = [name for (name,) in ledger.execute("select name from sqlite_master")]
            name = next(name for name in tables if "decision" in name)
            found = ledger.execute(f"select count(*) from {name} where job_id = ?", [job_id])
            return bool(found.fetchone()[0])
    except (sqlite3.Error, StopIteration):
        return False


def _awaits_entry(site: LiveSite, job_id: int) -> None:
    wait_until(
        lambda: _knows(site, job_id), timeout_s=20, what=f"job {job_id} in the ledger", log=site.log
    )


def test_a_good_disk(site: LiveSite) -> None:
    """The check itself works: what happens is in the ledger."""
    _awaits_entry(site, _defers_and_frees(site))


def test_a_full_disk(site: LiveSite) -> None:
    """Full to the last byte; what waits in memory is written once there is room."""
    filler = site.ledger.parent / "filler"
    _fill(filler)
    job_id = _defers_and_frees(site)
    assert not _knows(site, job_id)
    filler.unlink()
    _awaits_entry(site, job_id)


def test_stopped_in_order_it_leaves_one_whole_file(site: LiveSite) -> None:
    """A log of SQLite's beside it would be played into a backup that is put in its place."""
    site.stop()
    _empty(site.ledger.parent)
    site.start()
    job_id = site.deferred()
    _awaits_entry(site, job_id)
    site.stop()
    assert [path.name for path in site.ledger.parent.iterdir()] == [site.ledger.name]
    assert _knows(site, job_id)


def test_full_before_the_daemon_starts(site: LiveSite) -> None:
    """No ledger can even be made."""
    site.stop()
    _empty(site.ledger.parent)
    _fill(site.ledger.parent / "filler")
    site.start()
    _defers_and_frees(site)


def test_a_read_only_disk(site: LiveSite) -> None:
    """A kernel that remounts a sick disk read-only, under the running daemon."""
    site.stop()  # a disk with open files cannot be remounted
    _run("mount", "-o", "remount,ro", str(site.ledger.parent))
    site.start()
    job_id = _defers_and_frees(site)
    assert not _knows(site, job_id)


def test_deleted(site: LiveSite) -> None:
    """Begun anew; the jobs are in Slurm."""
    job_id = site.deferred()
    _awaits_entry(site, job_id)
    _empty(site.ledger.parent)
    later = site.deferred()
    site.valley(2)
    site.await_done(job_id)
    _awaits_entry(site, later)


@pytest.mark.parametrize("what", ["noise", "a-directory"])
def test_not_a_ledger(site: LiveSite, what: str) -> None:
    """Whatever lies in its place is left there, and nothing else is harmed."""
    site.stop()
    _empty(site.ledger.parent)
    if what == "noise":
        site.ledger.write_bytes(b"not a database, but long enough to look like one" * 50)
    else:
        site.ledger.mkdir()
    site.start()
    _defers_and_frees(site)
    assert site.ledger.exists()


def _fill(path: Path) -> None:
    with path.open("wb", buffering=0) as file:
        try:
            while file.write(b"x" * 512):
                pass
        except OSError:
            return
