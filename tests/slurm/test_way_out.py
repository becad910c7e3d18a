# SPDX-License-Identifier: Apache-2.0
"""`sgreen off`, `--release-all` and `run-now`: one way out, from Slurm's own records alone."""

import json
from collections.abc import Callable, Iterator
from datetime import timedelta

import pytest

from slurm_green.cluster.cluster import Cluster
from tests.slurm.patience import wait_until
from tests.slurm.site import LATE_S, SHAPE, USER, LiveSite, now_utc


@pytest.fixture(scope="module")
def shared(make_module_cluster: Callable[..., Cluster]) -> Iterator[LiveSite]:
    """One cluster for all of them."""
    site = LiveSite(make_module_cluster(stem="wo", **SHAPE))
    yield site
    site.close()


def test_off_and_on(site: LiveSite) -> None:
    """New jobs pass, what was promised stays promised, and `on` takes it back."""
    job_id = site.deferred()
    promised = site.job(job_id).eligible_utc
    site.sgreen("off")
    wait_until(site.passes, timeout_s=10, what="jobs to pass")
    site.await_cycles()
    assert site.job(job_id).eligible_utc == promised
    assert json.loads(site.sgreen("off", "--json").stdout)["was_off"]
    site.sgreen("on")
    wait_until(lambda: not site.passes(), timeout_s=10, what="jobs to be deferred")


def test_release_all_without_daemon_and_ledger(site: LiveSite) -> None:
    """Every job of ours starts now, nobody else's does; the second time there is nothing to do."""
    site.sbatch("--begin=now+1hour")
    theirs = site.sbatch("--begin=now+1hour", "--comment=green:v1 id=0")
    held = site.sbatch("--hold")
    mine = [site.deferred() for _ in range(3)] + [site.deferred("--array=1-4%2")]
    site.kill()
    for path in site.directory.glob("ledger*"):
        path.unlink()
    begin = site.job(theirs).eligible_utc
    done = json.loads(site.sgreen("off", "--release-all", "--json").stdout)
    assert sorted(done["released"]) == sorted(mine)
    assert done["refused"] == {}
    for job_id in mine[:3]:
        job = site.await_done(job_id)
        assert job.start_utc < job.submit_utc + timedelta(seconds=60)
    assert site.job(theirs).eligible_utc == begin
    assert site.job(held).held
    again = json.loads(site.sgreen("off", "--release-all", "--json").stdout)
    assert (again["released"], again["refused"]) == ([], {})


def test_release_all_beside_a_running_daemon(site: LiveSite) -> None:
    """The daemon does not take back what was let go."""
    jobs = [site.deferred() for _ in range(2)]
    site.sgreen("off", "--release-all")
    for job_id in jobs:
        site.await_done(job_id)
    wait_until(site.passes, timeout_s=10, what="jobs to pass")


def test_run_now_by_the_owner(site: LiveSite) -> None:
    """An ordinary user frees their own job, once and again; the daemon leaves it so."""
    job_id = site.deferred(user=USER)
    first = json.loads(site.sgreen("run-now", str(job_id), "--json", user=USER).stdout)
    assert first["changed"]
    job = site.await_done(job_id)
    assert job.start_utc < now_utc() + timedelta(seconds=LATE_S)
    again = site.sgreen("run-now", str(job_id), "--json", user=USER, check=False)
    assert again.returncode == 0
    assert not json.loads(again.stdout)["changed"]


def test_run_now_of_somebody_elses_job(site: LiveSite) -> None:
    """Slurm refuses, in its own words and with status 1."""
    job_id = site.deferred()
    before = site.job(job_id).eligible_utc
    done = site.sgreen("run-now", str(job_id), user=USER, check=False)
    assert done.returncode == 1
    assert "owner" in done.stderr
    assert site.job(job_id).eligible_utc == before


def test_run_now_without_a_daemon(site: LiveSite) -> None:
    """It needs Slurm only."""
    job_id = site.deferred(user=USER)
    site.kill()
    site.sgreen("run-now", str(job_id), user=USER)
    site.await_done(job_id)


def test_why_for_an_ordinary_user(site: LiveSite) -> None:
    """One sentence with the promise, from Slurm's own record."""
    job_id = site.deferred(user=USER)
    said = json.loads(site.sgreen("why", str(job_id), "--json", user=USER).stdout)
    assert said["known"]
    assert str(job_id) in said["sentence"]
    unknown = site.sgreen("why", "999999", user=USER, check=False)
    assert unknown.returncode == 1
