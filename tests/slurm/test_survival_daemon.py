# SPDX-License-Identifier: Apache-2.0
"""sgreend down, killed, hung, restarted, doubled: jobs run as promised, or as if it was not there.

A promise is a begin time in Slurm itself, so whatever happens to us, Slurm keeps it.
"""

import os
import re
import signal
import socket
import subprocess
import tomllib
import urllib.request
from collections.abc import Callable, Iterator
from datetime import timedelta

import pytest

from slurm_green.cluster.cluster import Cluster
from slurm_green.hook.record import parse
from tests.slurm.patience import wait_until
from tests.slurm.site import HOLD_S, LATE_S, QUESTION, SHAPE, LiveSite, ago, now_utc

PAUSE = timedelta(seconds=LATE_S)


@pytest.fixture(scope="module")
def shared(make_module_cluster: Callable[..., Cluster]) -> Iterator[LiveSite]:
    """One cluster for all of them."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    cluster = make_module_cluster(stem="sd", **SHAPE)
    site = LiveSite(cluster, controller={"metrics": address})
    yield site
    site.close()


def test_down_at_submission(site: LiveSite) -> None:
    """The job runs at once and carries nothing of ours."""
    site.stop()
    job_id = site.sbatch()
    assert site.untouched(job_id)
    job = site.await_done(job_id)
    assert job.start_utc - job.submit_utc < PAUSE


def test_killed_before_it_confirmed(site: LiveSite) -> None:
    """The job starts when its short hold ends, not at the latest start it was told."""
    os.kill(site.worker_pid, signal.SIGSTOP)  # so that nothing can be confirmed
    job_id = site.sbatch()
    site.kill()
    held = site.job(job_id)
    record = parse(held.admin_comment)
    assert record is not None
    assert record.latest_utc > record.decided_utc + timedelta(seconds=60)
    assert held.eligible_utc == record.decided_utc + timedelta(seconds=HOLD_S)
    job = site.await_done(job_id)
    assert held.eligible_utc <= job.start_utc < held.eligible_utc + PAUSE


def test_killed_after_it_confirmed(site: LiveSite) -> None:
    """The job starts at its latest start, by Slurm alone."""
    job_id = site.deferred("--comment=green:max-delay=15s")
    site.kill()
    confirmed = site.job(job_id)
    # Slurm's whole second comes after the hook's.
    assert timedelta(seconds=HOLD_S) < confirmed.eligible_utc - confirmed.submit_utc
    assert confirmed.eligible_utc - confirmed.submit_utc <= timedelta(seconds=15)
    job = site.await_done(job_id)
    assert confirmed.eligible_utc <= job.start_utc < confirmed.eligible_utc + PAUSE


def test_hung_it_costs_at_most_three_time_outs(site: LiveSite) -> None:
    """A burst of submissions passes; the questions that timed out wait in the daemon's socket."""
    assert not site.passes()
    before = _answers(site)
    site.hang()
    jobs = [site.sbatch() for _ in range(30)]
    assert all(site.untouched(job_id) for job_id in jobs)
    site.resume()
    assert b"pass" in site.ask()
    # One is our own; those that waited are read in no certain order.
    wait_until(lambda: _answers(site) - before >= 1 + 1, timeout_s=10, what="what it was asked")
    assert b"pass" in site.ask()
    assert _answers(site) - before <= 3 + 2
    wait_until(lambda: not site.passes(), timeout_s=20, what="being asked again")


def test_the_cycle_process_alone_is_killed(site: LiveSite) -> None:
    """Another one is started, and takes up what the first left."""
    job_id = site.deferred()
    before = site.worker_pid
    os.kill(before, signal.SIGKILL)
    held = site.sbatch()  # answered from the last view
    site.await_answers()
    done = site.await_job(
        held, lambda job: job.eligible_utc <= now_utc() or "start=" in job.admin_comment, "seen"
    )
    assert done.state in {"PENDING", "RUNNING", "COMPLETED"}
    site.valley(3)
    site.await_done(job_id)
    assert site.worker_pid != before


def test_a_storm_of_submissions_during_one_long_cycle(site: LiveSite) -> None:
    """Every question is answered, however often the cycle process is told that there is work."""
    with site.between_cycles():
        answers = [site.ask(QUESTION) for _ in range(400)]
    assert all(b"\tdefer\t" in answer for answer in answers)
    site.await_cycles()


def test_restarted_it_knows_its_jobs_from_slurm(site: LiveSite) -> None:
    """A job confirmed before, and one only held, are both taken up by the next daemon."""
    confirmed = site.deferred()
    promised = site.job(confirmed).eligible_utc
    site.stop()
    site.start()
    site.await_cycles()
    assert site.job(confirmed).eligible_utc == promised
    site.valley(2)
    job = site.await_done(confirmed)
    assert job.start_utc < promised - timedelta(seconds=30)
    assert ago(job.submit_utc) < 60


def test_a_second_daemon_waits_and_takes_over(site: LiveSite) -> None:
    """By mistake or for failover: one acts, the other one goes on where it was killed."""
    job_id = site.deferred()
    second = site.spawn()
    try:
        wait_until(
            lambda: "another sgreend holds" in site.log.read_text(),
            timeout_s=30,
            what="the second one's word",
        )
        site.await_cycles(3)
        assert second.poll() is None
        assert site.log.read_text().count(f"job={job_id} confirmed") == 1
        site.kill()
        site.adopt(second)
        site.await_answers()
        assert site.job(job_id).eligible_utc == site.record(job_id).latest_utc
        site.deferred()
        site.valley(2)
        site.await_done(job_id)
    finally:
        if second is not site.daemon and second.poll() is None:
            os.killpg(second.pid, signal.SIGKILL)
            second.wait(60)


def test_a_daemon_that_cannot_start_says_so(site: LiveSite) -> None:
    """A configuration with a mistake: exit status 2, a line, and jobs pass."""
    site.stop()
    site.configure(hook={"hold": "soon"})
    daemon = site.spawn()
    assert daemon.wait(20) == 2
    assert "hook.hold" in site.log.read_text().splitlines()[-1]
    assert site.passes()


def test_what_is_ours_is_gone_after_sigterm(site: LiveSite) -> None:
    """No process and no socket stay behind."""
    worker = site.worker_pid
    site.stop()
    assert not site.layout.hook_socket.exists()
    found = subprocess.run(["ps", "-p", str(worker)], capture_output=True, check=False)
    assert found.returncode != 0


def test_the_board_shows_the_daemon(site: LiveSite) -> None:
    """/healthz is good while cycles run, and the page names the cluster and its partitions."""
    assert _board(site, "/healthz").startswith("ok, ")
    page = _board(site, "/")
    assert site.cluster.name in page
    assert "<td>enforce</td>" in page


def _board(site: LiveSite, path: str) -> str:
    """What the daemon shows at a path."""
    address = tomllib.loads(site.layout.green_conf.read_text())["controller"]["metrics"]
    with urllib.request.urlopen(f"http://{address}{path}", timeout=5) as answer:
        return str(answer.read().decode())


def _answers(site: LiveSite) -> int:
    """Questions the daemon has read, from its /metrics."""
    text = _board(site, "/metrics")
    counts = re.findall(
        r'hook_answers_total{answer="(?:deferred|looked|passed|failed)"} (\S+)', text
    )
    return int(sum(map(float, counts)))
