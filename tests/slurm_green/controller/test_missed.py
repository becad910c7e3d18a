# SPDX-License-Identifier: Apache-2.0
"""What ended while no cycle looked, what a restart does to receipts: nothing; and old ones."""

import sqlite3
from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from builders import NOW, at, job
from runner_site import Site, run_to_its_end

from slurm_green.hook.record import PAUSE, Record
from slurm_green.ledger.entries import JobFacts
from slurm_green.ledger.guard import Ledger
from slurm_green.ledger.receipt import Receipt, make_receipt
from slurm_green.ledger.store import Store
from slurm_green.slurm.records import Job
from slurm_green.slurm.requeue import REQUEUED


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    one = Site(tmp_path)
    one.slurm.accounting = []
    yield one
    one.ledger.close()


def look(site: Site, now: datetime | None = None) -> None:
    """A cycle, as the cycle process runs it."""
    site.now = site.now if now is None else now
    site.runner.step()
    site.runner.catch_up()


def after(seconds: float) -> datetime:
    return NOW + timedelta(seconds=seconds)


def ended(number: int, **fields: object) -> Job:
    """A job as accounting knows it, that began and ended within a minute."""
    return job(
        number,
        **{
            "cluster": "test",
            "state": "COMPLETED",
            "submit_utc": NOW + timedelta(minutes=1),
            "eligible_utc": NOW + timedelta(minutes=1),
            "start_utc": NOW + timedelta(minutes=1),
            "end_utc": NOW + timedelta(minutes=2),
            **fields,
        },
    )


def rows(site: Site) -> list[JobFacts]:
    with Store(site.place / "ledger.sqlite", readonly=True) as store:
        return store.jobs()


@pytest.mark.parametrize(
    ("min_job_age", "gap_s", "asked"),
    [("300 sec", 290, False), ("300 sec", 310, True), ("20 sec", 30, True), ("0 sec", 9e4, False)],
)
def test_after_a_gap_longer_than_slurm_remembers_accounting_is_asked(
    site: Site, min_job_age: str, gap_s: float, asked: bool
) -> None:
    site.slurm.cluster = replace(site.slurm.cluster, settings={"MinJobAge": min_job_age})
    look(site)
    site.slurm.accounting = [ended(7, end_utc=NOW + timedelta(seconds=20))]
    look(site, NOW + timedelta(seconds=gap_s))
    assert [one.job_id for one in rows(site)] == ([7] if asked else [])
    look(site)
    assert site.slurm.calls.count("finished") == asked, "once"


def test_accounting_that_is_down_after_a_gap_is_asked_ever_more_rarely(site: Site) -> None:
    look(site)
    began, finished = at(1), site.slurm.finished
    asked: list[float] = []

    def fails(since: datetime, **which: Any) -> list[Job] | None:
        asked.append((site.now - began) / timedelta(minutes=1))
        site.slurm.broken = "slurmdbd is down"
        try:
            return finished(since, **which)
        finally:
            site.slurm.broken = None

    site.slurm.finished = fails  # type: ignore[method-assign]
    for minutes in range(20):
        look(site, began + timedelta(minutes=minutes))
    assert asked == [0, 1, 3, 7, 15]
    site.slurm.finished = finished  # type: ignore[method-assign]
    site.slurm.accounting = [ended(7)]
    for minutes in range(20, 32):
        look(site, began + timedelta(minutes=minutes))
    assert [one.job_id for one in rows(site)] == [7]


def test_accounting_that_is_down_at_the_start_is_asked_again(site: Site) -> None:
    site.slurm.broken = "slurmdbd is down"
    site.runner.remember()
    site.slurm.broken, site.slurm.accounting = None, [ended(7)]
    look(site)
    assert [one.job_id for one in rows(site)] == [7]


def test_a_gap_right_after_the_start_is_one_too(site: Site) -> None:
    site.runner.remember()
    site.slurm.accounting = [ended(7)]
    look(site, site.now + timedelta(seconds=310))
    assert [one.job_id for one in rows(site)] == [7]


