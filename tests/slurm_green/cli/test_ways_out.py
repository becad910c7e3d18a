# SPDX-License-Identifier: Apache-2.0
"""`sgreen off`, `on` and `run-now`: the ways out work when everything else is broken."""

import errno
import os

import pytest

from slurm_green.cli.jobs import of_ours
from slurm_green.config.load import loads
from slurm_green.controller.state import Stage
from slurm_green.errors import ConfigError
from slurm_green.hook.record import parse
from slurm_green.slurm.records import ClusterInfo, JobChange


def test_off_writes_the_marker_and_on_removes_it(sgreen):
    """Both can be repeated."""
    marker = sgreen.config.paths.off

    assert sgreen.json("off")["was_off"] is False
    assert sgreen.json("off")["was_off"] is True
    assert "off since 2026-11-22T12:00:00Z" in marker.read_text()
    assert sgreen.json("on")["was_off"] is True
    assert sgreen.json("on")["was_off"] is False
    assert not marker.exists()
    assert sgreen.slurm.updates == []


def test_a_full_disk_stands_in_nobody_s_way_out(sgreen, monkeypatch):
    """An empty file needs no room; what would stand in it does."""
    written = []

    def full(path, text):
        written.append(path)
        path.touch()
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("pathlib.Path.write_text", full)

    assert sgreen.json("off", "--release-all")["released"] == [42]
    assert written == [sgreen.config.paths.off]
    assert sgreen.json("off")["was_off"] is True


def test_release_all_makes_ours_eligible_now_and_leaves_others(sgreen):
    """Deferred and looked-at jobs go; a begin time somebody set, running and foreign jobs stay."""
    look = sgreen.record(policy="look", decided_utc=sgreen.after(seconds=-2))
    sgreen.slurm.put(
        sgreen.job(43, eligible_utc=sgreen.after(seconds=8), admin_comment=f"note {look}"),
        sgreen.job(44, eligible_utc=sgreen.after(hours=3)),
        sgreen.job(45, admin_comment="", eligible_utc=sgreen.after(hours=3)),
        sgreen.job(46, state="RUNNING"),
        sgreen.job(47, eligible_utc=sgreen.after(hours=-1)),
    )

    found = sgreen.json("off", "--release-all")

    assert found["released"] == [42, 43]
    jobs = sgreen.slurm.jobs_by_id
    assert jobs[42].eligible_utc == jobs[43].eligible_utc == sgreen.now
    assert jobs[43].admin_comment == "note"
    assert jobs[42].admin_comment.startswith("kept by others green:v1 id=abc123")
    assert jobs[44].eligible_utc == sgreen.after(hours=3)
    released = of_ours(jobs[42], sgreen.config)
    assert released.stage is Stage.RELEASED
    assert released.record.save_g is None


def test_release_all_leaves_tasks_that_left_their_array(sgreen):
    """By the array's number Slurm would release those with it that their user put off."""
    sgreen.slurm.put(sgreen.job(42, array_task="1,3", array_job_id=42, tasks=2), sgreen.job(43))

    assert sgreen.json("off", "--release-all")["released"] == [42, 43]
    for changes in sgreen.slurm.updates:
        assert {job_id: one.array for job_id, one in changes.items()} == {42: True, 43: False}


def test_release_all_releases_before_it_writes(sgreen):
    """Begin times are one process for all, records one for each; nobody waits for those."""
    sgreen.slurm.put(sgreen.job(43))
    ended = sgreen.slurm.update

    def update(changes):
        if any(one.admin_comment is not None for one in changes.values()):
            sgreen.slurm.change(43, state="COMPLETED")
        return ended(changes)

    sgreen.slurm.update = update

    found = sgreen.json("off", "--release-all")

    assert (found["released"], found["refused"]) == ([42, 43], {})
    begins, records = sgreen.slurm.updates
    assert {one.begin_utc for one in begins.values()} == {sgreen.now}
    assert {(one.admin_comment, one.extra) for one in begins.values()} == {(None, None)}
    assert {one.begin_utc for one in records.values()} == {None}
    assert parse(sgreen.slurm.jobs_by_id[42].admin_comment).start_utc == sgreen.now


def test_release_all_twice_changes_nothing_more(sgreen):
    """Idempotent."""
    sgreen("off", "--release-all")
    before = len(sgreen.slurm.updates)
    sgreen.now = sgreen.after(minutes=1)

    assert sgreen.json("off", "--release-all")["released"] == []
    assert len(sgreen.slurm.updates) == before


def test_release_all_takes_our_priority_credit_back(sgreen):
    """Where one of ours is possible; elsewhere the factor is somebody else's."""
    aged = sgreen.job(43, eligible_utc=sgreen.after(hours=-1), site_factor=70)
    sgreen.slurm.put(aged)

    assert sgreen.json("off", "--release-all")["restored"] == []

    sgreen.slurm.cluster = ClusterInfo(
        name="fake",
        version=(24, 11),
        priority_type="priority/multifactor",
        priority_weight_age=10_000,
    )
    assert sgreen.json("off", "--release-all")["restored"] == [43]
    assert sgreen.slurm.jobs_by_id[43].site_factor == 0


