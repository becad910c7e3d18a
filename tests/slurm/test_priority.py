# SPDX-License-Identifier: Apache-2.0
"""A deferred job keeps its place: let go, it competes with the age it would have had.

Three jobs want the one seat (a licence) there is; one has it, two wait, and which of them Slurm
starts next is the test. The deferred one has a handicap (--nice) that only the age it was held
back for can make up.
"""

from collections.abc import Callable, Iterator
from datetime import timedelta

import pytest

from slurm_green.cluster.cluster import Cluster
from tests.slurm.patience import wait_until
from tests.slurm.site import HOLD_S, SHAPE, USER, LiveSite, ago

SLEEP = "#!/bin/sh\nexec sleep 300\n"
# Long enough for two of them not to start in the same second.
NAP = "#!/bin/sh\nexec sleep 2\n"
SEAT = "--licenses=seat:1"
# 100 points a second; the partition's points keep a handicap from ending at Slurm's least, 1.
MULTIFACTOR = (
    "PriorityType=priority/multifactor",
    "PriorityWeightAge=60000",
    "PriorityMaxAge=0-00:10:00",
    "PriorityWeightPartition=10000",
    "Licenses=seat:1",
)
HANDICAP = "--nice=300"


@pytest.fixture(scope="module")
def shared(make_module_cluster: Callable[..., Cluster]) -> Iterator[LiveSite]:
    """One node, where age counts."""
    site = LiveSite(make_module_cluster(stem="pr", nodes=1, extra_conf=MULTIFACTOR, **SHAPE))
    yield site
    site.close()


def _contest(site: LiveSite, *, wait_s: float = HOLD_S) -> tuple[int, int, int]:
    """(running, was deferred, came later): the deferred one was let go while the seat was taken."""
    waiting = site.deferred(SEAT, HANDICAP, "--comment=green:max-delay=9m", user=USER, script=NAP)
    submitted = site.job(waiting).submit_utc
    wait_until(lambda: ago(submitted) >= wait_s, timeout_s=20, what="some age to make up")
    running = site.sbatch(SEAT, "--comment=green:off", script=SLEEP, limit_min=5)
    site.await_job(running, lambda job: job.state == "RUNNING", "to run")
    later = site.sbatch(SEAT, "--comment=green:off", user=USER, script=NAP)
    site.valley(1)
    site.await_job(
        waiting, lambda job: job.eligible_utc < job.submit_utc + timedelta(minutes=1), "let go"
    )
    return running, waiting, later


def _first(site: LiveSite, running: int, one: int, other: int) -> int:
    """Which of two Slurm starts when the seat becomes free."""
    site.cluster.run("scancel", str(running))
    done = [site.await_done(job_id) for job_id in (one, other)]
    assert done[0].start_utc != done[1].start_utc
    return min(done, key=lambda job: job.start_utc).job_id


def test_it_starts_before_a_job_that_came_later(site: LiveSite) -> None:
    """Its site factor is the age it missed, and Slurm takes it first."""
    running, waiting, later = _contest(site)
    job = site.await_job(waiting, lambda job: job.site_factor > 0, "credited")
    assert 600 <= job.site_factor <= 100 * ago(job.submit_utc)
    assert _first(site, running, waiting, later) == waiting


def test_without_the_credit_it_would_not(site: LiveSite) -> None:
    """The same with priority.keep_place off: the contest is one."""
    site.restart(priority={"keep_place": False})
    running, waiting, later = _contest(site)
    assert site.job(waiting).site_factor == 0
    assert _first(site, running, waiting, later) == later


def test_the_credit_has_an_end(site: LiveSite) -> None:
    """priority.max_credit caps it."""
    site.restart(priority={"max_credit": "2s"})
    _, waiting, _ = _contest(site)
    site.await_job(waiting, lambda job: job.site_factor == 200, "credited with two seconds")


@pytest.mark.parametrize("change", ["timelimit=3", "partition=other"])
def test_a_changed_job_loses_it(site: LiveSite, change: str) -> None:
    """Another time limit or partition is another job; its user may still change its name."""
    if change.startswith("partition"):
        site.scontrol("create", "partitionname=other", "nodes=ALL", "state=up", check=False)
    _, waiting, _ = _contest(site)
    site.await_job(waiting, lambda job: job.site_factor > 0, "credited")
    site.scontrol("update", f"jobid={waiting}", "name=better", user=USER)
    site.await_cycles()
    assert site.job(waiting).site_factor > 0
    # Only an administrator may raise a time limit; the user lowers or raises, the effect is one.
    site.scontrol("update", f"jobid={waiting}", change)
    site.await_job(waiting, lambda job: job.site_factor == 0, "without credit")


def test_a_restarted_daemon_knows_the_credit(site: LiveSite) -> None:
    """Who changes the job after a restart of sgreend loses the credit all the same."""
    _, waiting, _ = _contest(site)
    credited = site.await_job(waiting, lambda job: job.site_factor > 0, "credited")
    site.stop()
    site.start()
    site.await_cycles()
    assert site.job(waiting).site_factor == credited.site_factor
    site.scontrol("update", f"jobid={waiting}", "timelimit=3")
    site.await_job(waiting, lambda job: job.site_factor == 0, "without credit")


def test_off_takes_it_back(site: LiveSite) -> None:
    """`sgreen off --release-all` leaves nothing of ours in the queue, priorities included."""
    _, waiting, _ = _contest(site)
    site.await_job(waiting, lambda job: job.site_factor > 0, "credited")
    site.kill()
    site.sgreen("off", "--release-all")
    assert site.job(waiting).site_factor == 0


def test_where_age_accrues_always(make_cluster: Callable[..., Cluster]) -> None:
    """PriorityFlags=ACCRUE_ALWAYS: Slurm counts the age itself, we add none."""
    cluster = make_cluster(
        stem="pa", nodes=1, extra_conf=(*MULTIFACTOR, "PriorityFlags=ACCRUE_ALWAYS"), **SHAPE
    )
    site = LiveSite(cluster).start()
    try:
        _, waiting, _ = _contest(site)
        site.await_cycles()
        assert site.job(waiting).site_factor == 0
    finally:
        site.close()
