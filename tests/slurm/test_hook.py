# SPDX-License-Identifier: Apache-2.0
"""The submit hook inside a real slurmctld: every kind of submission, and every failure around it.

The daemon is a stub behind the real answer server; what it decides is tested elsewhere.
"""

import asyncio
import os
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from slurm_green.cluster.cluster import Cluster
from slurm_green.controller.answer import AnswerServer
from slurm_green.hook.published import Published, write_published
from slurm_green.hook.record import Record, new_token, parse
from slurm_green.hook.wire import Answer, Ask, Defer
from tests.slurm.patience import patient_hook

HOLD_S = 50
USER = "nobody"


class Daemon:
    """The answer server in a thread, deferring everything and remembering every question."""

    def __init__(self, cluster: Cluster) -> None:
        self.asked: list[Ask] = []
        self._loop = asyncio.new_event_loop()
        self._server = AnswerServer(
            cluster.layout.hook_socket,
            self._answer,
            allowed_uids={os.geteuid()},
            clock=time.monotonic,
        )
        self._thread = threading.Thread(target=self._loop.run_forever)

    def _answer(self, ask: Ask) -> Answer:
        self.asked.append(ask)
        now = datetime.now(UTC).replace(microsecond=0)
        latest = now + timedelta(hours=3)
        record = Record(
            token=new_token(), decided_utc=now, start_utc=now, latest_utc=latest, policy="test"
        )
        return Defer(
            begin_utc=now + timedelta(seconds=HOLD_S),
            latest_utc=latest,
            record=str(record),
            message="becomes eligible by noon",
        )

    def start(self) -> "Daemon":
        """Listen."""
        self._thread.start()
        asyncio.run_coroutine_threadsafe(self._server.start(), self._loop).result(10)
        return self

    def stop(self) -> None:
        """Close the socket and end the thread."""
        asyncio.run_coroutine_threadsafe(self._server.close(), self._loop).result(10)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()

    @contextmanager
    def hung(self) -> Iterator[None]:
        """Accepts and never answers, as a process under SIGSTOP does."""
        go_on = threading.Event()
        self._loop.call_soon_threadsafe(go_on.wait, 60)
        try:
            yield
        finally:
            go_on.set()


@pytest.fixture(scope="module")
def cluster(make_module_cluster: Callable[..., Cluster]) -> Cluster:
    """A cluster with the hook."""
    made = make_module_cluster(stem="hk", hook=True)
    patient_hook(made.layout)
    return made


@pytest.fixture
def daemon(cluster: Cluster) -> Iterator[Daemon]:
    """A daemon that lives for one test; the jobs go with it."""
    running = Daemon(cluster).start()
    yield running
    running.stop()
    cluster.run("scancel", "-u", "root", check=False)
    cluster.run("scancel", "-u", USER, check=False)


def sbatch(cluster: Cluster, *options: str, script: str = "#!/bin/sh\ntrue\n", **run) -> str:
    """Submit; the job id."""
    done = cluster.run("sbatch", "--parsable", "-o", "/dev/null", *options, input=script, **run)
    return done.stdout.split(";")[0].strip()


def show(cluster: Cluster, job: str) -> dict[str, str]:
    """`scontrol show job` as a dictionary."""
    text = cluster.run("scontrol", "show", "job", "-o", job).stdout
    fields: dict[str, str] = {}
    key = ""
    for word in text.split():
        name, equals, value = word.partition("=")
        if equals and name[:1].isupper():
            key, fields[name] = name, value
        elif key:
            fields[key] += " " + word
    return fields


def held_s(job: dict[str, str]) -> float:
    """How long after its submission a job becomes eligible."""
    if job["EligibleTime"] == "Unknown":  # held by its user: eligible at no known time
        return 0.0
    times = [datetime.fromisoformat(job[key]) for key in ("SubmitTime", "EligibleTime")]
    return (times[1] - times[0]).total_seconds()


def deferred(cluster: Cluster, job: str) -> bool:
    """Whether the hook held it and left its record."""
    fields = show(cluster, job)
    record = parse(fields.get("AdminComment", ""))
    assert (record is not None) == (held_s(fields) >= HOLD_S / 2), fields
    return record is not None


def test_a_batch_job_is_held_recorded_and_its_user_told(cluster: Cluster, daemon: Daemon):
    done = cluster.run("sbatch", "-t", "20", "--gpus=2", "--wrap", "true")
    assert "becomes eligible by noon" in done.stderr
    assert "error" not in done.stderr
    assert deferred(cluster, done.stdout.split()[-1])
    (ask,) = daemon.asked
    assert (ask.uid, ask.partition, ask.time_limit_s) == (os.geteuid(), "main", 1200)
    assert ask.tres_per_job is not None
    assert ask.tres_per_job.endswith("gpu:2")


