# SPDX-License-Identifier: Apache-2.0
"""The demo's pure parts: its day, its clock, where its jobs stand, what it calls a success."""

import stat
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest

from slurm_green.demo.account import Line, lines_of, problems
from slurm_green.demo.batch import BATCH, Submitted
from slurm_green.demo.clock import Clock
from slurm_green.demo.day import DAY_S, STEP_S, csv_text, intensity_g_per_kwh
from slurm_green.demo.page import html_page
from slurm_green.demo.strip import PLANNED, RAN, WAITING, Strip
from slurm_green.demo.watch import Row, rows_of
from slurm_green.hook.record import Record
from slurm_green.ledger.entries import JobFacts, lookup_in
from slurm_green.ledger.fifo import Capacity
from slurm_green.ledger.report import Report, build_report
from slurm_green.plan.power import PowerModel
from slurm_green.signals.csv_trace import parse_trace
from slurm_green.signals.series import Series
from slurm_green.slurm.records import Job

EXAMPLE = Path(__file__).parents[3] / "examples" / "demo"
NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
LLM, OFF = BATCH[0], next(wish for wish in BATCH if wish.script == "paper-plots.sh")
DIRTY_THEN_CLEAN = Series(
    start_utc=NOW,
    step_s=60.0,
    values=np.array([500.0, 100.0, 100.0]),
    issued_utc=NOW,
    provider="test",
)


def at(seconds: float) -> datetime:
    return NOW + timedelta(seconds=seconds)


def record(*, start_s: float, latest_s: float, by: str = "lowest-window") -> str:
    return str(
        Record(
            token="abc",
            decided_utc=NOW,
            start_utc=at(start_s),
            latest_utc=at(latest_s),
            policy=by,
        )
    )


def submitted(job_id: int = 7) -> Submitted:
    return Submitted(wish=LLM, job_id=job_id, at_utc=NOW, said="waits")


def row(**values: object) -> Row:
    usual: dict[str, object] = {
        "submitted": submitted(),
        "state": "done",
        "submit_utc": NOW,
        "gpus": 16,
        "tasks": 1,
        "planned_utc": at(70),
        "latest_utc": at(100),
        "runs": ((at(72), at(84)),),
    }
    return Row(**{**usual, **values})  # type: ignore[arg-type]


def account(one: Row) -> tuple[list[Line], Report]:
    start, end = one.runs[0]
    facts = JobFacts(
        cluster="c",
        job_id=one.submitted.job_id,
        submit_utc=one.submit_utc,
        start_utc=start,
        end_utc=end,
        eligible_utc=start,
        gpus=one.gpus,
        state="COMPLETED",
        mode="enforce" if one.deferred else "",
        action="defer" if one.deferred else "",
    )
    report = build_report(
        [facts],
        [],
        signal=lookup_in(DIRTY_THEN_CLEAN),
        power=PowerModel(gpu_idle_w=0.0),
        capacity=Capacity(gpus=16, cpus=16),
    )
    return lines_of([one], report, DIRTY_THEN_CLEAN), report


def test_committed_day_is_the_generated_one() -> None:
    assert (EXAMPLE / "carbon-day.csv").read_text(encoding="utf-8") == csv_text()


def test_day_is_a_whole_day_with_two_valleys_between_two_peaks() -> None:
    trace = parse_trace(csv_text().encode(), "day")
    assert (trace.step_s, len(trace.values) * STEP_S) == (STEP_S, DAY_S)
    night, morning, noon, evening = (intensity_g_per_kwh(hour) for hour in (3, 8, 13, 19))
    assert noon < night < morning < evening
    assert trace.values.min() > 50 and trace.values.max() < 600


def test_every_wish_has_its_script_and_no_script_is_left_over() -> None:
    scripts = {path.name for path in (EXAMPLE / "jobs").glob("*.sh")}
    assert {wish.script for wish in BATCH} == scripts
    for name in scripts:
        path = EXAMPLE / "jobs" / name
        assert path.read_text(encoding="utf-8").startswith("#!/bin/sh\n# SPDX")
        assert path.stat().st_mode & stat.S_IXUSR