@pytest.mark.parametrize("gap", [True, False])
def test_runs_that_a_requeue_ended_while_nobody_looked_have_rows(site: Site, gap: bool) -> None:
    """Its job waits, runs or has ended since; one of a failed node is told as such."""
    if gap:
        look(site)
    again = {"submit_utc": at(1), "eligible_utc": at(1), "start_utc": at(1.1)}
    site.slurm.accounting = [
        ended(7, **again, end_utc=at(1.2)),
        ended(7, state="REQUEUED"),
        ended(8, state="NODE_FAIL"),
        ended(9, state="REQUEUED", end_utc=None),
    ]
    site.slurm.put(ended(8, state="RUNNING", **again, end_utc=at(9), restarts=1))
    if not gap:
        site.runner.remember()
    assert len(site.runner.memory.history.runs) == (0 if gap else 1), "of the last run, whole"
    look(site, at(2))
    found = [(one.job_id, one.state, one.submit_utc) for one in rows(site)]
    came = NOW + timedelta(minutes=1)
    assert found == [(7, "REQUEUED", came), (8, "NODE_FAIL", came), (7, "COMPLETED", at(1))]
    assert all(one.energy_j for one in rows(site))
    look(site)
    assert len(rows(site)) == 3


def test_accounting_is_asked_of_a_job_that_ran_more_than_once_in_between(site: Site) -> None:
    """However short the gap: when its first run ended, and that there was a second, it knows."""
    began = {"submit_utc": NOW, "eligible_utc": NOW, "start_utc": NOW}
    site.slurm.put(job(7, state="RUNNING", **began, end_utc=at(9)))
    look(site)
    between = NOW + timedelta(seconds=30)
    again = {"submit_utc": between, "eligible_utc": between, "start_utc": between}
    site.slurm.accounting = [
        ended(7, **began, state="NODE_FAIL", end_utc=between),
        ended(7, **again, state="REQUEUED", end_utc=NOW + timedelta(seconds=50)),
    ]
    waits = NOW + timedelta(seconds=50)
    site.slurm.change(7, state="PENDING", submit_utc=waits, start_utc=None, restarts=2)
    look(site, NOW + timedelta(seconds=60))
    assert [one.state for one in rows(site)] == ["NODE_FAIL", "REQUEUED"]
    look(site, NOW + timedelta(seconds=120))
    assert site.slurm.calls.count("finished") == 1


@pytest.mark.parametrize("shown", [True, False])
@pytest.mark.parametrize("runs", [1, 2])
def test_accounting_is_asked_of_a_job_that_ran_only_in_between(
    site: Site, runs: int, shown: bool
) -> None:
    """It waited, or was not there, at the first look, and waits at the second."""
    site.slurm.put(job(8, restarts=3))
    look(site)
    if shown:
        site.slurm.put(job(7, submit_utc=after(5), eligible_utc=after(5)))
        look(site, after(10))
    began = [after(20), after(30)][:runs]
    site.slurm.accounting = [
        ended(7, submit_utc=one, start_utc=one, end_utc=one + timedelta(seconds=9), state=REQUEUED)
        for one in began
    ]
    site.slurm.put(job(7, submit_utc=after(40), restarts=runs))
    look(site, after(60))
    assert [one.start_utc for one in rows(site)] == began
    look(site, after(120))
    assert site.slurm.calls.count("finished") == 1


