# SPDX-License-Identifier: Apache-2.0
"""slurmctld restarted, killed, hung or replaced while sgreend goes on."""

from collections.abc import Callable, Iterator

import pytest

from slurm_green.cluster.cluster import Cluster
from tests.slurm.patience import wait_until, written_down
from tests.slurm.site import HOLD_S, SHAPE, LiveSite


@pytest.fixture(scope="module")
def shared(make_module_cluster: Callable[..., Cluster]) -> Iterator[LiveSite]:
    """One cluster for all of them."""
    site = LiveSite(make_module_cluster(stem="sc", **SHAPE))
    yield site
    site.close()


@pytest.mark.parametrize("kill", [False, True], ids=["restarted", "killed"])
def test_in_between(site: LiveSite, kill: bool) -> None:
    """Deferred jobs keep their begin time and record; the window still frees them."""
    job_id = _saved(site)
    before = site.job(job_id)
    worker = site.worker_pid
    site.cluster.stop_slurmctld(kill=kill)
    if kill:
        _await_failures(site)
    site.cluster.start_slurmctld()
    # Until the nodes have registered, Slurm shows a cluster without any.
    _await_nodes(site)
    site.await_cycles()
    after = site.job(job_id)
    assert (after.eligible_utc, after.admin_comment) == (before.eligible_utc, before.admin_comment)
    site.deferred()
    assert site.worker_pid == worker
    site.valley(2)
    site.await_done(job_id)


def test_restarted_during_a_hold(site: LiveSite) -> None:
    """The job is confirmed, or starts when its hold ends; it is never lost."""
    job_id = site.sbatch()
    site.cluster.restart_slurmctld()
    record = site.record(job_id)
    assert record is not None
    site.await_job(
        job_id,
        lambda job: job.eligible_utc == record.latest_utc or job.state != "PENDING",
        "confirmed or started",
        timeout_s=HOLD_S + 10,
    )
    # The next test's job waits only on a cluster that has nodes.
    _await_nodes(site)
    site.await_cycles()


def test_hung(site: LiveSite) -> None:
    """The cycle waits for it; questions to sgreend need no Slurm; afterwards all goes on."""
    job_id = site.deferred()
    site.cluster.hang_slurmctld()
    try:
        assert b"pass" in site.ask()
    finally:
        site.cluster.hang_slurmctld(False)
    site.await_cycles()
    site.valley(2)
    site.await_done(job_id)


def test_a_backup_takes_over(make_cluster: Callable[..., Cluster]) -> None:
    """The same sgreend serves the hook of the controller that is active now."""
    cluster = make_cluster(stem="sb", backup=True, **SHAPE)
    site = LiveSite(cluster).start()
    try:
        job_id = _saved(site)
        before = site.job(job_id)
        cluster.stop_slurmctld(kill=True)
        wait_until(
            lambda: cluster.run("squeue", "-h", check=False, timeout_s=30).returncode == 0,
            timeout_s=60,
            what="the backup's answer",
        )
        after = site.await_job(job_id, lambda job: True, "known to the backup")
        assert (after.eligible_utc, after.admin_comment) == (
            before.eligible_utc,
            before.admin_comment,
        )
        _await_nodes(site)
        site.await_cycles()
        site.deferred()
        site.valley(2)
        site.await_done(job_id)
    finally:
        site.close()


def _saved(site: LiveSite) -> int:
    """A deferred job that slurmctld has written down."""
    job_id = site.deferred()
    written_down(site.cluster, job_id)
    return job_id


def _await_nodes(site: LiveSite) -> None:
    wait_until(
        lambda: site.cluster.run("sinfo", "-h", "-o", "%t", check=False).stdout.split() == ["idle"],
        timeout_s=60,
        what="idle nodes",
    )


def _await_failures(site: LiveSite) -> None:
    """Until a cycle has found no slurmctld."""
    wait_until(
        lambda: "Slurm did not answer" in site.log.read_text().splitlines()[-1],
        timeout_s=60,
        what="a cycle that Slurm did not answer",
        log=site.log,
    )
