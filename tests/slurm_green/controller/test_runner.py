# SPDX-License-Identifier: Apache-2.0
"""The impure steps on a Slurm in memory: reading, changing, keeping books, and what may fail."""

import logging
from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from builders import NOW, at, days, job, policy, rules, series
from runner_site import Site, run_to_its_end

from slurm_green.controller.cycle import cycle
from slurm_green.controller.observed import Memory, Observed
from slurm_green.controller.outcome import Outcome
from slurm_green.hook.record import LOOK, PAUSE, Record
from slurm_green.ledger.entries import NodeEnergy
from slurm_green.ledger.guard import Ledger
from slurm_green.ledger.report import build_report
from slurm_green.ledger.shadow import compare_shadow
from slurm_green.ledger.store import Store
from slurm_green.plan.power import PowerModel
from slurm_green.slurm.records import Job


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    one = Site(tmp_path)
    yield one
    one.ledger.close()


def test_a_cycle_confirms_and_reports(site: Site) -> None:
    site.hold(1)
    report = site.runner.step()
    assert report is not None
    assert site.slurm.jobs_by_id[1].eligible_utc == at(11)
    assert (report.status.deferred, report.status.events) == (1, {"confirmed": 1})
    assert report.status.decisions == {"enforce/deferred": 1}
    assert report.status.expected_save_g > 0
    assert (report.status.signal, report.status.at_utc) == ("test", "2026-11-23T06:00:00Z")
    assert report.status.cycle_cpu_s == 6, "three slow questions, jobs, nodes, an update"
    with Store(site.place / "ledger.sqlite", readonly=True) as store:
        assert [(one.job_id, one.action, one.token) for one in store.decisions()] == [
            (1, "defer", "t1")
        ]
        assert [one.kind for one in store.events()] == ["confirmed"]
        assert store.signal(NOW, at(1)) is not None


def test_what_hardly_changes_is_asked_once_a_minute(site: Site) -> None:
    for seconds in (0, 30, 59, 60):
        site.now = NOW + timedelta(seconds=seconds)
        site.runner.step()
    assert site.slurm.calls.count("jobs") == site.slurm.calls.count("nodes") == 4
    assert site.slurm.calls.count("info") == site.slurm.calls.count("partitions") == 2


def test_after_a_clock_was_set_back_what_hardly_changes_is_asked_anew(site: Site) -> None:
    """Not only once the clock is where it was: a new partition is seen within the minute."""
    for minutes in (0, -40, -39.5):
        site.now = NOW + timedelta(minutes=minutes)
        site.runner.step()
    assert site.slurm.calls.count("partitions") == 2


def test_slurm_down_costs_the_cycle_and_is_counted(
    site: Site, caplog: pytest.LogCaptureFixture
) -> None:
    site.hold(1)
    site.slurm.broken = "slurmctld is down"
    assert site.runner.step() is None
    assert "slurmctld is down" in caplog.text
    site.slurm.broken = None
    report = site.runner.step()
    assert report is not None
    assert (report.status.slurm_failures, report.status.cycles) == (1, 1)


def test_slurm_down_between_reading_and_changing_refuses_everything(site: Site) -> None:
    """Nothing is booked that did not happen."""
    site.hold(1)
    update = site.slurm.update

    def dies(changes: object) -> dict[int, str]:
        site.slurm.broken = "gone"
        return update(changes)  # type: ignore[arg-type]

    site.slurm.update = dies  # type: ignore[method-assign, assignment]
    report = site.runner.step()
    assert report is not None
    assert (report.status.changes_refused, report.status.events) == (1, {})
    with Store(site.place / "ledger.sqlite", readonly=True) as store:
        assert store.decisions() == []
        assert [(one.kind, one.detail) for one in store.events()] == [("refused", "gone")]


def test_a_refused_change_is_logged_with_slurms_words(
    site: Site, caplog: pytest.LogCaptureFixture
) -> None:
    site.hold(1)
    site.hold(2)
    site.slurm.refuse[1] = "Access/permission denied"
    report = site.runner.step()
    assert report is not None
    assert "job=1 change refused: Access/permission denied" in caplog.text
    assert report.status.events == {"confirmed": 1}


