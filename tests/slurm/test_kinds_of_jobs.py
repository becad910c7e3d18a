# SPDX-License-Identifier: Apache-2.0
"""Every kind of submission with a real daemon behind the hook: what Slurm made of it."""

from collections.abc import Callable, Iterator
from datetime import timedelta

import pytest

from slurm_green.cluster.cluster import Cluster
from slurm_green.slurm.records import Job
from tests.slurm.patience import wait_until
from tests.slurm.site import HOLD_S, LATE_S, SHAPE, LiveSite, now_utc

SLEEP = "#!/bin/sh\nexec sleep 300\n"
# Seen by the hook, so that it is the promise from the start.
WITH_DEADLINE = "#!/bin/sh\n#SBATCH --deadline=now+6minutes\ntrue\n"
MARGIN_S = 10


@pytest.fixture(scope="module")
def shared(make_module_cluster: Callable[..., Cluster]) -> Iterator[LiveSite]:
    """Beside the default partition without limits, one whose jobs have one by default."""
    cluster = make_module_cluster(
        stem="kj",
        extra_conf=("PartitionName=limited Nodes=ALL DefaultTime=2 MaxTime=10 State=UP",),
        **SHAPE,
    )
    site = LiveSite(cluster)
    yield site
    site.close()


def _tasks(site: LiveSite, array_id: int) -> list[Job]:
    return [job for job in site.client.jobs() if job.array_job_id == array_id]


def test_test_only(site: LiveSite) -> None:
    """Nothing is left of it, in Slurm or in our room for others."""
    done = site.submit("--test-only", check=False)
    assert done.returncode == 0
    site.await_cycles()
    assert site.cluster.run("squeue", "-h").stdout == ""
    assert site.status()["deferred"] == 0


def test_an_array_is_one_decision(site: LiveSite) -> None:
    """One record, one begin time, and every task runs when its window comes."""
    array = site.deferred("--array=1-6")
    site.await_cycles()  # Slurm shows it before the log and the status do
    assert site.log.read_text().count(f"job={array} confirmed") == 1
    assert site.status()["deferred"] == 1
    site.valley(2)
    wait_until(
        lambda: [job.state for job in _tasks(site, array)] == ["COMPLETED"] * 6,
        timeout_s=30,
        what="six tasks",
    )
    site.await_cycles()
    assert {job.site_factor for job in _tasks(site, array)} == {0}


def test_an_array_in_waves(site: LiveSite) -> None:
    """%2 of four tasks: the second wave must end before the deadline too."""
    array = site.deferred("--array=1-4%2", script=WITH_DEADLINE)
    job = site.job(array)
    waves = timedelta(seconds=2 * 60 + MARGIN_S)
    assert job.eligible_utc <= job.deadline_utc - waves
    assert job.eligible_utc >= job.deadline_utc - waves - timedelta(seconds=5)


def test_a_task_of_a_waiting_array_is_pulled_by_hand(site: LiveSite) -> None:
    """scontrol on one task splits the array; the rest waits on, whatever it is called then."""
    array = site.deferred("--array=1-3")
    promised = site.job(array).eligible_utc
    site.scontrol("update", f"jobid={array}_2", "starttime=now")
    wait_until(
        lambda: any(job.state == "COMPLETED" for job in _tasks(site, array)),
        timeout_s=20,
        what="the task",
    )
    site.await_cycles()
    waiting = [job for job in _tasks(site, array) if job.pending]
    assert [job.eligible_utc for job in waiting] == [promised]
    assert waiting[0].tasks == 2
    # Slurm says of the task that it has ended, and lets the others go all the same.
    assert "is eligible now" in site.sgreen("run-now", str(array)).stdout
    wait_until(
        lambda: all(job.state == "COMPLETED" for job in _tasks(site, array)),
        timeout_s=20,
        what="the others",
    )


def test_het_jobs_and_interactive_ones_pass(site: LiveSite) -> None:
    """srun and salloc return at once; no component of a het job is held."""
    began = now_utc()
    assert site.cluster.run("srun", "-n1", "-t", "1", "true").returncode == 0
    assert site.cluster.run("salloc", "-n1", "-t", "1", "true").returncode == 0
    assert now_utc() - began < timedelta(seconds=LATE_S)
    het = site.sbatch("-n1", ":", "-n1")
    parts = [job for job in site.client.jobs() if job.het_job_id == het]
    assert len(parts) == 2
    assert all(site.untouched(job.job_id) for job in parts)


def test_a_requeued_job_is_never_deferred_again(
    site: LiveSite, wait_for: Callable[..., None]
) -> None:
    """Slurm's own wait after a requeue is left, and so is the job when it is over."""
    job_id = site.deferred("--requeue", script=SLEEP)
    site.valley(2)
    site.await_job(job_id, lambda job: job.state == "RUNNING", "to run")
    site.falling()
    site.scontrol("requeue", str(job_id))
    again = site.await_job(job_id, lambda job: job.pending and job.restarts == 1, "requeued")
    site.await_cycles()
    assert site.job(job_id).eligible_utc == again.eligible_utc
    # Its first run may still be ending on the node; a second one beside it fails there.
    completing = ("squeue", "--noheader", "--states=COMPLETING")
    wait_for(lambda: not site.cluster.run(*completing).stdout, 30, "its first run to end")
    site.scontrol("update", f"jobid={job_id}", "starttime=now")
    site.await_job(job_id, lambda job: job.state == "RUNNING", "to run again")