def test_what_was_not_given_is_none_on_this_slurm(cluster: Cluster, daemon: Daemon):
    sbatch(cluster, "-J", "plain")
    (ask,) = daemon.asked
    assert ask.name == "plain"
    given = {"seq", "uid", "user", "name", "partition", "min_cpus"}
    said = {key: value for key, value in asdict(ask).items() if value not in (None, False)}
    assert set(said) <= given, said


def test_a_deadline_in_the_script_is_seen_and_slurm_knows_it_too(cluster: Cluster, daemon: Daemon):
    job = sbatch(cluster, script="#!/bin/sh\n#SBATCH -t 5 --deadline=now+2hours\ntrue\n")
    assert daemon.asked[0].deadline_text == "now+2hours"
    assert show(cluster, job)["Deadline"] != "N/A"


def test_an_array_is_one_question_and_every_task_waits(cluster: Cluster, daemon: Daemon):
    job = sbatch(cluster, "--array=0-5%2", "-t", "5")
    assert [ask.array_inx for ask in daemon.asked] == ["0-5%2"]
    assert deferred(cluster, f"{job}_0")


def test_submissions_that_are_never_a_question(cluster: Cluster, daemon: Daemon):
    assert cluster.run("srun", "-n1", "true").returncode == 0
    assert cluster.run("salloc", "-n1", "true").returncode == 0
    assert not deferred(cluster, sbatch(cluster, "--hold"))
    user_begin = show(cluster, sbatch(cluster, "--begin=now+2hours"))
    assert held_s(user_begin) >= 7190
    assert "AdminComment" not in user_begin
    het = sbatch(cluster, "-n1", ":", "-n2", "--wrap", "true", script="")
    assert not deferred(cluster, het)
    assert daemon.asked == []


def test_test_only_asks_and_leaves_nothing(cluster: Cluster, daemon: Daemon, wait_for):
    cluster.run("sbatch", "--test-only", "-t", "5", "--wrap", "true")
    # Jobs of the test before may be completing; a job of this one would be held for longer.
    wait_for(lambda: cluster.run("squeue", "-h").stdout == "", HOLD_S / 5, "no job")


@pytest.mark.parametrize(
    "comment",
    [
        b"caf\xe9",
        b"a\tb\nc",
        b"%s%n $(reboot) `x` ; ]] --[[ \\ \" '",
        b"x" * 1000,
        "grün".encode(),
    ],
    ids=["latin1", "control", "meta", "long", "utf8"],
)
def test_hostile_comments_are_carried_and_kept(cluster: Cluster, daemon: Daemon, comment: bytes):
    text = os.fsdecode(comment)
    first = sbatch(cluster, f"--comment={text}", "-J", text[:60], "-t", "5")
    second = sbatch(cluster, "-t", "5")
    assert daemon.asked[0].comment == comment.decode("utf-8", "replace")
    assert daemon.asked[0].uid == os.geteuid()
    assert deferred(cluster, first)
    assert deferred(cluster, second)


def test_a_comment_too_long_for_us_or_slurm_is_nobody_elses_problem(
    cluster: Cluster, daemon: Daemon
):
    done = cluster.run(
        "sbatch", "--parsable", f"--comment={'y' * 100_000}", "--wrap", "true", check=False
    )
    # Seen: 22.05 refuses more than 1024 bytes by itself, after its hooks.
    assert done.returncode != 0 or not deferred(cluster, done.stdout.strip())
    assert daemon.asked == []
    assert deferred(cluster, sbatch(cluster))


def test_a_record_never_makes_slurm_refuse_a_job(cluster: Cluster, daemon: Daemon, wait_for):
    now = datetime.now(UTC)
    write_published(
        cluster.layout.hook_published,
        Published(published_utc=now, valid_until_utc=now, slurm_uid=0, record_field="comment"),
    )
    try:
        # The courier reads the header at most every two seconds.
        wait_for(
            lambda: "green:v1" in show(cluster, sbatch(cluster)).get("Comment", ""),
            10,
            "the record to go to the comment",
        )
        job = show(cluster, sbatch(cluster, f"--comment={'x' * 1000}"))
        assert job["Comment"] == "x" * 1000
        assert held_s(job) < HOLD_S / 2
    finally:
        cluster.layout.hook_published.unlink()
        wait_for(
            lambda: "green:v1" in show(cluster, sbatch(cluster)).get("AdminComment", ""),
            10,
            "the record to go back to the admin comment",
        )


def test_a_user_cannot_forge_our_record(cluster: Cluster, daemon: Daemon):
    job = sbatch(cluster, "--comment=green:v1 id=0", "-t", "5", user=USER)
    assert daemon.asked[0].uid != 0
    record = parse(show(cluster, job)["AdminComment"])
    assert record is not None
    assert record.token != "0"
    forged = cluster.run(
        "scontrol", "update", f"jobid={job}", "admincomment=green:v1 id=0", user=USER, check=False
    )
    assert forged.returncode != 0


