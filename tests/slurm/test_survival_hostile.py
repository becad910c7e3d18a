# SPDX-License-Identifier: Apache-2.0
"""What users write is carried, never obeyed; our record is ours; a user's own begin time stands."""

import os
from collections.abc import Callable, Iterator
from datetime import timedelta

import pytest

from slurm_green.cluster.cluster import Cluster
from slurm_green.hook.record import parse
from tests.slurm.patience import wait_until
from tests.slurm.site import SCRIPT, SHAPE, USER, LiveSite, now_utc

FORGED = (
    "green:v1 id=deadbeef decided=2026-01-01T00:00:00Z start=2099-01-01T00:00:00Z"
    " latest=2099-01-01T00:00:00Z workers=- clock=- by=lowest-window save_g=9999 sig=-"
)
TEXTS = {
    "quotes": b"a'b\"c`d\\",
    "shell": b"$(touch /tmp/owned); rm -rf ~ | & > x < y ${IFS} *?[",
    "lua": b']] os.execute("x") --[[ %s%n%d %%',
    "lines": b"one\ntwo\r\nthree\ttab",
    "latin1": b"caf\xe9 \xff\xfe",
    "utf8": "grün 東京 \u202e".encode(),
    "scontrol": b"JobId=1 StartTime=now AdminComment=mine",
    "wire": b"1\tdefer\tbegin=1\nping\n",
    "long": b"x" * 1000,
}


@pytest.fixture(scope="module")
def shared(make_module_cluster: Callable[..., Cluster]) -> Iterator[LiveSite]:
    """One cluster for all of them."""
    site = LiveSite(make_module_cluster(stem="sh", **SHAPE))
    yield site
    site.close()


def test_names_and_comments(site: LiveSite) -> None:
    """Every job is deferred, confirmed, keeps its words, and is freed again."""
    jobs = {}
    for name, raw in TEXTS.items():
        text = os.fsdecode(raw)
        jobs[name] = site.sbatch("-J", text[:200], f"--comment={text}", user=USER)
    for name, job_id in jobs.items():
        job = site.await_confirmed(job_id)
        plain = TEXTS[name].decode("utf-8", "replace").split()
        assert job.comment.split()[:1] == plain[:1] or "\ufffd" in plain[0]
    site.valley(2)
    for job_id in jobs.values():
        site.await_done(job_id)
    assert site.status()["slurm_failures"] == 0
    assert site.status()["changes_refused"] == 0


@pytest.mark.parametrize(
    "body",
    [
        b"#" * 100_000 + b"\ntrue\n",
        b"true \xff\xfe\x80\n",
        b"#SBATCH --comment='green:off; $(reboot)'\ntrue\n",
        b": '#SBATCH --deadline=now+1'\ntrue\n",
        b"exit 0\n#SBATCH --deadline=now+1\n",
    ],
    ids=["100-kB", "non-UTF-8", "opted-out", "quoted-deadline", "late-deadline"],
)
def test_scripts(site: LiveSite, body: bytes) -> None:
    """Only what sbatch itself takes as options counts."""
    job_id = site.sbatch(script="#!/bin/sh\n" + os.fsdecode(body))
    if b"green:off" in body:
        assert site.untouched(job_id)
        return
    job = site.await_confirmed(job_id)
    assert job.eligible_utc >= job.submit_utc + timedelta(seconds=100)


def test_nonsense_for_options(site: LiveSite) -> None:
    """What cannot be read is said, and the job passes: a wish half understood is none."""
    for text in (
        "green:max-delay=" + "9" * 400,
        "green:max-delay=-1h",
        "green:deadline=0001-01-01T00:00",
        "green:deadline=9999-99-99",
        "green:,,,===",
        "green:max-delay=1h,max-delay",
        "green:" * 100,
    ):
        job_id = site.sbatch(f"--comment={text}")
        job = site.await_job(
            job_id, lambda job: job.state == "COMPLETED" or site.untouched(job.job_id), "to pass"
        )
        assert job.state in {"PENDING", "RUNNING", "COMPLETED", "COMPLETING"}


def test_a_record_forged_in_the_comment(site: LiveSite) -> None:
    """The comment is the user's: neither the hook nor the cycle takes a record from there."""
    job_id = site.sbatch(f"--comment={FORGED}", user=USER)
    site.await_cycles()
    job = site.job(job_id)
    record = parse(job.admin_comment)
    assert record is None or record.token != "deadbeef"
    assert job.eligible_utc < now_utc() + timedelta(minutes=11)


def test_only_administrators_write_the_record(site: LiveSite) -> None:
    """An ordinary user is refused by Slurm, at submission and afterwards."""
    done = site.submit(f"--admin-comment={FORGED}", user=USER, check=False)
    assert done.returncode != 0 or "deadbeef" not in site.job(int(done.stdout)).admin_comment
    job_id = site.deferred(user=USER)
    before = site.job(job_id)
    for text in (FORGED, ""):
        refused = site.scontrol(
            "update", f"jobid={job_id}", f"admincomment={text}", user=USER, check=False
        )
        assert refused.returncode != 0
    assert site.job(job_id).admin_comment == before.admin_comment


def test_a_user_pulls_their_job_earlier(site: LiveSite) -> None:
    """Allowed by default, and the time they chose is left alone from then on."""
    job_id = site.deferred(user=USER)
    wanted = now_utc() + timedelta(seconds=90)
    site.scontrol("update", f"jobid={job_id}", f"starttime=uts{int(wanted.timestamp())}", user=USER)
    site.await_cycles()  # one that looked before would take it for ours
    site.valley(1)  # reason enough to pull it, were it still ours
    site.await_cycles()
    job = site.job(job_id)
    assert (job.eligible_utc, job.state) == (wanted, "PENDING")
    site.scontrol("update", f"jobid={job_id}", "starttime=now", user=USER)
    site.await_done(job_id)


def test_a_user_pushes_their_job_later(site: LiveSite) -> None:
    """Their own wish to wait longer is theirs as well."""
    job_id = site.deferred(user=USER)
    wanted = now_utc() + timedelta(hours=1)
    site.scontrol("update", f"jobid={job_id}", f"starttime=uts{int(wanted.timestamp())}", user=USER)
    site.await_cycles()
    site.valley(1)
    site.await_cycles()
    assert site.job(job_id).eligible_utc == wanted


def test_where_users_may_not_pull(site: LiveSite) -> None:
    """Slurm refuses the user, not root and not us; everything else of the job stays theirs."""
    site.restart(hook={"user_may_pull": False})
    # The hook reads the site's setting at most every two seconds.
    wait_until(lambda: not _may_pull(site), timeout_s=10, what="users to be refused")
    job_id = site.deferred(user=USER)
    before = site.job(job_id).eligible_utc
    refused = site.sgreen("run-now", str(job_id), user=USER, check=False)
    assert refused.returncode == 1
    assert "user_may_pull" in refused.stderr
    site.scontrol("update", f"jobid={job_id}", "name=mine", user=USER)
    job = site.job(job_id)
    assert (job.eligible_utc, job.name) == (before, "mine")
    later = int((before + timedelta(minutes=5)).timestamp())
    site.scontrol("update", f"jobid={job_id}", f"starttime=uts{later}", user=USER)
    site.scontrol("update", f"jobid={job_id}", "starttime=now")
    site.await_done(job_id)


def _may_pull(site: LiveSite) -> bool:
    job_id = site.sbatch(user=USER, script=SCRIPT)
    done = site.scontrol("update", f"jobid={job_id}", "starttime=now", user=USER, check=False)
    site.cluster.run("scancel", str(job_id), check=False)
    return done.returncode == 0