@pytest.mark.parametrize("first_seen", [True, False])
def test_accounting_is_asked_when_a_run_that_no_look_met_is_over(
    site: Site, first_seen: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second look finds it completing: accounting has no end of it yet."""
    finished = site.slurm.finished
    asked: list[datetime] = []

    def ended_since(since: datetime, **which: Any) -> list[Job] | None:
        asked.append(since)
        return finished(since, **which)

    monkeypatch.setattr(site.slurm, "finished", ended_since)
    began = {"submit_utc": NOW, "eligible_utc": NOW, "start_utc": NOW}
    first = job(7, state="RUNNING", **began, end_utc=at(9))
    site.slurm.put(first if first_seen else job(7, submit_utc=NOW))
    look(site)
    again = {"submit_utc": after(30), "eligible_utc": after(30), "start_utc": after(30)}
    before = ended(7, **began, state="NODE_FAIL", end_utc=after(30))
    site.slurm.accounting = [before, ended(7, **again, state="RUNNING", end_utc=None)]
    site.slurm.put(job(7, state="COMPLETING", **again, end_utc=at(9), restarts=2))
    look(site, after(60))
    for seconds in (120, 180, 240):  # a long epilog
        look(site, after(seconds))
    site.slurm.accounting = [before, ended(7, **again, state=REQUEUED, end_utc=after(58))]
    site.slurm.put(job(7, submit_utc=after(270), restarts=2))
    look(site, after(300))
    assert [one.state for one in rows(site)] == ["NODE_FAIL", REQUEUED]
    look(site, after(600))
    assert len(asked) == 1
    assert asked[0] < after(30), "its first run ended four looks ago"


def test_accounting_is_not_asked_of_runs_that_were_seen_to_end(site: Site) -> None:
    """By a requeue each; the last is completing when its job is first seen again."""
    began = {"submit_utc": NOW, "eligible_utc": NOW, "start_utc": NOW, "end_utc": at(9)}
    site.slurm.put(job(7, state="RUNNING", **began))
    look(site)
    site.slurm.put(job(7, state="COMPLETING", **began, restarts=1))
    look(site, after(60))
    site.slurm.put(job(7, state="RUNNING", restarts=1, **began | {"submit_utc": after(70)}))
    look(site, after(120))
    again = {"submit_utc": after(130), "start_utc": after(150)}
    site.slurm.put(job(7, state="COMPLETING", restarts=2, **began | again))
    look(site, after(180))
    site.slurm.put(ended(7, restarts=2, **again, end_utc=after(190)))
    look(site, after(240))
    assert [one.state for one in rows(site)] == [REQUEUED, REQUEUED, "COMPLETED"]
    assert "finished" not in site.slurm.calls


def test_what_accounting_knows_waits_while_the_disk_is_full(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It would be written over the receipts that wait, which know more."""
    site.slurm.accounting = [ended(7)]
    site.runner.remember()
    with monkeypatch.context() as full:
        full.setattr(site.ledger, "flush", lambda: False)
        look(site)
        assert not [one for one in site.ledger._queue if isinstance(one, JobFacts)]
    look(site)
    assert [one.job_id for one in rows(site)] == [7]


def test_a_week_of_receipts_is_written_over_several_cycles(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A job that is held meanwhile waits for some of them only."""
    monkeypatch.setattr("slurm_green.controller.missed._AT_ONCE", 2)
    site.slurm.accounting = [ended(number) for number in range(1, 6)]
    site.runner.remember()
    for count in (2, 4, 5, 5):
        look(site)
        assert len(rows(site)) == count


def test_a_restart_changes_no_receipt(site: Site) -> None:
    """Accounting knows neither what shadow mode thought, nor Extra, nor restarts, nor an emoji."""
    one = site.hold(1, name="\N{SEEDLING}", restarts=1, cluster="test")
    # Paused: what it saves is ours also after a restart.
    record = Record(token="t1", decided_utc=NOW, start_utc=at(5), latest_utc=at(11), policy=PAUSE)
    site.slurm.change(1, admin_comment=str(record))
    site.runner.step()
    run_to_its_end(site, one, begin=at(5))
    before = rows(site)
    assert before[0].ours and before[0].saved_g is not None and before[0].saved_g > 0
    poorer = replace(site.slurm.jobs_by_id[1], name="?", restarts=0, admin_comment="")
    for shown in (True, False):
        if not shown:
            site.slurm.jobs_by_id.clear()
        site.slurm.accounting = [poorer]
        site.runner = site.new_runner()
        site.runner.remember()
        look(site)
        assert rows(site) == before


@pytest.mark.parametrize("shown", [True, False])
def test_a_restart_while_the_ledger_cannot_be_read_changes_no_receipt(
    site: Site, shown: bool, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nor does it cost one: what has ended by then waits, forgotten by Slurm or not."""
    one = site.hold(1, cluster="test")
    site.runner.step()
    run_to_its_end(site, one, begin=at(5))
    before = rows(site)
    site.ledger.close()
    lock = sqlite3.connect(site.place / "ledger.sqlite", isolation_level=None)
    lock.execute("PRAGMA locking_mode = EXCLUSIVE")
    lock.execute("BEGIN IMMEDIATE")
    poorer = replace(site.slurm.jobs_by_id[1], restarts=0, admin_comment="")
    site.slurm.jobs_by_id.clear()
    for job_ in (poorer, ended(2)) if shown else ():
        site.slurm.put(job_)
    if not shown:
        # Without a signal nothing is written that would have failed before.
        site.slurm.accounting, site.signal = [poorer, ended(2)], None
        # So many at once, and no more while those wait.
        monkeypatch.setattr("slurm_green.controller.missed._AT_ONCE", 1)
    site.ledger = Ledger(site.place / "ledger.sqlite", retry_s=0)
    site.runner = site.new_runner()
    site.runner.remember()
    for _ in range(2):
        look(site)
    told = [one.getMessage() for one in caplog.records if "receipts of" in one.getMessage()]
    assert [one.split(":")[0] for one in told] == [f"receipts of {1 + shown} jobs wait"]
    assert "locked" in site.runner.books.problem
    site.slurm.jobs_by_id.clear()
    lock.close()
    look(site)
    two, again = rows(site)
    assert [again] == before
    assert two.job_id == 2 and two.energy_source == "modelled"
    assert site.runner.books.problem == ""


def test_receipts_that_still_wait_are_written_when_sgreend_stops(site: Site) -> None:
    look(site)
    site.ledger.close()
    lock = sqlite3.connect(site.place / "ledger.sqlite", isolation_level=None)
    lock.execute("PRAGMA locking_mode = EXCLUSIVE")
    lock.execute("BEGIN IMMEDIATE")
    site.signal = None
    site.slurm.put(ended(1))
    look(site)
    lock.close()
    assert rows(site) == []
    site.runner.books.close()
    assert [one.job_id for one in rows(site)] == [1]


def test_a_receipt_that_is_a_bug_costs_no_other(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither before nor behind it; of its own job it is not known what it used."""

    def make(facts: JobFacts, *rest: object) -> Receipt:
        assert facts.job_id != 2
        return make_receipt(facts, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr("slurm_green.controller.books.make_receipt", make)
    for number in (1, 2, 3):
        site.slurm.put(ended(number))
    look(site)
    used = {one.job_id: one.energy_source for one in rows(site)}
    assert used == {1: "modelled", 2: "", 3: "modelled"}


def test_more_that_end_at_once_than_may_wait_are_all_written(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An array of many tasks that is cancelled, say: the ledger can be read."""
    monkeypatch.setattr("slurm_green.controller.books._MOST_UNREAD", 1)
    for number in (1, 2, 3):
        site.slurm.put(ended(number))
    look(site)
    assert [one.job_id for one in rows(site)] == [1, 2, 3]


def test_what_slurm_still_shows_goes_before_what_accounting_knows(site: Site) -> None:
    one = ended(1, name="\N{SEEDLING}")
    site.slurm.put(one)
    site.slurm.accounting = [replace(one, name="?")]
    site.runner.remember()
    look(site)
    assert [row.name for row in rows(site)] == ["\N{SEEDLING}"]


def test_what_is_older_than_the_site_keeps_goes_an_hour_after_the_start(site: Site) -> None:
    month = timedelta(days=30)
    site.runner = site.new_runner(keep_s=month.total_seconds())
    site.runner.books.observe([ended(1, end_utc=NOW - month), ended(2)])
    look(site)
    look(site, NOW + timedelta(minutes=59))
    assert [one.job_id for one in rows(site)] == [1, 2]
    look(site, NOW + timedelta(minutes=61))
    assert [one.job_id for one in rows(site)] == [2]


def test_a_clock_that_leaps_forgets_nothing_at_once(site: Site) -> None:
    books = site.new_runner(keep_s=timedelta(days=30).total_seconds()).books
    books.observe([ended(1)])
    for days, minutes in ((0, 0), (40, 0), (40, 59), (0, 5), (0, 66)):
        books.tidy(NOW + timedelta(days=days, minutes=minutes))
        assert [one.job_id for one in rows(site)] == [1]
    for minutes in (0, 61):
        books.tidy(NOW + timedelta(days=40, minutes=minutes))
    assert rows(site) == []