@pytest.mark.parametrize("where", ["runner.cycle", "source.Source.observe"])
def test_a_bug_in_a_cycle_costs_that_cycle(
    site: Site, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, where: str
) -> None:
    site.hold(1)
    before = site.runner.memory
    with monkeypatch.context() as patch:
        patch.setattr(f"slurm_green.controller.{where}", lambda *_: 1 / 0)
        assert site.runner.step() is None
    assert (site.slurm.updates, site.runner.memory) == ([], before)
    assert "this is a bug of slurm-green" in caplog.text
    report = site.runner.step()
    assert report is not None and report.status.bugs == 1


def test_books_that_fail_do_not_stop_a_cycle(
    site: Site, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    site.hold(1)
    monkeypatch.setattr(site.runner.books, "write", lambda *_: 1 / 0)
    assert site.runner.step() is not None
    assert site.slurm.jobs_by_id[1].eligible_utc == at(11)
    assert "not in the ledger" in caplog.text


def test_a_lost_signal_is_said_once_and_so_is_its_return(
    site: Site, caplog: pytest.LogCaptureFixture
) -> None:
    site.signal = None
    with caplog.at_level(logging.INFO):
        reports = [site.runner.step() for _ in range(3)]
        site.signal = days()
        reports.append(site.runner.step())
    problems = [report.status.signal_problem for report in reports if report is not None]
    assert problems == ["the wind has dropped"] * 3 + [""]
    said = [one.message for one in caplog.records if one.name.endswith("runner")]
    assert said == ["nothing is deferred: the wind has dropped", "the signal is back"]


def test_the_marker_switches_off(site: Site) -> None:
    (site.place / "off").touch()
    report = site.runner.step()
    assert report is not None
    assert report.status.off and report.view.off


def test_a_marker_that_cannot_be_looked_for_switches_off_and_is_said_once(
    site: Site, caplog: pytest.LogCaptureFixture
) -> None:
    """A file server that is away: nobody knows whether `sgreen off` was said, cycles go on."""
    site.hold(1)
    site.runner.source.off_marker = site.place / ("n" * 300)
    for _ in range(2):
        report = site.runner.step()
        assert report is not None and report.status.off
    assert sum("taken to be switched off" in one.message for one in caplog.records) == 1
    site.runner.source.off_marker = site.place / "off"
    report = site.runner.step()
    assert report is not None and not report.status.off


def test_accounting_is_read_once_at_the_start(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[int] = []

    def counting(observed: Observed, *rest: Any) -> Outcome:
        seen.append(len(observed.past))
        return cycle(observed, *rest)

    monkeypatch.setattr("slurm_green.controller.runner.cycle", counting)
    ended = job(
        7, state="COMPLETED", submit_utc=at(-5), eligible_utc=at(-5), start_utc=at(-4),
        end_utc=at(-3),
    )  # fmt: skip
    site.slurm.accounting = [ended]
    site.runner.remember()
    assert site.slurm.calls == ["finished"]
    assert site.runner.memory != Memory()
    for _ in range(2):
        site.runner.step()
        site.runner.catch_up()
    assert site.facts(7).state == "COMPLETED"
    assert site.slurm.calls.count("finished") == 1
    assert seen == [1, 0], "the past is learned from once"


def test_what_accounting_taught_is_not_learned_again_from_the_queue(site: Site) -> None:
    """Of an array with %1 a cycle after a restart sees late tasks only, which waited for others."""

    def task(number: int, **fields: Any) -> Job:
        begun = {"submit_utc": at(-9), "eligible_utc": at(-9), "start_utc": at(number - 9.5)}
        return job(10 + number, array_job_id=10, array_task=str(number), **begun, **fields)

    ended = {number: at(number - 9) for number in range(1, 9)}
    over = [task(number, state="COMPLETED", end_utc=end) for number, end in ended.items()]
    site.slurm.accounting = over
    site.slurm.put(over[-1], task(9, state="RUNNING"))
    site.runner.remember()
    site.runner.step()
    history = site.runner.memory.history
    assert ([one.wait_s for one in history.waits], len(history.runs)) == ([1800.0], 8)


@pytest.mark.parametrize("broken", [None, "slurmdbd is down"])
def test_without_accounting_it_starts_without_history(site: Site, broken: str | None) -> None:
    site.slurm.accounting, site.slurm.broken = None, broken
    site.runner.remember()
    assert site.runner.memory == Memory()


def test_every_job_that_ends_gets_one_receipt(site: Site) -> None:
    one = site.hold(1)
    site.runner.step()
    run_to_its_end(site, one, begin=at(5))
    found = site.facts(1)
    assert (found.ours, found.energy_source, found.cluster) == (True, "modelled", "test")
    assert found.saved_g is not None and found.saved_g > 0
    site.slurm.change(1, end_utc=at(9))
    site.runner.step()
    assert site.facts(1) == found, "it ended once"


def test_a_job_that_is_requeued_after_its_end_gets_a_receipt_of_each_run(site: Site) -> None:
    """`scontrol requeue` of a job that failed: the same number, a new submission."""
    site.slurm.put(job(1, state="FAILED", start_utc=NOW, end_utc=at(1)))
    site.now = at(1)
    site.runner.step()
    site.slurm.change(1, state="PENDING", submit_utc=at(1), start_utc=None, end_utc=None)
    site.runner.step()
    site.slurm.change(1, state="COMPLETED", start_utc=at(2), end_utc=at(4))
    site.now = at(4)
    site.runner.step()
    with Store(site.place / "ledger.sqlite", readonly=True) as store:
        assert [(one.state, one.end_utc) for one in store.jobs()] == [
            ("FAILED", at(1)),
            ("COMPLETED", at(4)),
        ]


@pytest.mark.parametrize("seen", ["waiting", "running", "ended"])
def test_a_run_that_a_requeue_ended_has_its_receipt(site: Site, seen: str) -> None:
    """Ours or not: what it used was used. The joules of each run are its own."""
    began = {"state": "RUNNING", "submit_utc": at(-1), "eligible_utc": at(-1), "start_utc": NOW}
    site.slurm.put(job(1, deadline_utc=at(9), **began))
    site.runner.step()
    # Of a requeue Slurm first tells the new submission, of a run that is ending.
    site.slurm.change(1, state="COMPLETING", submit_utc=at(1))
    site.now = at(1)
    site.runner.step()
    waits = {"restarts": 1, "eligible_utc": at(3), "start_utc": None, "end_utc": None}
    if seen != "ended":
        site.slurm.change(1, state="PENDING", **waits)
        site.runner.step()
    if seen == "running":
        site.slurm.change(1, state="RUNNING", start_utc=at(3))
        site.now = at(3)
        site.runner.step()
    site.slurm.change(1, **waits | {"state": "COMPLETED", "start_utc": at(3), "end_utc": at(4)})
    site.now = at(5)
    site.runner.step()
    site.runner.step()
    told = [
        NodeEnergy(
            cluster="test", node="n0", name=f"{begin}", job_id=1, begin_utc=begin,
            end_utc=begin + timedelta(hours=1), gpus=1, energy_j=joules, source="nvml-counter",
        )
        for begin, joules in ((NOW, 5e6), (at(3), 7e6))
    ]  # fmt: skip
    assert site.runner.books.keep(told)
    with Store(site.place / "ledger.sqlite", readonly=True) as store:
        rows = store.jobs()
        assert [(one.state, one.submit_utc, one.start_utc, one.end_utc) for one in rows] == [
            ("REQUEUED", at(-1), NOW, at(1)),
            ("COMPLETED", at(1), at(3), at(4)),
        ]
        assert [one.energy_source for one in rows] == ["measured", "measured"]
        first_j, last_j = (one.energy_j or 0.0 for one in rows)
        assert last_j - first_j == pytest.approx(2e6 * PowerModel().pue)
        promises = build_report(rows, [], signal=store.signal, power=PowerModel()).promises
    assert (promises.deadlines, promises.deadlines_met) == (1, 1), "those of jobs, not of runs"


def test_of_a_run_that_is_ending_slurm_tells_what_holds_for_the_next(site: Site) -> None:
    """Until its epilog is done a pause's record, and times from now on; the old submission."""
    site.signal = series([300.0] * 3 + [100.0] * 45)
    began = {"state": "RUNNING", "submit_utc": at(-1), "eligible_utc": at(-1), "start_utc": NOW}
    site.slurm.put(job(1, end_utc=at(9), **began))
    site.runner.step()
    record = Record(token="t1", decided_utc=at(1), start_utc=at(5), latest_utc=at(6), policy=PAUSE)
    told = {"admin_comment": str(record), "eligible_utc": at(6), "restarts": 1}
    site.slurm.change(1, state="COMPLETING", start_utc=at(1.5), end_utc=at(10.5), **told)
    site.now = at(1.5)
    site.runner.step()
    site.slurm.change(1, state="PENDING", submit_utc=at(2), start_utc=None, end_utc=None)
    site.now = at(2)
    site.runner.step()
    found = site.facts(1)
    assert (found.start_utc, found.end_utc) == (NOW, at(2))
    assert (found.ours, found.asked_begin_utc, found.now_utc) == (False, None, at(-1))
    assert found.restarts == 0, "no earlier run is missing"


def test_a_run_of_which_nobody_saw_when_it_ended_has_no_row(site: Site) -> None:
    """Requeued twice while no cycle looked; or it reached its limit long before."""
    for number in (1, 2):
        site.slurm.put(job(number, state="RUNNING", start_utc=NOW, end_utc=at(4)))
    site.runner.step()
    site.now = at(9)
    for number in (1, 2):
        site.slurm.change(
            number, state="PENDING", submit_utc=at(8), start_utc=None, restarts=number
        )
    site.runner.step()
    with Store(site.place / "ledger.sqlite", readonly=True) as store:
        assert [(one.job_id, one.end_utc) for one in store.jobs()] == [(1, at(4))]


@pytest.mark.parametrize("restarted", [False, True])
@pytest.mark.parametrize("deferred", [False, True])
def test_of_a_deferred_job_that_somebody_requeued_only_the_first_run_is_ours(
    site: Site, deferred: bool, restarted: bool
) -> None:
    """It then waits for Slurm (two minutes, or a preemption's end): nobody's saving, as of others.

    So the run is compared with when Slurm let it go.
    """
    one = site.hold(1)
    if not deferred:
        site.slurm.change(1, admin_comment="", eligible_utc=NOW)
    site.runner.step()
    site.slurm.change(1, state="RUNNING", eligible_utc=at(5), start_utc=at(5), end_utc=at(9))
    site.now = at(5)
    site.runner.step()
    site.slurm.change(1, state="PENDING", submit_utc=at(6), restarts=1, start_utc=None)
    site.now = at(6)
    site.runner.step()
    if restarted:
        site.runner = site.new_runner()
    run_to_its_end(site, one, begin=at(8))
    with Store(site.place / "ledger.sqlite", readonly=True) as store:
        first, last = store.jobs()
    assert (first.state, first.ours) == ("REQUEUED", deferred)
    assert not deferred or first.now_utc == NOW
    assert (last.state, last.ours, last.now_utc, last.saved_g) == ("COMPLETED", False, at(8), 0.0)


@pytest.mark.parametrize("restarted", [False, True])
def test_what_a_pause_saves_is_ours(site: Site, restarted: bool) -> None:
    """Also of a job that was not deferred when it came."""
    site.signal = series([100.0] * 48)
    one = site.hold(1)
    site.runner.step()
    site.slurm.change(1, state="RUNNING", eligible_utc=NOW, start_utc=NOW)
    site.runner.step()
    site.signal = series([300.0] * 3 + [100.0] * 45)
    record = Record(token="t1", decided_utc=at(1), start_utc=at(5), latest_utc=at(6), policy=PAUSE)
    site.slurm.change(1, state="PENDING", submit_utc=at(1), admin_comment=str(record), restarts=1)
    site.now = at(1)
    site.runner.step()
    if restarted:
        site.runner = site.new_runner()
    run_to_its_end(site, one, begin=at(5))
    with Store(site.place / "ledger.sqlite", readonly=True) as store:
        assert [(row.now_utc, row.ours, (row.saved_g or 0) > 0) for row in store.jobs()] == [
            (NOW, False, False),
            (at(1), True, True),
        ]


@pytest.mark.parametrize("paused", [False, True])
@pytest.mark.parametrize("restarted", [False, True])
def test_a_run_that_a_failed_node_requeued_is_no_longer_ours(
    site: Site, paused: bool, restarted: bool
) -> None:
    """When it begins again is Slurm's choice, whatever we decided about the run before."""
    site.hold(1)
    site.runner.step()
    if paused:
        record = Record(
            token="t1", decided_utc=at(-1), start_utc=at(5), latest_utc=at(6), policy=PAUSE
        )
        site.slurm.change(1, admin_comment=str(record), submit_utc=at(-1), restarts=1)
    begun = {"state": "RUNNING", "eligible_utc": at(5), "start_utc": at(5)}
    site.slurm.change(1, **begun)
    site.now = at(5)
    site.runner.step()
    waits = {"state": "PENDING", "submit_utc": at(5.5), "start_utc": None, "restarts": 1 + paused}
    site.slurm.change(1, **waits, eligible_utc=at(5.55))
    site.now = at(5.5)
    site.runner.step()
    if restarted:
        site.runner = site.new_runner()
    site.slurm.change(1, state="COMPLETED", start_utc=at(9), end_utc=at(10))
    site.now = at(10)
    site.runner.step()
    with Store(site.place / "ledger.sqlite", readonly=True) as store:
        rows = store.jobs()
    assert [(row.state, row.ours) for row in rows] == [("REQUEUED", True), ("COMPLETED", False)]
    assert (rows[1].mode, rows[1].action, rows[1].now_utc) == ("enforce", "pass", at(5.55))


@pytest.mark.parametrize("restarted", [False, True])
@pytest.mark.parametrize(
    ("begin", "ours"), [(timedelta(hours=5), True), (timedelta(seconds=10), False)]
)
def test_a_job_never_confirmed_is_not_ours(
    site: Site, begin: timedelta, ours: bool, restarted: bool
) -> None:
    """It waited for the seconds of its hold only: whatever it saved was the queue's doing."""
    one = site.hold(1)
    if ours:
        site.runner.step()
    if restarted:
        site.runner = site.new_runner()
    run_to_its_end(site, one, begin=NOW + begin)
    assert site.facts(1).ours is ours


@pytest.mark.parametrize(
    ("begin", "restarts", "own"),
    [(at(11), 0, False), (at(13), 0, True), (at(11), 1, True)],
    ids=["as promised", "by hand", "requeued"],
)
def test_a_begin_time_behind_the_latest_start_is_somebody_elses(
    site: Site, begin: datetime, restarts: int, own: bool
) -> None:
    """What the job is compared with: set by hand, or by Slurm for a requeue, however early."""
    one = site.hold(1)
    site.runner.step()
    site.slurm.change(1, restarts=restarts)
    run_to_its_end(site, one, begin=begin)
    assert site.facts(1).asked_begin_utc == (begin if own else None)


@pytest.mark.parametrize("requeued", [False, True])
def test_shadow_mode_puts_nothing_off(site: Site, requeued: bool) -> None:
    """Whose begin time it was: its user's, or Slurm's for a requeue."""
    site.runner.rules = rules(policy=policy(mode="shadow"))
    site.runner.step()
    one = job(1)
    site.slurm.put(one)
    site.runner.step()
    if requeued:
        site.slurm.change(1, submit_utc=at(5) - timedelta(minutes=2), restarts=1)
    run_to_its_end(site, one, begin=at(5))
    found = site.facts(1)
    assert (found.mode, found.action, found.now_utc) == ("shadow", "defer", at(5))
    assert found.saved_g == pytest.approx(0.0)


def test_shadow_mode_compares_all_tasks_of_an_array_that_go_one_after_another(site: Site) -> None:
    """`--array=0-2%1`, as 22.05 shows it: who waits is eligible only when its turn comes."""
    site.runner.rules = rules(policy=policy(mode="shadow"))
    site.runner.step()
    rest = job(1, array_job_id=1, tasks=3, max_running_tasks=1)
    site.slurm.put(rest)
    site.now = NOW + timedelta(seconds=30)
    site.runner.step()
    for turn, number in enumerate((2, 3, 1)):
        times = {
            "eligible_utc": at(2 * turn),
            "start_utc": at(2 * turn),
            "end_utc": at(2 * turn + 2),
        }
        one = replace(rest, job_id=number, tasks=1, max_running_tasks=None, **times)
        site.slurm.put(replace(rest, tasks=2 - turn or 1, eligible_utc=None))
        site.slurm.put(replace(one, state="RUNNING"))
        site.now = at(2 * turn + 1)
        site.runner.step()
        site.slurm.put(replace(one, state="COMPLETED"))
    site.now = at(6)
    site.runner.step()
    with Store(site.place / "ledger.sqlite", readonly=True) as store:
        found = compare_shadow(
            store.jobs(), store.decisions(), store.events(),
            signal=store.signal, power=PowerModel(), now_utc=at(24),
        )  # fmt: skip
    assert found.compared == 3
    assert found.mean_delay_s == found.most_delay_s


def test_jobs_of_others_and_looks_are_not_ours(site: Site) -> None:
    look = Record(token="t", decided_utc=NOW, start_utc=NOW, latest_utc=at(1), policy=LOOK)
    ended = {"state": "FAILED", "start_utc": at(1), "end_utc": at(2)}
    site.slurm.put(
        job(1, eligible_utc=at(1), admin_comment=f"note {look}", **ended),
        job(2, eligible_utc=at(1), **ended),
        job(3, submit_utc=None, **ended),
    )
    site.now = at(3)
    site.runner.step()
    assert (site.facts(1).ours, site.facts(2).ours) == (False, False)
    assert site.facts(2).now_utc == at(1), "a begin time of the user's own is no delay of ours"
    with Store(site.place / "ledger.sqlite", readonly=True) as store:
        assert len(store.jobs()) == 2


def test_a_task_is_judged_with_its_array(site: Site) -> None:
    site.hold(1, array_job_id=1, array_task="0-1", tasks=2)
    site.runner.step()
    task = replace(site.slurm.jobs_by_id[1], array_task="0", tasks=1, admin_comment="")
    site.slurm.put(replace(task, job_id=2, array_task="1"))
    run_to_its_end(site, replace(task, job_id=2), begin=at(5))
    assert site.facts(2).ours and site.facts(2).label == "1_1"


def test_a_full_disk_keeps_what_is_to_be_written(tmp_path: Path) -> None:
    """Written once there is room, with the decisions in between."""
    site = Site(tmp_path)
    clock = [0.0]
    site.ledger = Ledger(tmp_path / "sub" / "ledger.sqlite", monotonic=lambda: clock[0])
    site.runner = site.new_runner()
    site.hold(1)
    report = site.runner.step()
    assert report is not None and "cannot open" in report.status.ledger_problem
    assert site.ledger.waiting == 2
    (tmp_path / "sub").mkdir()
    clock[0] = 60.0
    report = site.runner.step()
    assert report is not None and report.status.ledger_problem == ""
    assert site.ledger.waiting == 0
    site.runner.books.close()
    with Store(tmp_path / "sub" / "ledger.sqlite", readonly=True) as store:
        assert [one.job_id for one in store.decisions()] == [1]