def test_release_all_needs_no_valid_configuration(sgreen, tmp_path, monkeypatch):
    """A typing error in the file must not block the way out."""
    monkeypatch.setattr("slurm_green.cli.off._mark", lambda marker, now: False)

    def broken(environ):
        raise ConfigError("conf:3: x is unknown")

    sgreen.load = broken

    done = sgreen("off", "--release-all")

    assert done.exit_code == 0, done.output
    assert "going on with default paths: conf:3" in done.stderr
    assert sgreen.slurm.jobs_by_id[42].eligible_utc == sgreen.now


def test_release_all_reports_what_slurm_refused(sgreen):
    """Status 1, the job named, the others released."""
    sgreen.slurm.put(sgreen.job(43))
    sgreen.slurm.refuse[42] = "Access/permission denied"

    done = sgreen("off", "--release-all")

    assert done.exit_code == 1
    assert "sgreen: job 42: Access/permission denied" in done.stderr
    assert sgreen.slurm.jobs_by_id[43].eligible_utc == sgreen.now


@pytest.mark.parametrize(
    "words",
    ["Job has already finished for job 42", "Job is no longer pending execution for job 42"],
)
def test_a_job_that_starts_meanwhile_needs_no_release(sgreen, words):
    """During a burst holds end by themselves; that is no failure to tell an admin of."""
    sgreen.slurm.put(sgreen.job(43))
    sgreen.slurm.refuse[42] = words

    done = sgreen("off", "--release-all")

    assert done.exit_code == 0
    assert "1 jobs released" in done.stdout
    assert "0 refused" in done.stdout


def test_release_all_finds_records_in_extra(sgreen):
    """Where the site keeps them there."""
    paths = sgreen.config.paths
    sgreen.config = loads('[general]\nrecord_field = "extra"')
    object.__setattr__(sgreen.config, "paths", paths)
    sgreen.slurm.put(sgreen.job(admin_comment="mine", extra=str(sgreen.record())))

    assert sgreen.json("off", "--release-all")["released"] == [42]
    assert parse(sgreen.slurm.jobs_by_id[42].extra).start_utc == sgreen.now
    assert sgreen.slurm.jobs_by_id[42].admin_comment == "mine"


def test_the_field_may_have_been_changed_since(sgreen):
    """A record in the field that was chosen before is still found and put right."""
    paths = sgreen.config.paths
    sgreen.config = loads('[general]\nrecord_field = "extra"')
    object.__setattr__(sgreen.config, "paths", paths)

    assert sgreen.json("off", "--release-all")["released"] == [42]
    assert sgreen.slurm.jobs_by_id[42].admin_comment.startswith("kept by others green:v1")
    assert sgreen.slurm.jobs_by_id[42].extra == ""


def test_off_without_the_right_to_says_who_may(sgreen, tmp_path):
    """Status 1 and what to do."""
    (tmp_path / "state").write_text("a file where a folder should be")

    done = sgreen("off")

    assert done.exit_code == 1
    assert "run this as root or SlurmUser" in done.stderr


def test_run_now_sets_the_begin_time_only(sgreen):
    """An ordinary user may change nothing else: AdminComment would refuse the whole update."""
    assert sgreen.json("run-now", 42)["changed"] is True
    assert sgreen.slurm.updates == [{42: JobChange(begin_utc=sgreen.now)}]
    assert sgreen.json("run-now", 42)["changed"] is False


@pytest.mark.parametrize(
    ("reason", "freed"),
    [
        ("JobHeldUser", "`scontrol release 42` frees it"),
        # Slurm refuses that to its user.
        ("JobHeldAdmin", "by an administrator, who alone can free it"),
    ],
)
def test_run_now_of_a_held_job_says_who_keeps_it(sgreen, reason, freed):
    """Its begin time alone does not start it."""
    sgreen.slurm.put(sgreen.job(held=True, reason=reason))

    said = sgreen("run-now", 42).stdout, sgreen("run-now", 42).stdout

    assert said[0] == f"Job 42 is eligible now; it is held, too: {freed}.\n"
    assert f"(it is pending but held: {freed}); nothing to do." in said[1]
    assert sgreen.json("run-now", 42)["held"] is True


def test_run_now_refused_says_who_may(sgreen):
    """Slurm's words and what they mean here."""
    sgreen.slurm.refuse[42] = "Access/permission denied"

    done = sgreen("run-now", 42)

    assert done.exit_code == 1
    assert "Access/permission denied. Only its owner or an administrator may" in done.stderr


@pytest.mark.parametrize(("wanted", "status"), [("42_1", 2), ("7", 1)])
def test_run_now_needs_a_whole_waiting_job(sgreen, wanted, status):
    """A task of a pending array has no begin time of its own."""
    assert sgreen("run-now", wanted).exit_code == status
    assert sgreen.slurm.updates == []