def test_clock_tells_demo_time() -> None:
    clock = Clock(anchor_utc=NOW, scale=720.0)
    assert clock.text(clock.at(17.75)) == "17:45"
    assert clock.text(clock.at(25.5)) == "01:30 +1"
    assert clock.text(None) == "-"
    assert clock.hours(at(120)) == pytest.approx(24.0)
    assert clock.length(60) == "12 h 00"


@pytest.mark.parametrize(
    ("job", "state"),
    [
        (Job(job_id=7, eligible_utc=NOW), "queued"),
        (
            Job(job_id=7, eligible_utc=at(3), admin_comment=record(start_s=70, latest_s=100)),
            "looked at",
        ),
        (
            Job(job_id=7, eligible_utc=at(100), admin_comment=record(start_s=70, latest_s=100)),
            "waiting",
        ),
        (Job(job_id=7, state="RUNNING", start_utc=NOW, node_names=("n1",)), "running"),
        (Job(job_id=7, state="COMPLETED", start_utc=NOW, end_utc=at(5)), "done"),
        (Job(job_id=7, state="DEADLINE", start_utc=NOW, end_utc=NOW), "deadline"),
        (Job(job_id=8), "gone"),
    ],
)
def test_states_of_a_job(job: Job, state: str) -> None:
    (one,) = rows_of([submitted()], [job], hold_s=3.0)
    assert one.state == state


def test_a_plan_is_remembered_when_the_record_changes_at_release() -> None:
    waiting = Job(job_id=7, eligible_utc=at(100), admin_comment=record(start_s=70, latest_s=100))
    first = rows_of([submitted()], [waiting], hold_s=3.0)
    running = replace(
        waiting,
        state="RUNNING",
        start_utc=at(71),
        eligible_utc=at(69),
        node_names=("n1",),
        admin_comment=record(start_s=69, latest_s=100),
    )
    (one,) = rows_of([submitted()], [running], hold_s=3.0, before=first)
    assert (one.planned_utc, one.latest_utc) == (at(70), at(100))
    assert one.runs == ((at(71), None),)


def test_an_array_is_one_row_until_its_last_task_ends() -> None:
    task = Job(job_id=8, array_job_id=7, gpus=2, state="COMPLETED", start_utc=NOW, end_utc=at(5))
    rest = Job(job_id=7, array_job_id=7, gpus=2, tasks=5, eligible_utc=NOW)
    (one,) = rows_of([submitted()], [replace(task, node_names=("n",)), rest], hold_s=3.0)
    assert (one.state, one.over, one.gpus, one.tasks, len(one.runs)) == ("queued", False, 12, 6, 1)


def test_a_strip_shows_where_a_job_waits_is_planned_and_ran() -> None:
    strip = Strip(start_utc=NOW, end_utc=at(100), width=10)
    waiting = strip.job(row(state="waiting", runs=()), at(25)).plain
    assert waiting[:3] == WAITING * 3 and waiting[7] == PLANNED
    ran = strip.job(row(), at(95)).plain
    assert ran == WAITING * 7 + RAN * 2 + " "
    assert len(strip.signal(DIRTY_THEN_CLEAN, at(50)).plain) == 10


def test_a_story_that_happened_has_no_problems() -> None:
    assert problems(*account(row())) == []


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"planned_utc": None, "latest_utc": None}, "was not deferred"),
        ({"runs": ((at(2), at(14)),)}, "did not run in a cleaner hour"),
        ({"latest_utc": at(60)}, "after its latest start"),
        ({"state": "deadline"}, "ended as 'deadline'"),
        (
            {"submitted": replace(submitted(), wish=OFF), "planned_utc": None},
            "was to start at once",
        ),
    ],
)
def test_a_story_that_did_not_happen_is_named(changed: dict[str, object], words: str) -> None:
    assert any(words in sentence for sentence in problems(*account(row(**changed))))


def test_a_page_trusts_no_text() -> None:
    lines, _ = account(row())
    page = html_page(
        png=b"x",
        headline="<b>",
        lines=lines,
        clock=Clock(anchor_utc=NOW, scale=1.0),
        texts=[("sgreen why 1", "<script>")],
    )
    assert "<script>" not in page and "&lt;script&gt;" in page and "<b>" not in page