@pytest.mark.parametrize("may", [True, False])
def test_the_site_decides_whether_users_pull(cluster: Cluster, daemon: Daemon, may: bool):
    now = datetime.now(UTC)
    write_published(
        cluster.layout.hook_published,
        Published(published_utc=now, valid_until_utc=now, slurm_uid=0, user_may_pull=may),
    )
    # The courier reads the header at most every two seconds.
    deadline = time.monotonic() + 10
    while True:
        job = sbatch(cluster, "-t", "5", user=USER)
        done = cluster.run(
            "scontrol", "update", f"jobid={job}", "starttime=now", user=USER, check=False
        )
        if (done.returncode == 0) == may or time.monotonic() > deadline:
            break
        time.sleep(0.2)
    assert (done.returncode == 0) == may, done.stderr
    # Other changes, and root's, are never in the way.
    cluster.run("scontrol", "update", f"jobid={sbatch(cluster, user=USER)}", "name=x", user=USER)
    held = sbatch(cluster, "-t", "5", user=USER)
    cluster.run("scontrol", "update", f"jobid={held}", "starttime=now")
    assert held_s(show(cluster, held)) < HOLD_S / 2
    cluster.layout.hook_published.unlink()


def test_without_a_daemon_jobs_pass_and_run(cluster: Cluster, wait_for):
    job = sbatch(cluster)
    assert not deferred(cluster, job)
    wait_for(lambda: show(cluster, job)["JobState"] == "COMPLETED", 30, "the job to run")


def test_a_hung_daemon_costs_one_time_out_and_is_used_again_once_it_wakes(
    cluster: Cluster, daemon: Daemon, wait_for
):
    assert deferred(cluster, sbatch(cluster))
    with daemon.hung():
        before = len(daemon.asked)
        jobs = [sbatch(cluster) for _ in range(40)]
        # The one question that timed out is in its socket still; no second one was put.
        assert not any(deferred(cluster, job) for job in jobs)
    wait_for(lambda: deferred(cluster, sbatch(cluster)), 15, "the daemon to be asked again")
    assert len(daemon.asked) - before <= 3


def test_a_daemon_restarted_in_between_is_found(cluster: Cluster):
    for _ in range(2):
        daemon = Daemon(cluster).start()
        try:
            assert deferred(cluster, sbatch(cluster, "-t", "5"))
        finally:
            daemon.stop()


def test_the_hook_survives_a_restart_of_slurmctld(cluster: Cluster, daemon: Daemon):
    job = sbatch(cluster, "-t", "5")
    cluster.restart_slurmctld()
    assert deferred(cluster, job)
    assert deferred(cluster, sbatch(cluster, "-t", "5"))


def test_a_missing_module_never_stops_slurmctld_and_an_edit_is_noticed(
    make_cluster: Callable[..., Cluster], wait_for
):
    cluster = make_cluster(stem="hm", hook=True)
    whole = cluster.layout.job_submit.read_text()
    missing = whole.replace("slurm_green.lua", "not_there.lua")
    assert missing != whole
    daemon = Daemon(cluster).start()

    def await_deferral() -> None:
        # With the 50 ms that sites give it: a busy machine may take longer once.
        wait_for(lambda: deferred(cluster, sbatch(cluster)), 15, "a deferral")

    try:
        cluster.layout.job_submit.write_text(missing)
        cluster.restart_slurmctld()
        assert not deferred(cluster, sbatch(cluster))
        # Slurm compares whole seconds: an edit within the same one could go unnoticed.
        cluster.layout.job_submit.write_text(whole)
        os.utime(cluster.layout.job_submit, (time.time() + 5, time.time() + 5))
        await_deferral()
        # Broken at run time: Slurm keeps the script it has.
        cluster.layout.job_submit.write_text("this is not Lua")
        os.utime(cluster.layout.job_submit, (time.time() + 10, time.time() + 10))
        await_deferral()
    finally:
        daemon.stop()


def test_the_committed_job_submit_lua_loads_without_its_module(
    make_cluster: Callable[..., Cluster], request: pytest.FixtureRequest
):
    ours = request.config.rootpath / "etc" / "job_submit.lua"
    cluster = make_cluster(stem="hc", hook=True)
    cluster.layout.job_submit.write_text(ours.read_text())
    cluster.restart_slurmctld()
    assert not deferred(cluster, sbatch(cluster))
    log = cluster.slurmctld_log.read_text(errors="replace")
    assert ("slurm-green is not loaded" in log) == (not Path("/etc/slurm/slurm_green.lua").exists())


def test_a_job_can_be_cancelled_and_requeued_while_it_waits(cluster: Cluster, daemon: Daemon):
    job = sbatch(cluster, "-t", "5")
    cluster.run("scontrol", "hold", job)
    cluster.run("scontrol", "release", job)
    assert deferred(cluster, job)
    cluster.run("scancel", job)
    assert show(cluster, job)["JobState"] == "CANCELLED"
    with pytest.raises(subprocess.CalledProcessError):
        cluster.run("scontrol", "update", f"jobid={job}", "starttime=now")