def test_a_held_job_is_left_held(site: LiveSite) -> None:
    """Held by its user while it waits: its window passes; freed, it is let go at once."""
    job_id = site.deferred()
    site.scontrol("uhold", str(job_id))
    site.valley(1)
    site.await_cycles(2)
    job = site.job(job_id)
    assert job.held
    assert job.pending
    site.scontrol("release", str(job_id))
    site.await_done(job_id)


def test_submitted_on_hold(site: LiveSite) -> None:
    """Its user decides when it may run; once they do, it runs."""
    job_id = site.sbatch("--hold")
    site.await_cycles()
    assert site.job(job_id).held
    site.scontrol("release", str(job_id))
    job = site.await_done(job_id)
    assert job.admin_comment == ""


def test_a_begin_time_of_the_users_own(site: LiveSite) -> None:
    """Left, to the second, with or without slack beyond it."""
    wanted = now_utc() + timedelta(seconds=100)
    job_id = site.sbatch(f"--begin=uts{int(wanted.timestamp())}", "--comment=green:max-delay=9m")
    site.await_cycles()
    job = site.job(job_id)
    assert (job.eligible_utc, job.admin_comment) == (wanted, "")


def test_without_a_time_limit(site: LiveSite) -> None:
    """The partition's default counts; where nothing limits a job, it passes."""
    job_id = site.sbatch("-p", "limited", "--deadline=now+6minutes", limit_min=None)
    job = site.await_confirmed(job_id)
    assert job.eligible_utc <= job.deadline_utc - timedelta(seconds=120 + MARGIN_S)
    assert site.untouched(site.sbatch(limit_min=None))


def test_a_chain_with_a_deadline_at_its_end(site: LiveSite) -> None:
    """Who is waited for starts early enough for who waits; a dependent job is never deferred."""
    first = site.deferred()
    second = site.sbatch(f"--dependency=afterok:{first}", "--deadline=now+170")
    deadline = site.job(second).deadline_utc
    assert site.job(second).admin_comment == ""
    pulled = site.await_job(
        first,
        lambda job: job.eligible_utc + timedelta(seconds=2 * 60 + MARGIN_S) <= deadline,
        "pulled in front of its dependents",
    )
    assert site.record(first).latest_utc == pulled.eligible_utc
    site.valley(2)
    for job_id in (first, second):
        site.await_done(job_id)


def test_maintenance_before_the_deadline(site: LiveSite) -> None:
    """The latest start is before the reservation, with room to end."""
    begin = now_utc() + timedelta(minutes=4)
    site.scontrol(
        *("create", "reservation", "reservationname=works", "users=root", "nodes=ALL"),
        *("flags=maint,ignore_jobs", f"starttime=uts{int(begin.timestamp())}", "duration=20"),
    )
    try:
        site.restart()  # reservations are read once a minute
        job_id = site.deferred("--comment=green:max-delay=10m")
        job = site.job(job_id)
        assert job.eligible_utc <= begin - timedelta(seconds=60)
        assert job.eligible_utc >= begin - timedelta(seconds=70)
    finally:
        site.stop()
        site.cancel_all()
        site.scontrol("delete", "reservationname=works")


def test_a_full_cluster_defers_nothing(site: LiveSite) -> None:
    """Who has to queue anyway is not held back; who waits already takes their turn."""
    waiting = site.deferred()
    site.sbatch("-N2", "--exclusive", "--time=5", "--comment=green:off", script=SLEEP)
    job = site.await_job(waiting, lambda job: job.eligible_utc <= now_utc(), "let go")
    assert job.pending
    site.await_cycles()  # the hook answers by what the last one saw
    assert site.untouched(site.sbatch())
    site.cluster.run("scancel", "--state=RUNNING", "-u", "root")
    site.await_done(waiting)


def test_nodes_that_must_be_powered_up(make_cluster: Callable[..., Cluster]) -> None:
    """A deadline leaves room for ResumeTimeout while nodes sleep."""
    cluster = make_cluster(
        stem="kp",
        nodes=1,
        extra_conf=(
            "SuspendProgram=/bin/true",
            "ResumeProgram=/bin/true",
            "SuspendTimeout=1",
            "ResumeTimeout=45",
            "SuspendTime=36000",
        ),
        **SHAPE,
    )
    site = LiveSite(cluster)
    try:
        cluster.run(
            "scontrol", "update", f"nodename={cluster.spec.node_names[0]}", "state=power_down"
        )
        wait_until(
            lambda: any(node.powered_down and node.available for node in site.client.nodes()),
            timeout_s=30,
            what="the node to sleep",
        )
        site.start()
        job_id = site.sbatch(script=WITH_DEADLINE)
        job = site.await_confirmed(job_id)
        margin = timedelta(seconds=60 + MARGIN_S + 45)
        assert job.eligible_utc <= job.deadline_utc - margin
        assert job.eligible_utc >= job.deadline_utc - margin - timedelta(seconds=HOLD_S)
    finally:
        site.close()
